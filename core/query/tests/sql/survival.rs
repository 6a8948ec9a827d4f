//! Whatever is asked, the answer is rows or an error.

use proptest::prelude::*;

use super::database::Database;

const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "BY",
    "HAVING",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "DISTINCT",
    "AS",
    "OF",
    "POSITION",
    "FOR",
    "SYSTEM_TIME",
    "TIMESTAMP",
    "INSERT",
    "INTO",
    "VALUES",
    "DEFAULT",
    "ON",
    "CONFLICT",
    "DO",
    "NOTHING",
    "UPDATE",
    "SET",
    "DELETE",
    "RETURNING",
    "CREATE",
    "TABLE",
    "PRIMARY",
    "KEY",
    "DROP",
    "COPY",
    "STDIN",
    "EXPLAIN",
    "SHOW",
    "BEGIN",
    "t",
    "a",
    "b",
    "id",
    "excluded",
    "*",
    ",",
    "(",
    ")",
    "=",
    "<",
    ">=",
    "<>",
    "+",
    "-",
    "/",
    "%",
    "||",
    "::",
    "int",
    "text",
    "numeric",
    "date",
    "1",
    "0",
    "2.5",
    "-1",
    "'x'",
    "'1'",
    "'2024-01-01'",
    "null",
    "true",
    "$1",
    "AND",
    "OR",
    "NOT",
    "IN",
    "BETWEEN",
    "LIKE",
    "IS",
    "NULL",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "count",
    "sum",
    "max",
    "lower",
    "coalesce",
    "round",
    "substring",
    "now()",
    "interval",
    "'1 day'",
    "craton_receipt",
    "craton_state_receipt",
    "'t'",
    "craton_history",
    ".",
    ";",
    "ASC",
    "DESC",
    "COLLATE",
    "ARRAY",
    "[",
    "]",
    "CAST",
    "extract",
    "year",
];

/// Expressions that are mostly well formed, so that they get past the parser.
fn expression() -> impl Strategy<Value = String> {
    let leaf = proptest::sample::select(vec![
        "a",
        "b",
        "id",
        "1",
        "0",
        "-3",
        "2.50",
        "9223372036854775807",
        "1e-3",
        "'x'",
        "'7'",
        "'%x_'",
        "null",
        "true",
        "'2024-02-29'::date",
        "now()",
        "'\\x00'::bytea",
        "'NaN'::float8",
        "1.5::float4",
        "count(*)",
        "sum(a)",
        "t.b",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let binary = proptest::sample::select(vec![
            "+",
            "-",
            "*",
            "/",
            "%",
            "||",
            "=",
            "<>",
            "<",
            ">=",
            "AND",
            "OR",
            "LIKE",
            "ILIKE",
            "IS DISTINCT FROM",
        ]);
        let unary = proptest::sample::select(vec![
            "lower", "length", "abs", "round", "coalesce", "upper", "max", "NOT", "-", "ceil", "left", "trim",
        ]);
        let types = proptest::sample::select(vec![
            "int",
            "smallint",
            "text",
            "numeric(3,1)",
            "float8",
            "date",
            "bool",
            "varchar(2)",
            "uuid",
            "timestamptz",
        ]);
        prop_oneof![
            (inner.clone(), binary, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (unary, inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (inner.clone(), types).prop_map(|(a, t)| format!("({a})::{t}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} IN ({b}, null)")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} BETWEEN {b} AND {c})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("CASE WHEN {a} THEN {b} ELSE {c} END")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("substring({a}, {b}, {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("round({a}, {b})")),
            inner.prop_map(|a| format!("({a} IS NULL)")),
        ]
    })
}

fn db() -> Database {
    Database::with(
        "CREATE TABLE t (id int PRIMARY KEY, a int, b text); INSERT INTO t VALUES (1, 5, 'x'), (2, null, '7')",
    )
}

proptest! {
    #[test]
    fn arbitrary_words_never_panic(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..20)) {
        db().answer_with(&words.join(" "), &[craton_types::Value::Null]);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,60}") {
        db().answer(&format!("SELECT {text}"));
        db().answer(&text);
    }

    #[test]
    fn arbitrary_expressions_never_panic(a in expression(), b in expression()) {
        let mut db = db();
        for sql in [
            format!("SELECT {a}, {b} FROM t"),
            format!("SELECT count(*) FROM t WHERE {a} = {b}"),
            format!("SELECT {a} FROM t GROUP BY {b} ORDER BY 1"),
            format!("SELECT id FROM t WHERE id = {a} AND a < {b} ORDER BY {b} LIMIT 1"),
            format!("UPDATE t SET a = {a}, b = {b}"),
            format!("INSERT INTO t VALUES ({a}, {b}, 'z') ON CONFLICT (id) DO UPDATE SET b = excluded.b || t.b"),
        ] {
            let answer = db.answer(&sql);
            prop_assert!(!answer.contains("XX000"), "{}: {}", sql, answer);
        }
    }

    /// A condition finds the same rows whether or not the key's order helps.
    #[test]
    fn access_paths_change_no_answer(condition in expression()) {
        let mut db = db();
        let fast = db.answer(&format!("SELECT id FROM t WHERE {condition}"));
        let slow = db.answer(&format!("SELECT id FROM t WHERE ({condition}) IS TRUE"));
        let error = |answer: &str| answer.chars().nth(5) == Some(':');
        if !error(&fast) && !error(&slow) {
            prop_assert_eq!(fast, slow);
        }
    }
}
