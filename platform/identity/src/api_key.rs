//! An API key of an organisation.
//!
//! - Its role is none that its maker could not grant; its end, if it has one, lies in the future.
//! - Its secret is known to its holder only: the event holds the hash.
//! - Revoked once and for good.

use craton_platform_kernel::{Actor, Aggregate, ApiKeyId, OrgId, Role, SecretHash, StreamName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::text::Name;

/// The aggregate's marker.
#[derive(Debug)]
pub(crate) struct ApiKey;

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub(crate) enum Event {
    #[serde(rename = "api_key.created")]
    Created {
        key_id: ApiKeyId,
        name: Name,
        role: Role,
        secret_hash: SecretHash,
        created_by: Actor,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
    },
    #[serde(rename = "api_key.revoked")]
    Revoked { key_id: ApiKeyId },
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Create {
        key_id: ApiKeyId,
        name: Name,
        role: Role,
        /// The role of whoever asks.
        by: Role,
        created_by: Actor,
        secret_hash: SecretHash,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    },
    Revoke,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the key exists already")]
    AlreadyExists,
    #[error("there is no such key")]
    NotFound,
    #[error("you may not give the role {0:?}")]
    RoleTooStrong(Role),
    #[error("expires_at must be in the future")]
    EndInThePast,
}

/// What decisions are made on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    None,
    Active(ApiKeyId),
    Revoked,
}

/// The stream of a key.
pub(crate) fn stream(org_id: OrgId, key_id: ApiKeyId) -> StreamName {
    StreamName::new(Some(org_id), ApiKey::KIND, key_id)
}

impl Aggregate for ApiKey {
    const KIND: &'static str = "api_key";
    const EVENT_VERSION: u32 = 1;
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
        match (state, command) {
            (
                State::None,
                Command::Create {
                    key_id,
                    name,
                    role,
                    by,
                    created_by,
                    secret_hash,
                    expires_at,
                    now,
                },
            ) => {
                if !by.may_grant(role) {
                    return Err(Refusal::RoleTooStrong(role));
                }
                if expires_at.is_some_and(|end| end <= now) {
                    return Err(Refusal::EndInThePast);
                }
                Ok(vec![Event::Created {
                    key_id,
                    name,
                    role,
                    secret_hash,
                    created_by,
                    expires_at,
                }])
            }
            (State::Active(_) | State::Revoked, Command::Create { .. }) => Err(Refusal::AlreadyExists),
            (State::Active(key_id), Command::Revoke) => Ok(vec![Event::Revoked { key_id: *key_id }]),
            (State::None | State::Revoked, Command::Revoke) => Err(Refusal::NotFound),
        }
    }

    fn apply(_: State, event: &Event) -> State {
        match event {
            Event::Created { key_id, .. } => State::Active(*key_id),
            Event::Revoked { .. } => State::Revoked,
        }
    }
}

#[cfg(test)]
mod tests {
    use craton_platform_kernel::testing::environment;
    use craton_platform_kernel::{Environment, Principal};
    use jiff::SignedDuration;

    use super::*;

    fn create(environment: &Environment, role: Role, by: Role, seconds: Option<i64>) -> Command {
        Command::Create {
            key_id: environment.new_id(),
            name: Name::parse("ci").expect("a name"),
            role,
            by,
            created_by: Principal::System.actor(),
            secret_hash: SecretHash::of(b"secret"),
            expires_at: seconds.map(|seconds| environment.now() + SignedDuration::from_secs(seconds)),
            now: environment.now(),
        }
    }

    #[test]
    fn a_key_is_created_used_up_and_never_comes_back() {
        let environment = environment();
        let command = create(&environment, Role::Admin, Role::Owner, Some(1));
        let created = ApiKey::decide(&State::None, command.clone()).expect("a new key");
        let state = created.iter().fold(State::None, ApiKey::apply);
        assert_eq!(ApiKey::decide(&state, command.clone()), Err(Refusal::AlreadyExists));
        let revoked = ApiKey::decide(&state, Command::Revoke).expect("an active key");
        let state = revoked.iter().fold(state, ApiKey::apply);
        assert_eq!(ApiKey::decide(&state, Command::Revoke), Err(Refusal::NotFound));
        assert_eq!(ApiKey::decide(&state, command), Err(Refusal::AlreadyExists));
    }

    #[test]
    fn what_a_new_key_may_not_be() {
        let environment = environment();
        for (role, by, seconds, refusal) in [
            (Role::Owner, Role::Admin, None, Refusal::RoleTooStrong(Role::Owner)),
            (Role::Viewer, Role::Member, None, Refusal::RoleTooStrong(Role::Viewer)),
            (Role::Viewer, Role::Owner, Some(0), Refusal::EndInThePast),
        ] {
            let command = create(&environment, role, by, seconds);
            assert_eq!(ApiKey::decide(&State::None, command), Err(refusal));
        }
        assert_eq!(ApiKey::decide(&State::None, Command::Revoke), Err(Refusal::NotFound));
    }
}
