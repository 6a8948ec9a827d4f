//! From one version of the tree to the next.

use crate::StateError;
use crate::node::{CHILDREN, Child, Leaf, Node, Position, child_index};
use craton_types::Hash;

/// What becomes of one leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeafChange {
    pub(crate) key: Hash,
    /// The leaf's content and hash; `None` removes it.
    pub(crate) new: Option<(Position, Hash)>,
}

impl LeafChange {
    fn leaf(&self) -> Option<Leaf> {
        let (position, hash) = self.new?;
        Some(Leaf {
            key: self.key,
            position,
            hash,
        })
    }
}

/// Where nodes are kept.
pub(crate) trait Nodes {
    fn read(&self, number: u64) -> Result<Node, StateError>;
    /// Stores a node and gives its number.
    fn write(&mut self, node: &Node) -> Result<u64, StateError>;
}

/// Applies changes, ascending by key and each key once, to the subtree `child` at `depth` nodes from the root.
pub(crate) fn update(
    nodes: &mut impl Nodes,
    child: Child,
    depth: usize,
    changes: &[LeafChange],
) -> Result<Child, StateError> {
    if changes.is_empty() {
        return Ok(child);
    }
    match child {
        Child::Empty => {
            let leaves: Vec<Leaf> = changes.iter().filter_map(LeafChange::leaf).collect();
            build(nodes, depth, &leaves)
        }
        Child::Leaf(leaf) => {
            let mut leaves: Vec<Leaf> = changes.iter().filter_map(LeafChange::leaf).collect();
            if changes.binary_search_by_key(&leaf.key, |change| change.key).is_err() {
                let place = leaves.partition_point(|other| other.key < leaf.key);
                leaves.insert(place, leaf);
            }
            build(nodes, depth, &leaves)
        }
        Child::Node { number, .. } => {
            let mut node = nodes.read(number)?;
            let mut changed = false;
            for (index, part) in by_child(changes, depth, |change| &change.key) {
                let before = node.0[index];
                node.0[index] = update(nodes, before, depth + 1, part)?;
                changed |= node.0[index] != before;
            }
            if changed { finish(nodes, node.0) } else { Ok(child) }
        }
    }
}

/// The subtree of these leaves, ascending by key.
fn build(nodes: &mut impl Nodes, depth: usize, leaves: &[Leaf]) -> Result<Child, StateError> {
    match leaves {
        [] => Ok(Child::Empty),
        [leaf] => Ok(Child::Leaf(*leaf)),
        _ => {
            let mut children = [Child::Empty; CHILDREN];
            for (index, part) in by_child(leaves, depth, |leaf| &leaf.key) {
                children[index] = build(nodes, depth + 1, part)?;
            }
            finish(nodes, children)
        }
    }
}

/// Children as a subtree: a node, unless fewer than two leaves are left.
fn finish(nodes: &mut impl Nodes, children: [Child; CHILDREN]) -> Result<Child, StateError> {
    let mut present = children.iter().filter(|child| **child != Child::Empty);
    match (present.next(), present.next()) {
        (None, _) => Ok(Child::Empty),
        (Some(Child::Leaf(leaf)), None) => Ok(Child::Leaf(*leaf)),
        _ => {
            let node = Node(children);
            let number = nodes.write(&node)?;
            Ok(Child::Node {
                number,
                hash: node.hash(),
            })
        }
    }
}

/// The parts of a list that go to each child, for the children that have one.
fn by_child<T>(items: &[T], depth: usize, key: impl Fn(&T) -> &Hash) -> impl Iterator<Item = (usize, &[T])> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let index = child_index(key(rest.first()?), depth);
        let (part, others) = rest.split_at(rest.partition_point(|item| child_index(key(item), depth) == index));
        rest = others;
        Some((index, part))
    })
}
