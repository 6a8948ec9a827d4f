//! What a log shows to those who check it, and what becomes of witnesses' signatures.

mod common;

use craton_engine::{Append, EngineError, Refusal, Tenant};
use craton_proof::{Checkpoint, Receipt, VerifierKey, merkle_tree_hash, verify_consistency};
use craton_types::Offset;

use common::{Folder, create};

async fn append(database: &Tenant, count: usize) -> Offset {
    let mut last = Offset::ZERO;
    for number in 0..count {
        let append = Append::new("orders", [format!("order {number}")]);
        last = database.append(append).await.expect("committed").offset;
    }
    last
}

/// A line as a witness adds it. The engine records what its caller has verified.
const COSIGNATURE: &str = "\u{2014} witness.example/1 AAAAAAAA\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_carries_the_newest_cosigned_checkpoint_that_covers_its_record() {
    let folder = Folder::new();
    let engine = folder.open();
    let database = create(&engine, "main").await;
    let first = append(&database, 3).await;
    database.checkpoint().await.expect("a checkpoint");
    let checkpoint = database.newest_checkpoint().expect("readable").expect("one");
    assert_eq!(database.newest_cosigned_checkpoint().expect("readable"), None);

    let note = format!("{}{COSIGNATURE}", checkpoint.note);
    let token = Some(b"a time stamp".to_vec());
    database
        .record_cosigned(note.clone(), token.clone())
        .await
        .expect("recorded");
    let cosigned = database.newest_cosigned_checkpoint().expect("readable").expect("one");
    assert_eq!((&cosigned.note, &cosigned.time_stamp), (&note, &token));
    // Neither the checkpoint nor its cosignature is worth another checkpoint.
    let end = database.end();
    database.checkpoint().await.expect("nothing to do");
    assert_eq!(database.end(), end);

    let second = append(&database, 1).await;
    let key: VerifierKey = database.log_key().parse().expect("a key");
    for (offset, is_cosigned) in [(first, true), (second, false)] {
        let receipt = database.receipt(offset, &|_| true).await.expect("a receipt");
        assert_eq!(receipt.contains(COSIGNATURE), is_cosigned, "{receipt}");
        Receipt::verify(receipt.as_bytes(), &key).expect("it verifies");
    }

    drop((database, engine));
    let engine = folder.open();
    let database = engine.tenant("main").expect("it exists");
    assert_eq!(database.newest_cosigned_checkpoint().expect("readable"), Some(cosigned));
    let newest = database.newest_checkpoint().expect("readable").expect("one");
    let again = database.record_cosigned(note, None).await;
    assert!(again.is_ok(), "more witnesses may sign the same checkpoint: {again:?}");
    database.record_cosigned(newest.note, None).await.expect("recorded");
    let older = database.record_cosigned(checkpoint.note, None).await;
    assert!(
        matches!(older, Err(EngineError::Refused(Refusal::CosignatureOutOfOrder { .. }))),
        "{older:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shown_hashes_and_headers_make_the_checkpoints_root() {
    let folder = Folder::new();
    let engine = folder.open();
    let database = create(&engine, "main").await;
    append(&database, 5).await;
    database.checkpoint().await.expect("a checkpoint");
    let old = database.newest_checkpoint().expect("readable").expect("one");
    append(&database, 600).await;
    database.checkpoint().await.expect("a checkpoint");
    let new = database.newest_checkpoint().expect("readable").expect("one");

    let key: VerifierKey = database.log_key().parse().expect("a key");
    let open = |note: &str| Checkpoint::open(note.as_bytes(), &key).expect("signed by the log");
    let leaves = database.tree_hashes(0, 0..new.size).expect("readable");
    assert_eq!(merkle_tree_hash(&leaves), open(&new.note).root);
    assert_eq!(
        database.tree_hashes(8, 1..2).expect("readable"),
        [merkle_tree_hash(&leaves[256..512])]
    );
    assert!(database.tree_hashes(8, 0..4).is_err(), "a subtree that is not complete");

    let count = usize::try_from(new.size).expect("small");
    let headers = database.record_headers(Offset::ZERO, count + 100).expect("readable");
    let hashes: Vec<_> = headers
        .iter()
        .map(|header| craton_crypto::record_hash(&header.encode()))
        .collect();
    assert_eq!(hashes[..count], leaves);
    assert_eq!(headers.len() as u64, database.end().get());

    let proof = database.consistency_proof(old.size, new.size).expect("a proof");
    verify_consistency(old.size, &open(&old.note).root, new.size, &open(&new.note).root, &proof).expect("consistent");
    assert!(database.consistency_proof(new.size, old.size).is_err());
}
