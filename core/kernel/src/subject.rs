//! Data subjects: sealing the cells of their rows, and whether they may be erased.
//!
//! What is known of a subject is a row of [`SUBJECT_TABLE`], keyed by the subject's name. The keys themselves are not
//! here: a command brings the key of a subject that has none, and the node keeps it where it can be destroyed.

use std::collections::BTreeMap;
use std::sync::Arc;

use craton_crypto::{CellPlace, SecretBytes, SubjectKey};
use craton_types::{
    Change, KeyEpoch, Offset, PrimaryKey, REASON_BYTES_MAX, Retention, Row, SUBJECT_BYTES_MAX, SubjectColumns,
    SubjectKeyId, TableId, TableSchema, TenantId, Timestamp, Value, end_of_day, subject_name,
};

use crate::{ApplyError, NewSubjectKey, Refusal, RowReader, TenantState, ViewWrite};

/// The data subjects, keyed by name: see [`SubjectState`].
pub const SUBJECT_TABLE: TableId = TableId::new(8);

/// What happens to the key of a data subject.
#[derive(Clone, Debug)]
pub enum SubjectKeyEffect {
    /// The subject got a key.
    Created(SubjectKey),
    /// The key must be destroyed, wherever it is.
    Erased(SubjectKeyId),
}

/// What a tenant knows of a data subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectState {
    /// The key that the subject's cells are sealed under; `None` before the first cell and after an erasure.
    pub key: Option<SubjectKeyId>,
    /// How many legal holds are on the subject. Each needs a release of its own.
    pub holds: u32,
    /// The reason of the newest hold.
    pub held_reason: Option<String>,
    /// When which table was written.
    kept: BTreeMap<TableId, Kept>,
}

/// The subject's cells in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    /// The end of the UTC day on which the last one was written.
    written: Timestamp,
    /// Until when they must be kept by the rules of the times at which they were written.
    until: Option<Timestamp>,
}

impl SubjectState {
    /// Reads the row of [`SUBJECT_TABLE`] back; `None` when the row is not one.
    #[must_use]
    pub fn from_row(row: &[Value]) -> Option<Self> {
        let [key, Value::Int(holds), held_reason, kept @ ..] = row else {
            return None;
        };
        let mut state = Self {
            key: match key {
                Value::Int(key) => Some(SubjectKeyId::new(key.cast_unsigned())),
                _ => None,
            },
            holds: u32::try_from(*holds).ok()?,
            held_reason: match held_reason {
                Value::Text(reason) => Some(reason.clone()),
                _ => None,
            },
            kept: BTreeMap::new(),
        };
        for entry in kept.chunks_exact(3) {
            let [Value::Int(table), Value::Int(written), until] = entry else {
                return None;
            };
            let until = match until {
                Value::Int(until) => Some(Timestamp::new(until.cast_unsigned())),
                _ => None,
            };
            let written = Timestamp::new(written.cast_unsigned());
            let table = TableId::new(u32::try_from(*table).ok()?);
            state.kept.insert(table, Kept { written, until });
        }
        Some(state)
    }

    fn to_row(&self) -> Row {
        let integer = |value: u64| Value::Int(value.cast_signed());
        let mut row = vec![
            self.key.map_or(Value::Null, |key| integer(key.get())),
            integer(self.holds.into()),
            self.held_reason.clone().map_or(Value::Null, Value::Text),
        ];
        for (table, kept) in &self.kept {
            row.push(integer(table.get().into()));
            row.push(integer(kept.written.get()));
            row.push(kept.until.map_or(Value::Null, |until| integer(until.get())));
        }
        row
    }

    /// Notes that a cell of a table was sealed under a key.
    fn note_written(&mut self, table: TableId, key: SubjectKeyId, retention: Option<Retention>, time: Timestamp) {
        let written = end_of_day(time);
        let until = retention.map(|retention| retention.after(written));
        self.key = Some(key);
        let kept = self.kept.entry(table).or_insert(Kept { written, until });
        kept.written = kept.written.max(written);
        kept.until = kept.until.max(until);
    }

