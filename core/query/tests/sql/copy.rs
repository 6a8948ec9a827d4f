//! `COPY` in both directions.

use craton_query::{InsertCheck, PlanKind, SqlError, WriteSet};
use proptest::prelude::*;

use super::database::{Database, show_error};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, name text, price numeric(5,2), at date DEFAULT '2024-01-01')";

fn copy(db: &Database, sql: &str, data: &[u8]) -> Result<WriteSet, SqlError> {
    let plan = db.plan(sql, &[])?;
    let PlanKind::CopyIn(copy) = plan.kind() else {
        panic!("COPY FROM STDIN is expected: {sql}")
    };
    craton_query::copy_in(copy, data, db, &db.context(&[]))
}

/// Copies into the empty table, then shows its rows.
#[track_caller]
fn check(sql: &str, data: &str, expect: &str) {
    let mut db = Database::with(TABLE);
    let answer = match copy(&db, sql, data.as_bytes()) {
        Err(error) => show_error(&error),
        Ok(set) => {
            let tag = set.tag.clone();
            db.apply(set.writes).expect("applies");
            format!("{tag}\n{}", db.answer("SELECT * FROM t"))
        }
    };
    assert_eq!(answer.trim_end(), expect, "{sql}\n{data}");
}

#[test]
fn csv_is_read_as_postgresql_reads_it() {
    const CSV: &str = "COPY t FROM STDIN WITH (FORMAT csv)";
    for (sql, data, expect) in [
        (CSV, "", "COPY 0"),
        (
            CSV,
            "1,a,1.5,2024-02-29\n2,,,\n",
            "COPY 2\n1|a|1.50|2024-02-29\n2|null|null|null",
        ),
        (CSV, "1,\"\",,", "COPY 1\n1||null|null"),
        (
            CSV,
            "1,\"a\"\"b,\nc\",,\r\n2,x,,\r\n",
            "COPY 2\n1|a\"b,\nc|null|null\n2|x|null|null",
        ),
        (CSV, "1,a b \"c\" d,,\n", "COPY 1\n1|a b \"c\" d|null|null"),
        (CSV, "1,a,,\n\\.\n", "COPY 1\n1|a|null|null"),
        (
            "COPY t (name, id) FROM STDIN (FORMAT csv, HEADER true)",
            "name,id\na,1\n",
            "COPY 1\n1|a|null|2024-01-01",
        ),
        (
            "COPY t (id, name) FROM STDIN CSV HEADER",
            "x,y\n1,a\n",
            "COPY 1\n1|a|null|2024-01-01",
        ),
        (
            "COPY t (id, name) FROM STDIN WITH CSV DELIMITER ';' NULL 'NA'",
            "1;NA\n2;\"NA\"\n3;\n",
            "COPY 3\n1|null|null|2024-01-01\n2|NA|null|2024-01-01\n3||null|2024-01-01",
        ),
        (
            "COPY t (id, name) FROM STDIN (FORMAT csv, QUOTE '''', ESCAPE '\\')",
            "1,'a\\'b'\n",
            "COPY 1\n1|a'b|null|2024-01-01",
        ),
        (
            CSV,
            "x,a,,\n",
            "22P02: invalid input syntax for type integer: \"x\" [COPY t, line 1, column id: \"x\"]",
        ),
        (
            CSV,
            "1,\"a\nb\",,\n2,b,9999,\n",
            "22003: numeric field overflow [A field with precision 5, scale 2 must round to an absolute value less than 10^3. COPY t, line 3, column price: \"9999\"]",
        ),
        (
            CSV,
            "1,a,,\n2,b\n",
            "22P04: missing data for column \"price\" [COPY t, line 2, column price]",
        ),
        (
            CSV,
            "1,a,,,\n",
            "22P04: extra data after last expected column [COPY t, line 1]",
        ),
        (
            CSV,
            "1,a,,\n\n2,b,,\n",
            "22P04: missing data for column \"name\" [COPY t, line 2, column name]",
        ),
        (
            CSV,
            "1,a,,\n2,\"b,,\n",
            "22P04: unterminated CSV quoted field [COPY t, line 2]",
        ),
        (
            CSV,
            "1,a,,\n1,b,,\n",
            "23505: duplicate key value violates unique constraint \"t_pkey\" [Key (id)=(1) already exists. COPY t, line 2]",
        ),
        (
            CSV,
            ",a,,\n",
            "23502: null value in column \"id\" of relation \"t\" violates not-null constraint [Failing row contains (null, a, null, null). COPY t, line 1]",
        ),
        (
            CSV,
            "1,a\0,,\n",
            "22021: invalid byte sequence for encoding \"UTF8\": 0x00 [COPY t, line 1, column name: \"a\0\"]",
        ),
    ] {
        check(sql, data, expect);
    }
}

