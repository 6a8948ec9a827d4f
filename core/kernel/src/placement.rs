//! Placement: data of a class is kept only where its tenant's rules allow. What they forbid is refused, and a record says
//! so.

use std::collections::BTreeSet;
use std::sync::Arc;

use craton_types::{Change, DataClass, Placement, RecordKind, RecordSummary, StreamId, TableSchema};

use crate::apply::{Decision, StateChange};
use crate::seal::Content;
use crate::system_table::{STREAM_CLASS_TABLE, stream_class, stream_class_key, stream_class_row};
use crate::{ApplyError, Refusal, RowReader, TenantState, ViewWrite};

/// Sets the rules. They must allow what the tenant holds already.
pub(crate) fn decide_set(state: &TenantState, placement: &Placement) -> Decision {
    let tables = state.catalogue.tables.values();
    let classes = tables.filter_map(|table| table.data_class.as_ref().map(|class| (class, table.name.as_str())));
    let streams = state.stream_classes.iter().map(|class| (class, ""));
    let forbidden = classes.chain(streams).find(|(class, _)| !placement.allows(class));
    if let Some((class, name)) = forbidden {
        return refused(state, placement, class, name);
    }
    let set = Change::PlacementSet(placement.clone());
    let content = Content::changes(&RecordSummary::default(), &[set]);
    Decision::of_root(
        state,
        RecordKind::Data,
        content,
        StateChange::Placement(placement.clone()),
    )
}

/// The refusal of the first table that the rules forbid here.
pub(crate) fn check_tables<'a>(
    state: &TenantState,
    created: impl IntoIterator<Item = &'a TableSchema>,
) -> Option<Decision> {
    created.into_iter().find_map(|table| {
        let class = table.data_class.as_ref()?;
        let allowed = state.placement.allows(class);
        (!allowed).then(|| refused(state, &state.placement, class, &table.name))
    })
}

/// What an append says about its stream's class comes to.
pub(crate) enum StreamClass {
    /// Nothing new.
    Known,
    /// The stream is new and of this class.
    New(ViewWrite),
    /// The append is refused, and a record says so.
    Refused(Box<Decision>),
}

/// Holds the class that an append names against the rules and the stream's own class.
pub(crate) fn check_stream(
    state: &TenantState,
    rows: &dyn RowReader,
    (name, stream): (&str, StreamId),
    is_new: bool,
    class: Option<&DataClass>,
) -> Result<Result<StreamClass, Refusal>, ApplyError> {
    let Some(class) = class else {
        return Ok(Ok(StreamClass::Known));
    };
    if !is_new {
        let row = rows.row(STREAM_CLASS_TABLE, &stream_class_key(stream))?;
        let known = row.and_then(|row| stream_class(&row.row));
        return Ok(match known.as_ref() == Some(class) {
            true => Ok(StreamClass::Known),
            false => Err(Refusal::StreamClass {
                stream: name.to_owned(),
                class: known,
            }),
        });
    }
    if !state.placement.allows(class) {
        let decision = refused(state, &state.placement, class, name);
        return Ok(Ok(StreamClass::Refused(Box::new(decision))));
    }
    Ok(Ok(StreamClass::New(stream_class_write(stream, class))))
}

pub(crate) fn stream_class_write(stream: StreamId, class: &DataClass) -> ViewWrite {
    ViewWrite {
        table: STREAM_CLASS_TABLE,
        key: stream_class_key(stream),
        row: Some(Arc::new(stream_class_row(class))),
    }
}

fn refused(state: &TenantState, placement: &Placement, class: &DataClass, name: &str) -> Decision {
    let allowed = placement.rules.regions(class).cloned().unwrap_or_default();
    let refusal = Refusal::Placement {
        class: class.clone(),
        region: placement.region.clone(),
        allowed: BTreeSet::clone(&allowed),
    };
    let change = Change::PlacementRefused {
        class: class.clone(),
        region: placement.region.clone(),
        name: name.to_owned(),
    };
    let content = Content::changes(&RecordSummary::default(), &[change]);
    Decision::of_root(state, RecordKind::Data, content, StateChange::Nothing).refusing(refusal)
}
