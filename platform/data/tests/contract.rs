//! The contract tests on the engine, and what only a store on disk can promise.

use std::path::Path;
use std::sync::Arc;

use craton_crypto::{FileMasterKey, MasterKeyProvider, SecretBytes};
use craton_engine::Craton;
use craton_platform_data::Stores;
use craton_platform_kernel::EventStore;
use craton_platform_kernel::testing::{
    credential_use_contract, environment, event_store_contract, session_store_contract, witness_store_contract,
};

fn open(directory: &Path) -> Craton {
    let path = directory.join("master.key");
    let key = FileMasterKey::open(&path);
    let key = key.or_else(|_| FileMasterKey::generate(&path, SecretBytes::new([7; 32])));
    let key: Arc<dyn MasterKeyProvider> = Arc::new(key.expect("a master key"));
    Craton::options()
        .origin("platform.test")
        .master_key(key)
        .open(directory.join("engine"))
        .expect("an engine")
}

#[tokio::test]
async fn the_stores_keep_the_contracts_and_survive_a_restart() {
    let directory = tempfile::tempdir().expect("a folder");
    let environment = environment();
    let engine = open(directory.path());
    let stores = Stores::open(&engine).await.expect("stores");
    event_store_contract(&stores.events, &environment).await;
    session_store_contract(&*stores.sessions, &environment).await;
    credential_use_contract(&*stores.credential_use, &environment).await;
    witness_store_contract(&*stores.witnessed, &environment, "log.example/1").await;
    let before = stores.events.read_all(0, 1_000).await.expect("events");
    let log_key = stores.events.log_key();
    drop(stores);
    engine.close().expect("closes");
    drop(engine);

    let engine = open(directory.path());
    let stores = Stores::open(&engine).await.expect("stores");
    assert_eq!(stores.events.read_all(0, 1_000).await.expect("events"), before);
    assert_eq!(stores.events.log_key(), log_key);
    assert!(*stores.events.watch().borrow() > before.last().expect("events").position);
    // The contracts hold on a store that is not empty, too.
    event_store_contract(&stores.events, &environment).await;
    session_store_contract(&*stores.sessions, &environment).await;
    let witnessed = stores.witnessed.latest("log.example/1").await.expect("readable");
    assert_eq!(
        witnessed.map(|witnessed| witnessed.size),
        Some(7),
        "what was cosigned is not forgotten"
    );
    witness_store_contract(&*stores.witnessed, &environment, "log.example/2").await;
}

#[tokio::test]
async fn a_record_has_a_receipt_under_the_platforms_key() {
    let directory = tempfile::tempdir().expect("a folder");
    let environment = environment();
    let engine = open(directory.path());
    let stores = Stores::open(&engine).await.expect("stores");
    event_store_contract(&stores.events, &environment).await;
    let position = stores.events.read_all(0, 1).await.expect("events")[0].position;
    let receipt = stores.events.receipt(position).await.expect("a receipt");
    let origin = stores.events.log_key();
    let origin = origin.split('+').next().expect("a name");
    assert!(receipt.starts_with("c2sp.org/tlog-proof@v1\n"), "{receipt}");
    assert!(receipt.contains(origin), "{receipt}");
}
