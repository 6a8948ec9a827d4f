//! What parses, what does not and why, and the bounds at their edges.

use proptest::prelude::*;

use super::parse;
use crate::limits::{BRACKETS_DEPTH_MAX, CHAIN_TOKENS_MAX, STATEMENT_BYTES_MAX, STATEMENT_TOKENS_MAX};
use crate::statement::{AsOfKind, ComplianceSyntax, Syntax};

#[track_caller]
fn check(sql: &str, expect: &str) {
    let shown = match parse(sql) {
        Ok(statements) => statements
            .iter()
            .map(|statement| match (statement.syntax.as_ref(), &statement.as_of) {
                (Syntax::Sql(ast), None) => ast.to_string(),
                (Syntax::Sql(ast), Some(as_of)) => format!("{ast} @ {:?} {}", as_of.kind, as_of.expression),
                (Syntax::Compliance(ComplianceSyntax::Subject { verb, subject, reason }), _) => {
                    let reason = reason.as_ref().map(ToString::to_string);
                    format!("{verb:?} {subject} because {reason:?}")
                }
                (
                    Syntax::Compliance(ComplianceSyntax::Alter {
                        is_database,
                        name,
                        options,
                    }),
                    _,
                ) => {
                    format!("alter {name} (database: {is_database}) with {} options", options.len())
                }
            })
            .collect::<Vec<_>>()
            .join("; "),
        Err(error) => match error.position {
            Some(position) => format!("{} at {position}: {}", error.sqlstate, error.message),
            None => format!("{}: {}", error.sqlstate, error.message),
        },
    };
    assert_eq!(shown, expect, "{sql}");
}

#[test]
fn statements_about_data_subjects_have_their_own_syntax() {
    check("ERASE SUBJECT '42'", "Erase '42' because None");
    check(
        "erase subject $1 reason 'art. 17'",
        "Erase $1 because Some(\"'art. 17'\")",
    );
    check(
        "HOLD SUBJECT '42' REASON 'court'",
        "Hold '42' because Some(\"'court'\")",
    );
    check("RELEASE SUBJECT '42' REASON $2", "Release '42' because Some(\"$2\")");
    check(
        "ALTER TABLE t SET (retention = '1 year')",
        "alter t (database: false) with 1 options",
    );
    check(
        "ALTER DATABASE main SET (retention = '1 year')",
        "alter main (database: true) with 1 options",
    );
    check("ERASE SUBJECT", "42601: syntax error at end of input");
    check(
        "ERASE SUBJECT '42' BECAUSE 'x'",
        "42601 at 20: syntax error at or near \"BECAUSE\"",
    );
    check(
        "ERASE SUBJECT '42' REASON 'x' 'y'",
        "42601 at 31: syntax error at or near \"'y'\"",
    );
    check("ERASE '42'", "42601 at 1: syntax error at or near \"ERASE\"");
    check("RELEASE SAVEPOINT s", "0A000 at 1: RELEASE is not supported");
    check(
        "ALTER TABLE t ADD COLUMN c int",
        "0A000 at 1: ALTER TABLE is not supported",
    );
    check(
        "ALTER TABLE t SET (a = 'b') x",
        "42601 at 29: syntax error at or near \"x\"",
    );
}

#[test]
fn statements_are_split_and_placed() {
    check("", "");
    check(" ; -- nothing\n ;", "");
    check("SELECT 1; SELECT ';'", "SELECT 1; SELECT ';'");
    check("SELECT 1 SELECT 2", "42601 at 10: syntax error at or near \"SELECT\"");
    check("SELEC 1", "42601 at 1: syntax error at or near \"SELEC\"");
    check("SELECT 1;\n  SELEC 1", "42601 at 13: syntax error at or near \"SELEC\"");
    check("SELECT é, 'ü' FRM t", "42601 at 19: syntax error at or near \"t\"");
    check("SELECT (1", "42601: syntax error at end of input");
    check("SELECT 'abc", "42601 at 8: Unterminated string literal");
}

#[test]
fn the_time_travel_clause_is_taken_out() {
    check("SELECT * FROM t AS OF POSITION 5", "SELECT * FROM t @ Position 5");
    check(
        "select * from t as of position $1 where a = 1",
        "SELECT * FROM t WHERE a = 1 @ Position $1",
    );
    check(
        "SELECT * FROM public.t x AS OF POSITION 5 LIMIT 1",
        "SELECT * FROM public.t x LIMIT 1 @ Position 5",
    );
    check(
        "SELECT * FROM t AS OF POSITION 5 AS x",
        "SELECT * FROM t AS x @ Position 5",
    );
    check(
        "SELECT * FROM t FOR SYSTEM_TIME AS OF TIMESTAMP '2024-01-01' ORDER BY a",
        "SELECT * FROM t ORDER BY a @ SystemTime TIMESTAMP '2024-01-01'",
    );
    check(
        "SELECT * FROM t FOR SYSTEM_TIME AS OF now()",
        "SELECT * FROM t @ SystemTime now()",
    );
    check("SELECT position FROM t AS of", "SELECT position FROM t AS of");
    check(
        "SELECT \"as\" of FROM t WHERE a = 'AS OF POSITION 5'",
        "SELECT \"as\" AS of FROM t WHERE a = 'AS OF POSITION 5'",
    );
    check(
        "SELECT 1 AS OF POSITION 5",
        "42601 at 10: AS OF must follow the table in FROM",
    );
    check(
        "SELECT * FROM t WHERE a = 1 AS OF POSITION 5",
        "42601 at 29: AS OF must follow the table in FROM",
    );
    check(
        "SELECT * FROM t AS OF POSITION 5 AS OF POSITION 6",
        "42601 at 34: AS OF may be given once",
    );
    check("SELECT * FROM t AS OF POSITION", "42601: syntax error at end of input");
    check("DELETE FROM t AS OF POSITION 5", "DELETE FROM t @ Position 5");
    assert_eq!(
        parse("SELECT 1 FROM t AS OF POSITION 5").expect("parses")[0]
            .as_of
            .as_ref()
            .map(|as_of| as_of.kind),
        Some(AsOfKind::Position)
    );
}

