//! Expressions: values, types and errors as PostgreSQL gives them.

use super::database::{Database, check_expressions};

#[test]
fn literals_and_their_types() {
    check_expressions(&[
        ("1", "1"),
        (
            "pg_typeof(1), pg_typeof(3000000000), pg_typeof(1.5), pg_typeof('x'), pg_typeof(null)",
            "integer|bigint|numeric|unknown|unknown",
        ),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9223372036854775808", "9223372036854775808"),
        ("1e3, 1.50, .5", "1000|1.50|0.5"),
        ("'it''s', E'a\\nb', $$x$$", "it's|a\nb|x"),
        ("true, FALSE, null", "t|f|null"),
        (
            "DATE '2024-02-29', TIMESTAMP '2024-02-29 10:00', TIMESTAMPTZ '2024-02-29 10:00+02'",
            "2024-02-29|2024-02-29 10:00:00|2024-02-29 08:00:00+00",
        ),
        (
            "DATE '2023-02-29'",
            "22008: date/time field value out of range: \"2023-02-29\"",
        ),
        ("X'1F'", "0A000: the literal X'1F' is not supported"),
    ]);
}

#[test]
fn arithmetic() {
    check_expressions(&[
        ("1 + 2 * 3, (1 + 2) * 3, 7 / 2, -7 / 2, 7 % 3, -7 % 3", "7|9|3|-3|1|-1"),
        (
            "7 / 2.0, 1.5 + 1, 0.1 + 0.2, 2 * 1.50",
            "3.5000000000000000|2.5|0.3|3.00",
        ),
        ("0.1::float8 + 0.2", "0.30000000000000004"),
        ("1::float4 / 3::float4, 1::float4 / 3", "0.33333334|0.3333333333333333"),
        ("2147483647 + 1", "22003: integer out of range"),
        ("9223372036854775807 + 1", "22003: bigint out of range"),
        ("32767::smallint + 1::smallint", "22003: smallint out of range"),
        ("-(-2147483648)::int", "22003: integer out of range"),
        ("1 / 0", "22012: division by zero"),
        ("1.0 / 0", "22012: division by zero"),
        ("1::float8 / 0", "22012: division by zero"),
        ("1e308::float8 * 10", "22003: value out of range: overflow"),
        (
            "79228162514264337593543950335 + 1",
            "22003: value overflows numeric format",
        ),
        ("1 + null, null / 0", "null|null"),
        ("1 + 'x'", "22P02: invalid input syntax for type integer: \"x\""),
        ("1 + '2'", "3"),
        ("'1' + '2'", "42725: operator is not unique: unknown + unknown"),
        ("true + 1", "42883: operator does not exist: boolean + integer"),
        (
            "DATE '2024-02-28' + 2, DATE '2024-03-01' - DATE '2024-02-28'",
            "2024-03-01|2",
        ),
        ("DATE '9999-12-31' + 1", "22008: date out of range"),
        (
            "TIMESTAMP '2024-01-31' + INTERVAL '1 month 2 hours'",
            "2024-02-29 02:00:00",
        ),
        (
            "TIMESTAMPTZ '2024-03-01 00:00Z' - INTERVAL '1' DAY",
            "2024-02-29 00:00:00+00",
        ),
        ("now() - interval '90 minutes'", "2024-02-29 11:04:56.789+00"),
        ("DATE '2024-01-01' - '1 day'::interval", "2023-12-31 00:00:00"),
        (
            "INTERVAL '1 fortnight' + now()",
            "22007: invalid input syntax for type interval: \"1 fortnight\"",
        ),
        ("INTERVAL '1 day'", "0A000: an interval by itself is not supported"),
    ]);
}

