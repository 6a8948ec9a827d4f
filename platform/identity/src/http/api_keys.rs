//! `/api/v1/orgs/{org}/api-keys`: keys for programs.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use craton_platform_http::{
    Authenticated, JsonBody, Page, PageQuery, PathParams, Problem, Problems, QueryParams, ShownOnce,
};
use craton_platform_kernel::{ApiKeyId, OrgId, Permission, Receipt, Role, StoreError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::refusals::invalid_text;
use crate::identity::Identity;
use crate::text::Name;

/// What the new key is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiKey {
    /// What people call it, 1 to 100 characters.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it ends; never when absent.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// An API key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub struct ApiKeyView {
    /// The key's id.
    pub id: ApiKeyId,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; null for never.
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to five minutes; null for never.
    #[schema(required)]
    pub last_used_at: Option<Timestamp>,
    /// The person or key that made it.
    pub created_by: String,
}

/// A new API key.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKeyCreated {
    /// The key.
    pub api_key: ApiKeyView,
    /// The bearer token, shown this once; null in a replay of the same request.
    #[schema(required)]
    pub secret: Option<String>,
    /// The record of its making.
    pub receipt: Receipt,
}

/// Creates an API key
///
/// The key cannot have a role that its maker could not grant.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/api-keys", tag = "api-keys", operation_id = "create_api_key",
    params(("org" = OrgId, Path, description = "The organisation")),
    request_body = CreateApiKey,
    responses((status = 201, description = "The key and its secret", body = ApiKeyCreated), Problems),
)]
pub async fn create_api_key(
    State(identity): State<Identity>,
    authenticated: Authenticated,
    PathParams(org_id): PathParams<OrgId>,
    JsonBody(body): JsonBody<CreateApiKey>,
) -> Result<Response, Problem> {
    let by = authenticated.require(org_id, Permission::ManageApiKeys)?;
    let name = Name::parse(&body.name).map_err(invalid_text("/name"))?;
    let context = authenticated.context();
    let created = identity
        .create_api_key(org_id, name.clone(), body.role, body.expires_at, by, &context)
        .await?;
    let (id, token, receipt) = created;
    let view = ApiKeyCreated {
        api_key: ApiKeyView {
            id,
            name: name.as_str().to_owned(),
            role: body.role,
            created_at: identity.environment().now(),
            expires_at: body.expires_at,
            last_used_at: None,
            created_by: context.actor.id.unwrap_or_default(),
        },
        secret: Some(token.reveal().to_owned()),
        receipt,
    };
    Ok((StatusCode::CREATED, Extension(ShownOnce(&["/secret"])), Json(view)).into_response())
}

/// Lists API keys
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/api-keys", tag = "api-keys", operation_id = "list_api_keys",
    params(("org" = OrgId, Path, description = "The organisation"), PageQuery),
    responses((status = 200, description = "The keys in force, oldest first", body = Page<ApiKeyView>), Problems),
)]
pub async fn list_api_keys(
    State(identity): State<Identity>,
    authenticated: Authenticated,
    PathParams(org_id): PathParams<OrgId>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<Page<ApiKeyView>>, Problem> {
    authenticated.require(org_id, Permission::ReadApiKeys)?;
    let request = query.parse()?;
    let rows = identity
        .view()
        .api_keys(org_id, request.after_parsed()?, request.read_limit())
        .await;
    let mut views = Vec::new();
    for row in rows.map_err(StoreError::from)? {
        views.push(ApiKeyView {
            id: row.id,
            name: row.name,
            role: row.role,
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: identity.credential_use().last_used(&row.id.to_string()).await?,
            created_by: row.created_by,
        });
    }
    Ok(Json(Page::new(views, &request, |key| key.id.to_string())))
}

/// Revokes an API key
///
/// The key stops working at once.
#[utoipa::path(
    delete, path = "/api/v1/orgs/{org}/api-keys/{key}", tag = "api-keys", operation_id = "revoke_api_key",
    params(("org" = OrgId, Path, description = "The organisation"), ("key" = ApiKeyId, Path, description = "The key")),
    responses((status = 204, description = "The key is revoked"), Problems),
)]
pub async fn revoke_api_key(
    State(identity): State<Identity>,
    authenticated: Authenticated,
    PathParams((org_id, key_id)): PathParams<(OrgId, ApiKeyId)>,
) -> Result<StatusCode, Problem> {
    authenticated.require(org_id, Permission::ManageApiKeys)?;
    identity
        .revoke_api_key(org_id, key_id, &authenticated.context())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
