//! How to connect, in words that can be copied. Pure.
//!
//! glibc does not resolve `*.localhost`, so every form that can carries the address beside the name: the name is what
//! the certificate is checked against, the address is where the packets go.

use std::net::IpAddr;

use crate::name::ClusterHost;

/// Where and as whom to connect.
#[derive(Clone, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) host: &'a ClusterHost,
    pub(crate) host_address: IpAddr,
    pub(crate) port: u16,
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
    /// A libpq keyword/value connection string without a password.
    fn keywords(&self) -> String {
        let Target {
            host,
            host_address,
            port,
            database,
            user,
            ca_file,
        } = self;
        format!(
            "host={host} hostaddr={host_address} port={port} dbname={database} user={user} sslmode=verify-full sslrootcert={ca_file}"
        )
    }

    /// A command line that can be pasted.
    pub(crate) fn psql(&self) -> String {
        format!("psql \"{}\"", self.keywords())
    }

    /// A libpq URI without a password (RFC 3986; libpq takes `hostaddr` as a parameter).
    pub(crate) fn uri(&self) -> String {
        let Target {
            host,
            host_address,
            port,
            database,
            user,
            ca_file,
        } = self;
        format!(
            "postgresql://{user}@{host}:{port}/{database}?sslmode=verify-full&hostaddr={host_address}&sslrootcert={ca_file}"
        )
    }

    /// Snippets for common drivers.
    pub(crate) fn drivers(&self) -> Vec<Driver> {
        let Target {
            host,
            host_address,
            port,
            database,
            user,
            ca_file,
        } = self;
        let keywords = self.keywords();
        vec![
            Driver {
                name: "psycopg 3",
                language: "python",
                snippet: format!(
                    r#"import os
import psycopg

with psycopg.connect("{keywords}", password=os.environ["CRATON_PASSWORD"]) as connection:
    print(connection.execute("SELECT 1").fetchone())"#
                ),
            },
            Driver {
                name: "JDBC",
                language: "java",
                snippet: format!(
                    r#"// The driver has no setting for the address: where {host} does not resolve,
// add the line "{host_address} {host}" to /etc/hosts.
var properties = new java.util.Properties();
properties.setProperty("user", "{user}");
properties.setProperty("password", System.getenv("CRATON_PASSWORD"));
properties.setProperty("sslmode", "verify-full");
properties.setProperty("sslrootcert", "{ca_file}");
var connection = java.sql.DriverManager.getConnection("jdbc:postgresql://{host}:{port}/{database}", properties);"#
                ),
            },
            Driver {
                name: "node-postgres",
                language: "javascript",
                snippet: format!(
                    r#"import {{ readFileSync }} from "node:fs";
import pg from "pg";

const client = new pg.Client({{
  host: "{host_address}",
  port: {port},
  database: "{database}",
  user: "{user}",
  password: process.env.CRATON_PASSWORD,
  ssl: {{ ca: readFileSync("{ca_file}", "utf8"), servername: "{host}" }},
}});
await client.connect();"#
                ),
            },
            Driver {
                name: "tokio-postgres",
                language: "rust",
                snippet: format!(
                    r#"let mut roots = rustls::RootCertStore::empty();
roots.add(rustls::pki_types::CertificateDer::from_pem_file("{ca_file}")?)?;
let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
let (client, connection) = tokio_postgres::Config::new()
    .host("{host}")
    .hostaddr("{host_address}".parse()?)
    .port({port})
    .dbname("{database}")
    .user("{user}")
    .password(std::env::var("CRATON_PASSWORD")?)
    .ssl_mode(tokio_postgres::config::SslMode::Require)
    .connect(tokio_postgres_rustls::MakeRustlsConnect::new(tls))
    .await?;"#
                ),
            },
            Driver {
                name: "pgx",
                language: "go",
                // pgx has no hostaddr, so the name is checked while a dial function goes to the address.
                snippet: format!(
                    r#"config, err := pgx.ParseConfig("host={host} port={port} dbname={database} user={user} sslmode=verify-full sslrootcert={ca_file}")
if err != nil {{
	return err
}}
config.Password = os.Getenv("CRATON_PASSWORD")
config.LookupFunc = func(context.Context, string) ([]string, error) {{ return []string{{"{host_address}"}}, nil }}
connection, err := pgx.ConnectConfig(ctx, config)"#
                ),
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use craton_platform_kernel::testing;

    use super::*;

    #[test]
    fn every_form_as_it_is_shown() {
        let host = ClusterHost::new("clinic", testing::environment().new_id(), "local", "craton.localhost");
        let target = Target {
            host: &host,
            host_address: [127, 0, 0, 1].into(),
            port: 20_001,
            database: "main",
            user: "app",
            ca_file: "clinic-ca.pem",
        };
        let drivers = target
            .drivers()
            .into_iter()
            .map(|driver| format!("--- {} ({})\n{}", driver.name, driver.language, driver.snippet));
        let shown = [vec![target.psql(), target.uri()], drivers.collect()]
            .concat()
            .join("\n");
        insta::assert_snapshot!(shown);
    }
}
