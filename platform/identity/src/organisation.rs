//! An organisation and its members.
//!
//! - Whoever creates it is its first owner.
//! - It always has an owner: the last one can neither leave nor be made less.
//! - Nobody gives or takes a role that they could not grant themselves; everyone may leave.

use std::collections::BTreeMap;

use craton_platform_kernel::{Aggregate, OrgId, Role, StreamName, UserId};
use serde::{Deserialize, Serialize};

use crate::text::Name;

/// The most members of an organisation.
pub(crate) const MEMBERS_MAX: usize = 1_000;

/// The aggregate's marker.
#[derive(Debug)]
pub(crate) struct Organisation;

/// What happened to an organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub(crate) enum Event {
    #[serde(rename = "organisation.created")]
    Created { org_id: OrgId, name: Name, slug: String },
    #[serde(rename = "organisation.member_added")]
    MemberAdded { user_id: UserId, role: Role },
    #[serde(rename = "organisation.member_role_changed")]
    MemberRoleChanged { user_id: UserId, role: Role },
    #[serde(rename = "organisation.member_removed")]
    MemberRemoved { user_id: UserId },
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Create {
        org_id: OrgId,
        name: Name,
        owner: UserId,
    },
    /// Adds a member, or changes a member's role.
    SetMember {
        user_id: UserId,
        role: Role,
        /// The role of whoever asks.
        by: Role,
    },
    RemoveMember {
        user_id: UserId,
        /// The role of whoever asks; `None` when members remove themselves.
        by: Option<Role>,
    },
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the organisation exists already")]
    AlreadyExists,
    #[error("there is no such organisation")]
    NotFound,
    #[error("there is no such member")]
    NoSuchMember,
    #[error("an organisation always has an owner: make someone else an owner first")]
    LastOwner,
    #[error("you may not give or take the role {0:?}")]
    RoleTooStrong(Role),
    #[error("an organisation has at most {MEMBERS_MAX} members")]
    TooManyMembers,
}

/// What decisions are made on.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    org_id: Option<OrgId>,
    members: BTreeMap<UserId, Role>,
}

impl State {
    /// Whether the member is the only owner.
    fn is_last_owner(&self, user_id: UserId) -> bool {
        let mut owners = self.members.iter().filter(|(_, role)| **role == Role::Owner);
        owners.next().is_some_and(|(owner, _)| *owner == user_id) && owners.next().is_none()
    }
}

/// The stream of an organisation.
pub(crate) fn stream(org_id: OrgId) -> StreamName {
    StreamName::new(Some(org_id), Organisation::KIND, org_id)
}

