import { caCertificateHref } from '@/api/queries';
import type { Cluster, Connection } from '@/api/types';
import { buttonClass } from '@/ui/Button';
import { CodeBlock, CopyableId } from '@/ui/Copy';
import { Facts } from '@/ui/Facts';
import { Icon } from '@/ui/Icon';
import { Panel } from '@/ui/Panel';
import { Tabs } from '@/ui/Tabs';

/** How to connect, for every driver that the control plane knows a snippet for. */
export function ConnectionPanel({
  org,
  cluster,
  connection,
}: {
  org: string;
  cluster: Cluster;
  connection: Connection;
}) {
  return (
    <Panel
      title="Connect"
      description="Any PostgreSQL driver works. The connection is encrypted and the server proves its name with the cluster's own certificate authority."
      actions={
        <a
          className={buttonClass('secondary')}
          href={caCertificateHref(org, cluster.id)}
          download={`${cluster.name}-ca.pem`}
        >
          <Icon name="download" />
          CA certificate
        </a>
      }
    >
      <Tabs
        label="Ways to connect"
        tabs={[
          { id: 'psql', label: 'psql', content: <PsqlCommand command={connection.psql} /> },
          { id: 'uri', label: 'URI', content: <CodeBlock text={connection.uri} what="connection URI" wrap="words" /> },
          ...connection.drivers.map(({ name, language, snippet }) => ({
            id: name.replaceAll(/\W+/g, '-'),
            label: name,
            content: <CodeBlock text={snippet} what={`${name} (${language}) snippet`} />,
          })),
        ]}
      />
      <Facts
        facts={[
          { term: 'Host', value: <CopyableId value={connection.host} what="host" /> },
          ...connection.members.flatMap((member) => memberFacts(member, connection.members.length)),
          { term: 'Database', value: <CopyableId value={connection.database} what="database" /> },
          { term: 'User', value: <CopyableId value={connection.user} what="user" /> },
          { term: 'TLS', value: <code>sslmode={connection.sslmode}</code> },
        ]}
      />
    </Panel>
  );
}

/** Where one member is reached; of several each has its number. */
function memberFacts(member: Connection['members'][number], members: number) {
  const of = members === 1 ? '' : ` of node ${member.member}`;
  const fact = (term: string, what: string, value: string) => ({
    term: `${term}${of}`,
    value: <CopyableId value={value} what={`${what}${of}`} />,
  });
  return [
    fact('Address', 'address', member.host_address),
    fact('Port', 'port', String(member.port)),
    fact('HTTPS port', 'HTTPS port', String(member.https_port)),
  ];
}

function PsqlCommand({ command }: { command: string }) {
  return (
    <>
      <CodeBlock text={command} what="psql command" wrap="words" />
      <p>Save the CA certificate in the folder where you run it; psql asks for the password.</p>
    </>
  );
}
