//! What is known to be damaged of the logs: found when they were opened, by the scrubber, or by whoever read.

use std::collections::BTreeMap;

use craton_log::TenantLogError;
use craton_types::Offset;
use parking_lot::Mutex;

use crate::EngineError;

/// The most damaged records that are named. More are only counted in the program's log.
const DAMAGED_MAX: usize = 1_024;

/// A record that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRecord {
    /// Its database.
    pub database: String,
    /// Its position in the database's log.
    pub position: Offset,
    /// The first field that is wrong.
    pub field: &'static str,
}

/// Damaged records, until they are whole again.
#[derive(Default)]
pub(crate) struct Damage {
    /// Whether other members of a cluster may have what is damaged here.
    is_member: bool,
    records: Mutex<BTreeMap<(String, Offset), &'static str>>,
}

impl Damage {
    pub(crate) fn new(is_member: bool) -> Self {
        Self {
            is_member,
            records: Mutex::default(),
        }
    }

    /// Whether the node is one of several, which have copies of each other's logs.
    pub(crate) const fn is_member(&self) -> bool {
        self.is_member
    }

    /// Takes note of a damaged record.
    pub(crate) fn note(&self, database: &str, position: Offset, field: &'static str) {
        let mut records = self.records.lock();
        let place = (database.to_owned(), position);
        if records.contains_key(&place) {
            return;
        }
        tracing::error!(
            database,
            position = position.get(),
            field,
            "a record of the log is damaged; reading it fails"
        );
        if records.len() < DAMAGED_MAX {
            records.insert(place, field);
        }
    }

    /// Takes note that a record is whole.
    pub(crate) fn clear(&self, database: &str, position: Offset) {
        self.records.lock().remove(&(database.to_owned(), position));
    }

    /// Takes note of what was found damaged from `from` to `next`, and that nothing else there is.
    pub(crate) fn note_range(&self, database: &str, from: Offset, next: Offset, damaged: &[(Offset, &'static str)]) {
        self.records.lock().retain(|(name, offset), _| {
            name != database || !(from..next).contains(offset) || damaged.iter().any(|(found, _)| found == offset)
        });
        for &(offset, field) in damaged {
            self.note(database, offset, field);
        }
    }

    /// What is damaged, by database and position.
    pub(crate) fn records(&self) -> Vec<DamagedRecord> {
        let records = self.records.lock();
        let named = records.iter().map(|((database, position), field)| DamagedRecord {
            database: database.clone(),
            position: *position,
            field,
        });
        named.collect()
    }

    /// The error for whoever reads, after taking note of damage.
    pub(crate) fn error(&self, database: &str, source: TenantLogError) -> EngineError {
        if let TenantLogError::Corrupt { offset, field } = source {
            self.note(database, offset, field);
            if self.is_member {
                return EngineError::RecordDamaged {
                    database: database.to_owned(),
                    position: offset,
                    field,
                };
            }
        }
        EngineError::TenantLog {
            database: database.to_owned(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corrupt(offset: u64) -> TenantLogError {
        TenantLogError::Corrupt {
            offset: Offset::new(offset),
            field: "payload_hash",
        }
    }

    #[test]
    fn a_member_promises_that_a_damaged_record_comes_back_and_a_node_alone_does_not() {
        for is_member in [false, true] {
            let damage = Damage::new(is_member);
            let error = damage.error("main", corrupt(7));
            assert_eq!(error.is_retryable(), is_member);
            assert_eq!(damage.records()[0].position, Offset::new(7));
        }
    }

    #[test]
    fn what_is_noted_is_bounded_and_forgotten_when_it_is_whole() {
        let damage = Damage::new(true);
        for offset in 0..=DAMAGED_MAX as u64 {
            damage.note("main", Offset::new(offset), "kind");
        }
        assert_eq!(damage.records().len(), DAMAGED_MAX);
        damage.clear("main", Offset::new(3));
        assert_eq!(damage.records().len(), DAMAGED_MAX - 1);
        damage.note_range("main", Offset::new(1), Offset::new(2_000), &[(Offset::new(5), "kind")]);
        let left: Vec<_> = damage.records().iter().map(|record| record.position.get()).collect();
        assert_eq!(left, [0, 5]);
        damage.note_range("other", Offset::new(0), Offset::new(2_000), &[]);
        assert_eq!(damage.records().len(), 2);
    }
}
