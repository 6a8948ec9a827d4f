//! `/api/v1/orgs/{org}/clusters/{cluster}/users`: database users.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use craton_platform_http::{Authenticated, Page, PathParams, Problem, Problems, ShownOnce};
use craton_platform_kernel::{ClusterId, OrgId, Permission, Receipt};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::clusters::find;
use crate::{fleet::Fleet, workflow::cluster};

/// A database user.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DatabaseUser {
    /// Its name.
    pub(crate) name: String,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// When its password was last changed.
    #[schema(required)]
    pub(crate) password_rotated_at: Option<Timestamp>,
}

/// A new password. It is shown in this answer and never again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PasswordRotated {
    /// The database user.
    pub(crate) user: String,
    /// Its password.
    pub(crate) password: String,
    /// The record of the change.
    pub(crate) receipt: Receipt,
}

/// Lists database users
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/clusters/{cluster}/users", tag = "clusters", operation_id = "list_cluster_users",
    params(
        ("org" = OrgId, Path, description = "The organisation"),
        ("cluster" = ClusterId, Path, description = "The cluster"),
    ),
    responses((status = 200, description = "The users by name", body = Page<DatabaseUser>), Problems),
)]
pub(crate) async fn list_cluster_users(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    PathParams((org_id, cluster_id)): PathParams<(OrgId, ClusterId)>,
) -> Result<Json<Page<DatabaseUser>>, Problem> {
    authenticated.require(org_id, Permission::ReadClusters)?;
    let cluster = find(&fleet.0, org_id, cluster_id).await?;
    let users = cluster.users.into_iter().map(|(name, user)| DatabaseUser {
        name,
        created_at: user.created_at,
        password_rotated_at: user.password_rotated_at,
    });
    Ok(Json(Page::whole(users.collect())))
}

/// Makes a new password for a database user
///
/// The old one stops working, and the sessions that it opened end, as soon as the cluster's servers have taken the new
/// one, which is usually before this answer.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/clusters/{cluster}/users/{name}/rotate-password", tag = "clusters",
    operation_id = "rotate_password",
    params(
        ("org" = OrgId, Path, description = "The organisation"),
        ("cluster" = ClusterId, Path, description = "The cluster"),
        ("name" = String, Path, description = "The database user"),
    ),
    responses((status = 200, description = "The new password", body = PasswordRotated), Problems),
)]
pub(crate) async fn rotate_password(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    PathParams((org_id, cluster_id, user)): PathParams<(OrgId, ClusterId, String)>,
) -> Result<Response, Problem> {
    authenticated.require(org_id, Permission::ManageDatabaseUsers)?;
    let context = authenticated.context();
    let (password, receipt) = cluster::rotate_password(&fleet.0, &context, org_id, cluster_id, user.clone()).await?;
    let view = PasswordRotated {
        user,
        password: password.to_string(),
        receipt,
    };
    let mut response = Json(view).into_response();
    response.extensions_mut().insert(ShownOnce(&["/password"]));
    Ok(response)
}
