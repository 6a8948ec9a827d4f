//! Data classes and regions: what may not be kept here is refused, and a record says so.

mod common;

use std::sync::Arc;

use common::{Folder, create, rows, run, session, sqlstate, tag};
use craton_engine::{Append, Craton, EngineError, Session, SqlError, Tenant};
use craton_kernel::Refusal;
use craton_types::{ActorId, Format, FormatVersion, Region, UserDefinition, Value};

const ONLY_EU: &str = "ALTER DATABASE clinic SET (placement = 'phi: eu-central eu-west; financial: eu-central')";
const PATIENTS: &str = "CREATE TABLE patients (id bigint PRIMARY KEY, name text) WITH (data_class = 'phi')";

fn region(name: &str) -> Region {
    name.parse().expect("a region")
}

fn open(folder: &Folder, name: &str) -> Result<Craton, EngineError> {
    folder.options().region(region(name)).open(folder.data())
}

async fn clinic(folder: &Folder, name: &str) -> (Craton, Tenant, Session) {
    let craton = open(folder, name).expect("the node opens");
    let tenant = create(&craton, "clinic").await;
    let client = session(&craton, "clinic");
    (craton, tenant, client)
}

fn append(stream: &str, class: Option<&str>) -> Append {
    Append {
        data_class: class.map(|class| class.parse().expect("a class")),
        ..Append::new(stream, ["admitted"])
    }
}

async fn error(session: &mut Session, sql: &str) -> SqlError {
    run(session, sql, &[]).await.expect_err("refused")
}

/// What the log says of policies, in order.
async fn policies(session: &mut Session) -> Vec<(String, Option<String>, String)> {
    let sql =
        "SELECT operation, table_name, detail FROM craton_events WHERE operation LIKE '%PLACEMENT%' ORDER BY position";
    let text = |value: &Value| match value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    let all = rows(session, sql).await;
    let policies = all.iter().map(|row| {
        let operation = text(&row[0]).expect("a text");
        (operation, text(&row[1]), text(&row[2]).expect("a text"))
    });
    policies.collect()
}

#[tokio::test]
async fn a_class_pinned_elsewhere_is_refused_on_record() {
    let folder = Folder::new();
    let (_craton, tenant, mut client) = clinic(&folder, "us-east").await;
    assert_eq!(tag(&mut client, ONLY_EU).await, "ALTER DATABASE");

    let refused = error(&mut client, PATIENTS).await;
    assert_eq!(refused.sqlstate.as_str(), "42501");
    let message = "data of class phi may not be kept in us-east, only in eu-central, eu-west";
    assert_eq!(refused.message, message);
    assert_eq!(refused.hint.as_deref(), Some("Use a cluster in eu-central or eu-west."));
    assert_eq!(sqlstate(&mut client, "SELECT * FROM patients").await, "42P01");

    let refused = tenant.append(append("admissions", Some("phi"))).await;
    assert!(
        matches!(refused, Err(EngineError::Refused(Refusal::Placement { .. }))),
        "{refused:?}"
    );
    // Neither other classes nor data without one are pinned.
    tag(
        &mut client,
        "CREATE TABLE wards (id bigint PRIMARY KEY) WITH (data_class = 'public')",
    )
    .await;
    tag(&mut client, "CREATE TABLE notes (id bigint PRIMARY KEY)").await;
    tenant
        .append(append("admissions", None))
        .await
        .expect("no class, no rule");

    let rules = "financial: eu-central; phi: eu-central eu-west".to_owned();
    let refused = |name: &str| ("PLACEMENT REFUSED".to_owned(), Some(name.to_owned()), "phi".to_owned());
    let expected = [
        ("SET PLACEMENT".to_owned(), None, rules),
        refused("patients"),
        refused("admissions"),
    ];
    assert_eq!(policies(&mut client).await, expected);
}

