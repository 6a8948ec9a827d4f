//! The term of each entry, kept in memory: terms change rarely, so it takes one pair for each term and not for each entry.

use craton_types::{LogIndex, Term};

/// The entries that are the first of their term, ascending. All entries from the first one on have a term here; how far
/// they reach is for the log to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms(Vec<(LogIndex, Term)>);

impl Terms {
    /// Notes the next entry.
    pub(super) fn note(&mut self, index: LogIndex, term: Term) {
        if self.0.last().is_none_or(|(_, last)| *last != term) {
            self.0.push((index, term));
        }
    }

    /// Notes the entries that come next.
    pub(super) fn extend(&mut self, later: &Self) {
        for &(index, term) in &later.0 {
            self.note(index, term);
        }
    }

    /// The term of an entry that is in the log; `None` for one before the first.
    pub(super) fn at(&self, index: LogIndex) -> Option<Term> {
        let after = self.0.partition_point(|(first, _)| *first <= index);
        after.checked_sub(1).map(|at| self.0[at].1)
    }

    /// Leaves out the entries from `index` on.
    pub(super) fn truncate_from(&mut self, index: LogIndex) {
        self.0.retain(|(first, _)| *first < index);
    }

    /// Leaves out the entries up to `index`.
    pub(super) fn forget_through(&mut self, index: LogIndex) {
        let next = index.next();
        let begun = self.0.partition_point(|(first, _)| *first <= next);
        if let Some(at) = begun.checked_sub(1) {
            self.0.drain(..at);
            self.0[0].0 = self.0[0].0.max(next);
        }
    }
}

impl FromIterator<(LogIndex, Term)> for Terms {
    fn from_iter<T: IntoIterator<Item = (LogIndex, Term)>>(entries: T) -> Self {
        let mut terms = Self::default();
        entries.into_iter().for_each(|(index, term)| terms.note(index, term));
        terms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(numbers: &[(u64, u64)]) -> Vec<(LogIndex, Term)> {
        let pair = |&(index, term): &(u64, u64)| (LogIndex::new(index), Term::new(term));
        numbers.iter().map(pair).collect()
    }

    fn terms() -> Terms {
        let entries = [(4, 1), (5, 1), (6, 3), (7, 3), (8, 3), (9, 4)];
        pairs(&entries).into_iter().collect()
    }

    #[test]
    fn each_entry_has_its_term_and_each_term_one_pair() {
        let terms = terms();
        assert_eq!(terms.0, pairs(&[(4, 1), (6, 3), (9, 4)]));
        for (index, term) in [
            (3, None),
            (4, Some(1)),
            (5, Some(1)),
            (6, Some(3)),
            (8, Some(3)),
            (9, Some(4)),
        ] {
            assert_eq!(terms.at(LogIndex::new(index)), term.map(Term::new), "entry {index}");
        }
    }

    #[test]
    fn both_ends_can_be_left_out() {
        for (index, expected) in [
            (9, [(4, 1), (6, 3)].as_slice()),
            (7, &[(4, 1), (6, 3)]),
            (6, &[(4, 1)]),
            (4, &[]),
        ] {
            let mut terms = terms();
            terms.truncate_from(LogIndex::new(index));
            assert_eq!(terms.0, pairs(expected), "from {index} on");
        }
        let cases: [(u64, &[(u64, u64)]); 5] = [
            (1, &[(4, 1), (6, 3), (9, 4)]),
            (4, &[(5, 1), (6, 3), (9, 4)]),
            (5, &[(6, 3), (9, 4)]),
            (7, &[(8, 3), (9, 4)]),
            (9, &[(10, 4)]),
        ];
        for (index, expected) in cases {
            let mut terms = terms();
            terms.forget_through(LogIndex::new(index));
            assert_eq!(terms.0, pairs(expected), "up to {index}");
        }
    }

    #[test]
    fn later_entries_are_joined() {
        let mut terms = terms();
        terms.extend(&pairs(&[(10, 4), (11, 6)]).into_iter().collect());
        assert_eq!(terms.0, pairs(&[(4, 1), (6, 3), (9, 4), (11, 6)]));
    }
}
