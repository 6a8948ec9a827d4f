//! The fleet's routes. Each file: parameters, response, documentation, handler, in that order.

mod changes;
mod cluster_users;
mod clusters;
mod connection;
mod fleet;
mod operations;
mod witness;

use axum::extract::FromRef;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::fleet::Fleet;

/// Every route of the fleet.
#[must_use]
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Fleet: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(clusters::list_clusters, clusters::create_cluster))
        .routes(routes!(clusters::get_cluster, clusters::delete_cluster))
        .routes(routes!(changes::scale_cluster))
        .routes(routes!(changes::upgrade_cluster))
        .routes(routes!(changes::finalize_cluster))
        .routes(routes!(changes::replace_cluster_node))
        .routes(routes!(connection::get_connection))
        .routes(routes!(connection::get_ca_certificate))
        .routes(routes!(cluster_users::list_cluster_users))
        .routes(routes!(witness::get_witness_key))
        .routes(routes!(witness::get_cluster_witnesses, witness::set_cluster_witnesses))
        .routes(routes!(cluster_users::rotate_password))
        .routes(routes!(operations::get_operation))
        .routes(routes!(operations::watch_operation))
        .routes(routes!(operations::cancel_operation))
        .routes(routes!(operations::retry_operation))
        .routes(routes!(fleet::create_join_token))
        .routes(routes!(fleet::list_nodes))
}

/// The routes of the platform as a witness: below `/witness`, for logs and not for browsers.
#[must_use]
pub fn witness_routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Fleet: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(witness::add_checkpoint))
        .layer(witness::body_limit())
}
