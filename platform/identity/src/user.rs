//! A person with an account.
//!
//! - Registered once, together with a first passkey.
//! - Signs in only with a passkey of their own.

use craton_platform_kernel::{Aggregate, PasskeyId, SessionId, StreamName, UserId};
use serde::{Deserialize, Serialize};
use webauthn_rs::prelude::Passkey;

use crate::text::{Email, Name};

/// The aggregate's marker.
#[derive(Debug)]
pub(crate) struct User;

/// What happened to a person's account.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub(crate) enum Event {
    #[serde(rename = "user.registered")]
    Registered {
        user_id: UserId,
        display_name: Name,
        email: Email,
    },
    #[serde(rename = "user.passkey_added")]
    PasskeyAdded {
        user_id: UserId,
        passkey_id: PasskeyId,
        name: Name,
        /// The public key and its properties; nothing of it is secret.
        passkey: Passkey,
    },
    #[serde(rename = "user.signed_in")]
    SignedIn {
        user_id: UserId,
        passkey_id: PasskeyId,
        session_id: SessionId,
        /// The passkey, when its counter or backup state moved.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        passkey: Option<Passkey>,
    },
    #[serde(rename = "user.session_ended")]
    SessionEnded { user_id: UserId, session_id: SessionId },
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Register {
        user_id: UserId,
        display_name: Name,
        email: Email,
        passkey_id: PasskeyId,
        passkey_name: Name,
        passkey: Passkey,
    },
    SignIn {
        passkey_id: PasskeyId,
        session_id: SessionId,
        passkey: Option<Passkey>,
    },
    EndSession {
        session_id: SessionId,
    },
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the account exists already")]
    AlreadyRegistered,
    #[error("there is no such account")]
    NotRegistered,
    #[error("the passkey does not belong to the account")]
    UnknownPasskey,
}

/// What decisions are made on.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    user_id: Option<UserId>,
    passkeys: Vec<(PasskeyId, Passkey)>,
}

impl State {
    /// The passkey with a credential id.
    pub(crate) fn passkey(&self, credential_id: &[u8]) -> Option<&(PasskeyId, Passkey)> {
        let own = |passkey: &Passkey| AsRef::<[u8]>::as_ref(passkey.cred_id()) == credential_id;
        self.passkeys.iter().find(|(_, passkey)| own(passkey))
    }
}

/// The stream of a person.
pub(crate) fn stream(user_id: UserId) -> StreamName {
    StreamName::new(None, User::KIND, user_id)
}

