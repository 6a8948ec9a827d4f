//! The session's settings: `SET`, `SHOW` and `RESET`.

use std::collections::BTreeMap;

use craton_types::{ColumnType, PlacementRules, Value};

use crate::limits::NAME_BYTES_MAX;
use crate::{AsOf, ResultColumn, ResultSet, SetVariable, SqlError, SqlState};

/// The PostgreSQL version whose behaviour clients may expect.
pub const SERVER_VERSION: &str = "16.0";
/// The same as a number, as `server_version_num` shows it.
const SERVER_VERSION_NUMBER: &str = "160000";
/// The setting that turns a session to the past.
const AS_OF_POSITION: &str = "craton.as_of_position";
/// What a session's reads must see of what was written through other nodes.
const CONSISTENCY: &str = "craton.consistency";
/// Up to where a causally consistent session must see what others wrote.
pub const CONSISTENCY_TOKEN: &str = "craton.consistency_token";
/// Where data of which class may be kept.
const PLACEMENT: &str = "craton.placement";
/// Where the node is.
const REGION: &str = "craton.region";
/// How long a receipt waits for witnesses.
const COSIGNATURE_TIMEOUT: &str = "craton.cosignature_timeout";
/// The longest value of a setting in bytes.
const VALUE_BYTES_MAX: usize = 1_024;

/// What a setting accepts.
#[derive(Clone, Copy, Debug)]
enum Domain {
    /// Any text.
    Text,
    /// One of these, in any case.
    OneOf(&'static [&'static str]),
    Bool,
    /// An integer, or a duration with a unit, which is kept in milliseconds.
    Milliseconds,
    Integer {
        min: i64,
        max: i64,
    },
    /// A position in the log, or empty for the present.
    Position,
    /// Cannot be changed.
    Fixed,
}

struct Definition {
    /// As PostgreSQL spells it.
    name: &'static str,
    default: &'static str,
    domain: Domain,
}

const fn define(name: &'static str, default: &'static str, domain: Domain) -> Definition {
    Definition { name, default, domain }
}

/// Settings whose other values would change results accept only the value that is true of this engine, so that a
/// client is told instead of misled.
const DEFINITIONS: &[Definition] = &[
    define("application_name", "", Domain::Text),
    define("bytea_output", "hex", Domain::OneOf(&["hex"])),
    define("client_encoding", "UTF8", Domain::OneOf(&["utf8", "utf-8", "unicode"])),
    define(
        "client_min_messages",
        "notice",
        Domain::OneOf(&[
            "debug", "debug1", "debug2", "debug3", "debug4", "debug5", "log", "notice", "warning", "error",
        ]),
    ),
    define(AS_OF_POSITION, "", Domain::Position),
    define(
        CONSISTENCY,
        "linearizable",
        Domain::OneOf(&["linearizable", "causal", "eventual"]),
    ),
    define(CONSISTENCY_TOKEN, "0", Domain::Integer { min: 0, max: i64::MAX }),
    define(COSIGNATURE_TIMEOUT, "2000", Domain::Milliseconds),
    define(PLACEMENT, "none", Domain::Fixed),
    define(REGION, "", Domain::Fixed),
    define(
        "DateStyle",
        "ISO, MDY",
        Domain::OneOf(&["iso", "iso, mdy", "iso, ymd", "iso,mdy", "iso,ymd"]),
    ),
    define(
        "default_transaction_isolation",
        "serializable",
        Domain::OneOf(ISOLATION_LEVELS),
    ),
    define("default_transaction_read_only", "off", Domain::Bool),
    define("extra_float_digits", "1", Domain::Integer { min: -15, max: 3 }),
    define("idle_in_transaction_session_timeout", "0", Domain::Milliseconds),
    define("in_hot_standby", "off", Domain::Fixed),
    define("integer_datetimes", "on", Domain::Fixed),
    define("IntervalStyle", "postgres", Domain::OneOf(&["postgres"])),
    define("is_superuser", "off", Domain::Fixed),
    define("lock_timeout", "0", Domain::Milliseconds),
    define("max_identifier_length", "63", Domain::Fixed),
    define("search_path", "\"$user\", public", Domain::Text),
    define("server_encoding", "UTF8", Domain::Fixed),
    define("server_version", SERVER_VERSION, Domain::Fixed),
    define("server_version_num", SERVER_VERSION_NUMBER, Domain::Fixed),
    define("standard_conforming_strings", "on", Domain::OneOf(&["on"])),
    define("statement_timeout", "0", Domain::Milliseconds),
    define(
        "TimeZone",
        "UTC",
        Domain::OneOf(&[
            "utc",
            "etc/utc",
            "gmt",
            "etc/gmt",
            "zulu",
            "z",
            "+00",
            "0",
            "+00:00",
            "universal",
        ]),
    ),
    define("transaction_isolation", "serializable", Domain::OneOf(ISOLATION_LEVELS)),
    define("transaction_read_only", "off", Domain::Bool),
];

