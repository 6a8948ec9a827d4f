//! The published vectors of `tests/vectors`, whose README names their sources.

use std::fs;
use std::path::Path;

use craton_proof::tree::{empty_root, leaf_hash, node_hash};
use craton_proof::{
    Checkpoint, CosignerKey, Note, NoteError, VerifierKey, WitnessPolicy, consistency_proof, inclusion_proof,
    merkle_tree_hash, verify_consistency, verify_inclusion,
};
use craton_types::Hash;
use serde_json::Value;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    fs::read_to_string(path).expect("a vector file")
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().expect("text");
    (0..hex.len())
        .step_by(2)
        .map(|index| u8::from_str_radix(&hex[index..index + 2], 16).expect("hexadecimal"))
        .collect()
}

fn hash(hex: &Value) -> Hash {
    Hash::new(bytes(hex).try_into().expect("32 bytes"))
}

fn hashes(list: &Value) -> Vec<Hash> {
    list.as_array().expect("a list").iter().map(hash).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

struct Tree {
    vectors: Value,
    leaves: Vec<Hash>,
    roots: Vec<Hash>,
}

impl Tree {
    fn read() -> Self {
        let vectors: Value = serde_json::from_str(&read("merkle.json")).expect("JSON");
        let entries = vectors["leaves"].as_array().expect("a list");
        let leaves = entries.iter().map(|entry| leaf_hash(&bytes(entry))).collect();
        let roots = hashes(&vectors["roots"]);
        Self { vectors, leaves, roots }
    }

    fn root(&self, size: u64) -> &Hash {
        &self.roots[usize::try_from(size).expect("small") - 1]
    }

    fn leaf(&self, index: u64) -> Hash {
        self.leaves[usize::try_from(index).expect("small")]
    }
}

#[test]
fn merkle_tree_hashes() {
    let tree = Tree::read();
    assert_eq!(empty_root(), hash(&tree.vectors["empty_root"]));
    let levels = tree.vectors["nodes"].as_array().expect("a list");
    assert_eq!(tree.leaves, hashes(&levels[0]));
    for pair in levels.windows(2) {
        let (children, parents) = (hashes(&pair[0]), hashes(&pair[1]));
        for (children, parent) in children.chunks(2).zip(parents) {
            assert_eq!(node_hash(&children[0], &children[1]), parent);
        }
    }
    for (index, root) in tree.roots.iter().enumerate() {
        assert_eq!(merkle_tree_hash(&tree.leaves[..=index]), *root);
    }
}

#[test]
fn merkle_inclusion_proofs() {
    let tree = Tree::read();
    for vector in tree.vectors["inclusion"].as_array().expect("a list") {
        // The vectors count leaves from one.
        let (index, size) = (number(&vector["leaf"]) - 1, number(&vector["size"]));
        let proof = hashes(&vector["proof"]);
        assert_eq!(inclusion_proof(&tree.leaves[..], index, size), Ok(proof.clone()));
        let root = tree.root(size);
        let leaf = tree.leaf(index);
        assert_eq!(verify_inclusion(leaf, index, size, &proof, root), Ok(()));
        // The corruptions of the same source.
        let strange = Hash::new([0xab; 32]);
        for (index, size) in [
            (index.wrapping_sub(1), size),
            (index + 1, size),
            (index ^ 2, size),
            (index, size / 2),
        ] {
            assert!(
                verify_inclusion(leaf, index, size, &proof, root).is_err(),
                "{index} of {size}"
            );
        }
        assert!(verify_inclusion(strange, index, size, &proof, root).is_err());
        assert!(verify_inclusion(leaf, index, size, &proof, &strange).is_err());
        assert!(verify_inclusion(leaf, index, size, &proof, &empty_root()).is_err());
        for altered in alterations(&proof, *root) {
            assert!(verify_inclusion(leaf, index, size, &altered, root).is_err());
        }
    }
}

#[test]
fn merkle_consistency_proofs() {
    let tree = Tree::read();
    for vector in tree.vectors["consistency"].as_array().expect("a list") {
        let (old_size, size) = (number(&vector["size1"]), number(&vector["size2"]));
        let proof = hashes(&vector["proof"]);
        assert_eq!(consistency_proof(&tree.leaves[..], old_size, size), Ok(proof.clone()));
        let (old_root, root) = (tree.root(old_size), tree.root(size));
        assert_eq!(verify_consistency(old_size, old_root, size, root, &proof), Ok(()));
        if proof.is_empty() {
            continue;
        }
        for (old_size, size) in [
            (old_size - 1, size),
            (old_size + 1, size),
            (old_size ^ 2, size),
            (old_size, size * 2),
            (old_size, size / 2),
        ] {
            assert!(
                verify_consistency(old_size, old_root, size, root, &proof).is_err(),
                "{old_size} in {size}"
            );
        }
        assert!(verify_consistency(old_size, root, size, old_root, &proof).is_err());
        for altered in alterations(&proof, *root)
            .into_iter()
            .chain(alterations(&proof, *old_root))
        {
            assert!(verify_consistency(old_size, old_root, size, root, &altered).is_err());
        }
    }
}

/// Proofs with a hash too many at either end, one too few, and one bit flipped.
fn alterations(proof: &[Hash], root: Hash) -> Vec<Vec<Hash>> {
    let mut all = vec![[proof, &[root]].concat(), [&[root], proof].concat()];
    if let Some((_, shorter)) = proof.split_last() {
        all.push(shorter.to_vec());
    }
    for position in 0..proof.len() {
        let mut flipped = *proof[position].as_bytes();
        flipped[0] ^= 8;
        let mut altered = proof.to_vec();
        altered[position] = Hash::new(flipped);
        all.push(altered);
    }
    all
}

#[test]
fn signed_notes() {
    for (file, key, text) in [
        (
            "signed_note_go.txt",
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n",
        ),
        (
            "signed_note_c2sp.txt",
            "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "This is an example message.\n",
        ),
    ] {
        let verifier: VerifierKey = key.parse().expect("a verifier key");
        assert_eq!(verifier.to_string(), key);
        let note = Note::parse(read(file).as_bytes()).expect("a note");
        assert_eq!(note.verify(&verifier), Ok(text));
        assert_eq!(note.to_string(), read(file));
        let altered = read(file).replace("is ", "is  ");
        let altered = Note::parse(altered.as_bytes()).expect("a note");
        assert!(matches!(altered.verify(&verifier), Err(NoteError::BadSignature { .. })));
    }
    let paragraphs = Note::parse(read("signed_note_c2sp_text.txt").as_bytes()).expect("a note");
    let text = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n";
    assert_eq!(paragraphs.unverified_text(), text);
    assert_eq!(paragraphs.signers(), ["quasimodo.example/salvatore+367ba04b"]);
}

#[test]
fn checkpoints() {
    let text = read("checkpoint_c2sp.txt");
    let checkpoint = Checkpoint::parse_unverified(text.as_bytes()).expect("a checkpoint");
    assert_eq!(checkpoint.origin.as_str(), "example.com/behind-the-sofa");
    assert_eq!(checkpoint.size, 20_852_163);
    let note = Note::parse(text.as_bytes()).expect("a note");
    assert_eq!(
        note.signers(),
        [
            "example.com/behind-the-sofa+033de0ae",
            "witness.example.com/w1+8d66cf3f"
        ]
    );
    assert_eq!(note.to_string(), text);
}

/// Real cosignatures by four public witnesses; the log's own signatures are of types that this crate does not have.
#[test]
fn cosignatures_of_public_witnesses() {
    let keys = [
        "transparency.dev/DEV:witness-little-garden+d8042a87+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM",
        "witness1.smartit.nu/witness1+a48c820f+BPSFWg9G6KPiO7QPryYO5Xq4oYJJ+kAvLKLSimDhoxMO",
        "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
        "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
    ];
    let witnesses: Vec<CosignerKey> = keys
        .iter()
        .map(|key| key.parse().unwrap_or_else(|error| panic!("{key}: {error}")))
        .collect();
    let policy = WitnessPolicy::new(witnesses, keys.len()).expect("a policy");
    let text = read("checkpoint_arche2025h1.txt");
    let note = Note::parse(text.as_bytes()).expect("a note");
    let cosignatures = policy.verify(&note).expect("all four");
    assert_eq!(cosignatures.len(), 4);
    for cosignature in cosignatures {
        assert_eq!(cosignature.time_seconds, 0x6a12_2120);
    }
    assert_eq!(
        Checkpoint::parse_unverified_note(&note).map(|checkpoint| checkpoint.size),
        Ok(1_432_088_532)
    );
    let altered = Note::parse(text.replace("1432088532", "1432088533").as_bytes()).expect("a note");
    assert!(policy.verify(&altered).is_err());
}