    /// Until when the subject's data must be kept: as the rules said when it was written, or as they say today,
    /// whichever is later. `None` when no rule ever was.
    fn retained_until(&self, state: &TenantState) -> Option<Timestamp> {
        let today = |table: &TableId, kept: &Kept| {
            let columns = state.catalogue.table_by_id(*table)?.subjects.clone()?;
            Some(retention_of(&columns, state)?.after(kept.written))
        };
        self.kept
            .iter()
            .filter_map(|(table, kept)| kept.until.max(today(table, kept)))
            .max()
    }

    fn hold(&mut self, reason: &str) {
        self.holds = self.holds.saturating_add(1);
        self.held_reason = Some(reason.to_owned());
    }

    fn release(&mut self) {
        self.holds = self.holds.saturating_sub(1);
        if self.holds == 0 {
            self.held_reason = None;
        }
    }

    fn erase(&mut self) {
        self.key = None;
        self.kept.clear();
    }

    /// The row to store for the subject.
    fn view_write(&self, subject: &str) -> ViewWrite {
        ViewWrite {
            table: SUBJECT_TABLE,
            key: subject_key(subject),
            row: (*self != Self::default()).then(|| Arc::new(self.to_row())),
        }
    }
}

/// The rule for a table's rows: its own, or the tenant's default.
fn retention_of(columns: &SubjectColumns, state: &TenantState) -> Option<Retention> {
    columns.retention.or(state.default_retention)
}

/// The key of a subject's row in [`SUBJECT_TABLE`].
#[must_use]
pub fn subject_key(subject: &str) -> PrimaryKey {
    PrimaryKey::encode([&Value::Text(subject.to_owned())]).expect("the names of subjects are bounded")
}

fn read(rows: &dyn RowReader, subject: &str) -> Result<SubjectState, ApplyError> {
    let row = rows.row(SUBJECT_TABLE, &subject_key(subject))?;
    Ok(row.and_then(|row| SubjectState::from_row(&row.row)).unwrap_or_default())
}

/// Checks the length of a subject's name and of a reason.
fn check(subject: &str, reason: Option<&str>) -> Result<(), Refusal> {
    if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX {
        return Err(Refusal::SubjectName {
            bytes: subject.len(),
            bytes_max: SUBJECT_BYTES_MAX,
        });
    }
    match reason {
        Some(reason) if reason.len() > REASON_BYTES_MAX => Err(Refusal::Reason {
            bytes: reason.len(),
            bytes_max: REASON_BYTES_MAX,
        }),
        _ => Ok(()),
    }
}

/// What a command about a subject comes to.
pub(crate) struct SubjectDecision {
    pub(crate) change: Change,
    pub(crate) write: Option<ViewWrite>,
    pub(crate) erased: Option<SubjectKeyId>,
    pub(crate) refusal: Option<Refusal>,
}

type Decided = Result<Result<SubjectDecision, Refusal>, ApplyError>;

pub(crate) fn decide_erase(
    state: &TenantState,
    rows: &dyn RowReader,
    time: Timestamp,
    subject: &str,
    reason: Option<&str>,
) -> Decided {
    if let Err(refusal) = check(subject, reason) {
        return Ok(Err(refusal));
    }
    let mut known = read(rows, subject)?;
    let Some(key) = known.key else {
        return Ok(Err(Refusal::SubjectUnknown {
            subject: subject.to_owned(),
        }));
    };
    let held = (known.holds > 0).then(|| known.held_reason.clone().unwrap_or_default());
    let retained_until = known.retained_until(state).filter(|until| *until > time);
    let refusal = match (&held, retained_until) {
        (Some(reason), _) => Some(Refusal::SubjectHeld {
            subject: subject.to_owned(),
            reason: reason.clone(),
            holds: known.holds,
        }),
        (None, Some(until)) => Some(Refusal::SubjectRetained {
            subject: subject.to_owned(),
            until,
        }),
        (None, None) => None,
    };
    let reason = reason.map(str::to_owned);
    Ok(Ok(match refusal {
        Some(refusal) => SubjectDecision {
            change: Change::ErasureRefused {
                subject: subject.to_owned(),
                held,
                retained_until,
                reason,
            },
            write: None,
            erased: None,
            refusal: Some(refusal),
        },
        None => {
            known.erase();
            SubjectDecision {
                change: Change::SubjectErased {
                    subject: subject.to_owned(),
                    key,
                    reason,
                },
                write: Some(known.view_write(subject)),
                erased: Some(key),
                refusal: None,
            }
        }
    }))
}

