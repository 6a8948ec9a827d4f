//! `SELECT`: input, filter, groups, projection, order, limit.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use craton_types::{Row, Value};

use super::input::{self, Flow};
use super::memory::row_bytes;
use super::{Memory, ResultSet};
use crate::expression::{Accumulator, Expression, compare_for_sort, equal_key};
use crate::plan::{Grouping, Input, SelectPlan, SortKey, check_parameters};
use crate::{Context, RowSource, SqlError, SqlState, recovery};

/// Runs a `SELECT`.
///
/// # Errors
/// When the parameters do not fit, the source fails, an expression fails on some row, or a bound is exceeded.
pub fn execute_select(
    select: &SelectPlan,
    source: &dyn RowSource,
    context: &Context<'_>,
) -> Result<ResultSet, SqlError> {
    check_parameters(&select.parameter_types, context.parameters)?;
    let mut memory = Memory::new(context.memory_bytes_max);
    let mut rows = Vec::new();
    for_each_row(select, source, context, &mut memory, &mut |row, memory| {
        memory.take_row(&row)?;
        rows.push(row);
        Ok(())
    })?;
    Ok(ResultSet {
        columns: Arc::clone(&select.columns),
        rows,
    })
}

/// Visits the result's rows in order. Rows of a plan without `ORDER BY` work are not kept.
pub(crate) fn for_each_row(
    select: &SelectPlan,
    source: &dyn RowSource,
    context: &Context<'_>,
    memory: &mut Memory,
    emit: &mut dyn FnMut(Row, &mut Memory) -> Result<(), SqlError>,
) -> Result<(), SqlError> {
    let offset = count(select.offset.as_ref(), context, "OFFSET", SqlState::INVALID_OFFSET)?.unwrap_or(0);
    let limit = count(select.limit.as_ref(), context, "LIMIT", SqlState::INVALID_LIMIT)?;
    let mut output = Output {
        select,
        seen: HashSet::new(),
        sorter: Sorter::new(&select.sort, limit.map(|limit| limit.saturating_add(offset))),
        skip_left: offset,
        take_left: limit.unwrap_or(u64::MAX),
        emit,
    };
    if output.take_left == 0 {
        return Ok(());
    }
    match &select.grouping {
        None => {
            for_each_input(select, source, context, &mut |row| output.push(row, context, memory))?;
        }
        Some(grouping) => {
            for group in group(select, grouping, source, context, memory)? {
                if output.push(&group, context, memory)? == Flow::Stop {
                    break;
                }
            }
        }
    }
    output.finish(memory)
}

/// The value of `LIMIT` or `OFFSET`.
fn count(
    expression: Option<&Expression>,
    context: &Context<'_>,
    name: &str,
    sqlstate: SqlState,
) -> Result<Option<u64>, SqlError> {
    let Some(expression) = expression else { return Ok(None) };
    match expression.evaluate(&[], context)?.as_ref() {
        Value::Int(number) => u64::try_from(*number)
            .map(Some)
            .map_err(|_| SqlError::new(sqlstate, format!("{name} must not be negative"))),
        _ => Ok(None),
    }
}

/// Visits the input's rows that pass the filter.
fn for_each_input(
    select: &SelectPlan,
    source: &dyn RowSource,
    context: &Context<'_>,
    visit: &mut dyn FnMut(&[Value]) -> Result<Flow, SqlError>,
) -> Result<(), SqlError> {
    let mut filtered = |row: &[Value]| match &select.filter {
        Some(filter) if !filter.is_true(row, context)? => Ok(Flow::Continue),
        _ => visit(row),
    };
    match &select.input {
        Input::OneRow => filtered(&[]).map(drop),
        Input::Table { table, access } => {
            input::for_each(table, access, source, context, &mut |_, row| filtered(&row.row))
        }
        Input::History(table) => {
            for entry in context.functions.history(table)? {
                if filtered(&input::history_row(table, &entry)?)? == Flow::Stop {
                    break;
                }
            }
            Ok(())
        }
        Input::Recoveries => {
            for entry in context.functions.recoveries()? {
                if filtered(&recovery::row(&entry))? == Flow::Stop {
                    break;
                }
            }
            Ok(())
        }
        Input::Rows(rows) => {
            for row in rows.iter() {
                if filtered(row)? == Flow::Stop {
                    break;
                }
            }
            Ok(())
        }
    }
}

/// What happens to a row after it is made.
struct Output<'a> {
    select: &'a SelectPlan,
    seen: HashSet<Vec<u8>>,
    sorter: Sorter<'a>,
    skip_left: u64,
    take_left: u64,
    emit: &'a mut dyn FnMut(Row, &mut Memory) -> Result<(), SqlError>,
}

