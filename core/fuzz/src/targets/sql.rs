//! SQL text: from tokens to a plan, and through a few rows.

use craton_query::{AsOf, PlanKind, SqlError, SubjectRequest, Variables, text};
use craton_types::{ColumnType, TableSchema, Value};

use super::Parser;
use crate::stable::is_stable;
use crate::world::Rows;

pub(super) const PARSERS: &[Parser] = &[
    Parser {
        name: "statements",
        parse: statements,
        seeds: || STATEMENTS.iter().map(|sql| sql.as_bytes().to_vec()).collect(),
    },
    Parser {
        name: "text of a value",
        parse: value,
        seeds: || {
            let seeds = (0u8..).zip(VALUES).filter(|(_, text)| !text.is_empty());
            seeds
                .map(|(number, text)| [&[number], text.as_bytes()].concat())
                .collect()
        },
    },
    Parser {
        name: "COPY data",
        parse: copied,
        seeds: || {
            vec![
                b"\x009\tAda\t\\N\t{}\n\\.\n".to_vec(),
                b"\x019,\"A \"\"da\",2024-01-01,\n".to_vec(),
            ]
        },
    },
];

/// Statements of every kind, those about data subjects and the past above all.
const STATEMENTS: &[&str] = &[
    "SELECT 1",
    "CREATE TABLE t (id int PRIMARY KEY, who text NOT NULL, name text, at timestamptz DEFAULT now()) \
     WITH (subject = who, erasable = 'name', retention = '10 years')",
    "CREATE TABLE IF NOT EXISTS d (a numeric(10, 2) DEFAULT 1.5, b varchar(5), c uuid DEFAULT gen_random_uuid(), \
     PRIMARY KEY (c, b))",
    "ALTER TABLE people SET (retention = '1 year 2 mons')",
    "ALTER DATABASE main SET (retention = '3 days')",
    "ERASE SUBJECT 'p-7'",
    "ERASE SUBJECT $1 REASON 'asked for it'",
    "HOLD SUBJECT 'p-7' REASON 'case 12'",
    "RELEASE SUBJECT 'p-7' REASON 'case closed'",
    "SELECT * FROM craton_recoveries",
    "SELECT * FROM craton_events WHERE position > 3 ORDER BY position DESC LIMIT 2",
    "SELECT * FROM craton_history('people')",
    "SELECT name, count(*) FROM people GROUP BY name HAVING count(*) > 0 ORDER BY 2 DESC",
    "SELECT * FROM people AS OF POSITION 12 WHERE id = 1",
    "SELECT * FROM people FOR SYSTEM_TIME AS OF '2024-01-01' WHERE id BETWEEN 1 AND 3",
    "SELECT craton_receipt('people', 1), craton_state_receipt('people', 9), craton_position(), craton_log_key()",
    "SELECT upper(name) || 'x', length(name), id % 2, -id, id::text, CAST('1' AS int) FROM people WHERE name LIKE 'A%'",
    "SELECT CASE WHEN id > 1 THEN 'a' ELSE NULL END, coalesce(joined, '2020-01-01'::date) FROM people",
    "SELECT joined + 3, joined - '2020-01-01'::date, doc::text FROM people",
    "SELECT sum(id), avg(id), min(name), max(joined) FROM people",
    "INSERT INTO people (id, name) VALUES (5, 'Eve'), (6, $1) ON CONFLICT DO NOTHING RETURNING *",
    "INSERT INTO people VALUES (1, 'Ada', '2024-02-29', '{}') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
    "UPDATE people SET name = lower(name), joined = NULL WHERE id IN (1, 2) RETURNING id",
    "DELETE FROM people WHERE joined < now()",
    "DROP TABLE IF EXISTS a, b",
    "COPY people FROM STDIN WITH (FORMAT csv, HEADER)",
    "COPY (SELECT * FROM people) TO STDOUT",
    "BEGIN; ROLLBACK; START TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY; COMMIT",
    "SET search_path TO public; SHOW server_version; RESET ALL",
    "EXPLAIN SELECT * FROM people WHERE id = $1 AND (name <> 'x' OR NOT id > 3)",
];

fn statements(bytes: &[u8]) -> bool {
    let Ok(sql) = std::str::from_utf8(bytes) else {
        return false;
    };
    let statements = match craton_query::parse(sql) {
        Ok(statements) => statements,
        Err(error) => {
            check_error(&error);
            return false;
        }
    };
    let rows = Rows::new();
    let mut planned = !statements.is_empty();
    for statement in &statements {
        match craton_query::plan(statement, &rows, &[]) {
            Ok(plan) => {
                let parameters: Vec<_> = plan.parameter_types().iter().map(|of| parameter(*of)).collect();
                let _ = plan.tag();
                let _ = plan
                    .as_of(&rows.context(&parameters))
                    .inspect(|as_of| assert_as_of(*as_of));
                run(plan.kind(), &rows, &parameters);
            }
            Err(error) => {
                check_error(&error);
                planned = false;
            }
        }
    }
    planned
}

fn assert_as_of(as_of: AsOf) {
    if let AsOf::Timestamp(micros) = as_of {
        assert_ne!(micros, i64::MIN, "a time that was not said");
    }
}

/// Errors name a SQLSTATE and say something short.
fn check_error(error: &SqlError) {
    assert!(!error.to_string().is_empty());
    assert!(error.to_string().len() < 4_096, "{error}");
}

