import type {
  ApiKey,
  AuditEvent,
  Cluster,
  DatabaseUser,
  Operation,
  Passkey,
  Receipt,
  Role,
  Session,
  User,
} from '../app/src/api/types';
import { sha256Hex, typeId } from './ids';
import { notFound } from './problem';

type Writable<T> = { -readonly [K in keyof T]: T[K] };

export type MockOrganisation = {
  id: string;
  name: string;
  slug: string;
  created_at: string;
  roles: Map<string, Role>;
  clusters: MockCluster[];
  operations: MockOperation[];
  apiKeys: ApiKey[];
  auditEvents: AuditEvent[];
};

/** The newest version of the formats that the mock's nodes know. */
export const FORMAT_NEWEST = 2;

export type MockCluster = Writable<Cluster> & { users: Writable<DatabaseUser>[]; format_active: number };

/** An operation is a function of time: `steps` are walked at one per `stepMs` from `startedAt`. */
export type MockOperation = {
  id: string;
  kind: string;
  target: string;
  steps: readonly string[];
  startedAt: number;
  failsAtStep: number | null;
  cancelledAt: number | null;
};

export type MockSession = Writable<Omit<Session, 'current'>> & { token: string; userId: string };
export type MockPasskey = Passkey & { credentialId: string; userId: string };
export type MockCeremony = { id: string; kind: 'register' | 'login'; challenge: string; user: User | null };

/** Everything that the mock remembers; it lives in memory and starts empty. */
export class MockState {
  readonly users: User[] = [];
  readonly passkeys: MockPasskey[] = [];
  readonly sessions: MockSession[] = [];
  readonly ceremonies = new Map<string, MockCeremony>();
  readonly organisations: MockOrganisation[] = [];
  /** Responses by `Idempotency-Key`, so that a repeated POST replays the first answer. */
  readonly replays = new Map<string, { body: string; status: number; answer: string }>();
  private position = 41;

  constructor(
    readonly now: () => Date,
    /** How long each step of an operation takes. */
    readonly stepMs: number,
  ) {}

  id(prefix: string): string {
    return typeId(prefix, this.now());
  }

  iso(): string {
    return this.now().toISOString();
  }

  receipt(): Receipt {
    this.position += 1;
    return { position: this.position, record_hash: sha256Hex(`record ${this.position}`) };
  }

  /** Records an event of `organisation` and returns its receipt. */
  record(
    organisation: MockOrganisation,
    actor: User,
    type: string,
    aggregate: AuditEvent['aggregate'],
    data: Record<string, unknown>,
  ): Receipt {
    const receipt = this.receipt();
    organisation.auditEvents.unshift({
      id: this.id('evt'),
      type,
      ...receipt,
      occurred_at: this.iso(),
      actor: { kind: 'user', id: actor.id, name: actor.display_name },
      aggregate,
      request_id: this.id('req'),
      data,
    });
    return receipt;
  }

  /** A foreign organisation answers like a missing one. */
  organisationOf(user: User, id: string): MockOrganisation {
    const organisation = this.organisations.find((candidate) => candidate.id === id);
    if (!organisation?.roles.has(user.id)) throw notFound();
    return organisation;
  }

  operationView(operation: MockOperation): Operation {
    const until = operation.cancelledAt ?? this.now().getTime();
    const total = operation.steps.length;
    const walked = Math.min(total, Math.floor((until - operation.startedAt) / this.stepMs));
    const failed = operation.failsAtStep !== null && walked >= operation.failsAtStep;
    const done = failed ? (operation.failsAtStep ?? 0) : walked;
    const state =
      operation.cancelledAt !== null ? 'cancelled' : failed ? 'failed' : done === total ? 'succeeded' : 'running';
    const at = (ms: number) => new Date(ms).toISOString();
    return {
      id: operation.id,
      kind: operation.kind,
      target: operation.target,
      state,
      step: operation.steps[Math.min(done, total - 1)] ?? '',
      steps_done: done,
      steps_total: total,
      attempts: 0,
      retry_at: null,
      deadline: at(operation.startedAt + 600_000),
      cancellable: state === 'running' && operation.kind !== 'cluster.delete',
      error: failed ? 'No node with free capacity answered in region local.' : null,
      created_at: at(operation.startedAt),
      updated_at: at(operation.startedAt + done * this.stepMs),
    };
  }

  /** Brings the cluster's state up to what its newest operation says. */
  settle(organisation: MockOrganisation, cluster: MockCluster): MockCluster {
    const operation = organisation.operations.findLast((candidate) => candidate.target === cluster.id);
    if (!operation) return cluster;
    const view = this.operationView(operation);
    if (operation.kind === 'cluster.delete') {
      cluster.state = view.state === 'succeeded' ? 'deleted' : 'deleting';
    } else if (view.state === 'succeeded') {
      cluster.state = 'ready';
      cluster.ready_at ??= view.updated_at;
      cluster.last_error = null;
    } else if (operation.kind === 'cluster.create' && (view.state === 'failed' || view.state === 'cancelled')) {
      cluster.state = 'failed';
      cluster.last_error = view.error ?? 'The operation was cancelled.';
    }
    if (operation.kind === 'cluster.create' && view.state === 'running') cluster.state = 'provisioning';
    const serves = cluster.state === 'ready';
    cluster.format = serves ? { active: cluster.format_active, newest: FORMAT_NEWEST } : null;
    cluster.nodes = cluster.nodes.map((node, index) => ({
      ...node,
      role: serves && cluster.nodes.length > 1 ? (index === 0 ? ('leader' as const) : ('follower' as const)) : null,
      server_version: serves ? (node.server_version ?? '0.1.0') : null,
      format: cluster.format,
      state: cluster.state === 'ready' ? 'running' : cluster.state === 'failed' ? 'failed' : 'starting',
    }));
    return cluster;
  }
}
