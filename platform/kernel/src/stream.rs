//! Names of event streams: `craton.<org or _>.<aggregate>.<id>`.

use std::fmt;
use std::str::FromStr;

use crate::OrgId;

/// The longest part of a stream name in bytes.
const PART_BYTES_MAX: usize = 100;

/// The stream of one aggregate.
///
/// The same text is the subject on a message broker, so a part holds `a-z`, `A-Z`, `0-9`, `-` and `_` only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName {
    org: Option<OrgId>,
    aggregate: String,
    id: String,
}

/// Why a text is no stream name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no stream name of the form craton.<org or _>.<aggregate>.<id>")]
pub struct StreamNameError {
    /// The refused text.
    pub text: String,
}

impl StreamName {
    /// Names the stream of one aggregate; `org` is `None` for what belongs to no organisation.
    ///
    /// # Panics
    /// When the aggregate or the id holds a character outside the alphabet: both come from our own types.
    #[must_use]
    pub fn new(org: Option<OrgId>, aggregate: &str, id: impl fmt::Display) -> Self {
        let id = id.to_string();
        assert!(
            is_part(aggregate) && is_part(&id),
            "no stream name part: {aggregate:?} {id:?}"
        );
        Self {
            org,
            aggregate: aggregate.to_owned(),
            id,
        }
    }

    /// The organisation, if the stream belongs to one.
    #[must_use]
    pub fn org(&self) -> Option<OrgId> {
        self.org
    }

    /// The kind of aggregate, such as `organisation`.
    #[must_use]
    pub fn aggregate(&self) -> &str {
        &self.aggregate
    }

    /// The aggregate's id as text.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

fn is_part(text: &str) -> bool {
    (1..=PART_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.org {
            Some(org) => write!(f, "craton.{org}.{}.{}", self.aggregate, self.id),
            None => write!(f, "craton._.{}.{}", self.aggregate, self.id),
        }
    }
}

impl FromStr for StreamName {
    type Err = StreamNameError;

    fn from_str(text: &str) -> Result<Self, StreamNameError> {
        let error = || StreamNameError { text: text.to_owned() };
        let parts: Vec<&str> = text.split('.').collect();
        let ["craton", org, aggregate, id] = parts[..] else {
            return Err(error());
        };
        if !is_part(aggregate) || !is_part(id) {
            return Err(error());
        }
        let org = match org {
            "_" => None,
            org => Some(org.parse().map_err(|_| error())?),
        };
        Ok(Self {
            org,
            aggregate: aggregate.to_owned(),
            id: id.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_a_round_trip() {
        for text in [
            "craton._.user.usr_01h455vb4pex5vsknk084sn02q",
            "craton.org_01h455vb4pex5vsknk084sn02q.cluster.clu_01h455vb4pex5vsknk084sn02q",
        ] {
            assert_eq!(text.parse::<StreamName>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let long = format!("craton._.user.{}", "a".repeat(PART_BYTES_MAX + 1));
        for text in [
            "",
            "craton",
            "craton._.user",
            "craton._.user.a.b",
            "other._.user.a",
            "craton.x.user.a",
            "craton._.us er.a",
            &long,
        ] {
            assert!(text.parse::<StreamName>().is_err(), "{text:?}");
        }
        let edge = format!("craton._.user.{}", "a".repeat(PART_BYTES_MAX));
        assert!(edge.parse::<StreamName>().is_ok());
    }
}
