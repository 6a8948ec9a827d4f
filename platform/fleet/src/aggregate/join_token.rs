//! The right to join the fleet once.
//!
//! # Invariants
//! - A token is used by one node. The same node (by its public key) may ask again when the answer was lost.
//! - Only a hash of the secret is kept.
//! - A wrong secret is answered like a token that does not exist.

use craton_platform_kernel::{Aggregate, NodeId, SecretHash, StreamName};
use jiff::Timestamp;

/// The aggregate.
pub(crate) enum JoinToken {}

/// What happened to a token.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "type", content = "data")]
pub(crate) enum Event {
    #[serde(rename = "join_token.created")]
    Created {
        secret_hash: SecretHash,
        region: String,
        zone: String,
        expires_at: Timestamp,
    },
    #[serde(rename = "join_token.used")]
    Used {
        node_id: NodeId,
        public_key_hash: SecretHash,
        used_at: Timestamp,
    },
}

/// What is asked of a token.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Create {
        secret_hash: SecretHash,
        region: String,
        zone: String,
        expires_at: Timestamp,
    },
    /// `node_id` is the id that the node gets if the token was not used before.
    Use {
        secret_hash: SecretHash,
        node_id: NodeId,
        public_key_hash: SecretHash,
        now: Timestamp,
    },
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("no such join token was made here")]
    Unknown,
    #[error("another node, {0}, has joined with this token")]
    Used(NodeId),
    #[error("the join token expired at {0}")]
    Expired(Timestamp),
    #[error("the join token exists already")]
    Exists,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) secret_hash: SecretHash,
    pub(crate) region: String,
    pub(crate) zone: String,
    pub(crate) expires_at: Timestamp,
    pub(crate) used: Option<(NodeId, SecretHash)>,
}

/// A token, once it was created.
pub(crate) type State = Option<Token>;

/// The stream of a token.
pub(crate) fn stream(id: [u8; 16]) -> StreamName {
    StreamName::new(None, JoinToken::KIND, hex::encode(id))
}

impl Aggregate for JoinToken {
    const KIND: &'static str = "join_token";
    const EVENT_VERSION: u32 = 1;
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
        match command {
            Command::Create {
                secret_hash,
                region,
                zone,
                expires_at,
            } => match state {
                None => Ok(vec![Event::Created {
                    secret_hash,
                    region,
                    zone,
                    expires_at,
                }]),
                Some(_) => Err(Refusal::Exists),
            },
            Command::Use {
                secret_hash,
                node_id,
                public_key_hash,
                now,
            } => {
                let token = state
                    .as_ref()
                    .filter(|token| token.secret_hash == secret_hash)
                    .ok_or(Refusal::Unknown)?;
                match token.used {
                    Some((_, key)) if key == public_key_hash => Ok(vec![]),
                    Some((by, _)) => Err(Refusal::Used(by)),
                    None if now >= token.expires_at => Err(Refusal::Expired(token.expires_at)),
                    None => Ok(vec![Event::Used {
                        node_id,
                        public_key_hash,
                        used_at: now,
                    }]),
                }
            }
        }
    }

    fn apply(state: State, event: &Event) -> State {
        match event.clone() {
            Event::Created {
                secret_hash,
                region,
                zone,
                expires_at,
            } => Some(Token {
                secret_hash,
                region,
                zone,
                expires_at,
                used: None,
            }),
            Event::Used {
                node_id,
                public_key_hash,
                ..
            } => state.map(|token| Token {
                used: Some((node_id, public_key_hash)),
                ..token
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use craton_platform_kernel::testing;

    use super::*;
    use crate::aggregate::story::decide;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn created() -> Event {
        Event::Created {
            secret_hash: SecretHash::new([1; 32]),
            region: "local".into(),
            zone: "a".into(),
            expires_at: at("2026-01-01T01:00:00Z"),
        }
    }

    #[test]
    fn a_token_lets_one_node_in_before_it_expires() {
        let environment = testing::environment();
        let (first, second): (NodeId, NodeId) = (environment.new_id(), environment.new_id());
        let used = |node_id, key| Event::Used {
            node_id,
            public_key_hash: SecretHash::new([key; 32]),
            used_at: at("2026-01-01T00:30:00Z"),
        };
        let attempt = |secret: u8, node_id, key: u8, now| Command::Use {
            secret_hash: SecretHash::new([secret; 32]),
            node_id,
            public_key_hash: SecretHash::new([key; 32]),
            now: at(now),
        };
        let (early, edge) = ("2026-01-01T00:30:00Z", "2026-01-01T01:00:00Z");
        let table = [
            (vec![created()], attempt(1, first, 7, early), Ok(vec![used(first, 7)])),
            (vec![], attempt(1, first, 7, early), Err(Refusal::Unknown)),
            (vec![created()], attempt(2, first, 7, early), Err(Refusal::Unknown)),
            (
                vec![created()],
                attempt(1, first, 7, edge),
                Err(Refusal::Expired(at(edge))),
            ),
            (
                vec![created(), used(first, 7)],
                attempt(1, second, 8, early),
                Err(Refusal::Used(first)),
            ),
            // The same node asks again, also after the end: its answer was lost.
            (
                vec![created(), used(first, 7)],
                attempt(1, second, 7, early),
                Ok(vec![]),
            ),
            (vec![created(), used(first, 7)], attempt(1, second, 7, edge), Ok(vec![])),
            (
                vec![created(), used(first, 7)],
                attempt(2, second, 7, early),
                Err(Refusal::Unknown),
            ),
        ];
        for (given, when, then) in table {
            assert_eq!(decide::<JoinToken>(&given, when.clone()), then, "{given:?} {when:?}");
        }
    }

    #[test]
    fn a_token_is_created_once() {
        let Event::Created {
            secret_hash,
            region,
            zone,
            expires_at,
        } = created()
        else {
            unreachable!()
        };
        let create = Command::Create {
            secret_hash,
            region,
            zone,
            expires_at,
        };
        assert_eq!(decide::<JoinToken>(&[], create.clone()), Ok(vec![created()]));
        assert_eq!(decide::<JoinToken>(&[created()], create), Err(Refusal::Exists));
    }
}
