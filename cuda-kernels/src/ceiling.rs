//! What a device can do at most, measured on the device itself: what kernels are compared with.
//!
//! ```text
//! multiply   32-bit multiply-adds a second, from registers
//! product    products of elements of the base field a second, from registers: what transforms and sums consist of
//! tensor     multiply-adds of bytes a second on tensor cores, from registers
//! copy       bytes read and written a second, from memory to memory
//! ```

use std::time::Duration;

use crate::error::DeviceError;
use crate::gpu::Gpu;
use crate::kernel::{Arg, Grid, Kernel};
use crate::session::Buffer;

/// Operations of a thread or a warp in a round, as in the kernels; products of field elements.
const OPERATIONS: u64 = 16 * 8;
const PRODUCTS: u64 = 8;
/// Multiply-adds of one operation of a warp on tensor cores.
const TENSOR: u64 = 16 * 8 * 32;
const THREADS: u32 = 256;

/// Rates of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// 32-bit multiply-adds a second.
    pub multiply: f64,
    /// Products of field elements a second.
    pub product: f64,
    /// Multiply-adds of bytes a second.
    pub tensor: f64,
    /// Bytes a second, both those that are read and those that are written.
    pub copy: f64,
}

/// How much is done to measure: blocks and rounds of arithmetic, bytes that are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Blocks of 256 threads.
    pub blocks: u32,
    /// Rounds of each thread.
    pub rounds: u32,
    /// Bytes, a multiple of 16.
    pub bytes: usize,
}

impl Default for Effort {
    /// Some milliseconds of a large device.
    fn default() -> Self {
        Self { blocks: 8192, rounds: 256, bytes: 1 << 30 }
    }
}

impl Gpu {
    /// Measures the device; the best of some runs.
    pub fn ceilings(&self, effort: Effort) -> Result<Ceilings, DeviceError> {
        let threads = u64::from(effort.blocks) * u64::from(THREADS);
        let grid = Grid { blocks: [effort.blocks, 1, 1], threads: THREADS };
        let out: Buffer<u64> = self.session().alloc(threads as usize)?;
        let args = [out.arg(), Arg::U32(effort.rounds)];
        // SAFETY: one result of at most eight bytes a thread.
        #[expect(unsafe_code, reason = "launches a kernel")]
        let arithmetic = |kernel| self.best(|| unsafe { self.session().launch(kernel, grid, &args) });
        let rounds = threads * u64::from(effort.rounds);
        let lanes = rounds * OPERATIONS;
        let product = (rounds * PRODUCTS) as f64 / arithmetic(Kernel::CeilingProduct)?.as_secs_f64();
        let multiply = lanes as f64 / arithmetic(Kernel::CeilingMultiply)?.as_secs_f64();
        let tensor = (lanes / 32 * TENSOR) as f64 / arithmetic(Kernel::CeilingTensor)?.as_secs_f64();

        let quads = effort.bytes / 16;
        let (from, to): (Buffer<u64>, Buffer<u64>) =
            (self.session().zeroed(2 * quads)?, self.session().alloc(2 * quads)?);
        let args = [from.arg(), to.arg(), Arg::U64(quads as u64)];
        // SAFETY: both buffers have as many units of 16 bytes.
        #[expect(unsafe_code, reason = "launches a kernel")]
        let copied =
            self.best(|| unsafe { self.session().launch(Kernel::CeilingCopy, Grid::each(quads, 1), &args) })?;
        let copy = (2 * 16 * quads) as f64 / copied.as_secs_f64();
        Ok(Ceilings { multiply, product, tensor, copy })
    }

    fn best(&self, run: impl Fn() -> Result<(), DeviceError>) -> Result<Duration, DeviceError> {
        // The first run loads the kernel.
        let times = (0..4).map(|_| Ok(self.timed(&run)?.1)).collect::<Result<Vec<_>, DeviceError>>()?;
        Ok(times.into_iter().skip(1).min().unwrap_or_default().max(Duration::from_nanos(1)))
    }
}
