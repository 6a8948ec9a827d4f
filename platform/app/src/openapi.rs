//! The OpenAPI 3.1 document, generated from the routes.

use craton_platform_http::{FieldError, ProblemBody};
use utoipa::openapi::schema::{ArrayItems, Schema};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{OpenApi, Ref, RefOr};
use utoipa::{Modify, OpenApi as _};

/// The document without its routes.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Craton control plane",
        description = "Organisations, clusters and the fleet. Every change is a record of an append-only, hash-chained \
                       log, and its answer carries the receipt. Errors are RFC 9457 problems with a stable code.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "auth", description = "Registration and sign-in with passkeys"),
        (name = "me", description = "The person who is signed in"),
        (name = "organisations", description = "Organisations"),
        (name = "members", description = "People in an organisation and their roles"),
        (name = "api-keys", description = "Keys for programs"),
        (name = "audit", description = "What happened in an organisation"),
        (name = "clusters", description = "Database clusters"),
        (name = "operations", description = "Work that takes time"),
        (name = "fleet", description = "Hosts and their agents, for the operator"),
        (name = "service", description = "The platform itself"),
    ),
    components(schemas(FieldError, ProblemBody)),
    modifiers(&Security),
)]
pub(crate) struct Document;

struct Security;

impl Modify for Security {
    fn modify(&self, openapi: &mut OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let description = "An API key (crt_live_…) or the operator's key (crt_operator_…)";
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.description = Some(description.to_owned());
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let description = "The session of a browser; over plain HTTP on localhost its name is craton_session";
        let cookie = ApiKeyValue::with_description("__Host-craton_session", description);
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
        let schemes = ["session", "bearer"];
        let requirement = |name: &str| SecurityRequirement::new(name, Vec::<String>::new());
        openapi.security = Some(schemes.into_iter().map(requirement).collect());
    }
}

pub(crate) fn document() -> OpenApi {
    Document::openapi()
}

/// The whole document as it is served at `/api/v1/openapi.json` and committed as `docs/openapi.json`.
#[must_use]
pub fn openapi_json() -> String {
    let mut document = crate::router::api().into_openapi();
    name_items(&mut document);
    document.to_pretty_json().expect("the document is JSON") + "\n"
}

/// The generator writes the items of a page out in full. By name, clients get one type for an item and its lists.
fn name_items(document: &mut OpenApi) {
    let schemas = &mut document.components.as_mut().expect("there are schemas").schemas;
    let names: Vec<String> = schemas.keys().cloned().collect();
    for (name, schema) in schemas.iter_mut() {
        let Some(item) = name
            .strip_prefix("Page_")
            .filter(|item| names.iter().any(|name| name == item))
        else {
            continue;
        };
        if let RefOr::T(Schema::Object(page)) = schema
            && let Some(RefOr::T(Schema::Array(items))) = page.properties.get_mut("items")
        {
            items.items = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(item).into()));
        }
    }
}
