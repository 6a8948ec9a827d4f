//! Two databases with tables of the same name: nothing of one shows in the other, whatever the statement.

use crate::support::{PASSWORD, World};

fn two_tenants() -> World {
    let world = World::start();
    for (database, user) in [("clinic_a", "ada"), ("clinic_b", "ben")] {
        world.put_database(database);
        world.put_user(user, PASSWORD, &[database], false);
    }
    world
}

/// Each class of statement, run in `clinic_a` and then looked for in `clinic_b`.
#[test]
fn no_class_of_statement_reaches_the_other_database() {
    let world = two_tenants();
    let in_a = |sql: &str| world.psql_as("ada", "clinic_a", sql);
    let in_b = |sql: &str| world.psql_as("ben", "clinic_b", sql);
    let table = "CREATE TABLE patient (id int PRIMARY KEY, name text)";

    in_a(table).expect("created");
    let error = in_b("SELECT * FROM patient").expect_err("not created there");
    assert!(error.contains("42P01"), "{error}");
    in_b(table).expect("the name is free there");
    in_b("INSERT INTO patient VALUES (1, 'Bob'), (2, 'Bill')").expect("inserted");
    let b_untouched = "1|Bob\n2|Bill";

    for write in [
        "INSERT INTO patient VALUES (1, 'Ann'), (3, 'Amy')",
        "UPDATE patient SET name = 'Anna'",
        "BEGIN; UPDATE patient SET name = 'x'; COMMIT",
        "DELETE FROM patient WHERE id >= 2",
        "DELETE FROM patient",
    ] {
        in_a(write).expect(write);
        assert_eq!(
            in_b("SELECT * FROM patient ORDER BY id").as_deref(),
            Ok(b_untouched),
            "{write}"
        );
    }
    std::fs::write(world.path("a.csv"), "7,Alf\n").expect("writable");
    in_a(&format!(
        "\\copy patient FROM '{}' WITH (FORMAT csv)",
        world.path("a.csv").display()
    ))
    .expect("copied");
    for read in [
        "SELECT * FROM patient WHERE id = 7",
        "SELECT * FROM patient WHERE name LIKE 'A%'",
        "SELECT * FROM patient AS OF POSITION 1 WHERE id = 7",
        "UPDATE patient SET name = 'x' WHERE id = 7 RETURNING *",
        "DELETE FROM patient WHERE id = 7 RETURNING *",
    ] {
        assert_eq!(in_b(read).as_deref(), Ok(""), "{read}");
    }
    assert_eq!(in_b("SELECT count(*) FROM patient").as_deref(), Ok("2"));
    assert_eq!(in_b("COPY patient TO STDOUT").as_deref(), Ok("1\tBob\n2\tBill"));
    assert!(in_b("SELECT craton_receipt('patient', 7)").is_err());

    in_a("DROP TABLE patient").expect("dropped");
    assert_eq!(in_b("SELECT * FROM patient ORDER BY id").as_deref(), Ok(b_untouched));

    // Names cannot be qualified into another database.
    for sql in [
        "SELECT * FROM clinic_a.public.patient",
        "SELECT * FROM clinic_a.patient",
    ] {
        assert!(in_b(sql).is_err(), "{sql}");
    }
}

#[test]
fn a_user_of_one_database_cannot_connect_to_the_other() {
    let world = two_tenants();
    for (user, own, foreign) in [("ada", "clinic_a", "clinic_b"), ("ben", "clinic_b", "clinic_a")] {
        assert!(world.psql_as(user, own, "SELECT 1").is_ok());
        for database in [foreign, "main", "system", "postgres"] {
            let error = world.psql_as(user, database, "SELECT 1").expect_err("foreign");
            assert!(error.contains("permission denied for database"), "{error}");
        }
    }
}

#[test]
fn logs_have_keys_of_their_own() {
    let world = two_tenants();
    let keys: Vec<String> = ["clinic_a", "clinic_b"]
        .map(|name| {
            world.database_status(name)["log_key"]
                .as_str()
                .expect("a key")
                .to_owned()
        })
        .into();
    assert_ne!(keys[0], keys[1]);
    let name = |key: &str| key.split('+').next().map(str::to_owned);
    assert_ne!(name(&keys[0]), name(&keys[1]));
}

#[test]
fn a_read_only_user_reads_and_nothing_more() {
    let world = World::start();
    world.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    world.put_user("auditor", PASSWORD, &["main"], true);
    let audit = |sql: &str| world.psql_as("auditor", "main", sql);
    assert_eq!(audit("SELECT * FROM t").as_deref(), Ok("1"));
    for sql in [
        "INSERT INTO t VALUES (2)",
        "UPDATE t SET id = 2",
        "DELETE FROM t",
        "CREATE TABLE u (id int PRIMARY KEY)",
        "DROP TABLE t",
        "COPY t FROM STDIN",
    ] {
        let error = audit(sql).expect_err(sql);
        assert!(error.contains("42501") || error.contains("25006"), "{sql}: {error}");
    }
    assert_eq!(world.psql("SELECT * FROM t"), "1");
}
