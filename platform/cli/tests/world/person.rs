//! Somebody who signs up with a passkey, over HTTP as the console does it.

use serde_json::{Value as Json, json};
use webauthn_authenticator_rs::WebauthnAuthenticator as _;
use webauthn_authenticator_rs::prelude::{CreationChallengeResponse, Url};
use webauthn_authenticator_rs::softpasskey::SoftPasskey;

use crate::support::World;

/// An owner of an organisation.
pub(crate) struct Person {
    base_url: String,
    cookie: String,
    pub(crate) org: String,
    /// An API key with the role admin.
    pub(crate) api_key: String,
}

impl Person {
    /// Signs up, creates an organisation and an API key, and logs the command line in with it.
    pub(crate) fn sign_up(world: &World, organisation: &str) -> Self {
        let person = Self::sign_up_only(world, organisation);
        world
            .craton_with(
                &["login", "--server", world.base_url(), "--api-key-stdin"],
                &[],
                &person.api_key,
            )
            .succeeded();
        person
    }

    /// Signs up, creates an organisation and an API key.
    pub(crate) fn sign_up_only(world: &World, organisation: &str) -> Self {
        let mut person = Self {
            base_url: world.base_url().to_owned(),
            cookie: String::new(),
            org: String::new(),
            api_key: String::new(),
        };
        let slug = organisation.to_lowercase().replace(' ', "-");
        let start = json!({ "display_name": "Ada Okafor", "email": format!("ada@{slug}.example") });
        let ceremony = person.post("/auth/register/start", &start);
        let mut options = ceremony["options"].clone();
        // The software authenticator keeps every key but does not claim to, so it must not be asked.
        let selection = &mut options["publicKey"]["authenticatorSelection"];
        selection["requireResidentKey"] = false.into();
        let options: CreationChallengeResponse = serde_json::from_value(options).expect("options");
        let origin = Url::parse(&person.base_url).expect("a URL");
        let credential = SoftPasskey::new(true)
            .do_registration(origin, options)
            .expect("a passkey");
        let finish = json!({ "ceremony_id": ceremony["ceremony_id"], "credential": credential });
        person.post("/auth/register/finish", &finish);
        let created = person.post("/api/v1/orgs", &json!({ "name": organisation }));
        person.org = text(&created["organisation"]["id"]);
        let body = json!({ "name": "tests", "role": "admin" });
        let created = person.post(&format!("/api/v1/orgs/{}/api-keys", person.org), &body);
        person.api_key = text(&created["secret"]);
        person
    }

    fn post(&mut self, path: &str, body: &Json) -> Json {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .into();
        let mut response = agent
            .post(format!("{}{path}", self.base_url))
            .header("Origin", &self.base_url)
            .header("Cookie", &self.cookie)
            .header("Content-Type", "application/json")
            .send(body.to_string())
            .expect("an answer");
        if let Some(cookie) = response.headers().get("set-cookie") {
            let cookie = cookie.to_str().expect("text").split(';').next().unwrap_or_default();
            self.cookie = cookie.to_owned();
        }
        let status = response.status();
        let text = response.body_mut().read_to_string().expect("text");
        assert!(status.is_success(), "POST {path}: {status} {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// What the control plane answers to the API key.
    pub(crate) fn get(&self, path: &str) -> Json {
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
        let mut response = agent
            .get(format!("{}{path}", self.base_url))
            .header("Authorization", format!("Bearer {}", self.api_key))
            .call()
            .unwrap_or_else(|error| panic!("GET {path}: {error}"));
        serde_json::from_str(&response.body_mut().read_to_string().expect("text")).expect("JSON")
    }

    /// Everything that the control plane shows of the organisation.
    pub(crate) fn everything(&self) -> Json {
        let org = &self.org;
        let get = |path: &str| self.get(path);
        let mut keys = get(&format!("/api/v1/orgs/{org}/api-keys"));
        // When a key was last used is no event.
        for key in keys["items"].as_array_mut().expect("a list") {
            key["last_used_at"] = Json::Null;
        }
        json!({
            "organisation": get(&format!("/api/v1/orgs/{org}")),
            "members": get(&format!("/api/v1/orgs/{org}/members")),
            "api_keys": keys,
            "clusters": get(&format!("/api/v1/orgs/{org}/clusters")),
            "audit_events": get(&format!("/api/v1/orgs/{org}/audit-events?limit=100")),
        })
    }
}

pub(crate) fn text(json: &Json) -> String {
    json.as_str().unwrap_or_else(|| panic!("{json} is no text")).to_owned()
}
