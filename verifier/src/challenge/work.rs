//! The work of a challenge, row by row.
//!
//! ```text
//! X_0, W   n by n matrices of signed bytes: byte i (X_0 row by row, then W) is the lowest one of mix(seed + (i + 1) g)
//! g        0x9e3779b97f4a7c15;  mix: SplitMix64
//! X_(i+1)  = clamp((X_i W^T + 2^(s-1)) >> s, -128, 127),  s = 6 + log2(n)/2
//! answer   the first 8 bytes of BLAKE3 of each row of the last X
//! ```
//!
//! A row of every `X` follows from the same row of `X_0`: whoever checks computes as many rows as it likes, each at
//! `n^2 * rounds` multiply-adds, while the miner computes all `n`. The rows to check follow from what the miner signed, so
//! they cannot be known before. A miner that computes a share `f` of the rows gets through with `f^ROWS` a try, and a try
//! costs it another signature; what it could save so is less than what the rate of its class leaves it.

use assay_proto::challenge::{Challenge, ChallengeAnswer, ROW_BYTES};
use assay_proto::{ChallengeId, Envelope};

/// Rows that are checked.
pub const ROWS: u32 = 8;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// What is to be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Decides all values.
    pub seed: u64,
    /// Side of the matrices, a power of 4.
    pub side: u32,
    /// Number of products.
    pub rounds: u32,
}

impl Work {
    /// Of a challenge.
    pub fn of(challenge: &Challenge, id: &ChallengeId) -> Self {
        Self { seed: id.seed(), side: challenge.side, rounds: challenge.rounds }
    }

    /// Multiply-adds that all rows take.
    pub fn operations(&self) -> u64 {
        let side = u64::from(self.side);
        side.saturating_mul(side).saturating_mul(side).saturating_mul(self.rounds.into())
    }

    /// Some rows of the last matrix, in the order of the indices.
    pub fn rows(&self, indices: &[u32]) -> Vec<[u8; ROW_BYTES]> {
        let side = usize::try_from(self.side).unwrap_or(0).max(1);
        let square = u64::from(self.side).saturating_mul(self.side.into());
        let weights: Vec<i32> = self.values(square, side.saturating_mul(side)).collect();
        let shift = self.side.checked_ilog2().unwrap_or(0) / 2 + 6;
        let half = 1_i32 << (shift - 1);
        let dot = |x: &[i32], w: &[i32]| -> i32 {
            // At most 4096 products of at most 2^14 each.
            x.iter().zip(w).map(|(x, w)| x.wrapping_mul(*w)).fold(0, i32::wrapping_add)
        };
        let row = |&index: &u32| {
            let first = u64::from(index).saturating_mul(self.side.into());
            let mut x: Vec<i32> = self.values(first, side).collect();
            for _ in 0..self.rounds {
                let next = |w| (dot(&x, w).wrapping_add(half) >> shift).clamp(-128, 127);
                x = weights.chunks(side).map(next).collect();
            }
            digest(x.into_iter().map(i64::from))
        };
        indices.iter().map(row).collect()
    }

    fn values(&self, first: u64, count: usize) -> impl Iterator<Item = i32> + use<> {
        let mut state = self.seed.wrapping_add(first.wrapping_mul(GOLDEN));
        let byte = move || {
            state = state.wrapping_add(GOLDEN);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let [lowest, ..] = (z ^ (z >> 31)).to_le_bytes();
            i32::from(i8::from_le_bytes([lowest]))
        };
        std::iter::repeat_with(byte).take(count)
    }
}

/// What stands for a row of signed bytes in an answer.
pub fn digest(row: impl Iterator<Item = i64>) -> [u8; ROW_BYTES] {
    let bytes: Vec<u8> = row.map(|value| i8::try_from(value).unwrap_or(i8::MIN).cast_unsigned()).collect();
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(&bytes).as_bytes();
    [a, b, c, d, e, f, g, h]
}

/// The rows of a signed answer that are checked.
fn sample(answer: &Envelope, side: u32) -> Vec<u32> {
    let mut hasher = blake3::Hasher::new_derive_key("assay.v1 challenge rows");
    hasher.update(&answer.signer.0).update(&answer.signature.0).update(&answer.payload);
    let mut bytes = hasher.finalize_xof();
    let index = |_| {
        let mut word = [0; 4];
        bytes.fill(&mut word);
        // The side is a power of 2, so every row is as likely.
        u32::from_le_bytes(word).checked_rem(side).unwrap_or(0)
    };
    (0..ROWS).map(index).collect()
}

/// Whether a signed answer has as many rows as the work, and the sampled ones are right.
pub fn is_right(work: &Work, answer: &ChallengeAnswer, envelope: &Envelope) -> bool {
    if u32::try_from(answer.rows.len()).ok() != Some(work.side) {
        return false;
    }
    let sampled = sample(envelope, work.side);
    let claimed =
        |index: &u32| usize::try_from(*index).ok().and_then(|index| answer.rows.get(index)).copied();
    work.rows(&sampled).into_iter().map(Some).eq(sampled.iter().map(claimed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_depend_on_seed_index_and_rounds() {
        let work = Work { seed: 7, side: 64, rounds: 3 };
        let all: Vec<u32> = (0..64).collect();
        let rows = work.rows(&all);
        assert_eq!(work.rows(&[5, 63]), [rows[5], rows[63]]);
        let mut distinct = rows.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 64);
        assert_ne!(rows, Work { seed: 8, ..work }.rows(&all));
        assert_ne!(rows, Work { rounds: 4, ..work }.rows(&all));
        assert_eq!(work.operations(), 3 * 64 * 64 * 64);
    }

    #[test]
    fn the_greatest_work_that_a_genesis_may_ask_for_is_checked_in_little_time() {
        let began = std::time::Instant::now();
        Work { seed: 1, side: 4096, rounds: 1 }.rows(&(0..ROWS).collect::<Vec<_>>());
        // About a fifth of a second on one core; the bound leaves room for a busy machine.
        assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    }
}
