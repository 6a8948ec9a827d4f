//! `CREATE TABLE` and `DROP TABLE`.

use craton_query::PlanKind;
use craton_types::ColumnType;

use super::database::Database;

#[test]
fn a_definition_has_every_type() {
    let db = Database::new();
    let sql = "CREATE TABLE t (
        a boolean, b smallint, c int2, d integer, e int4, f int, g bigint, h int8, i real, j float4, k double precision,
        l float8, m float, n numeric, o numeric(10), p decimal(10,2), q text, r varchar, s varchar(10),
        t character varying(3), u bytea, v date, w time, x timestamp, y timestamp without time zone, z timestamptz,
        aa timestamp with time zone, ab uuid, ac json, ad jsonb, PRIMARY KEY (ab, d))";
    let plan = db.plan(sql, &[]).expect("plans");
    let PlanKind::CreateTable(create) = plan.kind() else {
        panic!("a definition is expected")
    };
    use ColumnType::*;
    let numeric = |precision_and_scale| Numeric { precision_and_scale };
    let types: Vec<ColumnType> = create.schema.columns.iter().map(|column| column.column_type).collect();
    assert_eq!(
        types,
        [
            Bool,
            Int2,
            Int2,
            Int4,
            Int4,
            Int4,
            Int8,
            Int8,
            Float4,
            Float4,
            Float8,
            Float8,
            Float8,
            numeric(None),
            numeric(Some((10, 0))),
            numeric(Some((10, 2))),
            Text,
            Text,
            Varchar { length_max: 10 },
            Varchar { length_max: 3 },
            Bytea,
            Date,
            Time,
            Timestamp,
            Timestamp,
            TimestampTz,
            TimestampTz,
            Uuid,
            Json,
            Jsonb
        ]
    );
    assert_eq!(create.schema.primary_key, [27, 3]);
    let not_null: Vec<&str> = create
        .schema
        .columns
        .iter()
        .filter(|column| !column.nullable)
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(not_null, ["d", "ab"]);
}

#[test]
fn tables_come_and_go() {
    let mut db = Database::new();
    for (sql, expect) in [
        ("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE"),
        (
            "CREATE TABLE t (id int PRIMARY KEY)",
            "42P07: relation \"t\" already exists",
        ),
        ("CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY)", "CREATE TABLE"),
        (
            "CREATE TABLE public.\"T\" (\"Id\" int PRIMARY KEY); SELECT \"Id\" FROM \"T\"",
            "CREATE TABLE\n",
        ),
        ("DROP TABLE t, t, \"T\"", "DROP TABLE"),
        ("DROP TABLE t", "42P01: relation \"t\" does not exist"),
        ("DROP TABLE IF EXISTS t", "DROP TABLE"),
        ("DROP VIEW t", "0A000: DROP VIEW is not supported"),
    ] {
        db.check(sql, expect.trim_end());
    }
}

#[test]
fn defaults_are_kept_as_text_and_bound_when_used() {
    let mut db = Database::new();
    db.check(
        "CREATE TABLE d (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), a text DEFAULT 'it''s', b int DEFAULT -1, c date DEFAULT current_date, e text DEFAULT NULL, f numeric(4,1) DEFAULT 1.25, g timestamptz DEFAULT now() - interval '1 day');
         INSERT INTO d DEFAULT VALUES RETURNING *",
        "CREATE TABLE\nINSERT 0 1\nffffffff-ffff-4fff-bfff-ffffffffffff|it's|-1|2024-02-29|null|1.3|2024-02-28 12:34:56.789+00",
    );
    let defaults: Vec<Option<String>> = db.tables["d"]
        .columns
        .iter()
        .map(|column| column.default_sql.clone())
        .collect();
    assert_eq!(defaults[1].as_deref(), Some("'it''s'"));
    assert_eq!(defaults[4], None);
}

