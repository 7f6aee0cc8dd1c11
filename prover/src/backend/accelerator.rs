//! One CUDA device: whether it is believed, how busy it is, and when it is given up.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use assay_cuda_kernels::work::Work;
use assay_cuda_kernels::{DeviceError, Gpu};

use super::BackendError;

/// Time that the measurement of a device may take, about.
const MEASURED: Duration = Duration::from_millis(200);
/// What `CUresult` says of memory that is not there.
const OUT_OF_MEMORY: u32 = 2;

/// Held by whoever chooses a device: computations that begin together go to different ones.
static CHOOSING: Mutex<()> = Mutex::new(());

/// An opened device that computed right once, and whether it still does.
#[derive(Debug)]
pub struct Accelerator {
    gpu: Gpu,
    lost: AtomicBool,
    /// Computations that were begun on it and have not ended.
    busy: AtomicUsize,
    rate: u64,
}

/// A computation on a device; it ends when this drops.
#[derive(Debug)]
pub struct Lease(Arc<Accelerator>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The device in use that has the least to do, the first of several: its place among all, and a computation on it.
pub fn least_busy<'a>(among: impl Iterator<Item = &'a Arc<Accelerator>>) -> Option<(usize, Lease)> {
    let _choosing = CHOOSING.lock().unwrap_or_else(PoisonError::into_inner);
    let in_use = among.enumerate().filter(|(_, accelerator)| accelerator.gpu().is_some());
    let (place, chosen) = in_use.min_by_key(|(_, accelerator)| accelerator.busy.load(Ordering::Relaxed))?;
    Some((place, chosen.lease()))
}

impl Accelerator {
    /// Believes a device after it has computed right, and measures it.
    pub fn new(gpu: Gpu) -> Result<Arc<Self>, BackendError> {
        let rate = measured(&gpu)?;
        Ok(Arc::new(Self { gpu, lost: AtomicBool::new(false), busy: AtomicUsize::new(0), rate }))
    }

    /// Multiply-adds of bytes a second, measured when it was opened, copies of operands included.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// Its number.
    pub fn ordinal(&self) -> u32 {
        self.gpu.ordinal()
    }

    /// Begins a computation on it.
    pub fn lease(self: &Arc<Self>) -> Lease {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Lease(Arc::clone(self))
    }

    /// The device, unless it was given up.
    pub fn gpu(&self) -> Option<&Gpu> {
        (!self.lost.load(Ordering::Relaxed)).then_some(&self.gpu)
    }

    /// The device, or that it was given up.
    pub fn device(&self) -> Result<&Gpu, DeviceError> {
        self.gpu().ok_or(DeviceError::GivenUp)
    }

    /// Computes on the device; `None` if it does not answer, which is logged, and another is to do it.
    pub fn attempt<T>(&self, compute: impl FnOnce(&Gpu) -> Result<T, DeviceError>) -> Option<T> {
        match compute(self.gpu()?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    /// Says that a computation failed, and gives the device up unless only memory was short.
    pub fn failed(&self, error: &DeviceError) {
        match error {
            DeviceError::Limit { .. }
            | DeviceError::TooLarge { .. }
            | DeviceError::Call { code: OUT_OF_MEMORY, .. } => {
                tracing::warn!(device = self.gpu.name(), %error, "computed without the device");
            }
            DeviceError::Call { .. }
            | DeviceError::GivenUp
            | DeviceError::NotBuilt
            | DeviceError::Unavailable(_)
            | DeviceError::NoSuchDevice { .. } => self.give_up(&error.to_string()),
        }
    }

    /// Uses the device no more.
    pub fn give_up(&self, reason: &str) {
        if !self.lost.swap(true, Ordering::Relaxed) {
            tracing::error!(
                device = self.gpu.name(),
                ordinal = self.ordinal(),
                reason,
                "the device is given up, the others or the processor go on"
            );
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ordinal, name) = (self.gpu.ordinal(), self.gpu.name());
        match self.gpu() {
            Some(_) => write!(f, "cuda:{ordinal} {name}, {} M multiply-adds/s", self.rate / 1_000_000),
            None => write!(f, "cuda:{ordinal} {name} was given up"),
        }
    }
}

/// Multiply-adds a second of one core in the reference, measured on a few million of them.
pub fn processor_rate() -> u64 {
    let work = Work { seed: 1, side: 64, rounds: 16 };
    let began = Instant::now();
    std::hint::black_box(work.reference());
    (work.operations() as f64 / began.elapsed().as_secs_f64().max(1e-9)) as u64
}

/// Multiply-adds a second of a device that computes right.
fn measured(gpu: &Gpu) -> Result<u64, BackendError> {
    let mut work = Work { seed: 0x61_73_73_61_79, side: 64, rounds: 4 };
    if gpu.work(&work)? != work.reference() {
        return Err(BackendError::Wrong { name: gpu.name().to_owned() });
    }
    let mut rate = 0.0;
    loop {
        let began = Instant::now();
        match gpu.work(&work) {
            Ok(_) => {}
            // What does not fit is not measured.
            Err(DeviceError::Limit { .. }) if rate > 0.0 => return Ok(rate as u64),
            Err(error) => return Err(error.into()),
        }
        let took = began.elapsed();
        rate = work.operations() as f64 / took.as_secs_f64().max(1e-9);
        if took * 4 > MEASURED || work.operations() > 1 << 44 {
            return Ok(rate as u64);
        }
        // Larger matrices first: small ones measure launches.
        match assay_cuda_kernels::work::SIDES.into_iter().find(|&side| side > work.side && work.rounds >= 16)
        {
            Some(side) => work = Work { side, rounds: 4, ..work },
            None => work.rounds *= 2,
        }
    }
}
