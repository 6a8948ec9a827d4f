//! `EXPLAIN`: which keys a statement reads, and what happens to the rows.

use std::fmt::Write as _;

use craton_types::{Row, TableSchema, Value};

use super::query::{Input, SelectPlan};
use super::write::{Conflict, InsertSource, WriteKind};
use super::{Access, Bound, PlanKind, session};
use crate::{Direction, SqlError};

/// The plan of `EXPLAIN` for a plan: its lines as rows.
pub(super) fn explain(kind: &PlanKind) -> Result<Bound, SqlError> {
    let mut lines = Lines::default();
    match kind {
        PlanKind::Select(select) => lines.select(select, 0),
        PlanKind::Write(write) => lines.write(&write.table, &write.kind),
        _ => return Err(SqlError::unsupported("EXPLAIN of this statement")),
    }
    let rows: Vec<Row> = lines.0.into_iter().map(|line| vec![Value::Text(line)]).collect();
    let columns = session::explain_columns();
    let select = SelectPlan::of_rows(rows.into(), columns.clone());
    Ok((PlanKind::Select(select), Some(columns)))
}

#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    fn push(&mut self, depth: usize, text: impl std::fmt::Display) {
        let mut line = "  ".repeat(depth.saturating_sub(1));
        if depth > 0 {
            line.push_str("->  ");
        }
        write!(line, "{text}").expect("writing to a String does not fail");
        self.0.push(line);
    }

    fn select(&mut self, select: &SelectPlan, depth: usize) {
        let mut depth = depth;
        if select.limit.is_some() || select.offset.is_some() {
            self.push(depth, "Limit");
            depth += 1;
        }
        if !select.sort.is_empty() {
            self.push(depth, "Sort");
            depth += 1;
        }
        if select.distinct {
            self.push(depth, "Unique");
            depth += 1;
        }
        if let Some(grouping) = &select.grouping {
            self.push(
                depth,
                if grouping.keys.is_empty() {
                    "Aggregate"
                } else {
                    "HashAggregate"
                },
            );
            depth += 1;
        }
        match &select.input {
            Input::OneRow => self.push(depth, "Result"),
            Input::Rows(_) => self.push(depth, "Catalog Scan"),
            Input::Recoveries => self.push(depth, "Recovery Scan"),
            Input::History(table) => self.push(depth, format_args!("History Scan on {}", table.name)),
            Input::Table { table, access } => self.access(table, access, depth),
        }
        if select.filter.is_some() {
            self.push(depth + 1, "Filter");
        }
    }

    fn write(&mut self, table: &TableSchema, kind: &WriteKind) {
        match kind {
            WriteKind::Insert { source, conflict } => {
                self.push(0, format_args!("Insert on {}", table.name));
                match conflict {
                    Conflict::Refuse => {}
                    Conflict::Ignore => self.push(1, "Conflict Resolution: NOTHING"),
                    Conflict::Update { .. } => self.push(1, "Conflict Resolution: UPDATE"),
                }
                match source {
                    InsertSource::Values(rows) => self.push(1, format_args!("Values ({} rows)", rows.len())),
                    InsertSource::Query(select, _) => self.select(select, 1),
                }
            }
            WriteKind::Update { access, filter, .. } => {
                self.push(0, format_args!("Update on {}", table.name));
                self.access(table, access, 1);
                if filter.is_some() {
                    self.push(2, "Filter");
                }
            }
            WriteKind::Delete { access, filter } => {
                self.push(0, format_args!("Delete on {}", table.name));
                self.access(table, access, 1);
                if filter.is_some() {
                    self.push(2, "Filter");
                }
            }
        }
    }

    fn access(&mut self, table: &TableSchema, access: &Access, depth: usize) {
        let bounded = access.lower.is_some() || access.upper.is_some();
        let mut text = match (access.is_points(table), access.equal.is_empty() && !bounded) {
            (true, _) => format!("Key Lookup on {}", table.name),
            (false, true) => format!("Scan on {}", table.name),
            (false, false) => format!("Key Range Scan on {}", table.name),
        };
        if access.direction == Direction::Backward {
            text.push_str(" backward");
        }
        let names: Vec<&str> = table
            .primary_key
            .iter()
            .take(access.equal.len() + usize::from(bounded))
            .filter_map(|&place| table.columns.get(usize::from(place)).map(|column| column.name.as_str()))
            .collect();
        if !names.is_empty() {
            write!(text, " by ({})", names.join(", ")).expect("writing to a String does not fail");
        }
        self.push(depth, text);
    }
}