fn parameter(column_type: ColumnType) -> Value {
    let text = [
        "1",
        "t",
        "2024-01-01",
        "00:00:00",
        "11111111-1111-1111-1111-111111111111",
        "{}",
    ];
    let mut values = text.iter().filter_map(|text| text::parse(text, column_type).ok());
    values.next().unwrap_or(Value::Null)
}

fn run(kind: &PlanKind, rows: &Rows, parameters: &[Value]) {
    let context = rows.context(parameters);
    let outcome = match kind {
        PlanKind::Select(select) => craton_query::execute_select(select, rows, &context).map(|result| {
            for row in &result.rows {
                assert_eq!(row.len(), result.columns.len());
            }
        }),
        PlanKind::Write(write) => craton_query::execute_write(write, rows, &context).map(|set| {
            for write in &set.writes {
                assert_eq!(write.table, rows.people.id);
            }
        }),
        PlanKind::CopyOut(copy) => craton_query::copy_out(copy, rows, &context).map(|_| ()),
        PlanKind::CreateTable(create) => {
            check_schema(&create.schema);
            Ok(())
        }
        PlanKind::Subject(subject) => subject.request(&context).map(|request| check_request(&request)),
        PlanKind::Set(set) => Variables::default().set(set).map(|_| ()),
        _ => Ok(()),
    };
    if let Err(error) = outcome {
        check_error(&error);
    }
}

/// What a planned definition says is what the catalogue can keep.
fn check_schema(schema: &TableSchema) {
    let column = |position: &u16| schema.columns.get(usize::from(*position)).is_some();
    assert!(!schema.primary_key.is_empty() && schema.primary_key.iter().all(column));
    if let Some(subjects) = &schema.subjects {
        assert!(column(&subjects.subject) && subjects.erasable.iter().all(column));
        assert!(
            subjects.erasable.is_sorted_by(|a, b| a < b),
            "erasable columns are ascending"
        );
        assert!(
            !subjects.erasable.contains(&subjects.subject),
            "the subject's column is not erasable"
        );
        let in_key = |position: &u16| schema.primary_key.contains(position);
        assert!(!subjects.erasable.iter().any(in_key), "a key's column is not erasable");
    }
    assert!(is_stable::<TableSchema>(&minicbor::to_vec(schema).expect("in memory")));
}

fn check_request(request: &SubjectRequest) {
    if let SubjectRequest::Hold { reason, .. } | SubjectRequest::Release { reason, .. } = request {
        assert!(!reason.trim().is_empty(), "a hold begins and ends with a reason");
    }
}

const TYPES: [ColumnType; 18] = [
    ColumnType::Bool,
    ColumnType::Int2,
    ColumnType::Int4,
    ColumnType::Int8,
    ColumnType::Float4,
    ColumnType::Float8,
    ColumnType::Numeric {
        precision_and_scale: None,
    },
    ColumnType::Numeric {
        precision_and_scale: Some((10, 2)),
    },
    ColumnType::Text,
    ColumnType::Varchar { length_max: 5 },
    ColumnType::Bytea,
    ColumnType::Date,
    ColumnType::Time,
    ColumnType::Timestamp,
    ColumnType::TimestampTz,
    ColumnType::Uuid,
    ColumnType::Json,
    ColumnType::Jsonb,
];
/// One text for each of the types.
const VALUES: [&str; 18] = [
    "true",
    "-7",
    "2147483647",
    "-9223372036854775808",
    "1.5e10",
    "-Infinity",
    "-12.340",
    "99999999.99",
    "text",
    "short",
    "\\xdeadbeef",
    "2024-02-29",
    "23:59:59.999999",
    "2024-02-29 12:34:56.789",
    "2024-02-29T12:34:56+02:30",
    "11111111-1111-1111-1111-111111111111",
    "{\"a\": [1, null]}",
    "[true, {\"b\": 1e5}]",
];

/// A value shows as a text that spells the same value.
fn value(bytes: &[u8]) -> bool {
    let Some((&number, spelled)) = bytes.split_first() else {
        return false;
    };
    let Some(&column_type) = TYPES.get(usize::from(number)) else {
        return false;
    };
    let Ok(spelled) = std::str::from_utf8(spelled) else {
        return false;
    };
    let value = match text::parse(spelled, column_type) {
        Ok(value) => value,
        Err(error) => {
            check_error(&error);
            return false;
        }
    };
    let shown = text::format(&value, column_type);
    let again = text::parse(&shown, column_type).expect("what is shown spells a value");
    assert_eq!(
        text::format(&again, column_type),
        shown,
        "{value:?} and {again:?} show alike"
    );
    assert!(is_stable::<Value>(&minicbor::to_vec(&value).expect("in memory")));
    true
}

/// Data for `COPY people FROM STDIN`, in the text format or as CSV.
fn copied(bytes: &[u8]) -> bool {
    let Some((&format, data)) = bytes.split_first() else {
        return false;
    };
    let sql = ["COPY people FROM STDIN", "COPY people FROM STDIN WITH (FORMAT csv)"];
    let Some(sql) = sql.get(usize::from(format)) else {
        return false;
    };
    let rows = Rows::new();
    let statements = craton_query::parse(sql).expect("parses");
    let plan = craton_query::plan(&statements[0], &rows, &[]).expect("plans");
    let PlanKind::CopyIn(copy) = plan.kind() else {
        unreachable!("a COPY")
    };
    let written = craton_query::copy_in(copy, data, &rows, &rows.context(&[]));
    match &written {
        Ok(set) => assert!(set.writes.len() <= data.len()),
        Err(error) => check_error(error),
    }
    written.is_ok()
}
