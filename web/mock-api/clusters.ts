import type { Cluster, ClusterWitnesses, Connection, Operation } from '../app/src/api/types';
import { secretOf } from './ids';
import { invalid, notFound, Refusal } from './problem';
import { accepted, created, ok, pageOf, signedIn, textOf, type Route, type SignedInCall } from './routing';
import { requireRole } from './organisations';
import { FORMAT_NEWEST, type MockCluster, type MockOperation } from './state';

const CREATE_STEPS = ['placed', 'certificate', 'started', 'joined', 'configured', 'probed'];
const DELETE_STEPS = ['removed'];
const CHANGE_STEPS = ['placed', 'certificate', 'started', 'joined', 'configured', 'probed', 'left', 'removed'];
const NODE_COUNTS = [1, 3, 5];

function find(call: SignedInCall) {
  const organisation = call.state.organisationOf(call.user, call.parameters['org'] ?? '');
  const cluster = organisation.clusters.find(({ id }) => id === call.parameters['cluster']);
  if (!cluster) throw notFound();
  return { organisation, cluster: call.state.settle(organisation, cluster) };
}

function view(cluster: MockCluster): Cluster {
  const { users: _users, format_active: _active, ...visible } = cluster;
  return visible;
}

function findOperation(call: SignedInCall): MockOperation {
  const organisation = call.state.organisationOf(call.user, call.parameters['org'] ?? '');
  const operation = organisation.operations.find(({ id }) => id === call.parameters['operation']);
  if (!operation) throw notFound();
  return operation;
}

const isFinished = ({ state }: Operation) => ['succeeded', 'failed', 'cancelled'].includes(state);
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export function connectionOf(cluster: Cluster): Connection {
  const { host, port } = cluster;
  if (port === null)
    throw new Refusal(409, 'endpoint_unknown', 'No node has said yet where this cluster can be reached.');
  const uri = `postgresql://app@${host}:${port}/main?sslmode=verify-full&hostaddr=127.0.0.1&sslrootcert=${cluster.name}-ca.pem`;
  const parameters = `host=${host} hostaddr=127.0.0.1 port=${port} dbname=main user=app sslmode=verify-full sslrootcert=${cluster.name}-ca.pem`;
  return {
    host,
    host_address: '127.0.0.1',
    port,
    https_port: port + 1,
    members: cluster.nodes.map(({ member }) => ({
      member,
      host: `node-${member}.${host}`,
      host_address: '127.0.0.1',
      port: port + 10 * (member - 1),
      https_port: port + 10 * (member - 1) + 1,
    })),
    database: 'main',
    user: 'app',
    sslmode: 'verify-full',
    uri,
    psql: `psql "${parameters}"`,
    drivers: [
      {
        name: 'psycopg 3',
        language: 'python',
        snippet: `import psycopg\n\nwith psycopg.connect(\n    host="${host}",\n    hostaddr="127.0.0.1",\n    port=${port},\n    dbname="main",\n    user="app",\n    password=os.environ["CRATON_PASSWORD"],\n    sslmode="verify-full",\n    sslrootcert="${cluster.name}-ca.pem",\n) as connection:\n    print(connection.execute("SELECT 1").fetchone())`,
      },
      {
        name: 'node-postgres',
        language: 'javascript',
        snippet: `import { readFileSync } from "node:fs";\nimport pg from "pg";\n\nconst client = new pg.Client({\n  host: "${host}",\n  port: ${port},\n  database: "main",\n  user: "app",\n  password: process.env.CRATON_PASSWORD,\n  ssl: { ca: readFileSync("${cluster.name}-ca.pem", "utf8") },\n});\nawait client.connect();`,
      },
      {
        name: 'JDBC',
        language: 'java',
        snippet: `jdbc:postgresql://${host}:${port}/main?user=app&sslmode=verify-full&sslrootcert=${cluster.name}-ca.pem`,
      },
      {
        name: 'pgx',
        language: 'go',
        snippet: `conn, err := pgx.Connect(ctx, "${parameters} password="+os.Getenv("CRATON_PASSWORD"))`,
      },
      {
        name: 'tokio-postgres',
        language: 'rust',
        snippet: `let (client, connection) = tokio_postgres::connect(\n    "host=${host} hostaddr=127.0.0.1 port=${port} dbname=main user=app sslmode=require",\n    tls,\n).await?;`,
      },
    ],
    log_keys: [
      {
        database: 'main',
        verifier_key: `${host}/ten_01kak6mvtjfp0bpz9x3c2d4e5f+a9c1f2d3+Ab4pSxB1rXc9m2Jv0o7hKd3sQyTgE5uLwZfVnRkMaOcH`,
        url: `https://${host}:${port + 1}/logs/main`,
      },
    ],
    witness_keys: [WITNESS_KEY],
  };
}

