//! Statements about data subjects, and the keys that writing statements bring for new ones.

use std::collections::{BTreeMap, HashSet};

use craton_crypto::SecretBytes;
use craton_kernel::{Catalogue, NewSubjectKey, Operation, Outcome, SUBJECT_TABLE, SubjectState, subject_key};
use craton_query::{
    PlanKind, ResultSet, RowSource, SetPlacement, SetRetention, SqlError, SqlState, SubjectPlan, SubjectRequest,
};
use craton_types::{Placement, RowWrite, SUBJECT_BYTES_MAX, TableId, TableSchema, Value, subject_name};

use super::functions::SessionFunctions;
use super::view::View;
use super::{Prepared, Response, Session, refusal_error, sql_error};
use crate::clock::random_array;

/// Fresh keys for the subjects of rows that have none yet.
pub(super) fn new_keys(rows: &[RowWrite], catalogue: &Catalogue, view: &View) -> Result<Vec<NewSubjectKey>, SqlError> {
    let mut tables: BTreeMap<TableId, Option<&TableSchema>> = BTreeMap::new();
    let mut names = HashSet::new();
    let mut keys = Vec::new();
    for write in rows {
        let table = tables.entry(write.table).or_insert_with(|| {
            let schema = catalogue.table_by_id(write.table)?;
            schema.subjects.is_some().then_some(schema)
        });
        let Some(name) = table.and_then(|table| sealed_subject(table, write)) else {
            continue;
        };
        // A longer name is refused by the kernel, and has no key of a row.
        if name.len() > SUBJECT_BYTES_MAX || !names.insert(name.clone()) {
            continue;
        }
        let known = view.get(SUBJECT_TABLE, &subject_key(&name))?;
        if known.and_then(|row| SubjectState::from_row(&row.row)?.key).is_none() {
            keys.push(NewSubjectKey {
                subject: name,
                key: SecretBytes::new(random_array(view.random())),
            });
        }
    }
    Ok(keys)
}

/// The subject of a row that has values to seal.
fn sealed_subject(table: &TableSchema, write: &RowWrite) -> Option<String> {
    let columns = table.subjects.as_ref()?;
    let row = write.after.as_ref()?;
    let written = |place: &u16| row.get(usize::from(*place)).is_some_and(|value| !value.is_null());
    if !columns.erasable.iter().any(written) {
        return None;
    }
    subject_name(row.get(usize::from(columns.subject))?)
}

impl Session {
    /// `ERASE`, `HOLD` and `RELEASE SUBJECT`, and `ALTER … SET (retention = …)`. Each is a record of its own.
    pub(super) async fn comply(&mut self, prepared: &Prepared, parameters: &[Value]) -> Result<Response, SqlError> {
        let tag = prepared.plan.tag();
        if self.transaction.is_some() {
            let message = format!("{tag} cannot run inside a transaction block");
            return Err(SqlError::new(SqlState::ACTIVE_TRANSACTION, message));
        }
        self.check_writable(&prepared.plan)?;
        if !self.compliance {
            let message = format!("user \"{}\" may not {tag}", self.user);
            return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
                .with_hint("It takes a user with the attribute compliance."));
        }
        match prepared.plan.kind() {
            PlanKind::Subject(plan) => {
                let request = self.subject_request(plan, parameters)?;
                self.run_subject_request(request, prepared).await
            }
            PlanKind::SetRetention(set) => self.set_retention(set, tag).await,
            PlanKind::SetPlacement(set) => self.set_placement(set, tag).await,
            _ => unreachable!("only statements about data subjects come here"),
        }
    }

    fn subject_request(&self, plan: &SubjectPlan, parameters: &[Value]) -> Result<SubjectRequest, SqlError> {
        let around = self.surroundings();
        let functions = SessionFunctions::new(&self.database, &self.variables, around.view.end());
        plan.request(&self.context(around.now, parameters, &functions))
    }

    async fn run_subject_request(&self, request: SubjectRequest, prepared: &Prepared) -> Result<Response, SqlError> {
        let (database, actor) = (&self.database, self.actor);
        let tag = prepared.plan.tag();
        match request {
            SubjectRequest::Erase { subject, reason } => {
                let erased = database
                    .erase_subject(&subject, reason, actor)
                    .await
                    .map_err(sql_error)?;
                let columns = prepared.plan.columns().cloned().unwrap_or_default();
                let row = vec![
                    Value::Text(erased.subject),
                    Value::Int(erased.key.cast_signed()),
                    Value::Int(erased.commit.offset.get().cast_signed()),
                    Value::TimestampTz(erased.commit.timestamp.as_micros()),
                ];
                Ok(Response::Rows {
                    result: ResultSet {
                        columns,
                        rows: vec![row],
                    },
                    tag: format!("{tag} 1"),
                })
            }
            SubjectRequest::Hold { subject, reason } => {
                let held = database.hold_subject(&subject, &reason, actor).await;
                held.map(|_| Response::command(tag)).map_err(sql_error)
            }
            SubjectRequest::Release { subject, reason } => {
                let released = database.release_subject(&subject, &reason, actor).await;
                released.map(|_| Response::command(tag)).map_err(sql_error)
            }
        }
    }

    /// Refuses to change another database than the session's.
    fn check_database(&self, name: &str) -> Result<(), SqlError> {
        if name == self.database.name() {
            return Ok(());
        }
        let message = format!("database \"{name}\" is not the one of this session");
        Err(SqlError::unsupported("ALTER DATABASE of another database").with_detail(message))
    }

    async fn set_placement(&self, set: &SetPlacement, tag: &str) -> Result<Response, SqlError> {
        self.check_database(&set.database)?;
        let placement = Placement {
            region: self.database.node.region.clone(),
            rules: set.rules.clone(),
        };
        self.change_policy(Operation::SetPlacement(placement), tag).await
    }

    async fn set_retention(&self, set: &SetRetention, tag: &str) -> Result<Response, SqlError> {
        if let Some(name) = &set.database {
            self.check_database(name)?;
        }
        let operation = Operation::SetRetention {
            table: set.table.as_ref().map(|table| table.id),
            retention: set.retention,
        };
        self.change_policy(operation, tag).await
    }

    async fn change_policy(&self, operation: Operation, tag: &str) -> Result<Response, SqlError> {
        match self.propose(operation).await? {
            Outcome::Committed(_) | Outcome::Duplicate { .. } => Ok(Response::command(tag)),
            Outcome::Refused(refusal) | Outcome::RefusedOnRecord { refusal, .. } => Err(refusal_error(&refusal)),
        }
    }
}
