//! How to connect, in words that can be copied. Pure.
//!
//! glibc does not resolve `*.localhost`, so every form that can carries the address beside the name: the name is what
//! the certificate is checked against, the address is where the packets go. Of a cluster with several members every
//! form names all of them, so that a client goes on when one is gone.

use std::{fmt::Display, net::IpAddr};

use crate::name::ClusterHost;

/// Where one member accepts clients.
#[derive(Clone, Debug)]
pub(crate) struct TargetMember {
    /// Its own host name.
    pub(crate) name: String,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
}

/// Where and as whom to connect.
#[derive(Clone, Debug)]
pub(crate) struct Target<'a> {
    /// The name that the certificate of every member is for.
    pub(crate) host: &'a ClusterHost,
    pub(crate) members: Vec<TargetMember>,
    pub(crate) database: &'a str,
    pub(crate) user: &'a str,
    /// The file that the reader is told to save the CA certificate as.
    pub(crate) ca_file: &'a str,
}

/// A snippet for one driver.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct Driver {
    /// The driver.
    pub(crate) name: &'static str,
    /// The programming language, in lower case.
    pub(crate) language: &'static str,
    /// A few lines that connect. They read the password from `CRATON_PASSWORD`.
    pub(crate) snippet: String,
}

impl Target<'_> {
    /// Something of every member, separated by commas.
    fn list<T: Display>(&self, of: impl Fn(&TargetMember) -> T) -> String {
        let texts: Vec<String> = self.members.iter().map(|member| of(member).to_string()).collect();
        texts.join(",")
    }

    /// A member's name: the cluster's own one where there is no other to tell it from.
    fn name_of<'b>(&'b self, member: &'b TargetMember) -> &'b str {
        if self.members.len() == 1 {
            self.host.as_str()
        } else {
            &member.name
        }
    }

    fn addresses(&self) -> String {
        self.list(|member| member.address)
    }

    fn ports(&self) -> String {
        self.list(|member| member.port)
    }

    /// A libpq keyword/value connection string without a password.
    fn keywords(&self) -> String {
        let Target {
            database,
            user,
            ca_file,
            ..
        } = self;
        let (hosts, addresses, ports) = (self.list(|_| self.host), self.addresses(), self.ports());
        format!(
            "host={hosts} hostaddr={addresses} port={ports} dbname={database} user={user} sslmode=verify-full sslrootcert={ca_file}"
        )
    }

    /// A command line that can be pasted.
    pub(crate) fn psql(&self) -> String {
        format!("psql \"{}\"", self.keywords())
    }

    /// A libpq URI without a password (RFC 3986; libpq takes several hosts, and `hostaddr` as a parameter).
    pub(crate) fn uri(&self) -> String {
        let Target {
            database,
            user,
            ca_file,
            ..
        } = self;
        let hosts = self.list(|member| format!("{}:{}", self.host, member.port));
        let addresses = self.addresses();
        format!("postgresql://{user}@{hosts}/{database}?sslmode=verify-full&hostaddr={addresses}&sslrootcert={ca_file}")
    }

    /// Snippets for common drivers.
    pub(crate) fn drivers(&self) -> Vec<Driver> {
        let driver = |name, language, snippet| Driver {
            name,
            language,
            snippet,
        };
        vec![
            driver("psycopg 3", "python", self.psycopg()),
            driver("JDBC", "java", self.jdbc()),
            driver("node-postgres", "javascript", self.node_postgres()),
            driver("tokio-postgres", "rust", self.tokio_postgres()),
            driver("pgx", "go", self.pgx()),
        ]
    }

    fn psycopg(&self) -> String {
        let keywords = self.keywords();
        format!(
            r#"import os
import psycopg

with psycopg.connect("{keywords}", password=os.environ["CRATON_PASSWORD"]) as connection:
    print(connection.execute("SELECT 1").fetchone())"#
        )
    }

    fn jdbc(&self) -> String {
        let Target {
            database,
            user,
            ca_file,
            ..
        } = self;
        let hosts = self.list(|member| format!("{}:{}", self.name_of(member), member.port));
        let lines: Vec<String> = self
            .members
            .iter()
            .map(|member| format!("\"{} {}\"", member.address, self.name_of(member)))
            .collect();
        let advice = match (lines.as_slice(), self.members.as_slice()) {
            ([line], [member]) => format!(
                "where {} does not resolve,\n// add the line {line} to /etc/hosts.",
                self.name_of(member)
            ),
            (lines, _) => format!(
                "where the names do not resolve,\n// add the lines {} to /etc/hosts.",
                lines.join(", ")
            ),
        };
        format!(
            r#"// The driver has no setting for the address: {advice}
var properties = new java.util.Properties();
properties.setProperty("user", "{user}");
properties.setProperty("password", System.getenv("CRATON_PASSWORD"));
properties.setProperty("sslmode", "verify-full");
properties.setProperty("sslrootcert", "{ca_file}");
var connection = java.sql.DriverManager.getConnection("jdbc:postgresql://{hosts}/{database}", properties);"#
        )
    }

    fn node_postgres(&self) -> String {
        let Target {
            host,
            database,
            user,
            ca_file,
            ..
        } = self;
        let settings = format!(
            r#"  database: "{database}",
  user: "{user}",
  password: process.env.CRATON_PASSWORD,
  ssl: {{ ca: readFileSync("{ca_file}", "utf8"), servername: "{host}" }},"#
        );
        let imports = r#"import { readFileSync } from "node:fs";
import pg from "pg";
"#;
        if let [TargetMember { address, port, .. }] = self.members.as_slice() {
            return format!(
                r#"{imports}
const client = new pg.Client({{
  host: "{address}",
  port: {port},
{settings}
}});
await client.connect();"#
            );
        }
        let members: Vec<String> = self
            .members
            .iter()
            .map(|member| format!("  {{ host: \"{}\", port: {} }},", member.address, member.port))
            .collect();
        let members = members.join("\n");
        // The driver knows one host at a time.
        format!(
            r#"{imports}
const members = [
{members}
];
const settings = {{
{settings}
}};
let client;
for (const member of members) {{
  client = new pg.Client({{ ...member, ...settings }});
  const error = await client.connect().then(() => undefined, (error) => error);
  if (error === undefined) break;
  if (member === members.at(-1)) throw error;
}}"#
        )
    }

    fn tokio_postgres(&self) -> String {
        let Target {
            host,
            database,
            user,
            ca_file,
            ..
        } = self;
        let members: Vec<String> = self
            .members
            .iter()
            .map(|TargetMember { address, port, .. }| {
                format!(
                    r#"    .host("{host}")
    .hostaddr("{address}".parse()?)
    .port({port})"#
                )
            })
            .collect();
        let members = members.join("\n");
        format!(
            r#"let mut roots = rustls::RootCertStore::empty();
roots.add(rustls::pki_types::CertificateDer::from_pem_file("{ca_file}")?)?;
let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
let (client, connection) = tokio_postgres::Config::new()
{members}
    .dbname("{database}")
    .user("{user}")
    .password(std::env::var("CRATON_PASSWORD")?)
    .ssl_mode(tokio_postgres::config::SslMode::Require)
    .connect(tokio_postgres_rustls::MakeRustlsConnect::new(tls))
    .await?;"#
        )
    }

    /// pgx has no hostaddr, so the name is checked while a look-up function gives the address.
    fn pgx(&self) -> String {
        let Target {
            database,
            user,
            ca_file,
            ..
        } = self;
        let (hosts, ports) = (self.list(|member| self.name_of(member).to_owned()), self.ports());
        let lookup = match self.members.as_slice() {
            [TargetMember { address, .. }] => format!(
                r#"config.LookupFunc = func(context.Context, string) ([]string, error) {{ return []string{{"{address}"}}, nil }}"#
            ),
            members => {
                let addresses: Vec<String> = members
                    .iter()
                    .map(|member| format!("\t\"{}\": \"{}\",", member.name, member.address))
                    .collect();
                let addresses = addresses.join("\n");
                format!(
                    r#"addresses := map[string]string{{
{addresses}
}}
config.LookupFunc = func(_ context.Context, host string) ([]string, error) {{ return []string{{addresses[host]}}, nil }}"#
                )
            }
        };
        format!(
            r#"config, err := pgx.ParseConfig("host={hosts} port={ports} dbname={database} user={user} sslmode=verify-full sslrootcert={ca_file}")
if err != nil {{
	return err
}}
config.Password = os.Getenv("CRATON_PASSWORD")
{lookup}
connection, err := pgx.ConnectConfig(ctx, config)"#
        )
    }
}

#[cfg(test)]
mod tests {
    use craton_agent_protocol::MemberId;
    use craton_platform_kernel::testing;

    use super::*;

    fn shown(members: u64) -> String {
        let host = ClusterHost::new("clinic", testing::environment().new_id(), "local", "craton.localhost");
        let target = Target {
            host: &host,
            members: (1..=members)
                .map(|number| TargetMember {
                    name: host.of_member(MemberId::new(number).unwrap()),
                    address: [127, 0, 0, u8::try_from(number).unwrap()].into(),
                    port: 20_000 + u16::try_from(number).unwrap(),
                })
                .collect(),
            database: "main",
            user: "app",
            ca_file: "clinic-ca.pem",
        };
        let drivers = target
            .drivers()
            .into_iter()
            .map(|driver| format!("--- {} ({})\n{}", driver.name, driver.language, driver.snippet));
        [vec![target.psql(), target.uri()], drivers.collect()]
            .concat()
            .join("\n")
    }

    #[test]
    fn every_form_as_it_is_shown() {
        insta::assert_snapshot!(shown(1));
    }

    #[test]
    fn every_form_for_a_cluster_of_several_members() {
        insta::assert_snapshot!(shown(3));
    }
}