#[test]
fn text_is_read_as_postgresql_reads_it() {
    const TEXT: &str = "COPY t FROM STDIN";
    for (sql, data, expect) in [
        (
            TEXT,
            "1\ta\t1.5\t2024-02-29\n2\t\\N\t\\N\t\\N\n",
            "COPY 2\n1|a|1.50|2024-02-29\n2|null|null|null",
        ),
        (TEXT, "1\t\t\\N\t\\N\r\n", "COPY 1\n1||null|null"),
        (
            TEXT,
            "1\ta\\tb\\\\c\\nd\\x41\\101\t\\N\t\\N\n\\.\nrubbish",
            "COPY 1\n1|a\tb\\c\ndAA|null|null",
        ),
        (TEXT, "1\ta\\\tb\t\\N\t\\N\n", "COPY 1\n1|a\tb|null|null"),
        (
            "COPY t (id, name) FROM STDIN WITH (DELIMITER '|', NULL '')",
            "1|\n2|x\n",
            "COPY 2\n1|null|null|2024-01-01\n2|x|null|2024-01-01",
        ),
        (
            TEXT,
            "1\ta\n",
            "22P04: missing data for column \"price\" [COPY t, line 1, column price]",
        ),
        (
            TEXT,
            "1\ta\t\\N\t\\N\tx\n",
            "22P04: extra data after last expected column [COPY t, line 1]",
        ),
        (
            TEXT,
            "1\t\\xff\t\\N\t\\N\n",
            "22021: invalid byte sequence for encoding \"UTF8\" [COPY t, line 1]",
        ),
        (
            TEXT,
            "1\ta\t\\N\t\\N\nx\ta\t\\N\t\\N\n",
            "22P02: invalid input syntax for type integer: \"x\" [COPY t, line 2, column id: \"x\"]",
        ),
    ] {
        check(sql, data, expect);
    }
    let db = Database::with(TABLE);
    let error = copy(&db, TEXT, b"1\ta\t\\N\t\\N\n2\t\xff\t\\N\t\\N\n").expect_err("not UTF-8");
    assert_eq!(
        show_error(&error),
        "22021: invalid byte sequence for encoding \"UTF8\" [COPY t, line 2]"
    );
}

#[test]
fn options_are_carried_out_or_refused() {
    let db = Database::with(TABLE);
    for (sql, expect) in [
        (
            "COPY t FROM STDIN (FORMAT binary)",
            "0A000: COPY … FORMAT binary is not supported",
        ),
        (
            "COPY t FROM STDIN (FORMAT nope)",
            "22023: COPY format \"nope\" not recognized",
        ),
        (
            "COPY t FROM STDIN (FORMAT csv, FORMAT csv)",
            "42601: conflicting or redundant options",
        ),
        (
            "COPY t FROM STDIN (FREEZE true)",
            "0A000: the COPY option FREEZE is not supported",
        ),
        (
            "COPY t FROM STDIN (FORMAT csv, FORCE_NULL (name))",
            "0A000: the COPY option FORCE_NULL (name) is not supported",
        ),
        (
            "COPY t FROM STDIN (QUOTE 'x')",
            "0A000: COPY quote or escape outside of CSV mode is not supported",
        ),
        (
            "COPY t FROM STDIN (DELIMITER 'a')",
            "22023: COPY delimiter cannot be a letter, a digit, a point or a backslash",
        ),
        (
            "COPY t FROM STDIN (FORMAT csv, DELIMITER '\"')",
            "22023: COPY delimiter, null and quote must be different",
        ),
        (
            "COPY t FROM STDIN (ENCODING 'latin1')",
            "0A000: the encoding latin1 is not supported",
        ),
        ("COPY t FROM STDIN (WIBBLE)", "42601: syntax error"),
        (
            "COPY t FROM '/etc/passwd'",
            "0A000: COPY from or to a file of the server is not supported",
        ),
        (
            "COPY t TO PROGRAM 'x'",
            "0A000: COPY from or to a file of the server is not supported",
        ),
        (
            "COPY t (nope) FROM STDIN",
            "42703: column \"nope\" of relation \"t\" does not exist",
        ),
        (
            "COPY t (id, id) FROM STDIN",
            "42701: column \"id\" specified more than once",
        ),
        ("COPY nope FROM STDIN", "42P01: relation \"nope\" does not exist"),
    ] {
        let error = match db.plan(sql, &[]) {
            Ok(_) => panic!("{sql} was planned"),
            Err(error) => show_error(&error),
        };
        assert!(error.starts_with(expect), "{sql}: {error}");
    }
    let plan = db.plan("COPY t (id, name) FROM STDIN;", &[]).expect("plans");
    let PlanKind::CopyIn(copy) = plan.kind() else {
        panic!("COPY")
    };
    assert_eq!((copy.columns_count(), plan.tag(), plan.writes()), (2, "COPY", true));
}

