//! `sum_i k_i P_i` over BN254's groups; see `kernels/msm.cu`.
//!
//! The device leaves a few points for each window of `c` bits, `W_w`; the caller makes `sum_w 2^(c w) W_w` of them.

use std::marker::PhantomData;
use std::ops::Range;

use crate::error::DeviceError;
use crate::gpu::Gpu;
use crate::kernel::{Arg, Grid, Kernel};
use crate::session::Buffer;
use crate::transform::Elements;

/// Entries that a thread adds up on the first level: as many as leave all threads of a large device something to do.
const FIRST_SEGMENT: std::ops::RangeInclusive<usize> = 8..=64;
const THREADS: usize = 1 << 16;
/// And on the others, while there are many entries; the few that are left are added up by blocks, LEAVES a block.
const SEGMENT: usize = 16;
const MANY: usize = 1 << 17;
const LEAVES: usize = 128;
/// Threads of a block that weighs buckets, and buckets that one of them takes at least: few where there are few.
const WEIGH: usize = 64;
const SLICES: [usize; 2] = [4, 16];
const FEW_BUCKETS: usize = 4096;
/// Points of one sum: an entry's highest bit is its sign.
const POINTS: usize = 1 << 31;
/// Groups of points.
const GROUPS: usize = 1 << 28;
/// Bits of a scalar's lesser representative, and one for the carry of signed digits.
const FIELD_BITS: usize = 254;

/// One of the two groups.
pub trait Group: Copy + Send + Sync + std::fmt::Debug + 'static {
    /// 64-bit words of a coordinate.
    const WORDS: usize;
    #[doc(hidden)]
    const KERNELS: [Kernel; 5];
}

/// Points over the prime field.
#[derive(Clone, Copy, Debug)]
pub enum G1 {}

/// Points over its quadratic extension.
#[derive(Clone, Copy, Debug)]
pub enum G2 {}

impl Group for G1 {
    const WORDS: usize = 4;
    const KERNELS: [Kernel; 5] =
        [Kernel::SumG1, Kernel::MergeG1, Kernel::TreeG1, Kernel::WeighG1, Kernel::AffineG1];
}

impl Group for G2 {
    const WORDS: usize = 8;
    const KERNELS: [Kernel; 5] =
        [Kernel::SumG2, Kernel::MergeG2, Kernel::TreeG2, Kernel::WeighG2, Kernel::AffineG2];
}

/// Affine points on a device.
#[derive(Debug)]
pub struct Points<G> {
    words: Buffer<u64>,
    group: PhantomData<G>,
}

/// Points in four coordinates, `[X, Y, ZZ, ZZZ]` each: `x = X/ZZ`, `y = Y/ZZZ`; the neutral element has `ZZ = 0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// The coordinates, one after another.
    pub words: Vec<u64>,
    /// Bits between windows.
    pub window_bits: usize,
    /// Points of each window, whose sum is the window's.
    pub each: usize,
}