const ISOLATION_LEVELS: &[&str] = &["serializable", "repeatable read", "read committed", "read uncommitted"];

/// What reads must see of what was written through other nodes of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Everything that was acknowledged anywhere before the read began.
    Linearizable,
    /// Everything that the token stands for, and what the session itself wrote.
    Causal(u64),
    /// Whatever this node has.
    Eventual,
}

/// The settings of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// Values that differ from the default, by lower-case name.
    changed: BTreeMap<&'static str, String>,
}

impl Variables {
    /// Carries out `SET` or `RESET`. `SET LOCAL` is for the session to undo when the transaction ends: keep a copy.
    ///
    /// # Errors
    /// `42704` for an unknown name, `22023` for a value that cannot be, `55P02` for a fixed setting.
    pub fn set(&mut self, set: &SetVariable) -> Result<(), SqlError> {
        let definition = find(&set.name)?;
        if matches!(definition.domain, Domain::Fixed) {
            return Err(SqlError::new(
                SqlState::CANNOT_CHANGE_SETTING,
                format!("parameter \"{}\" cannot be changed", definition.name),
            ));
        }
        match &set.value {
            None => self.changed.remove(definition.name),
            Some(value) => self.changed.insert(definition.name, check(definition, value)?),
        };
        Ok(())
    }

    /// `SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY`, or `READ WRITE`.
    pub fn set_default_read_only(&mut self, read_only: bool) {
        let value = if read_only { "on" } else { "off" };
        self.changed.insert("default_transaction_read_only", value.to_owned());
    }

    /// `RESET ALL`, `DISCARD ALL`.
    pub fn reset_all(&mut self) {
        self.changed.clear();
    }

    /// A setting's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        find(name).ok().map(|definition| self.value(definition))
    }

    fn value<'a>(&'a self, definition: &'a Definition) -> &'a str {
        self.changed
            .get(definition.name)
            .map_or(definition.default, String::as_str)
    }

    /// The state that the session reads by `craton.as_of_position`.
    #[must_use]
    pub fn as_of(&self) -> AsOf {
        match self.changed.get(AS_OF_POSITION).and_then(|text| text.parse().ok()) {
            Some(position) => AsOf::Position(position),
            None => AsOf::Now,
        }
    }

    /// What the session's reads must see of what was written through other nodes.
    #[must_use]
    pub fn consistency(&self) -> Consistency {
        match self.get(CONSISTENCY) {
            Some("eventual") => Consistency::Eventual,
            Some("causal") => {
                let token = self.get(CONSISTENCY_TOKEN).and_then(|text| text.parse().ok());
                Consistency::Causal(token.unwrap_or(0))
            }
            _ => Consistency::Linearizable,
        }
    }

    /// Sets the token that `SHOW craton.consistency_token` gives to other sessions.
    pub fn set_consistency_token(&mut self, token: u64) {
        self.changed.insert(CONSISTENCY_TOKEN, token.to_string());
    }

    /// Sets what `SHOW craton.placement` and `SHOW craton.region` say.
    pub fn note_placement(&mut self, rules: &PlacementRules, region: &str) {
        self.changed.insert(PLACEMENT, rules.to_string());
        self.changed.insert(REGION, region.to_owned());
    }

    /// How long a receipt waits for witnesses' signatures, in milliseconds; zero for not at all.
    #[must_use]
    pub fn cosignature_timeout_ms(&self) -> u64 {
        self.get(COSIGNATURE_TIMEOUT)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }

    /// `statement_timeout` in milliseconds; zero is none.
    #[must_use]
    pub fn statement_timeout_ms(&self) -> u64 {
        self.get("statement_timeout")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }

    /// Whether transactions are read-only unless they say otherwise.
    #[must_use]
    pub fn default_read_only(&self) -> bool {
        self.get("default_transaction_read_only") == Some("on")
    }

    /// The answer to `SHOW name`, or to `SHOW ALL`.
    ///
    /// # Errors
    /// `42704` for an unknown name.
    pub fn show(&self, name: Option<&str>) -> Result<ResultSet, SqlError> {
        let columns = show_columns(name);
        let text = |text: &str| Value::Text(text.to_owned());
        let rows = match name {
            Some(name) => vec![vec![text(self.value(find(name)?))]],
            None => DEFINITIONS
                .iter()
                .map(|definition| vec![text(definition.name), text(self.value(definition)), text("")])
                .collect(),
        };
        Ok(ResultSet {
            columns: columns.into(),
            rows,
        })
    }
}

