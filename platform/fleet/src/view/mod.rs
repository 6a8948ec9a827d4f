//! The fleet's read model: the folded state of every cluster, node and operation.
//!
//! The projection applies the aggregates' own `apply`, so view and decisions cannot disagree.

use std::sync::Arc;

use craton_platform_kernel::{
    Aggregate, ClusterId, EventEnvelope, NodeId, OperationId, OrgId, Projection, ProjectionError, StoreError,
    decode_event,
};
use craton_platform_sqlite::{
    ReadModel, SqliteProjection,
    rusqlite::{self, Connection, OptionalExtension as _, params},
};

use crate::aggregate::{
    cluster::{Cluster, ClusterState},
    node::{Node, NodeState},
    operation::{Operation, OperationState},
};

const NAME: &str = "fleet";
/// Grows when the schema or the JSON of a state changes.
const VERSION: u32 = 4;

/// The projection that the fleet's read model is made by.
#[must_use]
pub fn projection() -> Arc<dyn SqliteProjection> {
    Arc::new(FleetProjection)
}

struct FleetProjection;

impl Projection for FleetProjection {
    type View = Connection;

    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn apply(&self, view: &Connection, event: &EventEnvelope) -> Result<(), ProjectionError> {
        let folded = match event.stream.aggregate() {
            Cluster::KIND => fold_cluster(view, event),
            Node::KIND => fold_node(view, event),
            Operation::KIND => fold_operation(view, event),
            _ => Ok(()),
        };
        folded.map_err(|source| ProjectionError {
            projection: NAME,
            position: event.position,
            source,
        })
    }
}

impl SqliteProjection for FleetProjection {
    fn schema(&self) -> &'static str {
        include_str!("schema.sql")
    }
}

type Folded = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn fold<A, S>(
    view: &Connection,
    select: &str,
    event: &EventEnvelope,
) -> Result<Option<S>, Box<dyn std::error::Error + Send + Sync>>
where
    A: Aggregate<State = Option<S>>,
    S: serde::Serialize + serde::de::DeserializeOwned + Clone + Send + Sync,
{
    let stored: Option<String> = view
        .query_row(select, [event.stream.id()], |row| row.get(0))
        .optional()?;
    let state = stored.map(|json| serde_json::from_str::<S>(&json)).transpose()?;
    let decoded = decode_event::<A::Event>(&event.event.event_type, &event.event.data)?;
    Ok(A::apply(state, &decoded))
}

fn fold_cluster(view: &Connection, event: &EventEnvelope) -> Folded {
    if let Some(state) = fold::<Cluster, _>(view, "SELECT state FROM cluster WHERE id = ?1", event)? {
        view.execute(
            "INSERT OR REPLACE INTO cluster (id, org_id, lifecycle, state) VALUES (?1, ?2, ?3, ?4)",
            params![
                state.cluster_id.to_string(),
                state.org_id.to_string(),
                state.lifecycle.as_str(),
                serde_json::to_string(&state)?
            ],
        )?;
    }
    Ok(())
}

fn fold_node(view: &Connection, event: &EventEnvelope) -> Folded {
    if let Some(state) = fold::<Node, _>(view, "SELECT state FROM node WHERE id = ?1", event)? {
        view.execute(
            "INSERT OR REPLACE INTO node (id, state) VALUES (?1, ?2)",
            params![state.node_id.to_string(), serde_json::to_string(&state)?],
        )?;
    }
    Ok(())
}

fn fold_operation(view: &Connection, event: &EventEnvelope) -> Folded {
    if let Some(state) = fold::<Operation, _>(view, "SELECT state FROM operation WHERE id = ?1", event)? {
        view.execute(
            "INSERT OR REPLACE INTO operation (id, org_id, is_open, state) VALUES (?1, ?2, ?3, ?4)",
            params![
                state.operation_id.to_string(),
                state.org_id.to_string(),
                !state.phase.is_ended(),
                serde_json::to_string(&state)?
            ],
        )?;
    }
    Ok(())
}

/// Queries on the read model.
#[derive(Clone)]
pub(crate) struct FleetView(ReadModel);

impl FleetView {
    pub(crate) fn new(model: ReadModel) -> Self {
        Self(model)
    }

    /// An organisation's clusters after a cursor, oldest first, without tombstones.
    pub(crate) async fn clusters_of(
        &self,
        org_id: OrgId,
        after: Option<ClusterId>,
        limit: u32,
    ) -> Result<Vec<ClusterState>, StoreError> {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        self.select(
            "SELECT state FROM cluster WHERE org_id = ?1 AND id > ?2 AND lifecycle <> 'deleted' ORDER BY id LIMIT ?3",
            (org_id.to_string(), after, limit),
        )
        .await
    }

    /// A cluster of an organisation, tombstones included.
    pub(crate) async fn cluster(&self, org_id: OrgId, id: ClusterId) -> Result<Option<ClusterState>, StoreError> {
        let clusters = self
            .select(
                "SELECT state FROM cluster WHERE id = ?1 AND org_id = ?2",
                (id.to_string(), org_id.to_string()),
            )
            .await?;
        Ok(clusters.into_iter().next())
    }

