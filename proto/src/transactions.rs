//! The tree of a block's transactions, so that one of them can be shown without the others.
//!
//! ```text
//! leaf_i = BLAKE3-derive_key("assay.v1 transaction leaf", t_i)
//! node   = BLAKE3-derive_key("assay.v1 transaction node", left || right)
//! tree of none = 32 zeros, of one = its leaf, of n > 1 = node of the first 2^k and of the others, 2^k < n <= 2^(k+1)
//! root   = BLAKE3-derive_key("assay.v1 transactions", n, 8 bytes little-endian || tree)
//! ```
//!
//! with `t_i` the encoding of the i-th signed transaction: the tree of RFC 6962.

use crate::id::Root;
use crate::signing::Envelope;
use crate::wire;

type Hash = [u8; 32];

/// Commitment to transactions in their order.
pub fn root(transactions: &[Envelope]) -> Root {
    of(transactions.len(), &tree(&leaves(transactions)))
}

/// The siblings of the transaction at a place, from the root down; none if there is no such place.
pub fn siblings(transactions: &[Envelope], index: usize) -> Option<Vec<Hash>> {
    let (leaves, mut siblings) = (leaves(transactions), Vec::new());
    leaves.get(index)?;
    let (mut part, mut index) = (leaves.as_slice(), index);
    while let Some((left, right)) = halves(part) {
        let (own, other) = if index < left.len() { (left, right) } else { (right, left) };
        siblings.push(tree(other));
        if index >= left.len() {
            index = index.saturating_sub(left.len());
        }
        part = own;
    }
    Some(siblings)
}

/// The commitment to `count` transactions of which the one at `index` is this, with these siblings; none if a tree of so many
/// has no such path.
pub fn ascend(transaction: &Envelope, index: usize, count: usize, siblings: &[Hash]) -> Option<Root> {
    if index >= count {
        return None;
    }
    // On which side of its fork each step down goes.
    let (mut sides, mut index, mut size) = (Vec::new(), index, count);
    while size > 1 {
        let left = split(size);
        let is_right = index >= left;
        (index, size) =
            if is_right { (index.saturating_sub(left), size.saturating_sub(left)) } else { (index, left) };
        sides.push(is_right);
    }
    if sides.len() != siblings.len() {
        return None;
    }
    let up = |hash: Hash, (is_right, sibling): (&bool, &Hash)| match is_right {
        true => node(sibling, &hash),
        false => node(&hash, sibling),
    };
    Some(of(count, &sides.iter().zip(siblings).rev().fold(leaf(transaction), up)))
}

fn leaves(transactions: &[Envelope]) -> Vec<Hash> {
    transactions.iter().map(leaf).collect()
}

fn leaf(transaction: &Envelope) -> Hash {
    let bytes = prost::Message::encode_to_vec(&wire::Signed::from(transaction));
    blake3::derive_key("assay.v1 transaction leaf", &bytes)
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("assay.v1 transaction node");
    hasher.update(left).update(right);
    hasher.finalize().into()
}

fn of(count: usize, tree: &Hash) -> Root {
    let mut hasher = blake3::Hasher::new_derive_key("assay.v1 transactions");
    // A count in memory fits 64 bits.
    hasher.update(&u64::try_from(count).unwrap_or(u64::MAX).to_le_bytes()).update(tree);
    Root(hasher.finalize().into())
}

/// The greatest power of two below a number above 1.
fn split(size: usize) -> usize {
    size.div_ceil(2).next_power_of_two()
}

/// The two parts of a tree of more than one leaf.
fn halves(leaves: &[Hash]) -> Option<(&[Hash], &[Hash])> {
    if leaves.len() > 1 { leaves.split_at_checked(split(leaves.len())) } else { None }
}

fn tree(leaves: &[Hash]) -> Hash {
    match (leaves, halves(leaves)) {
        ([], _) => [0; 32],
        ([one], _) | ([one, ..], None) => *one,
        (_, Some((left, right))) => node(&tree(left), &tree(right)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::{SecretKey, Signature};

    fn some(count: usize) -> Vec<Envelope> {
        let signer = SecretKey::from_bytes(&[7; 32]).public_key();
        let one = |i: usize| Envelope {
            payload: vec![i as u8, (i >> 8) as u8],
            signer,
            signature: Signature([i as u8; 64]),
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn parts_are_powers_of_two_with_the_rest_on_the_right() {
        let of: Vec<usize> = (2..18).map(split).collect();
        assert_eq!(of, [1, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8, 16]);
    }

    #[test]
    fn every_transaction_is_shown_at_its_place_and_no_other() {
        for count in [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 33] {
            let all = some(count);
            let expected = root(&all);
            for (index, transaction) in all.iter().enumerate() {
                let path = siblings(&all, index).expect("a place");
                assert_eq!(ascend(transaction, index, count, &path), Some(expected), "{index} of {count}");
                for (other, of) in [(index + 1, count), (index, count + 1), (index ^ 1, count)] {
                    assert_ne!(ascend(transaction, other, of, &path), Some(expected), "{other} of {of}");
                }
                let mut changed = transaction.clone();
                changed.payload.push(0);
                assert_ne!(ascend(&changed, index, count, &path), Some(expected));
                for at in 0..path.len() {
                    let mut wrong = path.clone();
                    wrong[at][0] ^= 1;
                    assert_ne!(ascend(transaction, index, count, &wrong), Some(expected));
                    wrong.remove(at);
                    assert_eq!(ascend(transaction, index, count, &wrong), None);
                }
                assert_eq!(ascend(transaction, index, count, &[path.clone(), vec![[0; 32]]].concat()), None);
            }
            assert_eq!(siblings(&all, count), None);
        }
        assert_eq!(siblings(&[], 0), None);
        assert_eq!(ascend(&some(1)[0], 0, 0, &[]), None);
    }

    #[test]
    fn the_root_depends_on_number_order_and_content() {
        let all = some(6);
        let mut turned = all.clone();
        turned.swap(1, 4);
        let roots = [root(&all), root(&turned), root(&all[..5]), root(&all[1..]), root(&[])];
        for (i, one) in roots.iter().enumerate() {
            assert!(roots[..i].iter().all(|other| other != one), "{i}");
        }
    }

    /// An inner node is no leaf, whatever a transaction contains.
    #[test]
    fn a_node_is_not_taken_for_a_transaction() {
        let all = some(4);
        let pair = root(&all[..2]);
        assert_ne!(leaf(&all[0]), node(&leaf(&all[0]), &leaf(&all[1])));
        assert_ne!(of(1, &tree(&leaves(&all[..2]))), pair);
    }
}