/// A short name for addresses: the letters and digits of the name and the end of the id, which makes it unique.
fn slug(name: &Name, org_id: OrgId) -> String {
    const WORD_CHARS_MAX: usize = 32;
    let mut slug = String::new();
    for letter in name.as_str().to_lowercase().chars() {
        if letter.is_ascii_alphanumeric() {
            slug.push(letter);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == WORD_CHARS_MAX {
            break;
        }
    }
    if !slug.is_empty() && !slug.ends_with('-') {
        slug.push('-');
    }
    let id = org_id.suffix();
    slug + &id[id.len() - 8..]
}

impl Aggregate for Organisation {
    const KIND: &'static str = "organisation";
    const EVENT_VERSION: u32 = 1;
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
        let grantable = |by: Role, role: Role| by.may_grant(role).then_some(()).ok_or(Refusal::RoleTooStrong(role));
        match command {
            Command::Create { .. } if state.org_id.is_some() => Err(Refusal::AlreadyExists),
            Command::Create { org_id, name, owner } => {
                let slug = slug(&name, org_id);
                let role = Role::Owner;
                let user_id = owner;
                Ok(vec![
                    Event::Created { org_id, name, slug },
                    Event::MemberAdded { user_id, role },
                ])
            }
            _ if state.org_id.is_none() => Err(Refusal::NotFound),
            Command::SetMember { user_id, role, by } => {
                grantable(by, role)?;
                match state.members.get(&user_id) {
                    None if state.members.len() >= MEMBERS_MAX => Err(Refusal::TooManyMembers),
                    None => Ok(vec![Event::MemberAdded { user_id, role }]),
                    Some(current) if *current == role => Ok(vec![]),
                    Some(current) => {
                        grantable(by, *current)?;
                        if state.is_last_owner(user_id) {
                            return Err(Refusal::LastOwner);
                        }
                        Ok(vec![Event::MemberRoleChanged { user_id, role }])
                    }
                }
            }
            Command::RemoveMember { user_id, by } => {
                let current = *state.members.get(&user_id).ok_or(Refusal::NoSuchMember)?;
                if let Some(by) = by {
                    grantable(by, current)?;
                }
                if state.is_last_owner(user_id) {
                    return Err(Refusal::LastOwner);
                }
                Ok(vec![Event::MemberRemoved { user_id }])
            }
        }
    }

    fn apply(mut state: State, event: &Event) -> State {
        match event {
            Event::Created { org_id, .. } => state.org_id = Some(*org_id),
            Event::MemberAdded { user_id, role } | Event::MemberRoleChanged { user_id, role } => {
                state.members.insert(*user_id, *role);
            }
            Event::MemberRemoved { user_id } => {
                state.members.remove(user_id);
            }
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use craton_platform_kernel::Environment;
    use craton_platform_kernel::testing::environment;

    use super::*;

    struct Story {
        environment: Environment,
        org_id: OrgId,
        ada: UserId,
        ben: UserId,
    }

    fn story() -> Story {
        let environment = environment();
        Story {
            org_id: environment.new_id(),
            ada: environment.new_id(),
            ben: environment.new_id(),
            environment,
        }
    }

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    /// given(events).when(command) gives the events or the refusal.
    fn given_when(events: &[Event], command: Command) -> Result<Vec<Event>, Refusal> {
        let state = events.iter().fold(State::default(), Organisation::apply);
        Organisation::decide(&state, command)
    }

    impl Story {
        fn created(&self) -> Vec<Event> {
            let (org_id, owner) = (self.org_id, self.ada);
            let name = name("Acme Health");
            given_when(&[], Command::Create { org_id, name, owner }).expect("a new organisation")
        }

        fn with_ben(&self, role: Role) -> Vec<Event> {
            let mut events = self.created();
            let user_id = self.ben;
            events.push(Event::MemberAdded { user_id, role });
            events
        }

        fn set(&self, user_id: UserId, role: Role, by: Role) -> Command {
            Command::SetMember { user_id, role, by }
        }
    }

    #[test]
    fn the_creator_is_the_first_owner() {
        let story = story();
        let events = story.created();
        let Event::Created { slug, .. } = &events[0] else {
            panic!("{events:?}");
        };
        assert!(slug.starts_with("acme-health-") && slug.len() == 20, "{slug}");
        let (user_id, role) = (story.ada, Role::Owner);
        assert_eq!(events[1], Event::MemberAdded { user_id, role });
        let again = Command::Create {
            org_id: story.org_id,
            name: name("B"),
            owner: story.ben,
        };
        assert_eq!(given_when(&events, again), Err(Refusal::AlreadyExists));
    }

    #[test]
    fn nothing_happens_to_an_organisation_that_does_not_exist() {
        let story = story();
        let command = story.set(story.ben, Role::Viewer, Role::Owner);
        assert_eq!(given_when(&[], command), Err(Refusal::NotFound));
    }

    #[test]
    fn the_last_owner_stays() {
        let story = story();
        let events = story.created();
        let leave = |user_id, by| Command::RemoveMember { user_id, by };
        for command in [
            leave(story.ada, None),
            leave(story.ada, Some(Role::Owner)),
            story.set(story.ada, Role::Viewer, Role::Owner),
        ] {
            assert_eq!(given_when(&events, command), Err(Refusal::LastOwner));
        }
        let two_owners = story.with_ben(Role::Owner);
        let user_id = story.ada;
        assert_eq!(
            given_when(&two_owners, leave(story.ada, None)),
            Ok(vec![Event::MemberRemoved { user_id }])
        );
    }

    #[test]
    fn an_admin_neither_makes_nor_unmakes_owners() {
        let story = story();
        let events = story.with_ben(Role::Member);
        let refused = Err(Refusal::RoleTooStrong(Role::Owner));
        assert_eq!(
            given_when(&events, story.set(story.ben, Role::Owner, Role::Admin)),
            refused
        );
        assert_eq!(
            given_when(&events, story.set(story.ada, Role::Viewer, Role::Admin)),
            refused
        );
        let by = Some(Role::Admin);
        assert_eq!(
            given_when(&events, Command::RemoveMember { user_id: story.ada, by }),
            refused
        );
        let (user_id, role) = (story.ben, Role::Auditor);
        assert_eq!(
            given_when(&events, story.set(user_id, role, Role::Admin)),
            Ok(vec![Event::MemberRoleChanged { user_id, role }])
        );
    }

    #[test]
    fn a_role_that_a_member_has_already_changes_nothing() {
        let story = story();
        let events = story.with_ben(Role::Member);
        assert_eq!(
            given_when(&events, story.set(story.ben, Role::Member, Role::Admin)),
            Ok(vec![])
        );
    }

    #[test]
    fn members_are_limited_at_the_edge() {
        let story = story();
        let mut events = story.created();
        while events.len() < MEMBERS_MAX {
            let (user_id, role) = (story.environment.new_id(), Role::Viewer);
            events.push(Event::MemberAdded { user_id, role });
        }
        let add = story.set(story.ben, Role::Viewer, Role::Owner);
        assert!(given_when(&events, add.clone()).is_ok(), "the last place");
        let (user_id, role) = (story.environment.new_id(), Role::Viewer);
        events.push(Event::MemberAdded { user_id, role });
        assert_eq!(given_when(&events, add), Err(Refusal::TooManyMembers));
    }

    #[test]
    fn slugs_hold_letters_digits_and_single_hyphens() {
        let story = story();
        for (text, start) in [
            ("Ärzte & Co.", "rzte-co-"),
            ("--", ""),
            ("A", "a-"),
            (&"x".repeat(50), &("x".repeat(32) + "-")),
        ] {
            let slug = slug(&name(text), story.org_id);
            assert_eq!(&slug[..slug.len() - 8], start, "{text}");
        }
    }
}
