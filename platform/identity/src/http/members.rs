//! `/api/v1/orgs/{org}/members`: people and their roles.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use craton_platform_http::{Authenticated, JsonBody, Page, PageQuery, PathParams, Problem, Problems, QueryParams};
use craton_platform_kernel::{OrgId, Permission, Receipt, Role, StoreError, UserId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::identity::Identity;

/// A member of an organisation.
#[derive(Debug, Serialize, ToSchema)]
pub struct Member {
    /// The person.
    pub user_id: UserId,
    /// What others see.
    pub display_name: String,
    /// Where the person can be reached.
    pub email: String,
    /// The person's role.
    pub role: Role,
    /// When the person became a member.
    pub joined_at: Timestamp,
}

/// Lists members
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/members", tag = "members", operation_id = "list_members",
    params(("org" = OrgId, Path, description = "The organisation"), PageQuery),
    responses((status = 200, description = "The members", body = Page<Member>), Problems),
)]
pub async fn list_members(
    State(identity): State<Identity>,
    authenticated: Authenticated,
    PathParams(org_id): PathParams<OrgId>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<Page<Member>>, Problem> {
    authenticated.require(org_id, Permission::ReadOrganisation)?;
    let request = query.parse()?;
    let rows = identity
        .view()
        .members(org_id, request.after_parsed()?, request.read_limit())
        .await;
    let rows = rows.map_err(StoreError::from)?.into_iter().map(|row| Member {
        user_id: row.user_id,
        display_name: row.display_name,
        email: row.email,
        role: row.role,
        joined_at: row.joined_at,
    });
    Ok(Json(Page::new(rows.collect(), &request, |member| {
        member.user_id.to_string()
    })))
}

/// The role that a member is to have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetMember {
    /// The role.
    pub role: Role,
}

/// A changed membership.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemberSet {
    /// The person.
    pub user_id: UserId,
    /// The person's role from now on.
    pub role: Role,
    /// The record of the change.
    pub receipt: Receipt,
}

/// Adds a member or changes a member's role
///
/// The person's id is what they see under `/api/v1/me` and hand over themselves. Nobody gives or takes a role
/// that they could not grant, and the last owner stays an owner.
#[utoipa::path(
    put, path = "/api/v1/orgs/{org}/members/{user}", tag = "members", operation_id = "set_member",
    params(("org" = OrgId, Path, description = "The organisation"), ("user" = UserId, Path, description = "The person")),
    request_body = SetMember,
    responses((status = 200, description = "The membership", body = MemberSet), Problems),
)]
pub async fn set_member(
    State(identity): State<Identity>,
    authenticated: Authenticated,
    PathParams((org_id, user_id)): PathParams<(OrgId, UserId)>,
    JsonBody(body): JsonBody<SetMember>,
) -> Result<Json<MemberSet>, Problem> {
    let by = authenticated.require(org_id, Permission::ManageMembers)?;
    let context = authenticated.context();
    let receipt = identity.set_member(org_id, user_id, body.role, by, &context).await?;
    let role = body.role;
    Ok(Json(MemberSet { user_id, role, receipt }))
}

/// Removes a member
///
/// Everyone may remove themselves, except the last owner.
#[utoipa::path(
    delete, path = "/api/v1/orgs/{org}/members/{user}", tag = "members", operation_id = "remove_member",
    params(("org" = OrgId, Path, description = "The organisation"), ("user" = UserId, Path, description = "The person")),
    responses((status = 204, description = "The person is no member any more"), Problems),
)]
pub async fn remove_member(
    State(identity): State<Identity>,
    authenticated: Authenticated,
    PathParams((org_id, user_id)): PathParams<(OrgId, UserId)>,
) -> Result<StatusCode, Problem> {
    let by = if authenticated.principal.user_id() == Some(user_id) {
        authenticated.require(org_id, Permission::ReadOrganisation)?;
        None
    } else {
        Some(authenticated.require(org_id, Permission::ManageMembers)?)
    };
    identity
        .remove_member(org_id, user_id, by, &authenticated.context())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
