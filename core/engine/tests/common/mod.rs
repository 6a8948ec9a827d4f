//! A node in a temporary folder.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use craton_crypto::{FileMasterKey, SecretBytes};
use craton_engine::{Craton, Options, Response, Session, SqlError, Tenant};
use craton_types::{ActorId, Row, UserDefinition, Value};

/// A folder with a node's data and its master key.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        FileMasterKey::generate(&folder.path().join("master.key"), SecretBytes::new([42; 32])).expect("a key file");
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    pub(crate) fn options(&self) -> Options {
        let master = FileMasterKey::open(&self.0.path().join("master.key")).expect("the key file");
        Craton::options()
            .origin("test.craton.localhost")
            .master_key(Arc::new(master))
    }

    pub(crate) fn open(&self) -> Craton {
        self.options().open(self.data()).expect("the node opens")
    }

    /// A copy as a crash at this moment would leave it, but for what the page cache still holds.
    pub(crate) fn copy(&self) -> Self {
        let copy = tempfile::tempdir().expect("a temporary folder");
        copy_folder(self.0.path(), copy.path());
        Self(copy)
    }

    /// The folders of all tenants.
    pub(crate) fn tenants(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.data().join("tenants")).expect("the tenants' folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

pub(crate) fn user(name: &str, databases: &[&str]) -> UserDefinition {
    UserDefinition {
        name: name.to_owned(),
        actor: ActorId::NIL,
        scram_verifier: "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy".to_owned(),
        databases: databases.iter().map(ToString::to_string).collect(),
        read_only: false,
        compliance: true,
    }
}

/// Creates a database and a user for it.
pub(crate) async fn create(engine: &Craton, name: &str) -> Tenant {
    let tenant = engine.open_tenant(name).await.expect("a tenant");
    engine
        .put_user(user(&format!("{name}_app"), &[name]), ActorId::NIL)
        .await
        .expect("a user");
    tenant
}

pub(crate) fn session(engine: &Craton, database: &str) -> Session {
    let user = engine.user(&format!("{database}_app")).expect("the user");
    engine.open_session(database, &user).expect("a session")
}

/// Executes one statement.
pub(crate) async fn run(session: &mut Session, sql: &str, parameters: &[Value]) -> Result<Response, SqlError> {
    session.sql(sql, parameters).await
}

/// Executes a statement that must succeed and gives its command tag.
pub(crate) async fn tag(session: &mut Session, sql: &str) -> String {
    match run(session, sql, &[]).await {
        Ok(Response::Command { tag, .. } | Response::Rows { tag, .. }) => tag,
        other => panic!("{sql}: {other:?}"),
    }
}

/// Executes a query that must succeed and gives its rows.
pub(crate) async fn rows(session: &mut Session, sql: &str) -> Vec<Row> {
    match run(session, sql, &[]).await {
        Ok(Response::Rows { result, .. }) => result.rows,
        other => panic!("{sql}: {other:?}"),
    }
}

/// Executes a statement that must fail and gives its SQLSTATE.
pub(crate) async fn sqlstate(session: &mut Session, sql: &str) -> String {
    match run(session, sql, &[]).await {
        Err(error) => error.sqlstate.as_str().to_owned(),
        Ok(response) => panic!("{sql}: expected an error, got {response:?}"),
    }
}