#[tokio::test]
async fn where_it_is_allowed_it_is_kept_and_the_directory_opens_nowhere_else() {
    let folder = Folder::new();
    let (craton, tenant, mut client) = clinic(&folder, "eu-central").await;
    tag(&mut client, ONLY_EU).await;
    tag(&mut client, PATIENTS).await;
    tag(&mut client, "INSERT INTO patients VALUES (1, 'Ada')").await;
    tenant.append(append("admissions", Some("phi"))).await.expect("allowed");
    let shown = rows(&mut client, "SHOW craton.placement").await;
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!(shown, [[text("financial: eu-central; phi: eu-central eu-west")]]);
    assert_eq!(rows(&mut client, "SHOW craton.region").await, [[text("eu-central")]]);
    craton.close().expect("it closes");
    drop((client, tenant, craton));

    for other in [folder.options().region(region("us-east")), folder.options()] {
        match other.open(folder.data()) {
            Err(EngineError::Region { database, expected, .. }) => {
                assert_eq!((database.as_str(), expected), ("clinic", Some(region("eu-central"))));
            }
            other => panic!("{:?}", other.map(|_| "opened")),
        }
    }
    // A view that is made again from the log knows the rules and the stream's class as well.
    for tenant in folder.tenants() {
        std::fs::remove_file(tenant.join("view.redb")).expect("the view is there");
    }
    let craton = open(&folder, "eu-central").expect("it opens where it was");
    let tenant = craton.tenant("clinic").expect("the tenant");
    let mut client = session(&craton, "clinic");
    assert_eq!(rows(&mut client, "SELECT name FROM patients").await, [[text("Ada")]]);
    assert_eq!(rows(&mut client, "SHOW craton.placement").await, shown);
    let mixed = tenant.append(append("admissions", Some("public"))).await;
    let class = Some("phi".parse().expect("a class"));
    match mixed {
        Err(EngineError::Refused(Refusal::StreamClass { class: known, .. })) => assert_eq!(known, class),
        other => panic!("{other:?}"),
    }
    for same in [Some("phi"), None] {
        tenant
            .append(append("admissions", same))
            .await
            .expect("the stream's own class");
    }
}

#[tokio::test]
async fn rules_that_forbid_what_is_there_are_refused() {
    let folder = Folder::new();
    let (_craton, tenant, mut client) = clinic(&folder, "us-east").await;
    tag(&mut client, PATIENTS).await;
    assert_eq!(error(&mut client, ONLY_EU).await.sqlstate.as_str(), "42501");
    tag(&mut client, "DROP TABLE patients").await;
    tenant
        .append(append("payments", Some("financial")))
        .await
        .expect("no rule yet");
    assert_eq!(error(&mut client, ONLY_EU).await.sqlstate.as_str(), "42501");
    tag(&mut client, "ALTER DATABASE clinic SET (placement = 'phi: eu-central')").await;
    assert_eq!(sqlstate(&mut client, PATIENTS).await, "42501");
    tag(&mut client, "ALTER DATABASE clinic SET (placement = 'none')").await;
    tag(&mut client, PATIENTS).await;
}

#[tokio::test]
async fn rules_take_the_right_to_set_them() {
    let folder = Folder::new();
    let (craton, _tenant, mut client) = clinic(&folder, "us-east").await;
    let clerk = UserDefinition {
        compliance: false,
        ..common::user("clerk", &["clinic"])
    };
    craton.put_user(clerk, ActorId::NIL).await.expect("a user");
    let clerk = craton.user("clerk").expect("the user");
    let mut clerk = craton.open_session("clinic", &clerk).expect("a session");
    assert_eq!(sqlstate(&mut clerk, ONLY_EU).await, "42501");
    // Nothing was set, and nothing is refused because of it.
    assert_eq!(tag(&mut client, PATIENTS).await, "CREATE TABLE");
}

#[tokio::test]
async fn what_is_no_rule_is_refused() {
    let folder = Folder::new();
    let (_craton, _tenant, mut client) = clinic(&folder, "us-east").await;
    for (sql, state) in [
        ("ALTER DATABASE clinic SET (placement = 'phi')", "22023"),
        ("ALTER DATABASE clinic SET (placement = 'PHI: eu')", "22023"),
        ("ALTER DATABASE other SET (placement = 'phi: eu')", "0A000"),
        (
            "CREATE TABLE t (id bigint PRIMARY KEY) WITH (data_class = 'Secret data')",
            "22023",
        ),
        (
            "CREATE TABLE t (id bigint PRIMARY KEY) WITH (data_class = 'phi', data_class = 'phi')",
            "22023",
        ),
    ] {
        assert_eq!(sqlstate(&mut client, sql).await, state, "{sql}");
    }
}

#[tokio::test]
async fn classes_wait_until_the_cluster_writes_the_format_that_has_them() {
    let folder = Folder::new();
    // The build before made the directory.
    let before = Arc::new(Format::new(FormatVersion::OLDEST));
    let craton = folder
        .options()
        .format(before)
        .open(folder.data())
        .expect("the node opens");
    create(&craton, "clinic").await;
    craton.close().expect("it closes");
    drop(craton);
    let craton = open(&folder, "us-east").expect("the node opens");
    let tenant = craton.tenant("clinic").expect("the tenant");
    let mut client = session(&craton, "clinic");
    for sql in [ONLY_EU, PATIENTS] {
        assert_eq!(sqlstate(&mut client, sql).await, "55000", "{sql}");
    }
    let refused = tenant.append(append("admissions", Some("phi"))).await;
    assert!(
        matches!(refused, Err(EngineError::FormatNotActive { .. })),
        "{refused:?}"
    );
    craton.finalize_format(ActorId::NIL, None).await.expect("raised");
    tag(&mut client, ONLY_EU).await;
    assert_eq!(sqlstate(&mut client, PATIENTS).await, "42501");
}