/// What is multiplied.
#[derive(Clone, Copy, Debug)]
pub enum Scalars<'a> {
    /// Field elements on the device.
    Field(&'a Elements),
    /// Small integers.
    Small(&'a [i64]),
}

/// Digits that say for each window and point which bucket it goes to.
struct Digits {
    digits: Buffer<u32>,
    counts: Buffer<u32>,
    windows: usize,
    buckets: usize,
}

impl<G: Group> Points<G> {
    /// Number of points.
    pub fn len(&self) -> usize {
        self.words.len() / (2 * G::WORDS)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The window that costs least: every point is added once a window, and every bucket twice at about twice the cost.
fn window(points: usize, bits: usize) -> usize {
    (2..=18).min_by_key(|&c| bits.div_ceil(c) * (points + (4 << (c - 1)))).unwrap_or(2)
}

impl Gpu {
    /// Copies affine points: coordinates `x`, `y` in Montgomery form; zeros stand for the neutral element.
    ///
    /// # Panics
    /// If the words are no whole points.
    pub fn points<G: Group>(&self, words: &[u64]) -> Result<Points<G>, DeviceError> {
        assert_eq!(words.len() % (2 * G::WORDS), 0, "whole points");
        Ok(Points { words: self.session().upload(words)?, group: PhantomData })
    }

    /// Multiplies the points of a range by as many scalars and adds up, all but the last step.
    ///
    /// # Panics
    /// If the range is not one of the points, or not as long as the scalars.
    pub fn msm<G: Group>(
        &self,
        points: &Points<G>,
        range: Range<usize>,
        scalars: Scalars<'_>,
    ) -> Result<Sums, DeviceError> {
        let n = range.len();
        let count = match scalars {
            Scalars::Field(elements) => elements.len(),
            Scalars::Small(values) => values.len(),
        };
        assert!(n == count && range.end <= points.len(), "a scalar for every point");
        let bits = match scalars {
            Scalars::Field(_) => FIELD_BITS,
            Scalars::Small(values) => {
                let all = values.iter().fold(0, |all, k| all | k.unsigned_abs());
                (64 - all.leading_zeros()) as usize + 1
            }
        };
        if n == 0 || bits == 1 {
            return Ok(Sums { words: Vec::new(), window_bits: 1, each: 1 });
        }
        let c = window(n, bits);
        let digits = self.digits(scalars, n, c, bits.div_ceil(c))?;
        let buckets = self.bucket_sums(points, range, &digits)?;
        let slice = SLICES[usize::from(digits.buckets > FEW_BUCKETS)];
        let blocks = digits.buckets.div_ceil(WEIGH * slice).min(1024);
        let out: Buffer<u64> = self.session().alloc(digits.windows * blocks * 4 * G::WORDS)?;
        let args = [buckets.arg(), out.arg(), Arg::U32(digits.buckets as u32)];
        let grid = Grid { blocks: [blocks as u32, digits.windows as u32, 1], threads: WEIGH as u32 };
        // SAFETY: there are `buckets` sums a window, and a result for each block.
        #[expect(unsafe_code, reason = "launches a kernel")]
        unsafe {
            self.session().launch(G::KERNELS[3], grid, &args)?;
        }
        Ok(Sums { words: out.read()?, window_bits: c, each: blocks })
    }

    /// Sums of the points of each group, on the device: `S_g = sum over groups[i] = g of P_i`, `g < count`.
    ///
    /// # Panics
    /// If the range is not one of the points or not as long as the groups, or a group is beyond the count.
    pub fn group_sums<G: Group>(
        &self,
        points: &Points<G>,
        range: Range<usize>,
        groups: &[u32],
        count: usize,
    ) -> Result<Points<G>, DeviceError> {
        let n = groups.len();
        assert!(n == range.len() && range.end <= points.len(), "a group for every point");
        assert!(groups.iter().all(|&group| (group as usize) < count), "groups that exist");
        let session = self.session();
        if count > GROUPS {
            return Err(DeviceError::TooLarge { what: "groups", limit: GROUPS, got: count });
        }
        let digits =
            Digits { digits: session.alloc(n)?, counts: session.zeroed(count)?, windows: 1, buckets: count };
        let groups = session.upload(groups)?;
        let args = [groups.arg(), digits.digits.arg(), digits.counts.arg(), size("points", n)?];
        // SAFETY: n groups and digits; a group counts one of the `count` buckets.
        #[expect(unsafe_code, reason = "launches a kernel")]
        unsafe {
            session.launch(Kernel::DigitsGroup, Grid::each(n, 1), &args)?;
        }
        let sums = self.bucket_sums(points, range, &digits)?;
        let words: Buffer<u64> = session.alloc(2 * G::WORDS * count)?;
        let args = [sums.arg(), words.arg(), size("groups", count)?];
        // SAFETY: a sum of four coordinates and room for a point of two for each group.
        #[expect(unsafe_code, reason = "launches a kernel")]
        unsafe {
            session.launch(G::KERNELS[4], Grid::each(count, 1), &args)?;
        }
        Ok(Points { words, group: PhantomData })
    }

    fn digits(
        &self,
        scalars: Scalars<'_>,
        n: usize,
        c: usize,
        windows: usize,
    ) -> Result<Digits, DeviceError> {
        let (session, buckets) = (self.session(), 1 << (c - 1));
        let digits = session.alloc(windows * n)?;
        let counts = session.zeroed(windows * buckets)?;
        let sizes =
            [size("points", n)?, Arg::U32(c as u32), Arg::U32(windows as u32), Arg::U32(buckets as u32)];
        let small;
        let (kernel, from) = match scalars {
            Scalars::Field(elements) => (Kernel::DigitsField, elements.arg()),
            Scalars::Small(values) => {
                small = session.upload(values)?;
                (Kernel::DigitsSmall, small.arg())
            }
        };
        let args = [&[from, digits.arg(), counts.arg()], sizes.as_slice()].concat();
        // SAFETY: n scalars, n digits a window, and `windows * c` bits hold every scalar and a carry, so that a digit is at
        // most `buckets`.
        #[expect(unsafe_code, reason = "launches a kernel")]
        unsafe {
            session.launch(kernel, Grid::each(n, 1), &args)?;
        }
        Ok(Digits { digits, counts, windows, buckets })
    }

    /// Sorts points by digit and adds up each bucket. `counts` is used up.
    fn bucket_sums<G: Group>(
        &self,
        points: &Points<G>,
        range: Range<usize>,
        digits: &Digits,
    ) -> Result<Buffer<u64>, DeviceError> {
        let (session, n) = (self.session(), range.len());
        let Digits { digits, counts, windows, buckets } = digits;
        let (windows, buckets) = (*windows, *buckets);
        let point = 4 * G::WORDS;
        let sums: Buffer<u64> = session.zeroed(windows * buckets * point)?;
        let (keys, list) = (session.alloc::<u32>(windows * n)?, session.alloc::<u32>(windows * n)?);
        let mut sizes: Buffer<u32> = session.alloc(windows)?;
        let (points_in, buckets_in) = (size("points", n)?, Arg::U32(buckets as u32));
        let scan = Grid { blocks: [windows as u32, 1, 1], threads: 256 };
        // SAFETY: each window has `buckets` counts and n places, of which the counted points take as many as there are.
        #[expect(unsafe_code, reason = "launches kernels")]
        unsafe {
            session.launch(Kernel::Scan, scan, &[counts.arg(), sizes.arg(), buckets_in])?;
            let args = [digits.arg(), counts.arg(), keys.arg(), list.arg(), points_in, buckets_in];
            session.launch(Kernel::Scatter, Grid::each(n, windows), &args)?;
        }
        // The first of the range's points; a bucket's points are counted from there.
        let first = points.words.arg().after(range.start * 2 * G::WORDS * 8);
        let (mut entries, mut keys) = (None::<Buffer<u64>>, keys);
        let mut room = n;
        while room > 0 {
            let (kernel, segment) = match &entries {
                None => (0, (windows * n / THREADS).clamp(*FIRST_SEGMENT.start(), *FIRST_SEGMENT.end())),
                Some(_) if windows * room > MANY => (1, SEGMENT),
                Some(_) => (2, LEAVES),
            };
            let segments = room.div_ceil(segment);
            let next_room = if room <= segment { 0 } else { 2 * segments };
            let next_keys: Buffer<u32> = session.alloc(windows * next_room)?;
            let next: Buffer<u64> = session.alloc(windows * next_room * point)?;
            let next_sizes: Buffer<u32> = session.alloc(windows)?;
            let from = match &entries {
                None => vec![first, list.arg()],
                Some(entries) => vec![entries.arg()],
            };
            let shared = [keys.arg(), sizes.arg(), next_sizes.arg(), sums.arg(), next_keys.arg(), next.arg()];
            let length = (kernel < 2).then(|| size("a segment", segment)).transpose()?;
            let rooms = [size("places", room)?, size("places", next_room)?];
            let sizes_in = [buckets_in].into_iter().chain(length).chain(rooms);
            let args: Vec<Arg> = from.into_iter().chain(shared).chain(sizes_in).collect();
            let grid = match kernel {
                2 => Grid { blocks: [segments as u32, windows as u32, 1], threads: LEAVES as u32 },
                _ => Grid { blocks: [segments.div_ceil(64) as u32, windows as u32, 1], threads: 64 },
            };
            // SAFETY: a window has `room` entries at most, sorted by keys below `buckets`, and twice as many results as
            // segments; with one segment or less there are none.
            #[expect(unsafe_code, reason = "launches a kernel")]
            unsafe {
                session.launch(G::KERNELS[kernel], grid, &args)?;
            }
            (entries, keys, sizes, room) = (Some(next), next_keys, next_sizes, next_room);
        }
        Ok(sums)
    }
}

fn size(what: &'static str, value: usize) -> Result<Arg, DeviceError> {
    match u32::try_from(value) {
        Ok(size) if value < POINTS => Ok(Arg::U32(size)),
        _ => Err(DeviceError::TooLarge { what, limit: POINTS - 1, got: value }),
    }
}
