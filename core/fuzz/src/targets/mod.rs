//! The targets and their parsers.

mod agent;
mod changes;
mod cluster;
mod commands;
mod damage;
mod keys;
mod notes;
mod receipts;
mod sql;
mod state;
mod tenant_log;
mod tiles;
mod time_stamps;
mod wal;
mod wire;

/// A parser and inputs that it understands.
pub struct Parser {
    /// Its name.
    pub name: &'static str,
    /// Takes bytes and says whether they were understood. Panics when they show a defect.
    pub parse: fn(&[u8]) -> bool,
    /// Inputs that are understood, made by the code that writes them.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// A family of parsers that are fuzzed together.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Its parsers, in groups. An input's first byte is a number among all of them.
    groups: &'static [&'static [Parser]],
}

const fn target(name: &'static str, groups: &'static [&'static [Parser]]) -> Target {
    Target { name, groups }
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("logs", &[wal::PARSERS, tenant_log::PARSERS]),
    target("damage", &[damage::PARSERS]),
    target("keys", &[keys::PARSERS]),
    target("commands", &[commands::PARSERS]),
    target("state", &[state::PARSERS]),
    target("changes", &[changes::PARSERS]),
    target("receipts", &[receipts::PARSERS]),
    target("notes", &[notes::PARSERS, tiles::PARSERS]),
    target("sql", &[sql::PARSERS]),
    target("agent", &[agent::PARSERS]),
    target("wire", &[wire::PARSERS]),
    target("time_stamps", &[time_stamps::PARSERS]),
    target("cluster", &[cluster::PARSERS]),
];

impl Target {
    /// Its parsers in the order of their numbers.
    pub fn parsers(&self) -> impl Iterator<Item = &'static Parser> {
        self.groups.iter().flat_map(|group| group.iter())
    }

    /// Gives an input to the parser that it says; whether it was understood.
    ///
    /// # Panics
    /// When the input shows a defect.
    #[expect(clippy::must_use_candidate, reason = "fuzzing asks only whether it panics")]
    pub fn run(&self, input: &[u8]) -> bool {
        let Some((&number, bytes)) = input.split_first() else {
            return false;
        };
        let parser = self.parsers().nth(usize::from(number));
        parser.is_some_and(|parser| (parser.parse)(bytes))
    }

    /// Inputs to begin with: those of every parser, each with its number.
    #[must_use]
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        let numbered = (0u8..).zip(self.parsers());
        let inputs = numbered.flat_map(|(number, parser)| {
            let inputs = (parser.seeds)().into_iter();
            inputs.map(move |bytes| [&[number], &bytes[..]].concat())
        });
        inputs.collect()
    }
}
