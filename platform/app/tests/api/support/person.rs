//! A person with a passkey in software.

use serde_json::{Value, json};
use webauthn_authenticator_rs::WebauthnAuthenticator;
use webauthn_authenticator_rs::softpasskey::SoftPasskey;
use webauthn_rs::prelude::Url;

use super::{Answer, Caller, World};

/// A person who has signed up, and their passkey.
pub(crate) struct Person {
    pub(crate) user_id: String,
    cookie: String,
    authenticator: SoftPasskey,
    credential_id: String,
    user_handle: Value,
}

impl Person {
    /// Signs up through the real ceremony.
    pub(crate) async fn sign_up(world: &World, name: &str) -> Self {
        let (mut authenticator, started, user_handle) = Self::registration(world, name).await;
        let body = Self::attest(world, &mut authenticator, &started);
        let credential_id = body["credential"]["id"].as_str().expect("an id").to_owned();
        let finished = world.post(&Caller::Anonymous, "/auth/register/finish", body).await;
        let user = &finished.expect(201)["user"];
        Self {
            user_id: user["id"].as_str().expect("an id").to_owned(),
            cookie: finished.cookie(),
            authenticator,
            credential_id,
            user_handle,
        }
    }

    /// Starts a registration, and gives what the server said and the user handle.
    pub(crate) async fn registration(world: &World, name: &str) -> (SoftPasskey, Value, Value) {
        let body = json!({ "display_name": name, "email": format!("{name}@example.org") });
        let started = world
            .post(&Caller::Anonymous, "/auth/register/start", body)
            .await
            .expect(200);
        let user_handle = started["options"]["publicKey"]["user"]["id"].clone();
        // Pretends that it verified its user.
        (SoftPasskey::new(true), started, user_handle)
    }

    /// What the browser would send to finish a registration.
    pub(crate) fn attest(world: &World, authenticator: &mut SoftPasskey, started: &Value) -> Value {
        let mut options = started["options"].clone();
        let selection = &mut options["publicKey"]["authenticatorSelection"];
        assert_eq!(selection["residentKey"], "required");
        assert_eq!(selection["userVerification"], "required");
        // The software passkey keeps every key but refuses to say that it does.
        selection["requireResidentKey"] = json!(false);
        let options = serde_json::from_value(options).expect("creation options");
        let origin = Url::parse(&world.origin()).expect("a URL");
        let credential = authenticator.do_registration(origin, options).expect("a passkey");
        json!({ "ceremony_id": started["ceremony_id"], "credential": credential })
    }

    pub(crate) fn caller(&self) -> Caller {
        Caller::Cookie(self.cookie.clone())
    }

    /// What the browser would send to finish a sign-in.
    pub(crate) async fn assertion(&mut self, world: &World, origin: &str) -> Value {
        let started = world
            .post(&Caller::Anonymous, "/auth/login/start", json!({}))
            .await
            .expect(200);
        let mut options = started["options"].clone();
        assert_eq!(options["publicKey"]["userVerification"], "required");
        assert_eq!(options["publicKey"]["allowCredentials"], json!([]));
        // A real authenticator finds its keys by the relying party; this one wants to be told.
        options["publicKey"]["allowCredentials"] = json!([{ "type": "public-key", "id": self.credential_id }]);
        let options = serde_json::from_value(options).expect("request options");
        let origin = Url::parse(origin).expect("a URL");
        let credential = self.authenticator.do_authentication(origin, options).expect("a proof");
        let mut credential = serde_json::to_value(credential).expect("JSON");
        credential["response"]["userHandle"] = self.user_handle.clone();
        json!({ "ceremony_id": started["ceremony_id"], "credential": credential })
    }

    /// Signs in with the passkey, showing a credential or none; the new session is the person's from then on.
    pub(crate) async fn sign_in_from(&mut self, world: &World, caller: &Caller) -> Answer {
        let body = self.assertion(world, &world.origin()).await;
        let answer = world.post(caller, "/auth/login/finish", body).await;
        if answer.status == 200 {
            self.cookie = answer.cookie();
        }
        answer
    }

    /// Signs in without an earlier session.
    pub(crate) async fn sign_in(&mut self, world: &World) -> Caller {
        self.sign_in_from(world, &Caller::Anonymous).await.expect(200);
        self.caller()
    }
}
