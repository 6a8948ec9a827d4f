//! Nodes: four levels of the binary tree in one, as they are stored.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | which of the 16 children there are, child 0 in the lowest bit |
//! | 2..4 | which of them are leaves |
//! | then for each leaf | key (32), offset (8), chunk index (4), leaf hash (32) |
//! | or for each node | number (8), subtree hash (32) |
//!
//! Integers are big-endian. A subtree with one leaf is that leaf, wherever it is; so a node has at least two leaves
//! below it.

use craton_proof::{EMPTY_SUBTREE, OtherLeaf, state_node_hash};
use craton_types::{Hash, Offset};

/// Children of a node.
pub(crate) const CHILDREN: usize = 16;
/// Levels of the binary tree that a node spans.
pub(crate) const NODE_LEVELS: usize = 4;

/// Where the newest change of a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The record.
    pub offset: Offset,
    /// The chunk of the record.
    pub chunk_index: u32,
}

/// A row that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) key: Hash,
    pub(crate) position: Position,
    pub(crate) hash: Hash,
}

/// A subtree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Child {
    Empty,
    Leaf(Leaf),
    Node { number: u64, hash: Hash },
}

impl Child {
    pub(crate) const fn hash(&self) -> Hash {
        match self {
            Self::Empty => EMPTY_SUBTREE,
            Self::Leaf(leaf) => leaf.hash,
            Self::Node { hash, .. } => *hash,
        }
    }

    /// The encoding of a lone child, for the root of a version.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut children = [Self::Empty; CHILDREN];
        children[0] = self;
        Node(children).to_bytes()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Node::from_bytes(bytes).map(|node| node.0[0])
    }
}

/// Four levels of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node(pub(crate) [Child; CHILDREN]);

/// Where the path of a key ends within a node.
pub(crate) enum PathEnd {
    /// Nowhere yet: it goes on below this child.
    Below(Child),
    /// In a leaf, which may be another key's.
    Leaf(Leaf),
    /// In an empty subtree.
    Empty,
}

impl Node {
    /// The hash of the subtree.
    pub(crate) fn hash(&self) -> Hash {
        range_hash(&self.0)
    }

    /// Follows the path to a child, appending the siblings on the way, and tells where it ends.
    pub(crate) fn follow(&self, index: usize, siblings: &mut Vec<Hash>) -> PathEnd {
        let (mut start, mut length) = (0, CHILDREN);
        loop {
            let range = &self.0[start..start + length];
            match lone(range) {
                Lone::None => return PathEnd::Empty,
                Lone::Leaf(leaf) => return PathEnd::Leaf(leaf),
                Lone::Node(child) if length == 1 => return PathEnd::Below(child),
                Lone::Node(_) | Lone::Many => {}
            }
            length /= 2;
            let (left, right) = range.split_at(length);
            if index < start + length {
                siblings.push(range_hash(right));
            } else {
                siblings.push(range_hash(left));
                start += length;
            }
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + CHILDREN * 48);
        let (mut present, mut leaves) = (0u16, 0u16);
        for (index, child) in self.0.iter().enumerate() {
            present |= u16::from(*child != Child::Empty) << index;
            leaves |= u16::from(matches!(child, Child::Leaf(_))) << index;
        }
        bytes.extend_from_slice(&present.to_be_bytes());
        bytes.extend_from_slice(&leaves.to_be_bytes());
        for child in &self.0 {
            match child {
                Child::Empty => {}
                Child::Leaf(leaf) => {
                    bytes.extend_from_slice(leaf.key.as_bytes());
                    bytes.extend_from_slice(&leaf.position.offset.get().to_be_bytes());
                    bytes.extend_from_slice(&leaf.position.chunk_index.to_be_bytes());
                    bytes.extend_from_slice(leaf.hash.as_bytes());
                }
                Child::Node { number, hash } => {
                    bytes.extend_from_slice(&number.to_be_bytes());
                    bytes.extend_from_slice(hash.as_bytes());
                }
            }
        }
        bytes
    }

    /// `None` when the bytes are no node.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let present = u16::from_be_bytes(take(&mut rest)?);
        let leaves = u16::from_be_bytes(take(&mut rest)?);
        let mut children = [Child::Empty; CHILDREN];
        for (index, child) in children.iter_mut().enumerate() {
            if present >> index & 1 == 0 {
                continue;
            }
            *child = if leaves >> index & 1 == 1 {
                Child::Leaf(Leaf {
                    key: Hash::new(take(&mut rest)?),
                    position: Position {
                        offset: Offset::new(u64::from_be_bytes(take(&mut rest)?)),
                        chunk_index: u32::from_be_bytes(take(&mut rest)?),
                    },
                    hash: Hash::new(take(&mut rest)?),
                })
            } else {
                Child::Node {
                    number: u64::from_be_bytes(take(&mut rest)?),
                    hash: Hash::new(take(&mut rest)?),
                }
            };
        }
        (leaves & !present == 0 && rest.is_empty()).then_some(Self(children))
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (part, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*part)
}

/// What a range of children holds.
enum Lone {
    None,
    Leaf(Leaf),
    Node(Child),
    Many,
}

fn lone(range: &[Child]) -> Lone {
    let mut children = range.iter().filter(|child| **child != Child::Empty);
    match (children.next(), children.next()) {
        (None, _) => Lone::None,
        (Some(Child::Leaf(leaf)), None) => Lone::Leaf(*leaf),
        (Some(child), None) => Lone::Node(*child),
        _ => Lone::Many,
    }
}

fn range_hash(range: &[Child]) -> Hash {
    match lone(range) {
        Lone::None => EMPTY_SUBTREE,
        Lone::Leaf(leaf) => leaf.hash,
        Lone::Node(child) if range.len() == 1 => child.hash(),
        Lone::Node(_) | Lone::Many => {
            let (left, right) = range.split_at(range.len() / 2);
            state_node_hash(&range_hash(left), &range_hash(right))
        }
    }
}

/// A stored node, for fuzzing.
#[cfg(feature = "fuzzing")]
#[must_use]
pub fn state_node(bytes: &[u8]) -> bool {
    let decoded = Node::from_bytes(bytes);
    if let Some(node) = &decoded {
        assert_eq!(node.to_bytes(), bytes, "a node has one form");
        for index in 0..CHILDREN {
            let mut siblings = Vec::new();
            let _ = node.follow(index, &mut siblings);
            assert!(siblings.len() <= 4, "a node is four levels high");
        }
        let _ = node.hash();
    }
    decoded.is_some()
}

/// The child of a node that a key goes to, at a depth in nodes.
pub(crate) fn child_index(key: &Hash, depth: usize) -> usize {
    let byte = key.as_bytes()[depth / 2];
    usize::from(if depth.is_multiple_of(2) {
        byte >> 4
    } else {
        byte & 0x0f
    })
}

impl Leaf {
    /// The leaf as a proof shows it to those who asked for another key.
    pub(crate) const fn as_other(&self, value_hash: Hash) -> OtherLeaf {
        OtherLeaf {
            key: self.key,
            value_hash,
        }
    }
}
