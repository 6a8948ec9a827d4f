//! Names of clusters and the host names made of them.

use std::fmt;

use craton_agent_protocol::MemberId;
use craton_platform_kernel::ClusterId;

/// The longest cluster name in bytes.
pub(crate) const CLUSTER_NAME_BYTES_MAX: usize = 40;
/// How many digits of the cluster's id go into its host name. They are the last ones, which are random.
const SHORT_ID_DIGITS: usize = 8;

/// A cluster's name: 1 to 40 of `a-z`, `0-9` and `-`, beginning and ending with a letter or digit, so that it can be
/// part of a host name (RFC 1123 section 2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClusterNameText(String);

impl ClusterNameText {
    /// Parses a name; `None` when it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let spelled_well = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let ends_well = !text.starts_with('-') && !text.ends_with('-');
        let fits = (1..=CLUSTER_NAME_BYTES_MAX).contains(&text.len());
        (spelled_well && ends_well && fits).then(|| Self(text.to_owned()))
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A cluster's host name: `<name>-<short id>.<region>.<domain>`. The short id makes it unique among all
/// organisations and over time.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct ClusterHost(String);

impl ClusterHost {
    /// Puts a host name together.
    pub(crate) fn new(name: &str, cluster_id: ClusterId, region: &str, domain: &str) -> Self {
        let suffix = cluster_id.suffix();
        let short_id = &suffix[suffix.len() - SHORT_ID_DIGITS..];
        Self(format!("{name}-{short_id}.{region}.{domain}"))
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of one member, for clients that tell members apart by their names.
    pub(crate) fn of_member(&self, member_id: MemberId) -> String {
        format!("node-{member_id}.{}", self.0)
    }
}

impl fmt::Display for ClusterHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClusterHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A region or zone: 1 to 20 of `a-z`, `0-9` and `-`, spelled like a cluster's name.
pub(crate) fn is_place_name(text: &str) -> bool {
    text.len() <= 20 && ClusterNameText::parse(text).is_some()
}

#[cfg(test)]
mod tests {
    use craton_platform_kernel::testing;

    use super::*;

    #[test]
    fn names_are_checked_at_their_limits() {
        for (text, accepted) in [
            ("a", true),
            ("clinic-7", true),
            (&"a".repeat(40), true),
            (&"a".repeat(41), false),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("Clinic", false),
            ("a.b", false),
            ("a_b", false),
            ("ä", false),
        ] {
            assert_eq!(ClusterNameText::parse(text).is_some(), accepted, "{text:?}");
        }
        assert!(is_place_name(&"a".repeat(20)));
        assert!(!is_place_name(&"a".repeat(21)));
    }

    #[test]
    fn two_clusters_of_one_name_have_different_hosts() {
        let environment = testing::environment();
        let host = |id| ClusterHost::new("clinic", id, "local", "craton.localhost");
        let (a, b) = (host(environment.new_id()), host(environment.new_id()));
        assert_ne!(a, b);
        assert!(
            a.as_str().starts_with("clinic-") && a.as_str().ends_with(".local.craton.localhost"),
            "{a}"
        );
        // A DNS label has at most 63 bytes (RFC 1035 section 2.3.4).
        let longest = ClusterHost::new(&"a".repeat(40), environment.new_id(), "local", "craton.localhost");
        assert!(longest.as_str().split('.').all(|label| label.len() <= 63));
    }
}
