//! What kernels and their devices do, on whatever device is there; see `Makefile`, recipe `cuda-check`.

mod copies;
mod faults;
mod images;
mod operators;
mod ptx;

use assay_cuda_kernels::Gpu;

/// The first device, or a word on why the test cannot run. With `ASSAY_REQUIRE_DEVICE` set, not being able is a failure.
fn device() -> Option<Gpu> {
    match Gpu::open(0, None) {
        Ok(gpu) => Some(gpu),
        Err(reason) => {
            assert!(std::env::var_os("ASSAY_REQUIRE_DEVICE").is_none(), "a device is required: {reason}");
            println!("SKIP: {reason}");
            None
        }
    }
}

/// SplitMix64: numbers for tests.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Of an interval.
    fn within(&mut self, lo: i64, hi: i64) -> i64 {
        lo + (self.next() % (hi - lo + 1) as u64) as i64
    }

    fn many(&mut self, count: usize, lo: i64, hi: i64) -> Vec<i64> {
        (0..count).map(|_| self.within(lo, hi)).collect()
    }

    fn weights(&mut self, count: usize, lo: i64, hi: i64) -> Vec<i32> {
        self.many(count, lo, hi).iter().map(|&w| w as i32).collect()
    }
}