#[test]
fn comparison_and_logic() {
    check_expressions(&[
        ("1 = 1.0, 1 < 1.5, 2::int8 > 1::float4, 1 <> 2, 1 != 1", "t|t|t|t|f"),
        ("'a' < 'b', 'a' < 'B', 'é' > 'z'", "t|f|t"),
        ("null = null, null IS NULL, 1 IS NOT NULL", "null|t|t"),
        (
            "true AND null, false AND null, true OR null, false OR null, NOT null::bool",
            "null|f|t|null|null",
        ),
        (
            "null IS DISTINCT FROM 1, null IS NOT DISTINCT FROM null, 1 IS DISTINCT FROM 1",
            "t|t|f",
        ),
        (
            "1 IN (1, 2), 3 IN (1, 2), 3 IN (1, null), 1 NOT IN (2, null), null IN (1)",
            "t|f|null|null|null",
        ),
        (
            "2 BETWEEN 1 AND 3, 2 NOT BETWEEN 1 AND 3, 2 BETWEEN null AND 3, 4 BETWEEN null AND 3",
            "t|f|null|f",
        ),
        (
            "(1 = 1) IS TRUE, (1 = 2) IS NOT TRUE, null::bool IS FALSE, (null::bool) IS UNKNOWN",
            "t|t|f|t",
        ),
        ("'a' = 1", "22P02: invalid input syntax for type integer: \"a\""),
        ("'a'::text = 1", "42883: operator does not exist: text = integer"),
        (
            "1 AND true",
            "42804: argument of AND must be type boolean, not type integer",
        ),
        ("DATE '2024-01-01' = TIMESTAMP '2024-01-01 00:00'", "t"),
        ("'NaN'::float8 = 'NaN', 'NaN'::float8 > 'Infinity'", "t|t"),
        ("'{}'::jsonb = '{}'", "42883: operator does not exist: jsonb = jsonb"),
        (
            "'abc' LIKE 'a%', 'abc' NOT LIKE '_b_', 'ABC' ILIKE 'abc', 'a%c' LIKE 'a!%c' ESCAPE '!'",
            "t|f|t|t",
        ),
        ("'a' LIKE 'a' ESCAPE 'xy'", "22025: invalid escape string"),
        ("1 LIKE 'a'", "42883: operator does not exist: integer ~~ text"),
        ("'a' ~ 'b'", "0A000: the operator ~ is not supported"),
        ("1 = ANY(ARRAY[1])", "0A000: an array is not supported"),
        ("'b' COLLATE \"C\" > 'a'", "t"),
        (
            "'b' COLLATE \"de_DE\" > 'a'",
            "0A000: collation \"de_DE\" is not supported",
        ),
    ]);
}

