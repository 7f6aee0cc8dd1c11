//! What runs models and multiplies points: this machine's cores, or a CUDA device that was chosen when the program began.
//!
//! A device is believed at first only after it computed a seeded work as the processor does. It is given up for good, and
//! everything goes on with the processor, when
//!
//! ```text
//! a call fails other than for lack of memory      the driver says what happened; contexts do not come back
//! a proof made with it does not verify            it computes wrong
//! ```
//!
//! One computation that does not fit its memory runs on the processor, the next one tries again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use assay_cuda_kernels::{DeviceError, Gpu};

pub use assay_cuda_kernels::work::Work;

/// Time that the measurement of a device may take, about.
const MEASURED: Duration = Duration::from_millis(200);
/// What `CUresult` says of memory that is not there.
const OUT_OF_MEMORY: u32 = 2;

/// Which device is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The first CUDA device that can be used, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// This CUDA device or none.
    Cuda(u32),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            other => other
                .strip_prefix("cuda:")
                .and_then(|ordinal| ordinal.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| "expected auto, cpu or cuda:N".to_owned()),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// Why a device is not used.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// It cannot be opened, or fails.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// It does not compute what the processor computes.
    #[error("{name} computes wrong: its result of a seeded work is not the processor's")]
    Wrong {
        /// Name of the device.
        name: String,
    },
}

/// What computes.
#[derive(Clone, Debug)]
pub enum Backend {
    /// The processor.
    Cpu,
    /// A CUDA device.
    Cuda(Arc<Accelerator>),
}

/// An opened device that computed right once, and whether it still does.
#[derive(Debug)]
pub struct Accelerator {
    gpu: Gpu,
    lost: AtomicBool,
    rate: u64,
}

impl Backend {
    /// Opens what is asked for; `memory` bounds the bytes of a device's memory that are taken.
    ///
    /// # Errors
    /// If a device is named and cannot be used. With [`Choice::Auto`] that is a line of the log.
    pub fn open(choice: Choice, memory: Option<usize>) -> Result<Self, BackendError> {
        match choice {
            Choice::Cpu => Ok(Self::Cpu),
            Choice::Cuda(ordinal) => Ok(Self::Cuda(Accelerator::new(Gpu::open(ordinal, memory)?)?)),
            Choice::Auto => {
                let opened = Gpu::open_any(memory).map_err(BackendError::from).and_then(Accelerator::new);
                Ok(opened.map_or_else(
                    |reason| {
                        tracing::info!(%reason, "no CUDA device is used");
                        Self::Cpu
                    },
                    Self::Cuda,
                ))
            }
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(accelerator) => accelerator.fmt(f),
        }
    }
}

impl Accelerator {
    /// Believes a device after it has computed right, and measures it.
    pub fn new(gpu: Gpu) -> Result<Arc<Self>, BackendError> {
        let rate = measured(&gpu)?;
        Ok(Arc::new(Self { gpu, lost: AtomicBool::new(false), rate }))
    }

    /// Multiply-adds of bytes a second, measured when it was opened, copies of operands included.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// The device, unless it was given up.
    pub fn gpu(&self) -> Option<&Gpu> {
        (!self.lost.load(Ordering::Relaxed)).then_some(&self.gpu)
    }

    /// The device, or that it was given up.
    pub fn device(&self) -> Result<&Gpu, DeviceError> {
        self.gpu().ok_or(DeviceError::GivenUp)
    }

    /// Computes on the device; `None` if it does not answer, which is logged, and the processor is to do it.
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
                reason,
                "the device is given up, the processor goes on"
            );
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ordinal, name) = (self.gpu.ordinal(), self.gpu.name());
        match self.gpu() {
            Some(_) => write!(f, "cuda:{ordinal} {name}, {} M multiply-adds/s", self.rate / 1_000_000),
            None => write!(f, "cpu (cuda:{ordinal} {name} was given up)"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_as_it_is_written() {
        for (text, choice) in [("auto", Choice::Auto), ("cpu", Choice::Cpu), ("cuda:3", Choice::Cuda(3))] {
            assert_eq!(text.parse(), Ok(choice));
            assert_eq!(choice.to_string(), text);
        }
        for wrong in ["", "cuda", "cuda:", "cuda:-1", "cuda:x", "gpu"] {
            assert!(wrong.parse::<Choice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_named_device_that_is_not_there_is_an_error_and_the_processor_always_is() {
        let error = Backend::open(Choice::Cuda(99), None).expect_err("no machine has so many");
        assert!(matches!(error, BackendError::Device(_)), "{error}");
        assert_eq!(Backend::open(Choice::Cpu, None).expect("the processor").to_string(), "cpu");
    }
}
