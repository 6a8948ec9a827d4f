//! `json` and `jsonb`: the first keeps its text, the second is normalised as PostgreSQL does.

use std::collections::BTreeMap;

use craton_types::ColumnType;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{invalid, zero_byte};
use crate::{SqlError, SqlState};

/// How deep `jsonb` nests. Reading a level again for every level above it stays cheap within this bound.
const DEPTH_MAX: usize = 128;

/// Checks that the text is JSON (RFC 8259).
pub(super) fn check(text: &str) -> Result<String, SqlError> {
    validate(text)?;
    Ok(text.to_owned())
}

/// One space after each colon and comma, keys by length and then bytes, the last of equal keys, numbers as spelled.
pub(super) fn normalize(text: &str) -> Result<String, SqlError> {
    validate(text)?;
    let mut out = String::with_capacity(text.len());
    write_normalized(text.trim_ascii(), DEPTH_MAX, &mut out).map_err(|error| match error {
        Failure::Json(error) => describe(text, &error),
        Failure::Depth => SqlError::new(
            SqlState::STATEMENT_TOO_COMPLEX,
            format!("a jsonb value nests deeper than {DEPTH_MAX} levels"),
        ),
    })?;
    if out.contains("\\u0000") {
        return Err(zero_byte());
    }
    Ok(out)
}

fn validate(text: &str) -> Result<(), SqlError> {
    serde_json::from_str::<IgnoredAny>(text)
        .map(drop)
        .map_err(|error| describe(text, &error))
}

/// PostgreSQL names the type json for `jsonb`, too.
fn describe(text: &str, error: &serde_json::Error) -> SqlError {
    invalid(text, ColumnType::Json).with_detail(format!("{error}."))
}

enum Failure {
    Json(serde_json::Error),
    Depth,
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

/// Each level is read again from its own text, so that numbers keep their digits.
fn write_normalized(text: &str, depth_left: usize, out: &mut String) -> Result<(), Failure> {
    let depth_left = depth_left.checked_sub(1).ok_or(Failure::Depth)?;
    match text.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
            let mut members: Vec<_> = members.into_iter().collect();
            members.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
            out.push('{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                out.push_str(&serde_json::to_string(&key)?);
                out.push_str(": ");
                write_normalized(value.get(), depth_left, out)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            out.push('[');
            for (index, item) in items.into_iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_normalized(item.get(), depth_left, out)?;
            }
            out.push(']');
        }
        Some(b'"') => {
            let string: String = serde_json::from_str(text)?;
            out.push_str(&serde_json::to_string(&string)?);
        }
        _ => out.push_str(text),
    }
    Ok(())
}
