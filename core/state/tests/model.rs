//! The tree against an independent implementation and against a plain map.

use std::collections::BTreeMap;

use craton_crypto::{SecretBytes, StateBlindingKey, StateKey, sha256};
use craton_log::{Disk as _, RealDisk};
use craton_proof::{StateTreeProof, state_leaf_hash};
use craton_state::{Position, RowState, StateError, StateKeys, StateOptions, StateTree};
use craton_types::{Hash, Offset, PrimaryKey, TableId, Value};
use jmt::mock::MockTreeStore;
use jmt::{KeyHash, Sha256Jmt};
use proptest::prelude::*;

const TABLE: TableId = TableId::FIRST_USER;

fn keys() -> StateKeys {
    StateKeys {
        state: StateKey::new(SecretBytes::new([1; 32])),
        blinding: StateBlindingKey::new(&SecretBytes::new([2; 32])),
        store: SecretBytes::new([3; 32]),
    }
}

/// Each row's newest change: offset and chunk.
type Positions = BTreeMap<u16, (u64, u32)>;

struct Fixture {
    folder: tempfile::TempDir,
    tree: Option<StateTree>,
}

impl Fixture {
    fn new() -> Self {
        let mut fixture = Self {
            folder: tempfile::tempdir().expect("a folder"),
            tree: None,
        };
        fixture.reopen();
        fixture
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("state.redb")
    }

    fn reopen(&mut self) {
        self.tree = None;
        self.tree = Some(StateTree::open(file(&self.path()), keys(), StateOptions::default()).expect("a working tree"));
    }

    fn tree(&self) -> &StateTree {
        self.tree.as_ref().expect("opened")
    }
}

fn primary_key(id: u16) -> PrimaryKey {
    PrimaryKey::encode([&Value::Int(i64::from(id))]).expect("an integer makes a key")
}

fn row(id: u16, position: Option<(u64, u32)>) -> RowState {
    RowState {
        table: TABLE,
        key: primary_key(id),
        position: position.map(|(offset, chunk_index)| Position {
            offset: Offset::new(offset),
            chunk_index,
        }),
    }
}

fn row_key(id: u16) -> Hash {
    keys().state.row_key(TABLE, primary_key(id).as_bytes())
}

/// The value of a leaf, as the specification says it.
fn leaf_value(id: u16, (offset, chunk_index): (u64, u32)) -> Vec<u8> {
    let blind = keys().blinding.blind(&row_key(id), Offset::new(offset), chunk_index);
    [&offset.to_be_bytes()[..], &chunk_index.to_be_bytes(), &blind].concat()
}

