//! The Merkle tree of a log: RFC 6962 section 2.1, with the verification algorithms of RFC 9162 section 2.1.
//!
//! Hashes are `SHA-256(0x00 ‖ entry)` for leaves and `SHA-256(0x01 ‖ left ‖ right)` for nodes. A tree of `n` leaves
//! splits at the largest power of two below `n`, so every node left of the right edge is a *complete subtree* of
//! `2^level` leaves at an index that is a multiple of its size. Proofs need no other hashes than those, which
//! is why [`HashReader`] gives just them.

use craton_crypto::chunk_hash;
pub use craton_crypto::node_hash;
use craton_types::Hash;

/// `SHA-256(0x00 ‖ entry)`.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    chunk_hash(entry)
}

/// The root of the tree without leaves: the hash of nothing.
#[must_use]
pub fn empty_root() -> Hash {
    craton_crypto::sha256(&[])
}

/// The Merkle tree hash (MTH of RFC 6962) over leaf hashes.
#[must_use]
pub fn merkle_tree_hash(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::new();
    leaves.iter().for_each(|leaf| frontier.push(*leaf));
    frontier.root()
}

/// The right edge of a growing tree: the roots of its complete subtrees, from large to small.
///
/// It is all that appending and computing the root need: at most 64 hashes for any size.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    /// One hash for each one bit of `size`, from the highest to the lowest.
    roots: Vec<Hash>,
}

/// Why bytes are no frontier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrontierDecodeError {
    /// Fewer than eight bytes: the size is missing.
    #[error("a frontier begins with its size in 8 bytes, found {found}")]
    Size {
        /// How many bytes there are.
        found: usize,
    },
    /// The hashes are not as many as a tree of this size has.
    #[error("a frontier of size {size} has {expected} bytes, found {found}")]
    Length {
        /// The encoded size.
        size: u64,
        /// The length that belongs to it.
        expected: usize,
        /// The length found.
        found: usize,
    },
}

impl Frontier {
    /// The tree without leaves.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            size: 0,
            roots: Vec::new(),
        }
    }

    /// The right edge of a tree of `size` leaves whose hashes a reader gives. Only as good as the reader: compare its
    /// root with a signed one.
    ///
    /// # Errors
    /// When the reader fails.
    pub fn from_reader<R: HashReader + ?Sized>(reader: &R, size: u64) -> Result<Self, R::Error> {
        let ones = (0..64_u8).rev().filter(|level| size >> level & 1 == 1);
        // What stands left of a one bit is covered by the subtrees of the higher ones.
        let roots = ones.map(|level| reader.hash(level, (size >> level) - 1));
        Ok(Self {
            size,
            roots: roots.collect::<Result<_, _>>()?,
        })
    }

    /// Appends a leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        self.push_with(leaf, |_, _, _| {});
    }

    /// Appends a leaf hash and reports every subtree that it completes, from the leaf (level 0) upwards, as
    /// `(level, index, hash)`: exactly what a [`HashReader`] over the grown tree must be able to give.
    pub fn push_with(&mut self, leaf: Hash, mut complete: impl FnMut(u8, u64, &Hash)) {
        let mut hash = leaf;
        let mut index = self.size;
        let mut level = 0;
        complete(level, index, &hash);
        while index & 1 == 1 {
            let left = self.roots.pop().expect("a one bit of the size has its root");
            hash = node_hash(&left, &hash);
            index >>= 1;
            level += 1;
            complete(level, index, &hash);
        }
        self.roots.push(hash);
        self.size = self.size.checked_add(1).expect("no log has 2^64 records");
    }

    /// How many leaves the tree has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        let Some(smallest) = roots.next() else {
            return empty_root();
        };
        roots.fold(*smallest, |right, left| node_hash(left, &right))
    }

    /// The canonical encoding: the size (8 bytes, big-endian) and the roots, from large to small.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + 32 * self.roots.len());
        bytes.extend_from_slice(&self.size.to_be_bytes());
        self.roots
            .iter()
            .for_each(|root| bytes.extend_from_slice(root.as_bytes()));
        bytes
    }

    /// Parses what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the number of roots is not the one that belongs to the size.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrontierDecodeError> {
        let (size, roots) = bytes
            .split_first_chunk::<8>()
            .ok_or(FrontierDecodeError::Size { found: bytes.len() })?;
        let size = u64::from_be_bytes(*size);
        let expected = 8 + 32 * size.count_ones() as usize;
        if bytes.len() != expected {
            return Err(FrontierDecodeError::Length {
                size,
                expected,
                found: bytes.len(),
            });
        }
        let roots = roots.as_chunks::<32>().0.iter().map(|root| Hash::new(*root)).collect();
        Ok(Self { size, roots })
    }
}