const WITNESS_KEY = 'platform.craton.localhost/witness+5d0c77e1+BMPTw0r8vQmYb1kqXnJt4sLhZaGdRf2eUo6iWc9xV3Np';

/** A cluster whose name says so has been turned back, which lets people look at the alarm. */
function witnessesOf(cluster: Cluster): ClusterWitnesses {
  const turnedBack = cluster.name.startsWith('turned-back');
  const refused = {
    reason: 'turned_back',
    size: 97,
    note: `${cluster.host}/main\n97\nAdMpu/TlIX6TCqJRtPIMiE8WMvsYdsFIhuzoEX29pY0=\n`,
    refused_at: cluster.created_at,
  };
  return {
    platform: { url: 'http://localhost:8080/witness', verifier_key: WITNESS_KEY },
    external: [],
    time_stamp_authority: null,
    logs: [
      {
        database: 'main',
        size: 128,
        root: 'AdMpu/TlIX6TCqJRtPIMiE8WMvsYdsFIhuzoEX29pY0=',
        witnessed_at: cluster.created_at,
        is_refused: turnedBack,
        refused: turnedBack ? refused : null,
      },
    ],
  };
}

/** The only version that the mock's nodes offer. */
const INSTALLED_VERSION = '0.2.0';
const FINAL_STEPS = ['finalized', 'probed'];

function nodeCountOf(value: unknown): number {
  const nodeCount = Number(value);
  if (!NODE_COUNTS.includes(nodeCount)) throw invalid('/node_count', 'pattern', 'A cluster has 1, 3 or 5 nodes.');
  return nodeCount;
}

function newNode({ state }: SignedInCall, member: number): Cluster['nodes'][number] {
  return {
    member,
    node_id: state.id('node'),
    standing: 'wanted',
    state: 'starting',
    role: null,
    wanted_version: null,
    server_version: null,
    format: null,
  };
}

/** Starts a change of a ready cluster's nodes; the mock has them changed at once. */
function changeNodes(
  call: SignedInCall,
  kind: string,
  nodes: (cluster: MockCluster) => Cluster['nodes'],
  steps = CHANGE_STEPS,
) {
  requireRole(call, 'owner', 'admin', 'member');
  const { state, user } = call;
  const { organisation, cluster } = find(call);
  if (cluster.state !== 'ready')
    throw new Refusal(409, 'cluster_state', `The cluster is ${cluster.state}, which does not allow this.`);
  cluster.nodes = nodes(cluster);
  cluster.node_count = cluster.nodes.length;
  const operation: MockOperation = {
    id: state.id('op'),
    kind,
    target: cluster.id,
    steps,
    startedAt: state.now().getTime(),
    failsAtStep: null,
    cancelledAt: null,
  };
  organisation.operations.push(operation);
  const aggregate = { kind: 'cluster', id: cluster.id };
  const receipt = state.record(organisation, user, 'cluster.change_requested', aggregate, { kind });
  return accepted({ operation: state.operationView(operation), receipt });
}

