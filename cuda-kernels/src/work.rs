//! A seeded amount of integer work whose result the processor can compute again: what a device's rate is measured with.
//!
//! ```text
//! X_0, W   n by n matrices of bytes, from SplitMix64 of the seed
//! X_(i+1)  = clamp((X_i W^T + 2^(s-1)) >> s, -128, 127),  s = 6 + log2(n)/2
//! ```
//!
//! Every round needs all of the last one, so rounds cannot be skipped or made at once.

use crate::error::DeviceError;
use crate::gpu::Gpu;

/// Sides of the matrices that are taken: powers of 4.
pub const SIDES: [usize; 5] = [16, 64, 256, 1024, 4096];

/// What is to be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Decides all values.
    pub seed: u64,
    /// Side of the matrices, one of [`SIDES`].
    pub side: usize,
    /// Number of products.
    pub rounds: u32,
}

impl Work {
    /// Multiply-adds that it takes.
    pub fn operations(&self) -> u64 {
        (self.side as u64).pow(3) * u64::from(self.rounds)
    }

    fn shift(&self) -> u8 {
        6 + (self.side.ilog2() / 2) as u8
    }

    /// `X_0` and `W`.
    fn matrices(&self) -> (Vec<i64>, Vec<i32>) {
        assert!(SIDES.contains(&self.side), "a side of the list");
        let mut state = self.seed;
        let mut bytes = std::iter::repeat_with(move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ z >> 31) as i8
        });
        let size = self.side * self.side;
        (bytes.by_ref().take(size).map(i64::from).collect(), bytes.take(size).map(i32::from).collect())
    }

    /// The last matrix, computed on the processor.
    ///
    /// # Panics
    /// If the side is none of [`SIDES`].
    pub fn reference(&self) -> Vec<i64> {
        let (mut x, w) = self.matrices();
        let (n, shift) = (self.side, self.shift());
        for _ in 0..self.rounds {
            let row = |row: &[i64]| -> Vec<i64> {
                let dot = |w: &[i32]| row.iter().zip(w).map(|(x, w)| x * i64::from(*w)).sum::<i64>();
                w.chunks(n).map(|w| ((dot(w) + (1 << (shift - 1))) >> shift).clamp(-128, 127)).collect()
            };
            x = x.chunks(n).flat_map(row).collect();
        }
        x
    }
}

impl Gpu {
    /// The last matrix, computed on the device.
    ///
    /// # Panics
    /// If the side is none of [`SIDES`].
    pub fn work(&self, work: &Work) -> Result<Vec<i64>, DeviceError> {
        let (x, w) = work.matrices();
        let weights = self.weights(&w, &vec![0; work.side])?;
        let mut x = self.tensor(&[&x])?;
        for _ in 0..work.rounds {
            x = self.requantize(&self.dense(&weights, &x, (-128, 127))?, work.shift(), -128, 127)?;
        }
        Ok(x.read()?.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_depend_on_seed_and_number_and_keep_their_spread() {
        let work = Work { seed: 1, side: 64, rounds: 20 };
        let last = work.reference();
        assert_ne!(last, Work { seed: 2, ..work }.reference());
        assert_ne!(last, Work { rounds: 19, ..work }.reference());
        // Neither zeros nor saturation take over.
        let middling = last.iter().filter(|x| (5..120).contains(&x.abs())).count();
        assert!(middling > last.len() / 3, "{middling} of {}", last.len());
        assert_eq!(work.operations(), 64 * 64 * 64 * 20);
    }
}
