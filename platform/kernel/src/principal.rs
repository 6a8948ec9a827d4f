//! Who is asking.

use std::collections::BTreeMap;

use crate::{Actor, ActorKind, ApiKeyId, NodeId, OrgId, Permission, Role, SessionId, UserId};

/// The roles of a user, by organisation.
pub type Memberships = BTreeMap<OrgId, Role>;

/// The authenticated originator of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A person in a browser.
    User {
        /// The person.
        user_id: UserId,
        /// The session whose cookie was shown.
        session_id: SessionId,
        /// Their roles, as known when the request came in.
        memberships: Memberships,
    },
    /// A program with an API key of one organisation.
    ApiKey {
        /// The key.
        key_id: ApiKeyId,
        /// The organisation that the key belongs to.
        org_id: OrgId,
        /// The key's role there.
        role: Role,
    },
    /// The operator of the platform, who sees the fleet and no organisation.
    Operator {
        /// The operator's key.
        key_id: ApiKeyId,
    },
    /// An agent, by its certificate.
    Node {
        /// The node that the certificate names.
        node_id: NodeId,
    },
    /// The platform itself.
    System,
}

impl Principal {
    /// The role in an organisation; `None` means that the organisation does not exist for this principal.
    #[must_use]
    pub fn role_in(&self, org_id: OrgId) -> Option<Role> {
        match self {
            Self::User { memberships, .. } => memberships.get(&org_id).copied(),
            Self::ApiKey { org_id: own, role, .. } => (*own == org_id).then_some(*role),
            Self::Operator { .. } | Self::Node { .. } | Self::System => None,
        }
    }

    /// Whether the principal holds a permission in an organisation.
    #[must_use]
    pub fn may(&self, org_id: OrgId, permission: Permission) -> bool {
        self.role_in(org_id).is_some_and(|role| role.allows(permission))
    }

    /// The person, when there is one.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        match self {
            Self::User { user_id, .. } => Some(*user_id),
            _ => None,
        }
    }

    /// How events name this principal.
    #[must_use]
    pub fn actor(&self) -> Actor {
        let actor = |kind, id: Option<String>, credential_id| Actor {
            kind,
            id,
            credential_id,
        };
        match self {
            Self::User {
                user_id, session_id, ..
            } => actor(ActorKind::User, Some(user_id.to_string()), Some(session_id.to_string())),
            Self::ApiKey { key_id, .. } => actor(ActorKind::ApiKey, Some(key_id.to_string()), Some(key_id.to_string())),
            Self::Operator { key_id } => actor(ActorKind::Operator, None, Some(key_id.to_string())),
            Self::Node { node_id } => actor(ActorKind::Node, Some(node_id.to_string()), None),
            Self::System => actor(ActorKind::System, None, None),
        }
    }
}
