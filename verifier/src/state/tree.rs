//! The tree that a state's root commits to, and proofs that a record is in it.
//!
//! ```text
//! path  = BLAKE3(key), its bits from the most significant of the first byte on
//! leaf  = BLAKE3-derive_key("assay.v1 state leaf", path || BLAKE3(value))
//! node  = BLAKE3-derive_key("assay.v1 state node", left || right)
//! tree of no record = 32 zeros, of one = its leaf, of more = node of those whose path goes on with 0 and those with 1
//! root  = BLAKE3-derive_key("assay.v1 state", genesis hash || height, 8 bytes little-endian || tree)
//! ```
//!
//! So a tree depends on its records and not on the order in which they came, a record is as deep as it takes to tell its path
//! from the others' (about log2 of their number), and one that changes costs that many hashes. Trees share what they have in
//! common: a copy costs nothing.

use std::sync::Arc;

use assay_proto::{BlockHash, Height, Root};

/// Siblings that a path may have: one a bit.
pub const DEPTH: usize = 256;

type Hash = [u8; 32];

/// The tree of a set of records.
#[derive(Clone, Debug, Default)]
pub struct Tree(Option<Arc<Node>>);

#[derive(Debug)]
enum Node {
    Leaf { path: Hash, hash: Hash },
    Fork { hash: Hash, children: [Tree; 2] },
}

impl Tree {
    /// Its commitment.
    pub fn hash(&self) -> Hash {
        match self.0.as_deref() {
            None => [0; 32],
            Some(Node::Leaf { hash, .. } | Node::Fork { hash, .. }) => *hash,
        }
    }

    /// The tree with this record, in place of the one that it had under the key.
    pub fn with(&self, key: &[u8], value: &[u8]) -> Self {
        let path = blake3::hash(key).into();
        self.put(Node::Leaf { path, hash: leaf(&path, value) }, path, 0)
    }

    fn put(&self, new: Node, path: Hash, depth: usize) -> Self {
        match self.0.as_deref() {
            None => Self(Some(Arc::new(new))),
            Some(Node::Leaf { path: other, .. }) if *other == path => Self(Some(Arc::new(new))),
            Some(Node::Leaf { path: other, .. }) => {
                // The old leaf one step further, beside or above the new one.
                let alone = fork(bit(other, depth), self.clone(), Self::default());
                alone.put(new, path, depth)
            }
            Some(Node::Fork { children: [zero, one], .. }) => match bit(&path, depth) {
                false => fork(false, zero.put(new, path, depth.saturating_add(1)), one.clone()),
                true => fork(true, one.put(new, path, depth.saturating_add(1)), zero.clone()),
            },
        }
    }

    /// The siblings of the record under this key, from the root down; none if there is no such record.
    pub fn siblings(&self, key: &[u8]) -> Option<Vec<Hash>> {
        let path: Hash = blake3::hash(key).into();
        let (mut tree, mut siblings) = (self, Vec::new());
        loop {
            match tree.0.as_deref()? {
                Node::Leaf { path: found, .. } => return (*found == path).then_some(siblings),
                Node::Fork { children: [zero, one], .. } => {
                    let (next, sibling) = if bit(&path, siblings.len()) { (one, zero) } else { (zero, one) };
                    siblings.push(sibling.hash());
                    tree = next;
                }
            }
        }
    }
}

/// The root of a tree at a height of a chain.
pub fn root(genesis: &BlockHash, height: Height, tree: &Hash) -> Root {
    let mut hasher = blake3::Hasher::new_derive_key("assay.v1 state");
    hasher.update(&genesis.0).update(&height.0.to_le_bytes()).update(tree);
    Root(hasher.finalize().into())
}

/// The commitment of the tree in which a record has these siblings; none if they are more than a path has bits.
pub fn ascend(key: &[u8], value: &[u8], siblings: &[Hash]) -> Option<Hash> {
    if siblings.len() > DEPTH {
        return None;
    }
    let path: Hash = blake3::hash(key).into();
    let up = |hash: Hash, (depth, sibling): (usize, &Hash)| match bit(&path, depth) {
        false => node(&hash, sibling),
        true => node(sibling, &hash),
    };
    Some(siblings.iter().enumerate().rev().fold(leaf(&path, value), up))
}

