//! Roles in an organisation and the one table of what they may do.

use serde::{Deserialize, Serialize};

/// A role in an organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything, including who else is an owner.
    Owner,
    /// Everything except owners.
    Admin,
    /// Works with clusters, does not manage people or keys.
    Member,
    /// Sees clusters and people.
    Viewer,
    /// Sees what a viewer sees, and the audit log.
    Auditor,
}

/// Something that a principal may be allowed to do in an organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// See the organisation and its members.
    ReadOrganisation,
    /// Add members, change their roles, remove them.
    ManageMembers,
    /// See API keys (never their secrets).
    ReadApiKeys,
    /// Create and delete API keys.
    ManageApiKeys,
    /// Read the audit log.
    ReadAuditEvents,
    /// See clusters, their connection details and operations.
    ReadClusters,
    /// Create clusters, and cancel their operations.
    ManageClusters,
    /// Delete clusters.
    DeleteClusters,
    /// Rotate passwords of database users.
    ManageDatabaseUsers,
}

impl Permission {
    /// Every permission, for tables and tests.
    pub const ALL: [Self; 9] = [
        Self::ReadOrganisation,
        Self::ManageMembers,
        Self::ReadApiKeys,
        Self::ManageApiKeys,
        Self::ReadAuditEvents,
        Self::ReadClusters,
        Self::ManageClusters,
        Self::DeleteClusters,
        Self::ManageDatabaseUsers,
    ];
}

impl Role {
    /// Every role, most powerful first.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Admin, Self::Member, Self::Viewer, Self::Auditor];

    /// Whether the role carries the permission.
    #[must_use]
    pub const fn allows(self, permission: Permission) -> bool {
        use Permission as P;
        match permission {
            P::ReadOrganisation | P::ReadClusters => true,
            P::ReadAuditEvents => matches!(self, Self::Owner | Self::Admin | Self::Auditor),
            P::ReadApiKeys | P::ManageApiKeys | P::ManageMembers | P::DeleteClusters => {
                matches!(self, Self::Owner | Self::Admin)
            }
            P::ManageClusters | P::ManageDatabaseUsers => matches!(self, Self::Owner | Self::Admin | Self::Member),
        }
    }

    /// Whether a holder of this role may hand out `other`: owners anything, admins anything but ownership.
    #[must_use]
    pub const fn may_grant(self, other: Self) -> bool {
        match self {
            Self::Owner => true,
            Self::Admin => !matches!(other, Self::Owner),
            Self::Member | Self::Viewer | Self::Auditor => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_permissions() {
        let table: Vec<String> = Permission::ALL
            .iter()
            .map(|permission| {
                let marks: String = Role::ALL
                    .iter()
                    .map(|role| if role.allows(*permission) { 'x' } else { '-' })
                    .collect();
                format!("{marks} {permission:?}")
            })
            .collect();
        assert_eq!(
            table,
            [
                "xxxxx ReadOrganisation",
                "xx--- ManageMembers",
                "xx--- ReadApiKeys",
                "xx--- ManageApiKeys",
                "xx--x ReadAuditEvents",
                "xxxxx ReadClusters",
                "xxx-- ManageClusters",
                "xx--- DeleteClusters",
                "xxx-- ManageDatabaseUsers",
            ]
        );
    }

    #[test]
    fn nobody_grants_more_than_they_have() {
        for role in Role::ALL {
            for other in Role::ALL.into_iter().filter(|other| role.may_grant(*other)) {
                for permission in Permission::ALL {
                    assert!(
                        role.allows(permission) || !other.allows(permission),
                        "{role:?} grants {other:?}"
                    );
                }
            }
        }
    }
}
