//! `/api/v1/orgs/{org}/audit-events`: the organisation's part of the event log.

use axum::Json;
use axum::extract::State;
use craton_platform_http::{Authenticated, Page, PageQuery, PathParams, Problem, Problems, QueryParams};
use craton_platform_kernel::{ActorKind, EventId, OrgId, Permission, Position, RecordHash, RequestId, StoreError};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::identity::Identity;
use crate::view::AuditEventRow;

/// Who made a change.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditActor {
    /// The kind of principal.
    pub kind: ActorKind,
    /// Its id; null for the platform itself.
    #[schema(required)]
    pub id: Option<String>,
    /// The person's or key's name, where it is known.
    #[schema(required)]
    pub name: Option<String>,
}

/// What was changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditAggregate {
    /// Its kind, such as `cluster`.
    pub kind: String,
    /// Its id.
    pub id: String,
}

/// An event of the organisation.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEvent {
    /// The event's id.
    pub id: EventId,
    /// What happened, such as `organisation.member_added`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The position of its record in the platform's log.
    #[schema(value_type = u64)]
    pub position: Position,
    /// The record's hash.
    pub record_hash: RecordHash,
    /// When it was decided.
    pub occurred_at: Timestamp,
    /// Who caused it.
    pub actor: AuditActor,
    /// What it happened to.
    pub aggregate: AuditAggregate,
    /// The request that caused it.
    pub request_id: RequestId,
    /// The details, without hashes of secrets.
    #[schema(value_type = Object)]
    pub data: Value,
}

impl From<AuditEventRow> for AuditEvent {
    fn from(row: AuditEventRow) -> Self {
        Self {
            id: row.id,
            event_type: row.event_type,
            position: row.place.position,
            record_hash: row.record_hash,
            occurred_at: row.occurred_at,
            actor: AuditActor {
                kind: row.actor.kind,
                id: row.actor.id,
                name: row.actor_name,
            },
            aggregate: AuditAggregate {
                kind: row.aggregate_kind,
                id: row.aggregate_id,
            },
            request_id: row.request_id,
            data: row.data,
        }
    }
}

/// Lists audit events
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/audit-events", tag = "audit", operation_id = "list_audit_events",
    params(("org" = OrgId, Path, description = "The organisation"), PageQuery),
    responses((status = 200, description = "The events, newest first", body = Page<AuditEvent>), Problems),
)]
pub async fn list_audit_events(
    State(identity): State<Identity>,
    authenticated: Authenticated,
    PathParams(org_id): PathParams<OrgId>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<Page<AuditEvent>>, Problem> {
    authenticated.require(org_id, Permission::ReadAuditEvents)?;
    let request = query.parse()?;
    let rows = identity
        .view()
        .audit_events(org_id, request.after_parsed()?, request.read_limit())
        .await;
    let page = Page::new(rows.map_err(StoreError::from)?, &request, |row| row.place.to_string());
    Ok(Json(page.map(AuditEvent::from)))
}