#[test]
fn what_a_table_cannot_have_is_refused() {
    let mut db = Database::new();
    for (sql, expect) in [
        ("CREATE TABLE t (id int)", "42P16: table \"t\" must have a primary key"),
        (
            "CREATE TABLE t (id int PRIMARY KEY, id text)",
            "42701: column \"id\" specified more than once",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, b int PRIMARY KEY)",
            "42P16: multiple primary keys for table \"t\" are not allowed",
        ),
        (
            "CREATE TABLE t (a int, PRIMARY KEY (b))",
            "42703: column \"b\" named in key does not exist",
        ),
        (
            "CREATE TABLE t (a int, PRIMARY KEY (a, a))",
            "42701: column \"a\" appears twice in primary key constraint",
        ),
        (
            "CREATE TABLE t (a numeric PRIMARY KEY)",
            "0A000: a primary key column of type numeric is not supported [Column \"a\" is part of the primary key.]",
        ),
        (
            "CREATE TABLE t (a jsonb PRIMARY KEY)",
            "0A000: a primary key column of type jsonb is not supported [Column \"a\" is part of the primary key.]",
        ),
        (
            "CREATE TABLE t (a int NULL PRIMARY KEY)",
            "42601: conflicting NULL/NOT NULL declarations for column \"a\"",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, b int UNIQUE)",
            "0A000: the constraint UNIQUE is not supported",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, b int REFERENCES x)",
            "0A000: the constraint REFERENCES is not supported",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, b int CHECK (b > 0))",
            "0A000: the constraint CHECK is not supported",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, UNIQUE (a))",
            "0A000: the constraint UNIQUE is not supported",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, FOREIGN KEY (a) REFERENCES x (a))",
            "0A000: the constraint FOREIGN KEY is not supported",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, CHECK (a > 0))",
            "0A000: the constraint CHECK is not supported",
        ),
        (
            "CREATE TABLE t (a serial PRIMARY KEY)",
            "0A000: type serial is not supported",
        ),
        (
            "CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)",
            "0A000: a generated column is not supported",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, b interval)",
            "0A000: type interval is not supported",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, b int[])",
            "0A000: type int[] is not supported",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, b char(3))",
            "0A000: type char(3) is not supported",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, b timestamp(3))",
            "0A000: type timestamp(3) is not supported",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, b wibble)",
            "42704: type \"wibble\" does not exist",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, b text COLLATE \"de_DE\")",
            "0A000: COLLATE \"de_DE\" is not supported",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, b int DEFAULT 'x')",
            "22P02: invalid input syntax for type integer: \"x\"",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, b int DEFAULT a)",
            "0A000: a column in a DEFAULT expression is not supported",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, b int DEFAULT $1)",
            "42P02: a DEFAULT expression cannot have parameters",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, b int DEFAULT count(*))",
            "42803: aggregate functions are not allowed in DEFAULT expressions",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, b varchar(2) DEFAULT 'abc')",
            "22001: value too long for type character varying(2)",
        ),
        (
            "CREATE TEMPORARY TABLE t (a int PRIMARY KEY)",
            "0A000: CREATE TEMPORARY TABLE is not supported",
        ),
        (
            "CREATE UNLOGGED TABLE t (a int PRIMARY KEY)",
            "0A000: a clause of this CREATE TABLE is not supported",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY) WITH (fillfactor = 70)",
            "22023: unrecognized parameter \"fillfactor\"",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY) PARTITION BY RANGE (a)",
            "0A000: a partitioned table is not supported",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY) INHERITS (x)",
            "0A000: INHERITS is not supported",
        ),
        ("CREATE TABLE t AS SELECT 1", "0A000: CREATE TABLE AS is not supported"),
        ("CREATE TABLE t (LIKE x)", "0A000: CREATE TABLE … LIKE is not supported"),
        (
            "CREATE TABLE other.t (a int PRIMARY KEY)",
            "42P01: schema \"other\" does not exist",
        ),
        (
            "CREATE TABLE t (a varchar(0) PRIMARY KEY)",
            "22023: length for type varchar must be at least 1",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, b numeric(29))",
            "22023: NUMERIC precision 29 must be between 1 and 28",
        ),
        (
            "CREATE TABLE t (a int PRIMARY KEY, b numeric(2,3))",
            "22023: NUMERIC scale 3 must be between 0 and precision 2",
        ),
    ] {
        db.check(sql, expect);
    }
    assert!(db.tables.is_empty());
}

#[test]
fn tables_of_data_subjects_say_whose_data_they_hold() {
    let db = Database::new();
    let sql = "CREATE TABLE patients (id bigint PRIMARY KEY, name text, born date, ward text)
        WITH (subject = 'id', erasable = 'born, name', retention = '10 years 2 days')";
    let plan = db.plan(sql, &[]).expect("plans");
    let PlanKind::CreateTable(create) = plan.kind() else {
        panic!("a definition is expected")
    };
    let subjects = create.schema.subjects.as_ref().expect("said");
    assert_eq!((subjects.subject, subjects.erasable.as_slice()), (0, &[1, 2][..]));
    assert_eq!(subjects.retention.expect("said").to_string(), "10 years 2 days");
}

#[test]
fn storage_parameters_that_make_no_sense_are_refused() {
    let db = Database::new();
    for (parameters, expect) in [
        ("fillfactor = '70'", "22023: unrecognized parameter \"fillfactor\""),
        ("subject = 'id'", "42P16: subject and erasable go together"),
        ("erasable = 'name'", "42P16: subject and erasable go together"),
        ("retention = '1 year'", "42P16: subject and erasable go together"),
        (
            "subject = 'id', erasable = 'nam'",
            "42703: column \"nam\" named in a storage parameter does not exist",
        ),
        (
            "subject = 'id', subject = 'id', erasable = 'name'",
            "22023: parameter \"subject\" specified more than once",
        ),
        (
            "subject = 'id', erasable = 'id'",
            "42P16: column \"id\" cannot be erasable: it names the data subject",
        ),
        (
            "subject = 'owner', erasable = 'id'",
            "42P16: column \"id\" cannot be erasable: it is part of the primary key",
        ),
        (
            "subject = 'id', erasable = 'owner'",
            "42P16: column \"owner\" cannot be erasable: it is NOT NULL, and an erased cell reads as NULL",
        ),
        (
            "subject = 'name', erasable = 'born'",
            "42P16: column \"name\" cannot name the data subject: it is not declared NOT NULL",
        ),
        (
            "subject = 'born', erasable = 'name'",
            "42P16: column \"born\" cannot name the data subject: its type is date",
        ),
        (
            "subject = 'id', erasable = 'name', retention = 'soon'",
            "22007: invalid input syntax for type interval: \"soon\"",
        ),
        (
            "subject = 'id', erasable = 'name', retention = '-1 year'",
            "22023: a retention cannot be negative",
        ),
    ] {
        let sql = format!(
            "CREATE TABLE t (id bigint PRIMARY KEY, owner text NOT NULL, name text, born date) WITH ({parameters})"
        );
        let error = db.plan(&sql, &[]).expect_err(parameters);
        let shown = format!("{}: {}", error.sqlstate, error.message);
        assert_eq!(shown, expect, "{parameters}");
    }
}