impl Aggregate for User {
    const KIND: &'static str = "user";
    const EVENT_VERSION: u32 = 1;
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
        match (command, state.user_id) {
            (Command::Register { .. }, Some(_)) => Err(Refusal::AlreadyRegistered),
            (
                Command::Register {
                    user_id,
                    display_name,
                    email,
                    passkey_id,
                    passkey_name,
                    passkey,
                },
                None,
            ) => Ok(vec![
                Event::Registered {
                    user_id,
                    display_name,
                    email,
                },
                Event::PasskeyAdded {
                    user_id,
                    passkey_id,
                    name: passkey_name,
                    passkey,
                },
            ]),
            (_, None) => Err(Refusal::NotRegistered),
            (
                Command::SignIn {
                    passkey_id,
                    session_id,
                    passkey,
                },
                Some(user_id),
            ) => {
                if !state.passkeys.iter().any(|(id, _)| *id == passkey_id) {
                    return Err(Refusal::UnknownPasskey);
                }
                Ok(vec![Event::SignedIn {
                    user_id,
                    passkey_id,
                    session_id,
                    passkey,
                }])
            }
            (Command::EndSession { session_id }, Some(user_id)) => {
                Ok(vec![Event::SessionEnded { user_id, session_id }])
            }
        }
    }

    fn apply(mut state: State, event: &Event) -> State {
        match event {
            Event::Registered { user_id, .. } => state.user_id = Some(*user_id),
            Event::PasskeyAdded {
                passkey_id, passkey, ..
            } => state.passkeys.push((*passkey_id, passkey.clone())),
            Event::SignedIn {
                passkey_id,
                passkey: Some(moved),
                ..
            } => {
                for (_, passkey) in state.passkeys.iter_mut().filter(|(id, _)| id == passkey_id) {
                    passkey.clone_from(moved);
                }
            }
            Event::SignedIn { passkey: None, .. } | Event::SessionEnded { .. } => {}
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use craton_platform_kernel::Environment;
    use craton_platform_kernel::testing::environment;

    use super::*;
    use crate::passkeys::testing::passkey;

    struct Story {
        environment: Environment,
        user_id: UserId,
        passkey_id: PasskeyId,
        passkey: Passkey,
    }

    fn story() -> Story {
        let environment = environment();
        let user_id = environment.new_id();
        Story {
            user_id,
            passkey_id: environment.new_id(),
            passkey: passkey(user_id),
            environment,
        }
    }

    impl Story {
        fn register(&self) -> Command {
            Command::Register {
                user_id: self.user_id,
                display_name: Name::parse("Ada").expect("a name"),
                email: Email::parse("ada@example.org").expect("an address"),
                passkey_id: self.passkey_id,
                passkey_name: Name::parse("Laptop").expect("a name"),
                passkey: self.passkey.clone(),
            }
        }

        fn sign_in(&self, passkey_id: PasskeyId, passkey: Option<Passkey>) -> Command {
            Command::SignIn {
                passkey_id,
                session_id: self.environment.new_id(),
                passkey,
            }
        }

        fn registered(&self) -> State {
            let events = User::decide(&State::default(), self.register()).expect("a new account");
            events.iter().fold(State::default(), User::apply)
        }
    }

    #[test]
    fn an_account_begins_with_a_passkey_and_begins_once() {
        let story = story();
        let events = User::decide(&State::default(), story.register()).expect("a new account");
        assert!(
            matches!(events[..], [Event::Registered { .. }, Event::PasskeyAdded { .. }]),
            "{events:?}"
        );
        let state = story.registered();
        let found = state.passkey(story.passkey.cred_id().as_ref());
        assert_eq!(found.map(|(id, _)| *id), Some(story.passkey_id));
        assert!(state.passkey(b"another").is_none());
        assert_eq!(
            User::decide(&state, story.register()).err(),
            Some(Refusal::AlreadyRegistered)
        );
    }

    #[test]
    fn only_an_own_passkey_signs_in() {
        let story = story();
        let state = story.registered();
        let own = User::decide(&state, story.sign_in(story.passkey_id, None)).expect("an own passkey");
        assert!(matches!(own[..], [Event::SignedIn { passkey: None, .. }]), "{own:?}");
        let other = story.sign_in(story.environment.new_id(), None);
        assert_eq!(User::decide(&state, other).err(), Some(Refusal::UnknownPasskey));
    }

    #[test]
    fn a_passkey_whose_counter_moved_is_kept_as_it_is_now() {
        let story = story();
        let moved = passkey(story.user_id);
        let events = User::decide(
            &story.registered(),
            story.sign_in(story.passkey_id, Some(moved.clone())),
        );
        let state = events.expect("signs in").iter().fold(story.registered(), User::apply);
        let kept = state.passkey(moved.cred_id().as_ref());
        assert_eq!(kept.map(|(id, _)| *id), Some(story.passkey_id));
        assert!(state.passkey(story.passkey.cred_id().as_ref()).is_none());
    }

    #[test]
    fn nobody_signs_in_to_or_out_of_an_account_that_does_not_exist() {
        let story = story();
        let session_id = story.environment.new_id();
        for command in [
            story.sign_in(story.passkey_id, None),
            Command::EndSession { session_id },
        ] {
            assert_eq!(
                User::decide(&State::default(), command).err(),
                Some(Refusal::NotRegistered)
            );
        }
        let ended = User::decide(&story.registered(), Command::EndSession { session_id }).expect("a session's end");
        assert!(matches!(ended[..], [Event::SessionEnded { .. }]), "{ended:?}");
    }
}
