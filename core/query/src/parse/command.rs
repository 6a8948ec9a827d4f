//! What kind of statement the tokens are, before the parser sees them.
//!
//! The parser knows the statements of twenty dialects, some of which nest in each other without a bound on the stack.
//! Only what is carried out here gets that far.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::tokens::is_word;
use super::{near, position_of};
use crate::SqlError;

/// Commands that the parser is asked about.
const PARSED: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "DROP",
    "COPY",
    "BEGIN",
    "START",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ABORT",
    "SET",
    "SHOW",
    "RESET",
    "DISCARD",
    "DEALLOCATE",
    "VALUES",
];

/// PostgreSQL's other commands, and whether their second word belongs to the name.
const REFUSED: &[(&str, bool)] = &[
    ("ALTER", true),
    ("ANALYZE", false),
    ("CALL", false),
    ("CHECKPOINT", false),
    ("CLOSE", false),
    ("CLUSTER", false),
    ("COMMENT", false),
    ("CREATE", true),
    ("DECLARE", false),
    ("DO", false),
    ("EXECUTE", false),
    ("FETCH", false),
    ("GRANT", false),
    ("IMPORT", false),
    ("LISTEN", false),
    ("LOAD", false),
    ("LOCK", false),
    ("MERGE", false),
    ("MOVE", false),
    ("NOTIFY", false),
    ("PREPARE", false),
    ("REASSIGN", false),
    ("REFRESH", true),
    ("REINDEX", false),
    ("RELEASE", false),
    ("REVOKE", false),
    ("SAVEPOINT", false),
    ("SECURITY", false),
    ("TABLE", false),
    ("TRUNCATE", false),
    ("UNLISTEN", false),
    ("VACUUM", false),
    ("WITH", false),
];

/// Takes a leading `EXPLAIN` off the tokens of a statement; whether there was one.
pub(super) fn take_explain(tokens: &mut Vec<TokenWithSpan>) -> Result<bool, SqlError> {
    if !is_word(tokens.first(), "EXPLAIN") {
        return Ok(false);
    }
    tokens.remove(0);
    if is_word(tokens.first(), "VERBOSE") {
        // There is nothing more to tell.
        tokens.remove(0);
    }
    let is_option = match tokens.first().map(|token| &token.token) {
        Some(Token::LParen) => !is_word(tokens.get(1), "SELECT"),
        _ => is_word(tokens.first(), "ANALYZE") || is_word(tokens.first(), "ANALYSE"),
    };
    if is_option {
        return Err(SqlError::unsupported("an option of EXPLAIN").at(tokens.first().map_or(0, position_of)));
    }
    if is_word(tokens.first(), "EXPLAIN") {
        return Err(near("EXPLAIN", tokens.first().map_or(0, position_of)));
    }
    Ok(true)
}

/// Refuses what is no command, and commands that are not carried out.
pub(super) fn check(tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    let Some(first) = tokens.first() else {
        return Err(near("EOF", 0));
    };
    let word = |index: usize| match tokens.get(index).map(|token| &token.token) {
        Some(Token::Word(word)) if word.quote_style.is_none() => Some(word.value.to_ascii_uppercase()),
        _ => None,
    };
    let position = position_of(first);
    if first.token == Token::LParen {
        return Ok(());
    }
    let Some(command) = word(0) else {
        return Err(near(&first.token.to_string(), position));
    };
    if PARSED.contains(&command.as_str()) || (command == "CREATE" && creates_table(&word)) {
        return Ok(());
    }
    let Some((_, two_words)) = REFUSED.iter().find(|(name, _)| *name == command) else {
        return Err(near(&first.token.to_string(), position));
    };
    let name = match word(1) {
        Some(second) if *two_words => format!("{command} {second}"),
        _ => command,
    };
    let error = SqlError::unsupported(&name).at(position);
    Err(match name.as_str() {
        "CREATE INDEX" | "CREATE UNIQUE" => error.with_hint("Tables are read by their primary key, or as a whole."),
        "TRUNCATE" => error.with_hint("Write DELETE FROM."),
        _ => error,
    })
}

/// `CREATE TABLE`, with the words that can stand in between.
fn creates_table(word: &impl Fn(usize) -> Option<String>) -> bool {
    (1..=3)
        .map_while(word)
        .find(|word| !matches!(word.as_str(), "GLOBAL" | "LOCAL" | "TEMPORARY" | "TEMP" | "UNLOGGED"))
        .is_some_and(|word| word == "TABLE")
}