pub(crate) fn decide_hold(rows: &dyn RowReader, subject: &str, reason: &str) -> Decided {
    decide_on_holds(rows, subject, reason, true)
}

pub(crate) fn decide_release(rows: &dyn RowReader, subject: &str, reason: &str) -> Decided {
    decide_on_holds(rows, subject, reason, false)
}

fn decide_on_holds(rows: &dyn RowReader, subject: &str, reason: &str, begins: bool) -> Decided {
    if let Err(refusal) = check(subject, Some(reason)) {
        return Ok(Err(refusal));
    }
    let mut known = read(rows, subject)?;
    let (subject_text, reason_text) = (subject.to_owned(), reason.to_owned());
    let change = if begins {
        known.hold(reason);
        Change::SubjectHeld {
            subject: subject_text,
            reason: reason_text,
        }
    } else if known.holds > 0 {
        known.release();
        Change::SubjectReleased {
            subject: subject_text,
            reason: reason_text,
        }
    } else {
        return Ok(Err(Refusal::SubjectNotHeld { subject: subject_text }));
    };
    Ok(Ok(SubjectDecision {
        change,
        write: Some(known.view_write(subject)),
        erased: None,
        refusal: None,
    }))
}

/// The subjects that a record changes, by name.
struct Touched<'a> {
    rows: &'a dyn RowReader,
    subjects: BTreeMap<String, (SubjectState, SubjectState)>,
}

impl<'a> Touched<'a> {
    const fn new(rows: &'a dyn RowReader) -> Self {
        Self {
            rows,
            subjects: BTreeMap::new(),
        }
    }

    fn subject(&mut self, name: &str) -> Result<&mut SubjectState, ApplyError> {
        if !self.subjects.contains_key(name) {
            let known = read(self.rows, name)?;
            self.subjects.insert(name.to_owned(), (known.clone(), known));
        }
        let (_, now) = self.subjects.get_mut(name).expect("inserted above");
        Ok(now)
    }

    /// The rows of the subjects that are not as they were.
    fn into_writes(self) -> impl Iterator<Item = ViewWrite> {
        self.subjects
            .into_iter()
            .filter(|(_, (before, now))| before != now)
            .map(|(name, (_, now))| now.view_write(&name))
    }
}

/// Where and when the record is made whose rows are sealed.
#[derive(Clone, Copy)]
pub(crate) struct SealPlace {
    pub(crate) tenant: TenantId,
    pub(crate) epoch: KeyEpoch,
    pub(crate) salt: [u8; 32],
    pub(crate) offset: Offset,
    pub(crate) time: Timestamp,
}

/// Seals the erasable cells of a record's rows.
pub(crate) struct RowSealer<'a> {
    state: &'a TenantState,
    rows: &'a dyn RowReader,
    place: SealPlace,
    new_keys: BTreeMap<&'a str, &'a SecretBytes>,
    touched: Touched<'a>,
    keys: BTreeMap<SubjectKeyId, SubjectKey>,
    created: Vec<SubjectKey>,
}

impl<'a> RowSealer<'a> {
    pub(crate) fn new(
        state: &'a TenantState,
        rows: &'a dyn RowReader,
        place: SealPlace,
        new_keys: &'a [NewSubjectKey],
    ) -> Self {
        Self {
            state,
            rows,
            place,
            new_keys: new_keys.iter().map(|new| (new.subject.as_str(), &new.key)).collect(),
            touched: Touched::new(rows),
            keys: BTreeMap::new(),
            created: Vec::new(),
        }
    }