export const clusterRoutes: Route[] = [
  signedIn('get', '/api/v1/orgs/{org}/clusters', ({ state, user, parameters, url }) => {
    const organisation = state.organisationOf(user, parameters['org'] ?? '');
    const clusters = organisation.clusters
      .map((cluster) => view(state.settle(organisation, cluster)))
      .filter((cluster) => cluster.state !== 'deleted');
    return ok(pageOf(clusters, url));
  }),
  signedIn('post', '/api/v1/orgs/{org}/clusters', (call) => {
    const { state, user, body } = call;
    const organisation = requireRole(call, 'owner', 'admin', 'member');
    const name = textOf(body, 'name');
    if (!/^(?!-)[a-z0-9-]{1,40}(?<!-)$/.test(name))
      throw invalid('/name', 'pattern', 'Use 1 to 40 lower-case letters, digits and hyphens.');
    if (
      organisation.clusters.some(
        (cluster) => cluster.name === name && state.settle(organisation, cluster).state !== 'deleted',
      )
    )
      throw new Refusal(409, 'name_taken', `This organisation already has a cluster named ${name}.`, [
        { pointer: '/name', code: 'name_taken', detail: 'There is already a cluster with this name.' },
      ]);
    const nodeCount = nodeCountOf(body['node_count'] ?? 1);
    const id = state.id('clu');
    const cluster: MockCluster = {
      id,
      org_id: organisation.id,
      name,
      region: 'local',
      node_count: nodeCount,
      state: 'provisioning',
      created_at: state.iso(),
      ready_at: null,
      host: `${name}-${id.slice(-8)}.local.craton.localhost`,
      port: 54321 + organisation.clusters.length,
      nodes: Array.from({ length: nodeCount }, (_, index) => newNode(call, index + 1)),
      format: null,
      format_active: 1,
      change: null,
      last_error: null,
      users: [{ name: 'app', created_at: state.iso(), password_rotated_at: null }],
    };
    organisation.clusters.unshift(cluster);
    // A name that says so fails, which lets people look at the failure page.
    const failsAtStep = name.startsWith('fail') ? 2 : null;
    const operation: MockOperation = {
      id: state.id('op'),
      kind: 'cluster.create',
      target: cluster.id,
      steps: CREATE_STEPS,
      startedAt: state.now().getTime(),
      failsAtStep,
      cancelledAt: null,
    };
    organisation.operations.push(operation);
    const receipt = state.record(
      organisation,
      user,
      'cluster.created',
      { kind: 'cluster', id: cluster.id },
      { name, region: 'local', node_count: nodeCount },
    );
    return created(
      {
        cluster: view(cluster),
        operation: state.operationView(operation),
        credentials: { user: 'app', password: secretOf(24), database: 'main' },
        receipt,
      },
      `/api/v1/orgs/${organisation.id}/clusters/${cluster.id}`,
    );
  }),
  signedIn('get', '/api/v1/orgs/{org}/clusters/{cluster}', (call) => ok(view(find(call).cluster))),
  signedIn('delete', '/api/v1/orgs/{org}/clusters/{cluster}', (call) => {
    requireRole(call, 'owner', 'admin');
    const { state, user } = call;
    const { organisation, cluster } = find(call);
    const operation: MockOperation = {
      id: state.id('op'),
      kind: 'cluster.delete',
      target: cluster.id,
      steps: DELETE_STEPS,
      startedAt: state.now().getTime(),
      failsAtStep: null,
      cancelledAt: null,
    };
    organisation.operations.push(operation);
    const receipt = state.record(
      organisation,
      user,
      'cluster.deletion_requested',
      { kind: 'cluster', id: cluster.id },
      { name: cluster.name },
    );
    return accepted({ operation: state.operationView(operation), receipt });
  }),
  signedIn('post', '/api/v1/orgs/{org}/clusters/{cluster}/scale', (call) =>
    changeNodes(call, 'cluster.scale', ({ nodes }) => {
      const nodeCount = nodeCountOf(call.body['node_count']);
      const next = Math.max(...nodes.map(({ member }) => member)) + 1;
      const added = Array.from({ length: Math.max(0, nodeCount - nodes.length) }, (_, index) =>
        newNode(call, next + index),
      );
      return [...nodes, ...added].slice(0, nodeCount);
    }),
  ),
  signedIn('post', '/api/v1/orgs/{org}/clusters/{cluster}/upgrade', (call) =>
    changeNodes(call, 'cluster.upgrade', ({ nodes }) => {
      const version = textOf(call.body, 'version');
      if (version !== INSTALLED_VERSION)
        throw invalid('/version', 'pattern', `This version is not installed on ${nodes[0]?.node_id ?? 'any node'}.`);
      return nodes.map((node) => ({ ...node, wanted_version: version, server_version: version }));
    }),
  ),
  signedIn('post', '/api/v1/orgs/{org}/clusters/{cluster}/finalize', (call) =>
    changeNodes(
      call,
      'cluster.finalize',
      (cluster) => {
        const wanted = Number(call.body['format_version']);
        if (wanted > FORMAT_NEWEST)
          throw new Refusal(
            409,
            'format_unknown',
            `Format version ${wanted} is asked for, and the build of member 1 knows versions up to ${FORMAT_NEWEST}.`,
          );
        if (wanted <= cluster.format_active)
          throw new Refusal(409, 'unchanged', 'The cluster writes this format version already.');
        cluster.format_active = wanted;
        return cluster.nodes;
      },
      FINAL_STEPS,
    ),
  ),
  signedIn('post', '/api/v1/orgs/{org}/clusters/{cluster}/nodes/{member}/replace', (call) =>
    changeNodes(call, 'cluster.replace_node', ({ nodes }) => {
      const kept = nodes.filter(({ member }) => String(member) !== call.parameters['member']);
      if (kept.length === nodes.length) throw notFound();
      return [...kept, newNode(call, Math.max(...nodes.map(({ member }) => member)) + 1)];
    }),
  ),
  signedIn('get', '/api/v1/orgs/{org}/clusters/{cluster}/connection', (call) => ok(connectionOf(find(call).cluster))),
  signedIn('get', '/api/v1/orgs/{org}/clusters/{cluster}/witnesses', (call) => ok(witnessesOf(find(call).cluster))),
  signedIn('get', '/api/v1/orgs/{org}/clusters/{cluster}/ca.pem', (call) => {
    const { cluster } = find(call);
    return new Response('-----BEGIN CERTIFICATE-----\nMIIBmock\n-----END CERTIFICATE-----\n', {
      headers: {
        'content-type': 'application/x-pem-file',
        'content-disposition': `attachment; filename="${cluster.name}-ca.pem"`,
      },
    });
  }),
  signedIn('get', '/api/v1/orgs/{org}/clusters/{cluster}/users', (call) =>
    ok(pageOf(find(call).cluster.users, call.url)),
  ),
  signedIn('post', '/api/v1/orgs/{org}/clusters/{cluster}/users/{name}/rotate-password', (call) => {
    requireRole(call, 'owner', 'admin', 'member');
    const { organisation, cluster } = find(call);
    const user = cluster.users.find(({ name }) => name === call.parameters['name']);
    if (!user) throw notFound();
    user.password_rotated_at = call.state.iso();
    const receipt = call.state.record(
      organisation,
      call.user,
      'database_user.password_rotated',
      { kind: 'cluster', id: cluster.id },
      { user: user.name },
    );
    return ok({ user: user.name, password: secretOf(24), receipt });
  }),
  signedIn('get', '/api/v1/orgs/{org}/operations/{operation}', async (call) => {
    const operation = findOperation(call);
    const wait = /^(\d+)s$/.exec(call.url.searchParams.get('wait') ?? '');
    const until = Date.now() + Number(wait?.[1] ?? 0) * 1000;
    const before = JSON.stringify(call.state.operationView(operation));
    const settled = () => {
      const now = call.state.operationView(operation);
      return isFinished(now) || JSON.stringify(now) !== before;
    };
    while (Date.now() < until && !settled()) await pause(25);
    return ok(call.state.operationView(operation));
  }),
  signedIn('get', '/api/v1/orgs/{org}/operations/{operation}/events', (call) => {
    const operation = findOperation(call);
    const encoder = new TextEncoder();
    let open = true;
    const stream = new ReadableStream<Uint8Array>({
      async start(controller) {
        let last = '';
        while (open) {
          const current = call.state.operationView(operation);
          const text = JSON.stringify(current);
          if (text !== last) controller.enqueue(encoder.encode(`event: operation\ndata: ${text}\n\n`));
          last = text;
          if (isFinished(current)) break;
          await pause(25);
        }
        if (open) controller.close();
      },
      cancel() {
        open = false;
      },
    });
    return new Response(stream, { headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-store' } });
  }),
  signedIn('post', '/api/v1/orgs/{org}/operations/{operation}/retry', (call) => {
    requireRole(call, 'owner', 'admin', 'member');
    const operation = findOperation(call);
    const { state } = call.state.operationView(operation);
    if (state === 'succeeded') throw new Refusal(409, 'operation_ended', 'This operation has ended.');
    if (state === 'running') throw new Refusal(409, 'operation_running', 'This operation still runs.');
    Object.assign(operation, { startedAt: call.state.now().getTime(), failsAtStep: null, cancelledAt: null });
    return ok(call.state.operationView(operation));
  }),
  signedIn('post', '/api/v1/orgs/{org}/operations/{operation}/cancel', (call) => {
    const operation = findOperation(call);
    if (!call.state.operationView(operation).cancellable)
      throw new Refusal(409, 'not_cancellable', 'This operation can no longer be cancelled.');
    operation.cancelledAt = call.state.now().getTime();
    return ok(call.state.operationView(operation));
  }),
];