/// Checks every answer of the tree at one version against the rows of that version.
fn assert_proves(tree: &StateTree, size: u64, root: &Hash, rows: &BTreeMap<u16, (u64, u32)>, ids: u16) {
    for id in 0..ids {
        let expected = rows.get(&id).copied();
        let (value, proof) = tree.prove(size, TABLE, &primary_key(id)).expect("a working tree");
        assert_eq!(
            value.map(|value| (value.offset.get(), value.chunk_index)),
            expected,
            "row {id} at {size}"
        );
        let position = tree.position(size, TABLE, &primary_key(id)).expect("a working tree");
        assert_eq!(position.map(|at| (at.offset.get(), at.chunk_index)), expected);
        match expected {
            Some(at) => {
                assert_eq!(value.expect("a working tree").to_bytes()[..], leaf_value(id, at)[..]);
                assert_eq!(proof.verify_present(root, &row_key(id), &leaf_value(id, at)), Ok(()));
                assert!(proof.verify_absent(root, &row_key(id)).is_err());
                let older = (at.0.wrapping_sub(1), at.1);
                assert!(
                    proof
                        .verify_present(root, &row_key(id), &leaf_value(id, older))
                        .is_err()
                );
            }
            None => {
                assert_eq!(proof.verify_absent(root, &row_key(id)), Ok(()));
                assert!(
                    proof
                        .verify_present(root, &row_key(id), &leaf_value(id, (0, 1)))
                        .is_err()
                );
            }
        }
        // Another row's proof shows nothing that is not so.
        let (_, other) = tree
            .prove(size, TABLE, &primary_key((id + 1) % ids))
            .expect("a working tree");
        assert!(other.verify_absent(root, &row_key(id)).is_err() || expected.is_none());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u16),
    Delete(u16),
    Advance,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..60u16).prop_map(Step::Put),
        3 => (0..60u16).prop_map(Step::Delete),
        2 => Just(Step::Advance),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Random histories with restarts: every version, new and old, proves exactly the rows of its time, and its root is
    /// that of the other implementation.
    #[test]
    fn every_version_proves_its_rows(steps in proptest::collection::vec(step(), 1..150)) {
        let mut fixture = Fixture::new();
        let other_store = MockTreeStore::new(true);
        let other = Sha256Jmt::new(&other_store);
        let mut rows = BTreeMap::new();
        let mut batch = Vec::new();
        let mut size = 0;
        let mut versions: Vec<(u64, Hash, Positions)> = Vec::new();
        for step in steps.into_iter().chain([Step::Advance]) {
            match step {
                Step::Put(id) => {
                    let at = (size, u32::from(id % 3) + 1);
                    rows.insert(id, at);
                    batch.push(row(id, Some(at)));
                    size += 1;
                }
                Step::Delete(id) => {
                    rows.remove(&id);
                    batch.push(row(id, None));
                    size += 1;
                }
                Step::Reopen => fixture.reopen(),
                Step::Advance => {
                    let newest = fixture.tree().newest().expect("a working tree");
                    if newest.size == size {
                        let refused = fixture.tree().advance(size, Hash::ZERO, &[], &[]);
                        let out_of_order = matches!(refused, Err(StateError::OutOfOrder { .. }));
                        prop_assert!(size == 0 || out_of_order);
                        continue;
                    }
                    let last_hash = sha256(&[&size.to_be_bytes()]);
                    let version = fixture.tree().advance(size, last_hash, &batch, &[]).expect("a working tree");
                    prop_assert_eq!(version, fixture.tree().newest().expect("a working tree"));
                    prop_assert_eq!(version.last_hash, last_hash);
                    let mut changed = BTreeMap::new();
                    for change in batch.drain(..) {
                        let key = keys().state.row_key(TABLE, change.key.as_bytes());
                        let id = (0..60).find(|id| primary_key(*id) == change.key).expect("a row of the test");
                        changed.insert(KeyHash(*key.as_bytes()), rows.get(&id).map(|at| leaf_value(id, *at)));
                    }
                    let version_number = versions.len() as u64;
                    let (other_root, updates) = other.put_value_set(changed, version_number).expect("a working tree");
                    jmt::storage::TreeWriter::write_node_batch(&other_store, &updates.node_batch).expect("a working tree");
                    prop_assert_eq!(other_root.0, *version.root.as_bytes());
                    for id in 0..60 {
                        let (value, other_proof) = other.get_with_proof(KeyHash(*row_key(id).as_bytes()), version_number).expect("a working tree");
                        prop_assert_eq!(value.is_some(), rows.contains_key(&id));
                        prop_assert!(other_proof.verify(other_root, KeyHash(*row_key(id).as_bytes()), value).is_ok());
                    }
                    versions.push((size, version.root, rows.clone()));
                }
            }
        }
        fixture.reopen();
        for (size, root, rows) in &versions {
            assert_proves(fixture.tree(), *size, root, rows, 60);
        }
    }

    /// The root does not depend on how the changes were cut into batches, nor on what was there in between.
    #[test]
    fn the_root_is_a_function_of_the_rows(
        ids in proptest::collection::btree_set(0..500u16, 0..80),
        passing in proptest::collection::btree_set(500..900u16, 0..40),
        cut in 1usize..10,
    ) {
        let at_once = Fixture::new();
        let put = |id: &u16| row(*id, Some((u64::from(*id), 1)));
        let rows: Vec<_> = ids.iter().map(put).collect();
        let root = at_once.tree().advance(1_000, Hash::ZERO, &rows, &[]).expect("a working tree").root;
        let in_parts = Fixture::new();
        let mut size = 0;
        let mut advance = |rows: &[RowState]| {
            size += 1;
            in_parts.tree().advance(size, Hash::ZERO, rows, &[]).expect("a working tree").root
        };
        advance(&passing.iter().map(put).collect::<Vec<_>>());
        for part in rows.rchunks(cut) {
            advance(part);
        }
        let last = advance(&passing.iter().map(|id| row(*id, None)).collect::<Vec<_>>());
        prop_assert_eq!(last, root);
    }
}