#[test]
fn the_text_is_bounded() {
    let comment = |bytes: usize| format!("--{}", "x".repeat(bytes - 2));
    check(&comment(STATEMENT_BYTES_MAX), "");
    check(
        &comment(STATEMENT_BYTES_MAX + 1),
        "54000: the statement text takes 1048577 bytes, more than 1048576",
    );
}

#[test]
fn the_tokens_are_bounded() {
    // A separator and an item per step, and the keyword.
    let list = |tokens: usize| format!("SELECT 1{}", ",1".repeat((tokens - 2) / 2));
    assert!(parse(&list(STATEMENT_TOKENS_MAX)).is_ok());
    check(
        &format!("{};", list(STATEMENT_TOKENS_MAX)),
        "54000: the statement has 262145 tokens, more than 262144",
    );
}

/// On a thread with the stack of a test, in a build without optimisations.
#[test]
fn chains_are_bounded() {
    let chain = |tokens: usize| format!("SELECT 1{}", "+1".repeat((tokens - 2) / 2));
    assert!(parse(&chain(CHAIN_TOKENS_MAX)).is_ok());
    let error = parse(&chain(CHAIN_TOKENS_MAX + 2)).expect_err("too long");
    assert_eq!(error.sqlstate.as_str(), "54001");
    for link in [
        "::int",
        " IS NULL",
        "[1]",
        " COLLATE x",
        " AND (a)",
        "!",
        " AT TIME ZONE 'x'",
    ] {
        let long = format!("SELECT 1{}", link.repeat(20_000));
        assert!(parse(&long).is_err(), "{link}");
        let within = format!("SELECT 1{}", link.repeat(CHAIN_TOKENS_MAX / 8));
        let _ = parse(&within);
    }
}

/// On a thread with the stack of a test, in a build without optimisations; with and without something wrong inside.
#[test]
fn nesting_is_bounded() {
    let parentheses = |depth: usize| format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(parse(&parentheses(BRACKETS_DEPTH_MAX)).is_ok());
    let error = parse(&parentheses(BRACKETS_DEPTH_MAX + 1)).expect_err("too deep");
    assert_eq!(error.sqlstate.as_str(), "54001");
    for (open, close) in [
        ("(", ")"),
        ("NOT ", ""),
        ("- ", ""),
        ("INTERVAL ", ""),
        ("f(", ")"),
        ("(1, ", ")"),
        ("1 + (", ")"),
        ("a IN (", ")"),
        ("(SELECT ", ")"),
        ("(SELECT * FROM (", ") x)"),
        ("EXISTS (SELECT ", ")"),
        ("ARRAY[", "]"),
        ("x[", "]"),
        ("{", "}"),
        ("CASE WHEN ", " THEN 1 END"),
        ("CASE ", " WHEN 1 THEN 1 END"),
        ("CAST(", " AS int)"),
        ("a BETWEEN ", " AND 1"),
        ("extract(year from ", ")"),
        ("substring(", " from 1)"),
        ("trim(", ")"),
        ("int[", ""),
    ] {
        for depth in [2, 150] {
            for wrong in ["", "SELECT"] {
                for start in [
                    "SELECT ",
                    "SELECT * FROM ",
                    "INSERT INTO t VALUES (",
                    "CREATE TABLE t (a ",
                    "DELETE FROM t WHERE ",
                ] {
                    let _ = parse(&format!(
                        "{start}{}1 {wrong}{}",
                        open.repeat(depth),
                        close.repeat(depth)
                    ));
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,80}") {
        let _ = parse(&text);
    }

    #[test]
    fn shuffled_tokens_never_panic(words in proptest::collection::vec(
        proptest::sample::select(vec![
            "SELECT", "FROM", "WHERE", "AS", "OF", "POSITION", "FOR", "SYSTEM_TIME", "INSERT", "INTO", "VALUES", "UPDATE",
            "SET", "DELETE", "COPY", "STDIN", "WITH", "CREATE", "TABLE", "PRIMARY", "KEY", "(", ")", ",", ";", "*", "t",
            "a", "1", "'x'", "$1", "=", "::", "int", "NOT", "NULL", "AND", "OR", "IN", "BETWEEN", "LIKE", "CASE", "WHEN",
            "END", "ORDER", "BY", "LIMIT", "[", "]", "-", "||", ".", "\"q\"", "E'\\'", "ON", "CONFLICT", "DO", "RETURNING",
        ]), 0..24)) {
        let _ = parse(&words.join(" "));
    }
}