    /// A cluster, whoever it belongs to.
    pub(crate) async fn cluster_by_id(&self, id: ClusterId) -> Result<Option<ClusterState>, StoreError> {
        let clusters = self
            .select("SELECT state FROM cluster WHERE id = ?1", (id.to_string(),))
            .await?;
        Ok(clusters.into_iter().next())
    }

    /// The cluster of a host name, if it is not a tombstone.
    pub(crate) async fn cluster_by_host(&self, host: &str) -> Result<Option<ClusterState>, StoreError> {
        let clusters = self
            .select(
                "SELECT state FROM cluster WHERE state ->> '$.host' = ?1 AND lifecycle <> 'deleted'",
                (host.to_owned(),),
            )
            .await?;
        Ok(clusters.into_iter().next())
    }

    /// Every cluster that is not a tombstone.
    pub(crate) async fn live_clusters(&self) -> Result<Vec<ClusterState>, StoreError> {
        self.select("SELECT state FROM cluster WHERE lifecycle <> 'deleted' ORDER BY id", ())
            .await
    }

    /// Every node.
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeState>, StoreError> {
        self.select("SELECT state FROM node ORDER BY id", ()).await
    }

    /// A node.
    pub(crate) async fn node(&self, id: NodeId) -> Result<Option<NodeState>, StoreError> {
        let nodes = self
            .select("SELECT state FROM node WHERE id = ?1", (id.to_string(),))
            .await?;
        Ok(nodes.into_iter().next())
    }

    /// Every operation that has not ended.
    pub(crate) async fn open_operations(&self) -> Result<Vec<OperationState>, StoreError> {
        self.select("SELECT state FROM operation WHERE is_open = 1 ORDER BY id", ())
            .await
    }

    /// An operation of an organisation.
    pub(crate) async fn operation(&self, org_id: OrgId, id: OperationId) -> Result<Option<OperationState>, StoreError> {
        let operations = self
            .select(
                "SELECT state FROM operation WHERE id = ?1 AND org_id = ?2",
                (id.to_string(), org_id.to_string()),
            )
            .await?;
        Ok(operations.into_iter().next())
    }

    async fn select<S, P>(&self, sql: &'static str, parameters: P) -> Result<Vec<S>, StoreError>
    where
        S: serde::de::DeserializeOwned + Send + 'static,
        P: rusqlite::Params + Send + 'static,
    {
        let texts: Vec<String> = self
            .0
            .read(move |connection| {
                connection
                    .prepare_cached(sql)?
                    .query_map(parameters, |row| row.get(0))?
                    .collect()
            })
            .await?;
        let parse = |text: String| {
            serde_json::from_str(&text).map_err(|error| StoreError::Damaged {
                place: format!("read model {NAME}"),
                detail: error.to_string(),
            })
        };
        texts.into_iter().map(parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use craton_platform_kernel::{CommandContext, Ledger, Principal, testing};

    use super::*;
    use crate::aggregate::cluster::{self, tests::new_cluster};

    #[tokio::test]
    async fn the_view_equals_the_replayed_aggregate_and_tombstones_are_not_listed() {
        let environment = testing::environment();
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(testing::MemoryEventStore::default());
        let ledger = Ledger::new(store.clone(), Arc::new(testing::NoViews), environment.clone());
        let context = CommandContext::new(&Principal::System, environment.new_id());
        let new = new_cluster(&environment);
        let (org_id, id) = (new.org_id, new.cluster_id);
        let host = new.host.clone();
        let stream = cluster::stream(org_id, id);
        let model = ReadModel::open(directory.path(), projection()).unwrap();
        let view = FleetView::new(model.clone());
        for command in [
            cluster::Command::Create(new),
            cluster::Command::Place {
                nodes: vec![environment.new_id()],
            },
            cluster::Command::MarkReady { now: environment.now() },
            cluster::Command::RequestDeletion {
                operation_id: environment.new_id(),
            },
            cluster::Command::MarkDeleted,
        ] {
            ledger.execute::<Cluster>(&stream, &context, command).await.unwrap();
            model.catch_up(&*store).await.unwrap();
            let replayed = ledger.load::<Cluster>(&stream).await.unwrap().state;
            assert_eq!(view.cluster(org_id, id).await.unwrap(), replayed);
            assert_eq!(view.cluster_by_id(id).await.unwrap(), replayed);
            let is_live = replayed.is_some_and(|cluster| cluster.lifecycle.as_str() != "deleted");
            assert_eq!(view.live_clusters().await.unwrap().len(), usize::from(is_live));
            let by_host = view.cluster_by_host(host.as_str()).await.unwrap();
            assert_eq!(by_host.is_some(), is_live);
            assert_eq!(
                view.clusters_of(org_id, None, 10).await.unwrap().len(),
                usize::from(is_live)
            );
        }
        assert_eq!(
            view.cluster(environment.new_id(), id).await.unwrap(),
            None,
            "a foreign organisation"
        );
    }
}