/// Keys that share as many bits as two keys can, so that the path is as long as paths get.
#[test]
fn proofs_are_as_long_as_keys_at_most() {
    let a = [0; 32];
    let mut b = a;
    b[31] = 1;
    let value_hash = sha256(&[b"value"]);
    let leaf = |key: [u8; 32]| state_leaf_hash(&Hash::new(key), &value_hash);
    let mut hash = craton_proof::state_node_hash(&leaf(a), &leaf(b));
    let mut siblings = vec![leaf(b)];
    siblings.resize(256, craton_proof::EMPTY_SUBTREE);
    for sibling in &siblings[1..] {
        hash = craton_proof::state_node_hash(&hash, sibling);
    }
    let mut proof = StateTreeProof { other: None, siblings };
    assert_eq!(proof.verify_present(&hash, &Hash::new(a), b"value"), Ok(()));
    assert!(proof.verify_present(&hash, &Hash::new(b), b"value").is_err());
    proof.siblings.push(Hash::ZERO);
    assert!(matches!(
        proof.verify_present(&hash, &Hash::new(a), b"value"),
        Err(craton_proof::StateTreeProofError::Length { found: 257 })
    ));
}

#[test]
fn a_version_is_whole_or_not_there_and_checkpoints_are_found_again() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.tree().newest().expect("a working tree").size, 0);
    assert_eq!(
        fixture.tree().newest().expect("a working tree").root,
        craton_proof::EMPTY_SUBTREE
    );
    let first = fixture
        .tree()
        .advance(5, Hash::new([5; 32]), &[row(1, Some((4, 1)))], &[])
        .expect("a working tree");
    let second = fixture
        .tree()
        .advance(
            9,
            Hash::new([9; 32]),
            &[row(1, None)],
            &[(5, Offset::new(5)), (5, Offset::new(6))],
        )
        .expect("a working tree");
    assert_eq!(second.root, craton_proof::EMPTY_SUBTREE);
    assert!(matches!(
        fixture.tree().advance(9, Hash::ZERO, &[row(2, Some((8, 1)))], &[]),
        Err(StateError::OutOfOrder { size: 9, newest: 9 })
    ));
    fixture.reopen();
    let tree = fixture.tree();
    assert_eq!(tree.newest().expect("a working tree"), second);
    for (size_max, found) in [
        (4, None),
        (5, Some((5, Offset::new(5)))),
        (100, Some((5, Offset::new(5)))),
    ] {
        assert_eq!(tree.checkpoint(size_max).expect("a working tree"), found);
    }
    // Between two versions, the older one holds.
    assert_eq!(
        tree.position(8, TABLE, &primary_key(1))
            .expect("a working tree")
            .expect("a working tree")
            .offset,
        Offset::new(4)
    );
    let (value, proof) = tree.prove(8, TABLE, &primary_key(1)).expect("a working tree");
    assert!(
        proof
            .verify_present(&first.root, &row_key(1), &value.expect("a working tree").to_bytes())
            .is_ok()
    );
}

#[test]
fn another_key_and_damage_are_noticed() {
    let fixture = Fixture::new();
    fixture
        .tree()
        .advance(1, Hash::ZERO, &[row(1, Some((0, 1)))], &[])
        .expect("a working tree");
    let path = fixture.path();
    let Fixture { folder, tree } = fixture;
    drop(tree);
    let other = StateKeys {
        store: SecretBytes::new([4; 32]),
        ..keys()
    };
    let refused = StateTree::open(file(&path), other, StateOptions::default()).unwrap_err();
    assert!(!refused.is_rebuildable(), "{refused}");
    let mut bytes = std::fs::read(&path).expect("the file of the tree");
    let middle = bytes.len() / 2;
    bytes.truncate(middle);
    std::fs::write(&path, bytes).expect("the file of the tree");
    let refused = StateTree::open(file(&path), keys(), StateOptions::default()).and_then(|tree| tree.newest());
    assert!(refused.unwrap_err().is_rebuildable());
    drop(folder);
}

fn file(path: &std::path::Path) -> std::sync::Arc<dyn craton_log::DiskFile> {
    RealDisk.open_or_create(path).expect("the file is ours")
}