#[test]
fn rows_are_copied_out() {
    let mut db = Database::with(TABLE);
    db.check(
        "INSERT INTO t VALUES (1, 'a,\"b', 1.5, null), (2, '', null, '2024-02-29'), (3, E'x\\ty\\\\', null, null), (4, null, null, null)",
        "INSERT 0 4",
    );
    for (sql, expect) in [
        (
            "COPY t TO STDOUT (FORMAT csv)",
            "COPY 4\n1,\"a,\"\"b\",1.50,\n2,\"\",,2024-02-29\n3,x\ty\\,,\n4,,,",
        ),
        (
            "COPY t (id, name) TO STDOUT",
            "COPY 4\n1\ta,\"b\n2\t\n3\tx\\ty\\\\\n4\t\\N",
        ),
        (
            "COPY (SELECT id AS n FROM t WHERE id > 2 ORDER BY id DESC) TO STDOUT (FORMAT csv, HEADER)",
            "COPY 2\nn\n4\n3",
        ),
    ] {
        db.check(sql, expect);
    }
}

#[test]
fn a_transaction_is_told_of_the_line_that_meets_a_row() {
    let mut db = Database::with(TABLE);
    db.check("INSERT INTO t (id) VALUES (2)", "INSERT 0 1");
    let plan = db.plan("COPY t (id) FROM STDIN", &[]).expect("plans");
    let PlanKind::CopyIn(copy) = plan.kind() else {
        panic!("COPY")
    };
    let mut context = db.context(&[]);
    context.insert_check = InsertCheck::Now;
    let error = craton_query::copy_in(copy, b"1\n2\n", &db, &context).expect_err("a duplicate");
    assert_eq!(
        show_error(&error),
        "23505: duplicate key value violates unique constraint \"t_pkey\" [Key (id)=(2) already exists. COPY t, line 2]"
    );
}

proptest! {
    /// What is copied out in any format comes back as it was.
    #[test]
    fn copies_survive_a_round_trip(
        names in proptest::collection::vec(proptest::option::of("[^\0]{0,12}"), 0..6), csv in any::<bool>(),
    ) {
        let mut db = Database::with(TABLE);
        for (id, name) in names.iter().enumerate() {
            let values = [
                craton_types::Value::Int(i64::try_from(id).expect("small")),
                name.clone().map_or(craton_types::Value::Null, craton_types::Value::Text),
            ];
            db.answer_with("INSERT INTO t (id, name) VALUES ($1, $2)", &values);
        }
        let options = if csv { "(FORMAT csv)" } else { "(FORMAT text)" };
        let out = db.answer(&format!("COPY t TO STDOUT {options}"));
        let data = out.split_once('\n').map_or("", |(_, data)| data);
        let mut back = Database::with(TABLE);
        let set = copy(&back, &format!("COPY t FROM STDIN {options}"), data.as_bytes()).expect("our own data");
        back.apply(set.writes).expect("applies");
        prop_assert_eq!(back.answer("SELECT * FROM t"), db.answer("SELECT * FROM t"));
    }

    #[test]
    fn arbitrary_data_never_panics(data in proptest::collection::vec(any::<u8>(), 0..60), csv in any::<bool>()) {
        let db = Database::with(TABLE);
        let _ = copy(&db, if csv { "COPY t FROM STDIN (FORMAT csv)" } else { "COPY t FROM STDIN" }, &data);
    }

    #[test]
    fn near_csv_never_panics(data in "[1-3a,\"\\\\.\r\n']{0,60}") {
        let db = Database::with(TABLE);
        let _ = copy(&db, "COPY t (id, name) FROM STDIN (FORMAT csv)", data.as_bytes());
        let _ = copy(&db, "COPY t (id, name) FROM STDIN (FORMAT csv, QUOTE '''', ESCAPE '\\')", data.as_bytes());
        let _ = copy(&db, "COPY t (id, name) FROM STDIN", data.as_bytes());
    }
}
