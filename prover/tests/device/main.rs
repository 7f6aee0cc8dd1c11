//! Inference and proofs on whatever device is there, beside those of the processor; see `scripts/cuda-check`.

mod failover;
mod fleet;
mod networks;
mod proofs;
mod sums;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use assay_cuda_kernels::Gpu;
use assay_prover::backend::Accelerator;

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

/// Held by tests that use a device that fails: what one test does to it, another one's would see.
fn alone() -> MutexGuard<'static, ()> {
    static FAULTY: Mutex<()> = Mutex::new(());
    FAULTY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accelerator() -> Option<Arc<Accelerator>> {
    device().map(|gpu| Accelerator::new(gpu).expect("it computes right"))
}

/// A device of the emulator that fails, by its number; see `cuda-kernels/emulator/driver.cpp`.
fn emulated(ordinal: u32) -> Option<Gpu> {
    let emulated = device()?.name().starts_with("emulated");
    if !emulated {
        println!("SKIP: only the emulator has a device that fails");
    }
    emulated.then(|| Gpu::open(ordinal, None).expect("an emulated device opens"))
}
