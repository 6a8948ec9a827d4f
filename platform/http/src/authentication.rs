//! The authenticated principal, as handlers see it.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use craton_platform_kernel::{CommandContext, OrgId, Permission, Principal, RequestId, Role, SessionId, UserId};

use crate::Problem;

/// The outcome of authentication, put into the request's extensions by the authentication middleware.
#[derive(Clone, Debug)]
pub enum Authentication {
    /// No credential was shown.
    Anonymous,
    /// A credential was shown and refused.
    Refused(Problem),
    /// A credential was shown and is good.
    Principal(Principal),
}

/// Extracts the principal; answers 401 when there is none.
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// Who is asking.
    pub principal: Principal,
    /// The request.
    pub request_id: RequestId,
}

impl<S: Send + Sync> FromRequestParts<S> for Authenticated {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let request_id = *parts
            .extensions
            .get::<RequestId>()
            .expect("the router gives every request its id");
        match parts.extensions.get::<Authentication>() {
            Some(Authentication::Principal(principal)) => Ok(Self {
                principal: principal.clone(),
                request_id,
            }),
            Some(Authentication::Refused(problem)) => Err(problem.clone()),
            Some(Authentication::Anonymous) | None => Err(Problem::unauthenticated()),
        }
    }
}

impl Authenticated {
    /// What events of this request carry.
    #[must_use]
    pub fn context(&self) -> CommandContext {
        CommandContext::new(&self.principal, self.request_id)
    }

    /// Checks a permission in an organisation and returns the role that carries it.
    ///
    /// # Errors
    /// 404 when the principal has no role there, whether the organisation exists or not; 403 when the role is too weak.
    pub fn require(&self, org_id: OrgId, permission: Permission) -> Result<Role, Problem> {
        let role = self.principal.role_in(org_id).ok_or_else(Problem::not_found)?;
        if role.allows(permission) {
            Ok(role)
        } else {
            Err(Problem::permission_denied(
                "Your role in this organisation does not allow this.",
            ))
        }
    }

    /// Checks that the operator is asking.
    ///
    /// # Errors
    /// 403 for everyone else.
    pub fn require_operator(&self) -> Result<(), Problem> {
        match self.principal {
            Principal::Operator { .. } => Ok(()),
            _ => Err(Problem::permission_denied(
                "Only the operator of the platform may do this.",
            )),
        }
    }

    /// Checks that a person in a browser is asking.
    ///
    /// # Errors
    /// 403 for keys.
    pub fn require_user(&self) -> Result<(UserId, SessionId), Problem> {
        match self.principal {
            Principal::User {
                user_id, session_id, ..
            } => Ok((user_id, session_id)),
            _ => Err(Problem::permission_denied(
                "Only a person who is signed in may do this.",
            )),
        }
    }
}
