//! A server's log over HTTPS, with the name and password of a database user.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use craton_proof::{TilePath, printable};
use http::{StatusCode, Uri, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::{LogSource, SourceError, bytes_max};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a file is asked for while nobody answers.
const ATTEMPTS_MAX: u32 = 3;
/// The pause before the second attempt; it doubles from one to the next.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// How much of a refusal is shown.
const REFUSAL_BYTES_MAX: u64 = 4096;

/// How a server's log is reached.
#[derive(Args)]
pub(crate) struct AccessArguments {
    /// Live logs: the database user [default: app]. The password is read from PGPASSWORD or asked for
    #[arg(long)]
    user: Option<String>,
    /// Live logs: the CA certificate that the server's certificate must be signed by, in PEM [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Live logs: the server's address, when its name cannot be resolved
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
}

impl AccessArguments {
    pub(crate) const fn is_empty(&self) -> bool {
        self.user.is_none() && self.ca_file.is_none() && self.address.is_none()
    }

    /// Makes a client of the log at `url`: `https://<host>:<port>/logs/<database>`.
    pub(crate) fn open(&self, url: &str) -> anyhow::Result<impl LogSource + use<>> {
        let url = url.trim_end_matches('/');
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
        if uri.scheme_str() != Some("https") || uri.host().is_none() {
            bail!("{url:?} is not of the form https://<host>:<port>/logs/<database>");
        }
        if uri.query().is_some()
            || uri
                .authority()
                .is_some_and(|authority| authority.as_str().contains('@'))
        {
            bail!("{url:?} must have no query, and no name or password: there is --user, and PGPASSWORD");
        }
        let root_certs = match &self.ca_file {
            None => RootCerts::PlatformVerifier,
            Some(file) => {
                let pem = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
                let certificate = Certificate::from_pem(&pem);
                let certificate = certificate.with_context(|| format!("{} holds no certificate", file.display()))?;
                RootCerts::new_with_certs(&[certificate])
            }
        };
        let user = self.user.as_deref().unwrap_or("app");
        let password = crate::sql::password(user)?;
        let config = ureq::Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(root_certs).build())
            .http_status_as_error(false)
            .max_redirects(0)
            // The password goes to the server that was named, and through nobody else.
            .proxy(None)
            .timeout_global(Some(ANSWER_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("craton/", env!("CARGO_PKG_VERSION")))
            .build();
        let resolver = AddressResolver(self.address);
        Ok(HttpLog {
            agent: ureq::Agent::with_parts(config, DefaultConnector::default(), resolver),
            url: url.to_owned(),
            authorization: format!("Basic {}", BASE64.encode(format!("{user}:{password}"))),
        })
    }
}

/// A log on a server.
struct HttpLog {
    agent: ureq::Agent,
    url: String,
    authorization: String,
}

impl HttpLog {
    fn get(&self, file: &str, bytes_max: usize) -> Result<Vec<u8>, SourceError> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..ATTEMPTS_MAX {
            match self.try_get(file, bytes_max) {
                Err(SourceError::Unreachable { .. }) => {}
                result => return result,
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        self.try_get(file, bytes_max)
    }

    fn try_get(&self, file: &str, bytes_max: usize) -> Result<Vec<u8>, SourceError> {
        let place = self.place(file);
        let unreachable = |source: ureq::Error| SourceError::Unreachable {
            place: place.clone(),
            source: Box::new(source),
        };
        let request = self.agent.get(&place);
        let answer = request.header(header::AUTHORIZATION, &self.authorization).call();
        let answer = answer.map_err(unreachable)?;
        let status = answer.status();
        let is_there = status == StatusCode::OK;
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        let limit = if is_there { limit } else { REFUSAL_BYTES_MAX };
        let mut bytes = Vec::new();
        let reader = answer.into_body().into_reader();
        let read = reader.take(limit).read_to_end(&mut bytes);
        read.map_err(|error| unreachable(ureq::Error::Io(error)))?;
        match status {
            StatusCode::OK if bytes.len() > bytes_max => Err(SourceError::Long { place, bytes_max }),
            StatusCode::OK => Ok(bytes),
            StatusCode::NOT_FOUND => Err(SourceError::Missing { place }),
            status => Err(SourceError::Refused {
                place,
                status: status.as_u16(),
                detail: refusal(&bytes),
            }),
        }
    }
}

/// What a refusal says: the detail of a problem document (RFC 9457), or the text.
fn refusal(body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
    printable(detail.unwrap_or(&String::from_utf8_lossy(body)))
}

impl LogSource for HttpLog {
    fn checkpoint(&self) -> Result<Vec<u8>, SourceError> {
        self.get("checkpoint", bytes_max(None))
    }

    fn tile(&self, path: &TilePath) -> Result<Vec<u8>, SourceError> {
        self.get(&path.to_string(), bytes_max(Some(path)))
    }

    fn place(&self, file: &str) -> String {
        format!("{}/{file}", self.url)
    }
}

/// Leads to one address, if one is given, whatever the name is.
#[derive(Debug)]
struct AddressResolver(Option<IpAddr>);

impl Resolver for AddressResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let Some(address) = self.0 else {
            return DefaultResolver::default().resolve(uri, config, timeout);
        };
        let mut addresses = self.empty();
        addresses.push(SocketAddr::new(address, uri.port_u16().unwrap_or(443)));
        Ok(addresses)
    }
}