/// The columns of `SHOW`.
pub(crate) fn show_columns(name: Option<&str>) -> Vec<ResultColumn> {
    let column = |name: &str| ResultColumn {
        name: name.to_owned(),
        column_type: ColumnType::Text,
    };
    match name {
        Some(name) => vec![column(find(name).map_or(name, |definition| definition.name))],
        None => vec![column("name"), column("setting"), column("description")],
    }
}

fn find(name: &str) -> Result<&'static Definition, SqlError> {
    DEFINITIONS
        .iter()
        .find(|definition| definition.name.eq_ignore_ascii_case(name))
        .ok_or_else(|| {
            let name: String = name.chars().take(NAME_BYTES_MAX).collect();
            SqlError::new(
                SqlState::UNDEFINED_OBJECT,
                format!("unrecognized configuration parameter \"{name}\""),
            )
        })
}

fn check(definition: &Definition, value: &str) -> Result<String, SqlError> {
    let refused = || {
        SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"{}\": \"{value}\"", definition.name),
        )
    };
    if value.len() > VALUE_BYTES_MAX {
        return Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!(
                "the value of parameter \"{}\" is longer than {VALUE_BYTES_MAX} bytes",
                definition.name
            ),
        ));
    }
    match definition.domain {
        Domain::Text => Ok(value.to_owned()),
        Domain::Fixed => Err(refused()),
        Domain::OneOf(allowed) => {
            let lower = value.trim().to_ascii_lowercase();
            if allowed.contains(&lower.as_str()) {
                Ok(canonical(definition, lower))
            } else {
                Err(refused().with_hint(format!("Available values: {}.", allowed.join(", "))))
            }
        }
        Domain::Bool => match value.trim().to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" | "1" | "t" | "y" => Ok("on".to_owned()),
            "off" | "false" | "no" | "0" | "f" | "n" => Ok("off".to_owned()),
            _ => Err(refused().with_hint("Available values: on, off.")),
        },
        Domain::Milliseconds => milliseconds(value).map(|ms| ms.to_string()).ok_or_else(refused),
        Domain::Integer { min, max } => {
            let number: i64 = value.trim().parse().map_err(|_| refused())?;
            if (min..=max).contains(&number) {
                Ok(number.to_string())
            } else {
                Err(refused().with_hint(format!("Use {min} to {max}.")))
            }
        }
        Domain::Position if value.trim().is_empty() => Ok(String::new()),
        Domain::Position => value
            .trim()
            .parse::<u64>()
            .map(|position| position.to_string())
            .map_err(|_| refused().with_hint("Use the position of a record, counted from zero.")),
    }
}

/// The spelling that is kept: the default's where the default was meant.
fn canonical(definition: &Definition, lower: String) -> String {
    let same_as_default = definition.default.eq_ignore_ascii_case(&lower)
        || matches!(definition.name, "client_encoding" | "TimeZone")
        || (definition.name == "DateStyle" && !lower.ends_with("ymd"));
    if same_as_default {
        definition.default.to_owned()
    } else if definition.name == "DateStyle" {
        "ISO, YMD".to_owned()
    } else {
        lower
    }
}

/// An integer of milliseconds, or a number with one of PostgreSQL's time units.
fn milliseconds(text: &str) -> Option<i64> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let total = number.parse::<i64>().ok()?.checked_mul(factor)?;
    (total <= i64::from(i32::MAX)).then_some(total)
}