/// Gives the hashes of complete subtrees of a log.
pub trait HashReader {
    /// Why a hash cannot be read.
    type Error;

    /// The root of the complete subtree of `2^level` leaves that begins at leaf `index · 2^level`.
    ///
    /// # Errors
    /// When the hash cannot be read. Callers ask only for subtrees that lie within the tree they prove.
    fn hash(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// A tree held as its leaf hashes. Meant for small trees: it hashes every subtree anew.
impl HashReader for [Hash] {
    type Error = std::convert::Infallible;

    fn hash(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        let length = 1_usize << level;
        let start = usize::try_from(index).expect("within a tree in memory") << level;
        Ok(merkle_tree_hash(&self[start..start + length]))
    }
}

impl<R: HashReader + ?Sized> HashReader for &R {
    type Error = R::Error;

    fn hash(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        (**self).hash(level, index)
    }
}

/// Why there is no proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError<E> {
    /// The leaf is not in the tree.
    #[error("leaf {index} is not in a tree of size {size}")]
    Index {
        /// The leaf asked for.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// The older tree is larger than the newer one.
    #[error("a tree of size {old_size} is no prefix of one of size {size}")]
    Sizes {
        /// The older size.
        old_size: u64,
        /// The newer size.
        size: u64,
    },
    /// A hash cannot be read.
    #[error("the hash of a subtree cannot be read")]
    Reader(#[source] E),
}

/// The path from leaf `index` to the root of the tree of `size` leaves (PATH of RFC 6962, section 2.1.1), from
/// the leaf's sibling upwards.
///
/// # Errors
/// When the leaf is not in the tree or the reader fails.
pub fn inclusion_proof<R: HashReader + ?Sized>(
    reader: &R,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, ProofError<R::Error>> {
    if index >= size {
        return Err(ProofError::Index { index, size });
    }
    let mut path = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        let sibling = if index < middle {
            let right = range_root(reader, middle, end);
            end = middle;
            right
        } else {
            let left = range_root(reader, start, middle);
            start = middle;
            left
        };
        path.push(sibling.map_err(ProofError::Reader)?);
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of `size` leaves begins with the tree of `old_size` leaves (PROOF of RFC 6962,
/// section 2.1.2). Empty when the sizes are equal or the old tree is empty.
///
/// # Errors
/// When the old tree is larger or the reader fails.
pub fn consistency_proof<R: HashReader + ?Sized>(
    reader: &R,
    old_size: u64,
    size: u64,
) -> Result<Vec<Hash>, ProofError<R::Error>> {
    if old_size > size {
        return Err(ProofError::Sizes { old_size, size });
    }
    let mut path = Vec::new();
    if old_size == 0 || old_size == size {
        return Ok(path);
    }
    let (mut start, mut end) = (0, size);
    // SUBPROOF: descend to the last complete subtree of the old tree, noting the siblings.
    while end != old_size {
        let middle = start + split(end - start);
        let sibling = if old_size <= middle {
            let right = range_root(reader, middle, end);
            end = middle;
            right
        } else {
            let left = range_root(reader, start, middle);
            start = middle;
            left
        };
        path.push(sibling.map_err(ProofError::Reader)?);
    }
    if start > 0 {
        path.push(range_root(reader, start, end).map_err(ProofError::Reader)?);
    }
    path.reverse();
    Ok(path)
}

/// Why a proof does not prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofVerifyError {
    /// The leaf is not in a tree of this size.
    #[error("leaf {index} is not in a tree of size {size}")]
    Index {
        /// The leaf.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// The older tree is larger than the newer one.
    #[error("a tree of size {old_size} is no prefix of one of size {size}")]
    Sizes {
        /// The older size.
        old_size: u64,
        /// The newer size.
        size: u64,
    },
    /// The path has too few or too many hashes.
    #[error("the path has {found} hashes, which is not the number that the tree's size asks for")]
    Length {
        /// How many hashes there are.
        found: usize,
    },
    /// The path leads to another root.
    #[error("the path leads to root {found}, expected {expected}")]
    Root {
        /// The root that was to be proved.
        expected: Hash,
        /// The root that the path leads to.
        found: Hash,
    },
}

/// Verifies that `leaf` is the leaf hash at `index` of the tree of `size` leaves with this `root`
/// (RFC 9162, section 2.1.3.2).
///
/// # Errors
/// When the path is of another length or leads to another root.
pub fn verify_inclusion(leaf: Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> Result<(), ProofVerifyError> {
    if index >= size {
        return Err(ProofVerifyError::Index { index, size });
    }
    let wrong_length = ProofVerifyError::Length { found: path.len() };
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in path {
        if last == 0 {
            return Err(wrong_length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            // On the right edge, levels where the node has no right sibling have no entry in the path.
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(wrong_length);
    }
    same_root(root, hash)
}

/// Verifies that the tree of `size` leaves with root `root` begins with the tree of `old_size` leaves with root
/// `old_root` (RFC 9162, section 2.1.4.2).
///
/// # Errors
/// When the path is of another length or leads to other roots.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    size: u64,
    root: &Hash,
    path: &[Hash],
) -> Result<(), ProofVerifyError> {
    if old_size > size {
        return Err(ProofVerifyError::Sizes { old_size, size });
    }
    let wrong_length = ProofVerifyError::Length { found: path.len() };
    if old_size == 0 || old_size == size {
        if !path.is_empty() {
            return Err(wrong_length);
        }
        return if old_size == 0 {
            same_root(&empty_root(), *old_root)
        } else {
            same_root(root, *old_root)
        };
    }
    // When the old tree is complete, its root stands where the path would begin.
    let (mut old_hash, rest) = if old_size.is_power_of_two() {
        (*old_root, path)
    } else {
        let (first, rest) = path.split_first().ok_or(wrong_length)?;
        (*first, rest)
    };
    let mut hash = old_hash;
    let (mut node, mut last) = (old_size - 1, size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    for sibling in rest {
        if last == 0 {
            return Err(wrong_length);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(wrong_length);
    }
    same_root(old_root, old_hash)?;
    same_root(root, hash)
}

fn same_root(expected: &Hash, found: Hash) -> Result<(), ProofVerifyError> {
    if *expected == found {
        return Ok(());
    }
    Err(ProofVerifyError::Root {
        expected: *expected,
        found,
    })
}

/// The root of the leaves `start..end`, where `start` is a multiple of the smallest power of two that is not
/// below `end - start`: a chain of complete subtrees, folded from the right.
fn range_root<R: HashReader + ?Sized>(reader: &R, start: u64, end: u64) -> Result<Hash, R::Error> {
    let length = end - start;
    if length.is_power_of_two() {
        return reader.hash(level_of(length), start / length);
    }
    let middle = start + split(length);
    let left = range_root(reader, start, middle)?;
    let right = range_root(reader, middle, end)?;
    Ok(node_hash(&left, &right))
}

/// The largest power of two below `length`, which is at least two.
const fn split(length: u64) -> u64 {
    1 << (length - 1).ilog2()
}

fn level_of(power_of_two: u64) -> u8 {
    u8::try_from(power_of_two.ilog2()).expect("at most 63")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// The definitions of RFC 6962 section 2.1, word by word.
    mod naive {
        use super::*;

        pub(super) fn root(leaves: &[Hash]) -> Hash {
            match leaves {
                [] => empty_root(),
                [leaf] => *leaf,
                _ => {
                    let (left, right) = leaves.split_at(largest_power_below(leaves.len()));
                    node_hash(&root(left), &root(right))
                }
            }
        }

        pub(super) fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
            if leaves.len() == 1 {
                return vec![];
            }
            let k = largest_power_below(leaves.len());
            let (left, right) = leaves.split_at(k);
            if index < k {
                [path(index, left), vec![root(right)]].concat()
            } else {
                [path(index - k, right), vec![root(left)]].concat()
            }
        }

        pub(super) fn subproof(m: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
            if m == leaves.len() {
                return if known { vec![] } else { vec![root(leaves)] };
            }
            let k = largest_power_below(leaves.len());
            let (left, right) = leaves.split_at(k);
            if m <= k {
                [subproof(m, left, known), vec![root(right)]].concat()
            } else {
                [subproof(m - k, right, false), vec![root(left)]].concat()
            }
        }

        fn largest_power_below(length: usize) -> usize {
            let mut power = 1;
            while power * 2 < length {
                power *= 2;
            }
            power
        }
    }

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
    }

    fn size_of(leaves: &[Hash]) -> u64 {
        leaves.len().try_into().expect("small")
    }

    /// The eight entries of the Certificate Transparency reference implementation's Merkle tree test and the
    /// roots of all their prefixes.
    #[test]
    fn certificate_transparency_vectors() {
        let entries: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut frontier = Frontier::new();
        assert_eq!(
            frontier.root().to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for (entry, root) in entries.iter().zip(roots) {
            frontier.push(leaf_hash(entry));
            assert_eq!(frontier.root().to_string(), root);
        }
    }

    #[test]
    fn roots_paths_and_proofs_are_those_of_the_definition() {
        let all = leaves(33);
        for size in 0..=all.len() {
            let tree = &all[..size];
            let root = naive::root(tree);
            assert_eq!(merkle_tree_hash(tree), root);
            for (index, leaf) in tree.iter().enumerate() {
                let path = inclusion_proof(tree, index as u64, size_of(tree)).expect("in the tree");
                assert_eq!(path, naive::path(index, tree));
                assert_eq!(
                    verify_inclusion(*leaf, index as u64, size_of(tree), &path, &root),
                    Ok(())
                );
            }
            for old_size in 0..=size {
                let old_root = naive::root(&all[..old_size]);
                let path = consistency_proof(tree, old_size as u64, size_of(tree)).expect("a prefix");
                if old_size > 0 {
                    assert_eq!(path, naive::subproof(old_size, tree, true), "{old_size} in {size}");
                }
                assert_eq!(
                    verify_consistency(old_size as u64, &old_root, size_of(tree), &root, &path),
                    Ok(())
                );
            }
        }
    }

    #[test]
    fn leaves_outside_the_tree_have_no_proof() {
        let tree = leaves(3);
        assert_eq!(
            inclusion_proof(&tree[..], 3, 3),
            Err(ProofError::Index { index: 3, size: 3 })
        );
        assert_eq!(
            inclusion_proof(&tree[..0], 0, 0),
            Err(ProofError::Index { index: 0, size: 0 })
        );
        assert_eq!(
            consistency_proof(&tree[..], 4, 3),
            Err(ProofError::Sizes { old_size: 4, size: 3 })
        );
        assert_eq!(
            verify_inclusion(tree[0], 3, 3, &[], &tree[0]),
            Err(ProofVerifyError::Index { index: 3, size: 3 })
        );
    }

    #[test]
    fn a_failing_reader_is_reported() {
        struct Broken;
        impl HashReader for Broken {
            type Error = &'static str;
            fn hash(&self, _: u8, _: u64) -> Result<Hash, Self::Error> {
                Err("disk")
            }
        }
        assert_eq!(inclusion_proof(&Broken, 0, 2), Err(ProofError::Reader("disk")));
        assert_eq!(consistency_proof(&Broken, 1, 2), Err(ProofError::Reader("disk")));
    }

    #[test]
    fn completed_subtrees_are_what_a_reader_needs() {
        struct Stored(HashMap<(u8, u64), Hash>);
        impl HashReader for Stored {
            type Error = (u8, u64);
            fn hash(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
                self.0.get(&(level, index)).copied().ok_or((level, index))
            }
        }
        let all = leaves(70);
        let mut stored = Stored(HashMap::new());
        let mut frontier = Frontier::new();
        for (index, leaf) in all.iter().enumerate() {
            frontier.push_with(*leaf, |level, index, hash| {
                assert_eq!(stored.0.insert((level, index), *hash), None, "each subtree once");
            });
            let size = frontier.size();
            for leaf in 0..=index as u64 {
                assert_eq!(
                    inclusion_proof(&stored, leaf, size),
                    Ok(inclusion_proof(&all[..=index], leaf, size).expect("in the tree"))
                );
            }
        }
    }

    #[test]
    fn frontiers_of_the_wrong_length_are_refused() {
        let mut frontier = Frontier::new();
        leaves(5).into_iter().for_each(|leaf| frontier.push(leaf));
        let bytes = frontier.to_bytes();
        assert_eq!(Frontier::from_bytes(&bytes), Ok(frontier));
        assert_eq!(
            Frontier::from_bytes(&bytes[..7]),
            Err(FrontierDecodeError::Size { found: 7 })
        );
        assert_eq!(
            Frontier::from_bytes(&bytes[..bytes.len() - 1]),
            Err(FrontierDecodeError::Length {
                size: 5,
                expected: 72,
                found: 71
            })
        );
    }

    proptest! {
        #[test]
        fn frontiers_grow_like_trees_and_survive_a_round_trip(count in 0usize..300, cut in 0usize..300) {
            let all = leaves(count);
            let mut frontier = Frontier::new();
            for (index, leaf) in all.iter().enumerate() {
                if index == cut {
                    frontier = Frontier::from_bytes(&frontier.to_bytes()).expect("a round trip");
                }
                frontier.push(*leaf);
            }
            prop_assert_eq!(frontier.size(), size_of(&all));
            prop_assert_eq!(frontier.root(), naive::root(&all));
        }

        #[test]
        fn altered_proofs_do_not_verify(
            size in 1usize..200,
            index in any::<prop::sample::Index>(),
            old_size in any::<prop::sample::Index>(),
            altered in any::<prop::sample::Index>(),
            bit in 0usize..256,
        ) {
            let all = leaves(size);
            let root = naive::root(&all);
            let total = size_of(&all);
            let flip = |hash: &Hash| {
                let mut bytes = *hash.as_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                Hash::new(bytes)
            };

            let index = index.index(size);
            let path = inclusion_proof(&all[..], index as u64, total).expect("in the tree");
            prop_assert!(verify_inclusion(flip(&all[index]), index as u64, total, &path, &root).is_err());
            prop_assert!(verify_inclusion(all[index], index as u64, total, &path, &flip(&root)).is_err());
            let longer = [&path[..], &[root]].concat();
            prop_assert!(verify_inclusion(all[index], index as u64, total, &longer, &root).is_err());
            if !path.is_empty() {
                let mut changed = path.clone();
                let position = altered.index(path.len());
                changed[position] = flip(&path[position]);
                prop_assert!(verify_inclusion(all[index], index as u64, total, &changed, &root).is_err());
                prop_assert!(verify_inclusion(all[index], index as u64, total, &path[1..], &root).is_err());
                let other = (index + 1) % size;
                prop_assert!(verify_inclusion(all[index], other as u64, total, &path, &root).is_err());
            }

            let old_size = 1 + old_size.index(size);
            let old_root = naive::root(&all[..old_size]);
            let path = consistency_proof(&all[..], old_size as u64, total).expect("a prefix");
            prop_assert!(verify_consistency(old_size as u64, &flip(&old_root), total, &root, &path).is_err());
            prop_assert!(verify_consistency(old_size as u64, &old_root, total, &flip(&root), &path).is_err());
            let longer = [&path[..], &[root]].concat();
            prop_assert!(verify_consistency(old_size as u64, &old_root, total, &root, &longer).is_err());
            if !path.is_empty() {
                let mut changed = path.clone();
                let position = altered.index(path.len());
                changed[position] = flip(&path[position]);
                prop_assert!(verify_consistency(old_size as u64, &old_root, total, &root, &changed).is_err());
                prop_assert!(verify_consistency(old_size as u64, &old_root, total, &root, &path[1..]).is_err());
            }
        }

        #[test]
        fn arbitrary_proofs_never_panic(
            index in any::<u64>(), size in any::<u64>(), old_size in any::<u64>(), length in 0usize..70,
        ) {
            let path = vec![Hash::ZERO; length];
            let _ = verify_inclusion(Hash::ZERO, index, size, &path, &Hash::ZERO);
            let _ = verify_consistency(old_size, &Hash::ZERO, size, &Hash::ZERO, &path);
        }
    }
}