/// The fork with `child` on this side.
fn fork(side: bool, child: Tree, other: Tree) -> Tree {
    let children = if side { [other, child] } else { [child, other] };
    let [zero, one] = &children;
    Tree(Some(Arc::new(Node::Fork { hash: node(&zero.hash(), &one.hash()), children })))
}

/// The bit of a path at a depth; those beyond its end are 0.
fn bit(path: &Hash, depth: usize) -> bool {
    let mask = 0x80_u8.checked_shr(u32::try_from(depth % 8).unwrap_or(0)).unwrap_or(0);
    path.get(depth / 8).is_some_and(|byte| byte & mask != 0)
}

fn leaf(path: &Hash, value: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("assay.v1 state leaf");
    hasher.update(path).update(blake3::hash(value).as_bytes());
    hasher.finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("assay.v1 state node");
    hasher.update(left).update(right);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition above, from the sorted paths.
    fn reference(leaves: &[(Hash, Hash)], depth: usize) -> Hash {
        match leaves {
            [] => [0; 32],
            [(_, hash)] => *hash,
            _ => {
                let middle = leaves.partition_point(|(path, _)| !bit(path, depth));
                let (zero, one) = leaves.split_at(middle);
                node(&reference(zero, depth + 1), &reference(one, depth + 1))
            }
        }
    }

    fn records() -> impl Strategy<Value = Vec<(u8, u8)>> {
        prop::collection::vec((any::<u8>(), any::<u8>()), 0..80)
    }

    proptest! {
        #[test]
        fn a_tree_is_that_of_its_records_whatever_their_order(records in records()) {
            let mut latest = std::collections::BTreeMap::new();
            let mut tree = Tree::default();
            for (key, value) in &records {
                tree = tree.with(&[*key], &[*value]);
                latest.insert(*key, *value);
            }
            let mut leaves: Vec<(Hash, Hash)> = latest
                .iter()
                .map(|(key, value)| {
                    let path = blake3::hash(&[*key]).into();
                    (path, leaf(&path, &[*value]))
                })
                .collect();
            leaves.sort_unstable();
            prop_assert_eq!(tree.hash(), reference(&leaves, 0));
            for (key, value) in latest {
                let siblings = tree.siblings(&[key]).unwrap();
                prop_assert_eq!(ascend(&[key], &[value], &siblings), Some(tree.hash()));
                prop_assert_ne!(ascend(&[key], &[value ^ 1], &siblings), Some(tree.hash()));
            }
        }
    }

    #[test]
    fn no_bit_of_a_proof_may_change() {
        let tree = (0..40_u8).fold(Tree::default(), |tree, n| tree.with(&[n], &[n]));
        let siblings = tree.siblings(&[7]).unwrap();
        assert!(siblings.len() >= 3);
        for at in 0..siblings.len() * 256 {
            let mut changed = siblings.clone();
            changed[at / 256][at % 256 / 8] ^= 1 << (at % 8);
            assert_ne!(ascend(&[7], &[7], &changed), Some(tree.hash()), "{at}");
        }
        let (cut, longer) = (&siblings[1..], [siblings.as_slice(), &[[0; 32]]].concat());
        assert!(
            ascend(&[7], &[7], cut) != Some(tree.hash()) && ascend(&[7], &[7], &longer) != Some(tree.hash())
        );
        assert_eq!(ascend(&[7], &[7], &vec![[0; 32]; DEPTH + 1]), None);
        assert_eq!(tree.siblings(&[99]), None);
        assert_eq!(Tree::default().siblings(&[7]), None);
    }

    #[test]
    fn paths_that_share_their_beginning_go_deep() {
        let mut tree = Tree::default();
        let paths = [[0; 32], {
            let mut path = [0; 32];
            path[31] = 1;
            path
        }];
        for path in paths {
            tree = tree.put(Node::Leaf { path, hash: path }, path, 0);
        }
        let mut depth = 0;
        while let Some(Node::Fork { children: [zero, _], .. }) = tree.0.as_deref() {
            (tree, depth) = (zero.clone(), depth + 1);
        }
        assert_eq!(depth, 256);
    }
}
