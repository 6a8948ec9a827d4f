//! The WebAuthn relying party: passkeys that are discoverable and verify their user.

use craton_platform_http::PublicUrl;
use craton_platform_kernel::UserId;
use webauthn_rs::prelude::{
    CreationChallengeResponse, DiscoverableAuthentication, Passkey, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential, RequestChallengeResponse, Url, WebauthnError,
};
use webauthn_rs::{Webauthn, WebauthnBuilder};
use webauthn_rs_proto::ResidentKeyRequirement;

/// The name that authenticators show.
const RELYING_PARTY_NAME: &str = "Craton";

/// Why passkeys cannot be offered at a URL.
#[derive(Debug, thiserror::Error)]
#[error("passkeys cannot be offered at {public_url}")]
pub struct PasskeysError {
    /// The URL.
    pub public_url: PublicUrl,
    /// What the library says.
    #[source]
    pub source: WebauthnError,
}

/// The relying party.
#[derive(Debug)]
pub struct Passkeys(Webauthn);

/// A passkey that has proved that its user is here.
pub(crate) struct SignIn {
    /// The passkey, when its counter or backup state moved.
    pub(crate) moved: Option<Passkey>,
}

impl Passkeys {
    /// The relying party of the platform at its public URL; its id is the host name.
    ///
    /// # Errors
    /// When the library refuses the URL.
    pub fn new(public_url: &PublicUrl) -> Result<Self, PasskeysError> {
        let error = |source| PasskeysError {
            public_url: public_url.clone(),
            source,
        };
        let origin = Url::parse(public_url.origin()).expect("a public URL is a URL");
        let builder = WebauthnBuilder::new(public_url.host(), &origin).map_err(error)?;
        builder.rp_name(RELYING_PARTY_NAME).build().map(Self).map_err(error)
    }

    /// Options for a browser to make a passkey, and what the server remembers meanwhile.
    pub(crate) fn start_registration(
        &self,
        user_id: UserId,
        email: &str,
        display_name: &str,
    ) -> Result<(CreationChallengeResponse, PasskeyRegistration), WebauthnError> {
        let started = self
            .0
            .start_passkey_registration(user_id.as_uuid(), email, display_name, None);
        started.map(|(mut options, state)| {
            // The library leaves discoverability open; sign-in without a user name needs it.
            let selection = options.public_key.authenticator_selection.as_mut();
            let selection = selection.expect("the library asks for user verification");
            selection.resident_key = Some(ResidentKeyRequirement::Required);
            selection.require_resident_key = true;
            (options, state)
        })
    }

    /// The passkey that the browser made.
    pub(crate) fn finish_registration(
        &self,
        credential: &RegisterPublicKeyCredential,
        state: &PasskeyRegistration,
    ) -> Result<Passkey, WebauthnError> {
        self.0.finish_passkey_registration(credential, state)
    }

    /// Options for a browser to use whichever passkey its user chooses.
    pub(crate) fn start_sign_in(
        &self,
    ) -> Result<(RequestChallengeResponse, DiscoverableAuthentication), WebauthnError> {
        self.0.start_discoverable_authentication().map(|(mut options, state)| {
            // The library means autofill; our button shows the browser's own dialogue.
            options.mediation = None;
            (options, state)
        })
    }

    /// Whose passkey the browser used, by its own claim: account and credential id.
    pub(crate) fn identify<'a>(&self, credential: &'a PublicKeyCredential) -> Option<(UserId, &'a [u8])> {
        let (uuid, credential_id) = self.0.identify_discoverable_authentication(credential).ok()?;
        UserId::from_uuid(uuid).map(|user_id| (user_id, credential_id))
    }

    /// Checks the proof with the passkey on file.
    pub(crate) fn finish_sign_in(
        &self,
        credential: &PublicKeyCredential,
        state: DiscoverableAuthentication,
        passkey: &Passkey,
    ) -> Result<SignIn, WebauthnError> {
        let result = self
            .0
            .finish_discoverable_authentication_v2(credential, state, passkey)?;
        let mut updated = passkey.clone();
        let moved = updated.update_credential(&result) == Some(true);
        Ok(SignIn {
            moved: moved.then_some(updated),
        })
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use webauthn_authenticator_rs::WebauthnAuthenticator;
    use webauthn_authenticator_rs::softpasskey::SoftPasskey;

    use super::*;

    /// A relying party on localhost.
    pub(crate) fn relying_party() -> Passkeys {
        Passkeys::new(&PublicUrl::parse("http://localhost:8080").expect("a public URL")).expect("a relying party")
    }

    /// The browser's part of a registration, by software that pretends to verify its user when asked to.
    pub(crate) fn attest(mut options: CreationChallengeResponse, verifies: bool) -> RegisterPublicKeyCredential {
        let selection = options
            .public_key
            .authenticator_selection
            .as_mut()
            .expect("a selection");
        selection.require_resident_key = false;
        if !verifies {
            selection.user_verification = webauthn_rs_proto::UserVerificationPolicy::Discouraged_DO_NOT_USE;
        }
        let origin = Url::parse("http://localhost:8080").expect("a URL");
        SoftPasskey::new(verifies)
            .do_registration(origin, options)
            .expect("a credential")
    }

    /// A passkey as a real ceremony makes it.
    pub(crate) fn passkey(user_id: UserId) -> Passkey {
        let party = relying_party();
        let (options, state) = party
            .start_registration(user_id, "ada@example.org", "Ada")
            .expect("starts");
        party
            .finish_registration(&attest(options, true), &state)
            .expect("a passkey")
    }
}

#[cfg(test)]
mod tests {
    use craton_platform_kernel::testing::environment;

    use super::*;

    #[test]
    fn a_passkey_that_does_not_verify_its_user_is_refused() {
        let party = testing::relying_party();
        let user_id = environment().new_id();
        let (options, state) = party
            .start_registration(user_id, "ada@example.org", "Ada")
            .expect("starts");
        let credential = testing::attest(options, false);
        assert!(party.finish_registration(&credential, &state).is_err());
    }

    #[test]
    fn options_ask_for_a_discoverable_passkey_that_verifies_its_user() {
        let party = testing::relying_party();
        let (options, _) = party
            .start_registration(environment().new_id(), "a@b", "A")
            .expect("starts");
        let json = serde_json::to_value(&options.public_key).expect("JSON");
        assert_eq!(json["rp"]["id"], "localhost");
        assert_eq!(json["authenticatorSelection"]["residentKey"], "required");
        assert_eq!(json["authenticatorSelection"]["requireResidentKey"], true);
        assert_eq!(json["authenticatorSelection"]["userVerification"], "required");
        let (options, _) = party.start_sign_in().expect("starts");
        assert!(options.mediation.is_none());
        assert!(options.public_key.allow_credentials.is_empty());
    }
}