#[test]
fn casts() {
    check_expressions(&[
        ("'42'::int, CAST('42' AS bigint), 42::text || 'x'", "42|42|42x"),
        (
            "1.5::int, 2.5::int, -2.5::int, 2.5::float8::int, 3.5::float8::int",
            "2|3|-3|2|4",
        ),
        ("70000::smallint", "22003: smallint out of range"),
        ("'NaN'::float8::int", "22003: integer out of range"),
        ("1e30::float8::bigint", "22003: bigint out of range"),
        (
            "0.1::float4::float8, 0.1::float4::numeric, (1/3::float8)::numeric",
            "0.10000000149011612|0.1|0.333333333333333",
        ),
        ("1e39::float4", "22003: real out of range"),
        ("12.345::numeric(4,1), 12::numeric(4,2)", "12.3|12.00"),
        (
            "123.45::numeric(4,2)",
            "22003: numeric field overflow [A field with precision 4, scale 2 must round to an absolute value less than 10^2.]",
        ),
        ("'abcdef'::varchar(3), 'abc'::varchar", "abc|abc"),
        ("true::text, true::int, 0::bool", "true|1|f"),
        ("1::int8::bool", "42846: cannot cast type bigint to boolean"),
        (
            "'2024-02-29'::date::timestamp, '2024-02-29 13:00'::timestamp::date, '2024-02-29 13:00'::timestamp::time",
            "2024-02-29 00:00:00|2024-02-29|13:00:00",
        ),
        (
            "TIMESTAMP '2024-02-29 13:00' AT TIME ZONE 'UTC'",
            "2024-02-29 13:00:00+00",
        ),
        (
            "now() AT TIME ZONE 'Europe/Paris'",
            "0A000: a time zone other than UTC is not supported",
        ),
        (
            "'\\xdead'::bytea, 'A0EEBC999C0B4EF8BB6D6BB9BD380A11'::uuid",
            "\\xdead|a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ),
        (
            "'{\"b\":1,\"a\":2}'::jsonb, '{\"b\":1}'::json",
            "{\"a\": 2, \"b\": 1}|{\"b\":1}",
        ),
        ("'x'::inet", "0A000: type inet is not supported"),
        ("'x'::nonsense", "42704: type \"nonsense\" does not exist"),
        ("1::date", "42846: cannot cast type integer to date"),
        ("null::int, null::text", "null|null"),
    ]);
}

#[test]
fn functions() {
    check_expressions(&[
        (
            "lower('ÀB'), upper('éa'), length('é€'), octet_length('é€'), char_length('ab')",
            "àb|ÉA|2|5|2",
        ),
        ("length('\\x0102'::bytea)", "2"),
        (
            "coalesce(null, 1, 2.5), coalesce(null, 'x'), nullif(1, 1), nullif(1, 2)",
            "1|x|null|1",
        ),
        (
            "coalesce(1, 'x')",
            "22P02: invalid input syntax for type integer: \"x\"",
        ),
        (
            "coalesce(1, true)",
            "42804: COALESCE types integer and boolean cannot be matched",
        ),
        ("abs(-5), abs(-1.5), abs(-2::float8), abs('-3')", "5|1.5|2|3"),
        (
            "round(2.5), round(-2.5), round(2.345, 2), round(1250, -2), round(2.5::float8)",
            "3|-3|2.35|1300|2",
        ),
        ("ceil(1.2), floor(-1.2), ceil(1.2::float8), ceil(7)", "2|-2|2|7"),
        (
            "substring('hello' from 2 for 3), substr('hello', 2), substring('hello', -1, 4), substring('hello' for 2)",
            "ell|ello|he|he",
        ),
        (
            "substring('hello', 1, -1)",
            "22011: negative substring length not allowed",
        ),
        (
            "left('hello', 2), left('hello', -2), right('hello', 2), right('hello', -2)",
            "he|hel|lo|llo",
        ),
        (
            "trim('  a '), ltrim('xxa', 'x'), rtrim('a  '), btrim('xyax', 'xy'), trim(leading 'x' from 'xa')",
            "a|a|a|a|a",
        ),
        (
            "replace('aXbX', 'X', '--'), strpos('hello', 'll'), position('z' in 'abc')",
            "a--b--|3|0",
        ),
        ("'a' || 1 || true || null", "null"),
        ("'a' || 1 || 'b', concat('a', null, 1, true)", "a1b|a1t"),
        ("1 || 2", "42883: operator does not exist: integer || integer"),
        ("greatest(1, 3.5, 2), least('b', 'a'), greatest(null, 1)", "3.5|a|1"),
        (
            "CASE WHEN 1 > 2 THEN 'a' WHEN true THEN 'b' END, CASE 2 WHEN 1 THEN 'x' ELSE 'y' END, CASE WHEN false THEN 1 END",
            "b|y|null",
        ),
        (
            "CASE WHEN true THEN 1 ELSE 2.5 END, pg_typeof(CASE WHEN true THEN 1 ELSE 2.5 END)",
            "1|numeric",
        ),
        (
            "CASE WHEN 1 THEN 2 END",
            "42804: argument of CASE/WHEN must be type boolean, not type integer",
        ),
        (
            "now(), current_timestamp, current_date, localtimestamp",
            "2024-02-29 12:34:56.789+00|2024-02-29 12:34:56.789+00|2024-02-29|2024-02-29 12:34:56.789",
        ),
        (
            "date_trunc('hour', now()), date_trunc('week', TIMESTAMP '2024-02-29 10:00'), date_trunc('quarter', DATE '2024-05-06')",
            "2024-02-29 12:00:00+00|2024-02-26 00:00:00|2024-04-01 00:00:00+00",
        ),
        (
            "date_trunc('eon', now())",
            "22023: unit \"eon\" not recognized for type timestamp with time zone",
        ),
        (
            "extract(year from DATE '2024-02-29'), extract(dow from DATE '2024-03-03'), extract(epoch from TIMESTAMP '1970-01-02'), extract('second' from now())",
            "2024|0|86400.000000|56.789000",
        ),
        (
            "extract(hour from DATE '2024-02-29')",
            "22023: unit \"hour\" not recognized for type date",
        ),
        (
            "current_user, session_user, current_database(), current_schema()",
            "ada|ada|main|public",
        ),
        ("current_setting('TimeZone'), current_setting('nope', true)", "UTC|null"),
        (
            "current_setting('nope')",
            "42704: unrecognized configuration parameter \"nope\"",
        ),
        ("gen_random_uuid()", "ffffffff-ffff-4fff-bfff-ffffffffffff"),
        ("craton_position(), craton_log_key()", "null|log+key"),
        ("craton_cosigned_checkpoint(), craton_timestamp()", "a note|\\x30"),
        (
            "nonsense(1, 'x')",
            "42883: function nonsense(integer, text) does not exist",
        ),
        ("lower(1)", "42883: function lower(integer) does not exist"),
        ("pg_catalog.lower('A')", "a"),
        ("lower(DISTINCT 'a')", "42804: lower is not an aggregate function"),
        ("row_number() OVER ()", "0A000: a window function is not supported"),
        ("(SELECT 1)", "0A000: a subquery is not supported"),
    ]);
    assert!(
        Database::new()
            .answer("SELECT version()")
            .starts_with("PostgreSQL 16.0 (Craton ")
    );
}

#[test]
fn errors_know_their_place() {
    let database = Database::with("CREATE TABLE t (id int PRIMARY KEY, a text)");
    for (sql, position) in [
        ("SELECT id,\n  nope FROM t", 14),
        ("SELECT * FROM nope", 15),
        ("SELECT 'é' = 1 + 'x'", 18),
        ("SELECT x.id FROM t", 8),
        ("INSERT INTO t (id, nope) VALUES (1, 2)", 20),
        ("UPDATE t SET nope = 1", 14),
        ("SELECT nonsense(1)", 8),
        ("SELECT DATE 'x'", 13),
    ] {
        let error = database.plan(sql, &[]).expect_err(sql);
        assert_eq!(error.position, Some(position), "{sql}: {error}");
    }
}
