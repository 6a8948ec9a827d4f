//! What every tenant has before the clients come.

use craton_engine::{ActorId, Craton, SqlError, Tenant};

/// What is in each account at first.
pub(crate) const ACCOUNT_BALANCE: i64 = 1_000;

/// How many registers every tenant has, and what is in each at first.
pub(crate) const REGISTERS: i64 = 3;
pub(crate) const REGISTER_VALUE: i64 = -1;

const TABLES: [&str; 4] = [
    "CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL)",
    "CREATE TABLE ledger (id bigint PRIMARY KEY, source bigint NOT NULL, target bigint NOT NULL, amount bigint NOT NULL)",
    "CREATE TABLE patients (id bigint PRIMARY KEY, name text) WITH (subject = 'id', erasable = 'name')",
    "CREATE TABLE registers (id bigint PRIMARY KEY, value bigint NOT NULL)",
];

/// A tenant's name.
pub(crate) fn tenant_name(tenant: u64) -> String {
    format!("clinic_{tenant}")
}

/// Creates the tenants, their tables and accounts.
pub(crate) async fn create_schema(craton: &Craton, tenants: u64, accounts: u64) -> Result<(), String> {
    for tenant in 0..tenants {
        let opened = craton.open_tenant(&tenant_name(tenant)).await;
        let tenant = opened.map_err(|error| error.to_string())?;
        create_tables(&tenant, accounts).await.map_err(|error| error.message)?;
    }
    Ok(())
}

async fn create_tables(tenant: &Tenant, accounts: u64) -> Result<(), SqlError> {
    let mut session = tenant.session(ActorId::NIL);
    for table in TABLES {
        session.sql(table, &[]).await?;
    }
    for account in 0..accounts {
        let insert = format!("INSERT INTO accounts VALUES ({account}, {ACCOUNT_BALANCE})");
        session.sql(&insert, &[]).await?;
    }
    for register in 0..REGISTERS {
        let insert = format!("INSERT INTO registers VALUES ({register}, {REGISTER_VALUE})");
        session.sql(&insert, &[]).await?;
    }
    Ok(())
}