    /// Seals the erasable cells of a row that becomes chunk `chunk` of the record.
    pub(crate) fn seal(
        &mut self,
        table: &TableSchema,
        chunk: u32,
        row: &mut Row,
    ) -> Result<Result<(), Refusal>, ApplyError> {
        if row.iter().any(|value| matches!(value, Value::Sealed(_))) {
            return Ok(Err(Refusal::SealedValue { table: table.id }));
        }
        let Some(columns) = &table.subjects else {
            return Ok(Ok(()));
        };
        let written = |place: &&u16| row.get(usize::from(**place)).is_some_and(|value| !value.is_null());
        if !columns.erasable.iter().any(|place| written(&place)) {
            return Ok(Ok(()));
        }
        let Some(name) = row.get(usize::from(columns.subject)).and_then(subject_name) else {
            return Ok(Err(Refusal::SubjectName {
                bytes: 0,
                bytes_max: SUBJECT_BYTES_MAX,
            }));
        };
        if let Err(refusal) = check(&name, None) {
            return Ok(Err(refusal));
        }
        let key = match self.key_of(&name)? {
            Ok(key) => key,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let retention = retention_of(columns, self.state);
        self.touched
            .subject(&name)?
            .note_written(table.id, key.id(), retention, self.place.time);
        for &column in &columns.erasable {
            let Some(value) = row.get_mut(usize::from(column)).filter(|value| !value.is_null()) else {
                continue;
            };
            let place = CellPlace {
                epoch: self.place.epoch,
                salt: self.place.salt,
                offset: self.place.offset,
                chunk,
                column,
            };
            *value = Value::Sealed(Box::new(key.seal(place, value)));
        }
        Ok(Ok(()))
    }

    /// The subject's key: the one it has, or the one that the command brings.
    fn key_of(&mut self, name: &str) -> Result<Result<SubjectKey, Refusal>, ApplyError> {
        if let Some(id) = self.touched.subject(name)?.key {
            if let Some(key) = self.keys.get(&id) {
                return Ok(Ok(key.clone()));
            }
            let key = self.rows.subject_key(id)?;
            self.keys.insert(id, key.clone());
            return Ok(Ok(key));
        }
        let Some(&secret) = self.new_keys.get(name) else {
            return Ok(Err(Refusal::SubjectKeyMissing {
                subject: name.to_owned(),
            }));
        };
        let id = SubjectKeyId::new(self.state.next_subject_key + self.created.len() as u64);
        let key = SubjectKey::new(secret.clone(), id, self.place.tenant);
        self.touched.subject(name)?.key = Some(id);
        self.keys.insert(id, key.clone());
        self.created.push(key.clone());
        Ok(Ok(key))
    }

    /// The subjects' rows to store, and the keys that were created.
    pub(crate) fn finish(self) -> (Vec<ViewWrite>, Vec<SubjectKeyEffect>) {
        let effects = self.created.into_iter().map(SubjectKeyEffect::Created).collect();
        (self.touched.into_writes().collect(), effects)
    }
}

/// Notes the subjects of the rows of a record that is replayed.
pub(crate) struct SubjectReplay<'a> {
    touched: Touched<'a>,
    time: Timestamp,
}

impl<'a> SubjectReplay<'a> {
    pub(crate) const fn new(rows: &'a dyn RowReader, time: Timestamp) -> Self {
        Self {
            touched: Touched::new(rows),
            time,
        }
    }

    /// Notes a row as it was stored.
    pub(crate) fn note_row(
        &mut self,
        state: &mut TenantState,
        table: &TableSchema,
        row: &Row,
    ) -> Result<(), ApplyError> {
        let Some(columns) = &table.subjects else { return Ok(()) };
        let key = columns
            .erasable
            .iter()
            .find_map(|&place| match row.get(usize::from(place)) {
                Some(Value::Sealed(cell)) => Some(cell.key),
                _ => None,
            });
        let name = row.get(usize::from(columns.subject)).and_then(subject_name);
        if let (Some(key), Some(name)) = (key, name) {
            let retention = retention_of(columns, state);
            self.touched
                .subject(&name)?
                .note_written(table.id, key, retention, self.time);
            state.next_subject_key = state.next_subject_key.max(key.get() + 1);
        }
        Ok(())
    }

    pub(crate) fn note_erased(&mut self, state: &mut TenantState, subject: &str) -> Result<(), ApplyError> {
        state.erasures += 1;
        self.touched.subject(subject)?.erase();
        Ok(())
    }

    pub(crate) fn note_held(&mut self, subject: &str, reason: &str) -> Result<(), ApplyError> {
        self.touched.subject(subject)?.hold(reason);
        Ok(())
    }

    pub(crate) fn note_released(&mut self, subject: &str) -> Result<(), ApplyError> {
        self.touched.subject(subject)?.release();
        Ok(())
    }

    pub(crate) fn into_writes(self) -> impl Iterator<Item = ViewWrite> {
        self.touched.into_writes()
    }
}
