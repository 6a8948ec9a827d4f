import type { ClusterState } from '@/api/types';
import { Badge, type Tone } from '@/ui/Badge';

const TONES: Record<ClusterState, Tone> = {
  provisioning: 'wait',
  ready: 'ok',
  degraded: 'warn',
  failed: 'danger',
  deleting: 'wait',
  deleted: 'neutral',
};

export function ClusterStateBadge({ state }: { state: ClusterState }) {
  return <Badge tone={TONES[state]}>{state}</Badge>;
}
