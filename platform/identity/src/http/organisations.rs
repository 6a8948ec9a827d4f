//! `/api/v1/orgs`: organisations.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use craton_platform_http::{Authenticated, JsonBody, Page, PathParams, Problem, Problems};
use craton_platform_kernel::{OrgId, Permission, Principal, Receipt, Role, StoreError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::refusals::{invalid_text, view_lags};
use crate::identity::Identity;
use crate::text::Name;
use crate::view::OrganisationRow;

/// What the new organisation is called.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateOrganisation {
    /// 1 to 100 characters.
    pub name: String,
}

/// An organisation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Organisation)]
pub struct OrganisationView {
    /// The organisation's id.
    pub id: OrgId,
    /// Its name.
    pub name: String,
    /// Its short name for addresses.
    pub slug: String,
    /// The role of whoever is asking.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
}

impl OrganisationView {
    fn new(row: OrganisationRow, role: Role) -> Self {
        Self {
            id: row.id,
            name: row.name,
            slug: row.slug,
            role,
            created_at: row.created_at,
        }
    }
}

/// A new organisation.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrganisationCreated {
    /// The organisation.
    pub organisation: OrganisationView,
    /// The record of its making.
    pub receipt: Receipt,
}

/// Creates an organisation
///
/// Whoever creates it is its owner.
#[utoipa::path(
    post, path = "/api/v1/orgs", tag = "organisations", operation_id = "create_organisation",
    request_body = CreateOrganisation,
    responses((status = 201, description = "The organisation", body = OrganisationCreated), Problems),
    security(("session" = [])),
)]
pub async fn create_organisation(
    State(identity): State<Identity>,
    authenticated: Authenticated,
    JsonBody(body): JsonBody<CreateOrganisation>,
) -> Result<Response, Problem> {
    let (user_id, _) = authenticated.require_user()?;
    let name = Name::parse(&body.name).map_err(invalid_text("/name"))?;
    let memberships = roles(&authenticated.principal).len();
    let context = authenticated.context();
    let (org_id, receipt) = identity
        .create_organisation(name, user_id, memberships, &context)
        .await?;
    let row = identity
        .view()
        .organisation(org_id)
        .await
        .map_err(StoreError::from)?
        .ok_or_else(view_lags)?;
    let location = [(header::LOCATION, format!("/api/v1/orgs/{org_id}"))];
    let organisation = OrganisationView::new(row, Role::Owner);
    let view = OrganisationCreated { organisation, receipt };
    Ok((StatusCode::CREATED, location, Json(view)).into_response())
}

/// Lists my organisations
#[utoipa::path(
    get, path = "/api/v1/orgs", tag = "organisations", operation_id = "list_organisations",
    responses((status = 200, description = "The organisations, oldest first", body = Page<OrganisationView>), Problems),
)]
pub async fn list_organisations(
    State(identity): State<Identity>,
    authenticated: Authenticated,
) -> Result<Json<Page<OrganisationView>>, Problem> {
    let roles = roles(&authenticated.principal);
    let ids = roles.iter().map(|(org_id, _)| *org_id).collect();
    let rows = identity.view().organisations(ids).await.map_err(StoreError::from)?;
    let views = rows.into_iter().filter_map(|row| {
        let role = authenticated.principal.role_in(row.id)?;
        Some(OrganisationView::new(row, role))
    });
    Ok(Json(Page::whole(views.collect())))
}

fn roles(principal: &Principal) -> Vec<(OrgId, Role)> {
    match principal {
        Principal::User { memberships, .. } => memberships.iter().map(|(org_id, role)| (*org_id, *role)).collect(),
        Principal::ApiKey { org_id, role, .. } => vec![(*org_id, *role)],
        Principal::Operator { .. } | Principal::Node { .. } | Principal::System => vec![],
    }
}

/// Shows an organisation
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}", tag = "organisations", operation_id = "get_organisation",
    params(("org" = OrgId, Path, description = "The organisation")),
    responses((status = 200, description = "The organisation", body = OrganisationView), Problems),
)]
pub async fn get_organisation(
    State(identity): State<Identity>,
    authenticated: Authenticated,
    PathParams(org_id): PathParams<OrgId>,
) -> Result<Json<OrganisationView>, Problem> {
    let role = authenticated.require(org_id, Permission::ReadOrganisation)?;
    let row = identity.view().organisation(org_id).await.map_err(StoreError::from)?;
    Ok(Json(OrganisationView::new(row.ok_or_else(Problem::not_found)?, role)))
}
