//! What an agent is started with.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

use craton_agent_protocol::JoinToken;

/// Where the control plane's agent listener is: `wss://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformUrl {
    host: String,
    port: u16,
}

/// Why a text is no platform address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no platform address of the form wss://host:port")]
pub struct PlatformUrlError {
    text: String,
}

impl PlatformUrl {
    /// Host name or IP address, without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as they stand in a `Host` header, IPv6 addresses in brackets (RFC 3986 section 3.2.2).
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for PlatformUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wss://{}", self.authority())
    }
}

impl FromStr for PlatformUrl {
    type Err = PlatformUrlError;

    fn from_str(text: &str) -> Result<Self, PlatformUrlError> {
        let parse = || {
            let authority = text.strip_prefix("wss://")?;
            let (host, port) = authority.trim_end_matches('/').rsplit_once(':')?;
            let host = match host.strip_prefix('[') {
                Some(rest) => rest.strip_suffix(']')?,
                None if host.contains(':') => return None,
                None => host,
            };
            let port = port.parse().ok().filter(|port| *port != 0)?;
            let spelled_well = host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':'));
            (spelled_well && !host.is_empty()).then(|| Self {
                host: host.to_owned(),
                port,
            })
        };
        parse().ok_or_else(|| PlatformUrlError { text: text.to_owned() })
    }
}

/// The TCP ports that instances may listen on, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Why a text is no port range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no port range of the form 20000-29999 with at least two ports from 1024 on")]
pub struct PortRangeError {
    text: String,
}

impl PortRange {
    /// Below the range that Linux takes for outgoing connections (32768 to 60999), so that a port stays free while
    /// its server is down.
    pub const DEFAULT: Self = Self {
        first: 20_000,
        last: 29_999,
    };

    /// The port at a uniformly random 32-bit number.
    pub(crate) fn pick(self, random: u32) -> u16 {
        let width = u32::from(self.last - self.first) + 1;
        let offset = u16::try_from(random % width).expect("a remainder by at most 65,536 fits");
        self.first + offset
    }

    /// How many ports there are.
    pub(crate) fn len(self) -> usize {
        usize::from(self.last - self.first) + 1
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, PortRangeError> {
        let parse = || {
            let (first, last) = text.split_once('-')?;
            let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
            (first >= 1024 && last > first).then_some(Self { first, last })
        };
        parse().ok_or_else(|| PortRangeError { text: text.to_owned() })
    }
}

/// What an agent is started with.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Where the agent keeps its identity, the desired state and the instances.
    pub data_dir: PathBuf,
    /// The control plane.
    pub platform: PlatformUrl,
    /// The right to join; needed until the node has an identity.
    pub join_token: Option<JoinToken>,
    /// The database server's program.
    pub server_binary: PathBuf,
    /// Where other versions of it are installed: `<version>/craton-server`.
    pub server_versions: Option<PathBuf>,
    /// The program that is started as `… launch …` to become a server: this one.
    pub launcher: PathBuf,
    /// The address that servers listen on and that clients are told.
    pub listen_address: IpAddr,
    /// The ports that servers may take.
    pub ports: PortRange,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platform_addresses() {
        for (text, shown) in [
            ("wss://localhost:9443", Some("wss://localhost:9443")),
            ("wss://10.0.0.1:9443/", Some("wss://10.0.0.1:9443")),
            ("wss://[::1]:9443", Some("wss://[::1]:9443")),
            ("wss://::1:9443", None),
            ("ws://localhost:9443", None),
            ("wss://localhost", None),
            ("wss://localhost:0", None),
            ("wss://localhost:70000", None),
            ("wss://a/b:1", None),
            ("wss://:1", None),
        ] {
            assert_eq!(
                text.parse::<PlatformUrl>().ok().map(|url| url.to_string()).as_deref(),
                shown,
                "{text:?}"
            );
        }
    }

    #[test]
    fn port_ranges() {
        for (text, accepted) in [
            ("20000-29999", true),
            ("1024-1025", true),
            ("1023-1025", false),
            ("5-4", false),
            ("2000", false),
            ("2000-2000", false),
        ] {
            assert_eq!(text.parse::<PortRange>().is_ok(), accepted, "{text:?}");
        }
        let range: PortRange = "1024-1025".parse().unwrap();
        assert_eq!(
            [range.pick(0), range.pick(1), range.pick(2), range.pick(u32::MAX)],
            [1024, 1025, 1024, 1025]
        );
        assert_eq!("1024-65535".parse::<PortRange>().unwrap().pick(64_511), 65_535);
    }
}
