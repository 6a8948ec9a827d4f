import type { FollowedOperation } from '@/hooks/useOperation';
import type { ProgressStep } from '@/ui/Progress';

const CHANGE_OF_NODES = ['placed', 'certificate', 'started', 'joined', 'configured', 'probed', 'left', 'removed'];

/** The steps of each kind of operation in their order, so that those to come have a name as well. */
const STEPS: Readonly<Record<string, readonly string[]>> = {
  'cluster.create': ['placed', 'certificate', 'started', 'joined', 'configured', 'probed'],
  'cluster.delete': ['removed'],
  'cluster.scale': CHANGE_OF_NODES,
  'cluster.replace_node': CHANGE_OF_NODES,
  'cluster.upgrade': ['upgraded', 'probed'],
  'cluster.finalize': ['finalized', 'probed'],
};

const LABELS: Readonly<Record<string, string>> = {
  placed: 'Choose nodes',
  certificate: 'Issue certificates',
  started: 'Start the servers',
  joined: 'Form the group and elect a leader',
  configured: 'Create database and user',
  probed: 'Probe the endpoint: TLS, login, a write and a read',
  left: 'Let the group go on without the nodes that leave',
  upgraded: 'Move one node after the other to the version',
  finalized: 'Let every node write the newer format version',
  removed: 'Remove everything from the nodes',
};

/** What people read for a step; a step that is new to the console is shown by its own name. */
export function stepLabel(step: string): string {
  const words = step.replaceAll(/[_.-]+/g, ' ').trim();
  return LABELS[step] ?? words.charAt(0).toUpperCase() + words.slice(1);
}

export function stepsOf({ operation, steps: seen }: FollowedOperation): ProgressStep[] {
  const known = STEPS[operation.kind] ?? [];
  const names = known.length === operation.steps_total ? known : seen;
  return Array.from({ length: operation.steps_total }, (_, index) => {
    const name = names[index] ?? seen[index];
    const label = name === undefined ? `Step ${index + 1}` : stepLabel(name);
    if (index < operation.steps_done) return { label, state: 'done' };
    if (index > operation.steps_done || operation.state === 'cancelled') return { label, state: 'waiting' };
    return { label, state: operation.state === 'failed' ? 'failed' : 'current' };
  });
}