impl Output<'_> {
    fn push(&mut self, row: &[Value], context: &Context<'_>, memory: &mut Memory) -> Result<Flow, SqlError> {
        // Rows that OFFSET skips need not be made, unless they decide about others.
        if self.sorter.keys.is_empty() && !self.select.distinct && self.skip_left > 0 {
            self.skip_left -= 1;
            return Ok(Flow::Continue);
        }
        let mut projected = Row::with_capacity(self.select.projection.len());
        for expression in &self.select.projection {
            projected.push(expression.evaluate(row, context)?.into_owned());
        }
        if self.select.distinct {
            let mut key = Vec::new();
            projected.iter().for_each(|value| equal_key(value, &mut key));
            let key_bytes = key.len();
            if !self.seen.insert(key) {
                return Ok(Flow::Continue);
            }
            memory.take(key_bytes)?;
        }
        if self.sorter.keys.is_empty() {
            return self.emit(projected, memory);
        }
        self.sorter.push(row, projected, context, memory)?;
        Ok(Flow::Continue)
    }

    fn emit(&mut self, row: Row, memory: &mut Memory) -> Result<Flow, SqlError> {
        if self.skip_left > 0 {
            self.skip_left -= 1;
            return Ok(Flow::Continue);
        }
        (self.emit)(row, memory)?;
        self.take_left -= 1;
        Ok(if self.take_left == 0 {
            Flow::Stop
        } else {
            Flow::Continue
        })
    }

    fn finish(mut self, memory: &mut Memory) -> Result<(), SqlError> {
        let sorted = self.sorter.finish();
        for (keys, row) in sorted {
            memory.give_back(row_bytes(&keys) + row_bytes(&row));
            if self.emit(row, memory)? == Flow::Stop {
                break;
            }
        }
        Ok(())
    }
}

/// `ORDER BY` in memory. With a `LIMIT`, only about twice as many rows as that are kept.
struct Sorter<'a> {
    keys: &'a [SortKey],
    rows: Vec<(Row, Row)>,
    wanted: Option<usize>,
}

impl<'a> Sorter<'a> {
    fn new(keys: &'a [SortKey], wanted: Option<u64>) -> Self {
        Self {
            keys,
            rows: Vec::new(),
            wanted: wanted.and_then(|wanted| usize::try_from(wanted).ok()),
        }
    }

    fn push(
        &mut self,
        row: &[Value],
        projected: Row,
        context: &Context<'_>,
        memory: &mut Memory,
    ) -> Result<(), SqlError> {
        let mut values = Row::with_capacity(self.keys.len());
        for key in self.keys {
            values.push(key.expression.evaluate(row, context)?.into_owned());
        }
        memory.take(row_bytes(&values) + row_bytes(&projected))?;
        self.rows.push((values, projected));
        const SPARE_ROWS: usize = 1_024;
        if let Some(wanted) = self.wanted
            && self.rows.len() >= wanted.saturating_mul(2).saturating_add(SPARE_ROWS)
        {
            self.sort();
            for (keys, row) in self.rows.drain(wanted..) {
                memory.give_back(row_bytes(&keys) + row_bytes(&row));
            }
        }
        Ok(())
    }

    /// Stable, so that rows with equal keys stay in key order of the table.
    fn sort(&mut self) {
        let keys = self.keys;
        self.rows
            .sort_by(|(left, _), (right, _)| compare_rows(keys, left, right));
    }

    fn finish(&mut self) -> Vec<(Row, Row)> {
        self.sort();
        std::mem::take(&mut self.rows)
    }
}

fn compare_rows(keys: &[SortKey], left: &[Value], right: &[Value]) -> Ordering {
    for (key, (left, right)) in keys.iter().zip(left.iter().zip(right)) {
        let order = match (left.is_null(), right.is_null()) {
            (true, true) => Ordering::Equal,
            (true, false) if key.nulls_first => Ordering::Less,
            (true, false) => Ordering::Greater,
            (false, true) if key.nulls_first => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) if key.descending => compare_for_sort(right, left),
            (false, false) => compare_for_sort(left, right),
        };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

struct Group {
    keys: Row,
    accumulators: Vec<Accumulator>,
}

/// The groups' rows, in the order in which the groups were first met.
fn group(
    select: &SelectPlan,
    grouping: &Grouping,
    source: &dyn RowSource,
    context: &Context<'_>,
    memory: &mut Memory,
) -> Result<Vec<Row>, SqlError> {
    let new_group = |keys: Row| Group {
        keys,
        accumulators: grouping.aggregates.iter().map(Accumulator::new).collect(),
    };
    let mut groups: Vec<Group> = Vec::new();
    let mut index: HashMap<Vec<u8>, usize> = HashMap::new();
    if grouping.keys.is_empty() {
        groups.push(new_group(Row::new()));
    }
    let mut encoded = Vec::new();
    for_each_input(select, source, context, &mut |row| {
        let place = if grouping.keys.is_empty() {
            0
        } else {
            encoded.clear();
            for key in &grouping.keys {
                equal_key(key.evaluate(row, context)?.as_ref(), &mut encoded);
            }
            match index.get(&encoded) {
                Some(place) => *place,
                None => {
                    let mut keys = Row::with_capacity(grouping.keys.len());
                    for key in &grouping.keys {
                        keys.push(key.evaluate(row, context)?.into_owned());
                    }
                    let accumulators_bytes = grouping.aggregates.len() * size_of::<Accumulator>();
                    memory.take(row_bytes(&keys) + 2 * encoded.len() + accumulators_bytes)?;
                    index.insert(encoded.clone(), groups.len());
                    groups.push(new_group(keys));
                    groups.len() - 1
                }
            }
        };
        for (accumulator, aggregate) in groups[place].accumulators.iter_mut().zip(&grouping.aggregates) {
            memory.take(accumulator.add(aggregate, row, context)?)?;
        }
        Ok(Flow::Continue)
    })?;
    let mut rows = Vec::with_capacity(groups.len());
    for group in groups {
        let mut row = group.keys;
        for (accumulator, aggregate) in group.accumulators.into_iter().zip(&grouping.aggregates) {
            row.push(accumulator.finish(aggregate)?);
        }
        let kept = match &grouping.having {
            Some(having) => having.is_true(&row, context)?,
            None => true,
        };
        if kept {
            rows.push(row);
        }
    }
    Ok(rows)
}
