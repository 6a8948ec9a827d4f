//! The workflows of identity: look up what decisions need, decide, append, answer.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum_extra::extract::cookie::Cookie;
use craton_platform_http::{Problem, PublicUrl};
use craton_platform_kernel::{
    ApiKeyId, CeremonyId, CommandContext, CredentialUse, Environment, Executed, Ledger, OrgId, Principal, Receipt,
    RequestId, Role, SecretToken, SessionId, SessionStore, StoreError, TokenKind, UserId,
};
use craton_platform_sqlite::ReadModel;
use jiff::Timestamp;
use webauthn_rs::prelude::{
    CreationChallengeResponse, DiscoverableAuthentication, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential, RequestChallengeResponse,
};

use crate::api_key::{self, ApiKey};
use crate::ceremonies::Ceremonies;
use crate::http::refusals;
use crate::operator_key::OperatorKey;
use crate::organisation::{self, Organisation};
use crate::passkeys::{Passkeys, PasskeysError};
use crate::sessions::Sessions;
use crate::text::{Email, Name};
use crate::user::{self, User};
use crate::view::{IdentityView, UserRow};

/// The most organisations that one person is in.
pub(crate) const ORGANISATIONS_PER_USER_MAX: usize = 100;
/// The most live API keys of an organisation.
pub(crate) const API_KEYS_PER_ORGANISATION_MAX: u32 = 100;

/// What identity is built from.
pub struct IdentityParts {
    /// Where events go.
    pub ledger: Ledger,
    /// The read model of [`crate::IdentityProjection`].
    pub view: ReadModel,
    /// Browser sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// When keys were used.
    pub credential_use: Arc<dyn CredentialUse>,
    /// The operator's key.
    pub operator_key: OperatorKey,
    /// Where browsers reach the platform.
    pub public_url: PublicUrl,
}

/// Why identity cannot start.
pub type IdentityError = PasskeysError;

/// Identity, ready to serve. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    ledger: Ledger,
    view: IdentityView,
    sessions: Sessions,
    credential_use: Arc<dyn CredentialUse>,
    operator_key: OperatorKey,
    passkeys: Passkeys,
    registrations: Ceremonies<Registration>,
    sign_ins: Ceremonies<DiscoverableAuthentication>,
}

/// A person about to have an account.
#[derive(Debug)]
struct Registration {
    user_id: UserId,
    display_name: Name,
    email: Email,
    state: PasskeyRegistration,
}

/// A person who has just come in.
pub(crate) struct SignedIn {
    pub(crate) user: UserRow,
    pub(crate) cookie: Cookie<'static>,
    pub(crate) receipt: Receipt,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

impl Identity {
    /// Builds identity.
    ///
    /// # Errors
    /// When passkeys cannot be offered at the public URL.
    pub fn new(parts: IdentityParts) -> Result<Self, IdentityError> {
        let environment = parts.ledger.environment().clone();
        Ok(Self(Arc::new(Inner {
            sessions: Sessions::new(parts.sessions, environment, &parts.public_url),
            passkeys: Passkeys::new(&parts.public_url)?,
            ledger: parts.ledger,
            view: IdentityView::new(parts.view),
            credential_use: parts.credential_use,
            operator_key: parts.operator_key,
            registrations: Ceremonies::default(),
            sign_ins: Ceremonies::default(),
        })))
    }

    /// Removes sessions that have ended. To be called now and then.
    ///
    /// # Errors
    /// When the session store fails.
    pub async fn remove_expired_sessions(&self) -> Result<(), StoreError> {
        self.0.sessions.remove_expired().await
    }

    pub(crate) fn environment(&self) -> &Environment {
        self.0.ledger.environment()
    }

    pub(crate) fn view(&self) -> &IdentityView {
        &self.0.view
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    pub(crate) fn credential_use(&self) -> &dyn CredentialUse {
        &*self.0.credential_use
    }

    pub(crate) fn operator_key(&self) -> &OperatorKey {
        &self.0.operator_key
    }

    /// Begins the registration of a new person.
    pub(crate) fn start_registration(
        &self,
        display_name: Name,
        email: Email,
    ) -> Result<(CeremonyId, CreationChallengeResponse), Problem> {
        let user_id: UserId = self.environment().new_id();
        let started = self
            .0
            .passkeys
            .start_registration(user_id, email.as_str(), display_name.as_str());
        let (options, state) = started.map_err(|error| Problem::internal(&error))?;
        let registration = Registration {
            user_id,
            display_name,
            email,
            state,
        };
        let ceremony_id = self.environment().new_id();
        let opened = self
            .0
            .registrations
            .open(ceremony_id, self.environment().now(), registration);
        opened.map_err(refusals::ceremonies_full)?;
        Ok((ceremony_id, options))
    }

    /// Makes the account, if the passkey is good, and signs its owner in.
    pub(crate) async fn finish_registration(
        &self,
        request_id: RequestId,
        headers: &HeaderMap,
        ceremony_id: CeremonyId,
        credential: &RegisterPublicKeyCredential,
        passkey_name: Name,
    ) -> Result<SignedIn, Problem> {
        let closed = self.0.registrations.close(ceremony_id, self.environment().now());
        let registration = closed.ok_or_else(refusals::ceremony_over)?;
        let passkey = self.0.passkeys.finish_registration(credential, &registration.state);
        let passkey = passkey.map_err(|error| refusals::passkey_rejected(&error))?;
        let credential_id = AsRef::<[u8]>::as_ref(passkey.cred_id()).to_vec();
        if self
            .view()
            .knows_credential(credential_id)
            .await
            .map_err(StoreError::from)?
        {
            return Err(refusals::passkey_taken());
        }
        let user_id = registration.user_id;
        let session_id: SessionId = self.environment().new_id();
        let command = user::Command::Register {
            user_id,
            display_name: registration.display_name,
            email: registration.email,
            passkey_id: self.environment().new_id(),
            passkey_name,
            passkey,
        };
        let context = user_context(user_id, session_id, request_id);
        let executed: Executed<User> = self.0.ledger.execute(&user::stream(user_id), &context, command).await?;
        self.signed_in(user_id, session_id, headers, executed.receipt).await
    }

    /// Begins a sign-in.
    pub(crate) fn start_sign_in(&self) -> Result<(CeremonyId, RequestChallengeResponse), Problem> {
        let (options, state) = self
            .0
            .passkeys
            .start_sign_in()
            .map_err(|error| Problem::internal(&error))?;
        let ceremony_id = self.environment().new_id();
        let opened = self.0.sign_ins.open(ceremony_id, self.environment().now(), state);
        opened.map_err(refusals::ceremonies_full)?;
        Ok((ceremony_id, options))
    }

    /// Signs a person in with a new session; `previous` is the session that it replaces.
    pub(crate) async fn finish_sign_in(
        &self,
        request_id: RequestId,
        headers: &HeaderMap,
        ceremony_id: CeremonyId,
        credential: &PublicKeyCredential,
        previous: Option<(UserId, SessionId)>,
    ) -> Result<SignedIn, Problem> {
        let closed = self.0.sign_ins.close(ceremony_id, self.environment().now());
        let state = closed.ok_or_else(refusals::ceremony_over)?;
        let (user_id, credential_id) = self
            .0
            .passkeys
            .identify(credential)
            .ok_or_else(refusals::sign_in_failed)?;
        let stream = user::stream(user_id);
        let loaded = self.0.ledger.load::<User>(&stream).await?;
        let (passkey_id, passkey) = loaded
            .state
            .passkey(credential_id)
            .ok_or_else(refusals::sign_in_failed)?;
        let proof = self
            .0
            .passkeys
            .finish_sign_in(credential, state, passkey)
            .map_err(|error| {
                tracing::info!(%user_id, %passkey_id, %error, "a passkey was refused");
                refusals::sign_in_failed()
            })?;
        let session_id: SessionId = self.environment().new_id();
        let command = user::Command::SignIn {
            passkey_id: *passkey_id,
            session_id,
            passkey: proof.moved,
        };
        let context = user_context(user_id, session_id, request_id);
        let executed: Executed<User> = self.0.ledger.execute(&stream, &context, command).await?;
        if let Some((user_id, session_id)) = previous {
            self.sessions().end(user_id, session_id).await?;
        }
        self.signed_in(user_id, session_id, headers, executed.receipt).await
    }

    async fn signed_in(
        &self,
        user_id: UserId,
        session_id: SessionId,
        headers: &HeaderMap,
        receipt: Receipt,
    ) -> Result<SignedIn, Problem> {
        let cookie = self.sessions().begin(session_id, user_id, headers).await?;
        let user = self.view().user(user_id).await.map_err(StoreError::from)?;
        let user = user.ok_or_else(refusals::view_lags)?;
        Ok(SignedIn { user, cookie, receipt })
    }

    /// Ends one of the user's own sessions.
    pub(crate) async fn end_session(
        &self,
        user_id: UserId,
        session_id: SessionId,
        context: &CommandContext,
    ) -> Result<(), Problem> {
        // The session goes first: what matters to its owner is that it is over.
        if !self.sessions().end(user_id, session_id).await? {
            return Err(Problem::not_found());
        }
        let command = user::Command::EndSession { session_id };
        let _: Executed<User> = self.0.ledger.execute(&user::stream(user_id), context, command).await?;
        Ok(())
    }

    /// Makes an organisation with its first owner.
    pub(crate) async fn create_organisation(
        &self,
        name: Name,
        owner: UserId,
        memberships: usize,
        context: &CommandContext,
    ) -> Result<(OrgId, Receipt), Problem> {
        if memberships >= ORGANISATIONS_PER_USER_MAX {
            return Err(refusals::limit_reached(
                "organisations per person",
                ORGANISATIONS_PER_USER_MAX,
            ));
        }
        let org_id = self.environment().new_id();
        let command = organisation::Command::Create { org_id, name, owner };
        let stream = organisation::stream(org_id);
        let executed: Executed<Organisation> = self.0.ledger.execute(&stream, context, command).await?;
        Ok((org_id, executed.receipt))
    }

    /// Adds a member or changes a member's role.
    pub(crate) async fn set_member(
        &self,
        org_id: OrgId,
        user_id: UserId,
        role: Role,
        by: Role,
        context: &CommandContext,
    ) -> Result<Receipt, Problem> {
        if self.view().user(user_id).await.map_err(StoreError::from)?.is_none() {
            return Err(refusals::unknown_user());
        }
        let command = organisation::Command::SetMember { user_id, role, by };
        let stream = organisation::stream(org_id);
        let executed: Executed<Organisation> = self.0.ledger.execute(&stream, context, command).await?;
        Ok(executed.receipt)
    }

    /// Removes a member; `by` is `None` when members remove themselves.
    pub(crate) async fn remove_member(
        &self,
        org_id: OrgId,
        user_id: UserId,
        by: Option<Role>,
        context: &CommandContext,
    ) -> Result<(), Problem> {
        let command = organisation::Command::RemoveMember { user_id, by };
        let stream = organisation::stream(org_id);
        let _: Executed<Organisation> = self.0.ledger.execute(&stream, context, command).await?;
        Ok(())
    }

    /// Makes an API key; the token is shown once.
    pub(crate) async fn create_api_key(
        &self,
        org_id: OrgId,
        name: Name,
        role: Role,
        expires_at: Option<Timestamp>,
        by: Role,
        context: &CommandContext,
    ) -> Result<(ApiKeyId, SecretToken, Receipt), Problem> {
        let count = self.view().api_key_count(org_id).await.map_err(StoreError::from)?;
        if count >= API_KEYS_PER_ORGANISATION_MAX {
            return Err(refusals::limit_reached(
                "API keys per organisation",
                API_KEYS_PER_ORGANISATION_MAX as usize,
            ));
        }
        let key_id: ApiKeyId = self.environment().new_id();
        let token = SecretToken::generate(TokenKind::Live, key_id.as_uuid(), self.environment());
        let command = api_key::Command::Create {
            key_id,
            name,
            role,
            by,
            created_by: context.actor.clone(),
            secret_hash: token.hash(),
            expires_at,
            now: self.environment().now(),
        };
        let stream = api_key::stream(org_id, key_id);
        let executed: Executed<ApiKey> = self.0.ledger.execute(&stream, context, command).await?;
        Ok((key_id, token, executed.receipt))
    }

    /// Revokes an API key.
    pub(crate) async fn revoke_api_key(
        &self,
        org_id: OrgId,
        key_id: ApiKeyId,
        context: &CommandContext,
    ) -> Result<(), Problem> {
        let stream = api_key::stream(org_id, key_id);
        let _: Executed<ApiKey> = self
            .0
            .ledger
            .execute(&stream, context, api_key::Command::Revoke)
            .await?;
        Ok(())
    }
}

/// A person who is not signed in yet acts under their own name.
fn user_context(user_id: UserId, session_id: SessionId, request_id: RequestId) -> CommandContext {
    let principal = Principal::User {
        user_id,
        session_id,
        memberships: std::collections::BTreeMap::new(),
    };
    CommandContext::new(&principal, request_id)
}
