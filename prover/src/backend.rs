//! What runs models and multiplies points: CUDA devices that were chosen when the program began, or this machine's cores.
//!
//! A device is believed at first only after it computed a seeded work as the processor does. It is given up for good, and
//! everything goes on with the other devices, or with the processor where none is left, when
//!
//! ```text
//! a call fails other than for lack of memory      the driver says what happened; contexts do not come back
//! a proof made with it does not verify            it computes wrong, if the processor's proof does verify
//! ```
//!
//! One computation that does not fit its memory runs on the processor, the next one tries again. What begins goes to the
//! device that has the least to do.

mod accelerator;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use assay_cuda_kernels::{DeviceError, Gpu, MAX_DEVICES};

pub use accelerator::{Accelerator, Lease, least_busy, processor_rate};
pub use assay_cuda_kernels::work::Work;

/// Which devices are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Every CUDA device that can be used, the processor if there is none.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// These CUDA devices, all of them, or none.
    Cuda(Vec<u32>),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(Self::Auto),
            "cpu" => return Ok(Self::Cpu),
            _ => {}
        }
        let mut ordinals = Vec::new();
        for name in text.split(',') {
            let ordinal = name.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok());
            let ordinal = ordinal.ok_or_else(|| "expected auto, cpu or cuda:N[,cuda:M..]".to_owned())?;
            if ordinals.contains(&ordinal) {
                return Err(format!("cuda:{ordinal} is named twice"));
            }
            if ordinals.len() == MAX_DEVICES {
                return Err(format!("expected at most {MAX_DEVICES} devices, got more"));
            }
            ordinals.push(ordinal);
        }
        Ok(Self::Cuda(ordinals))
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinals) => {
                let names: Vec<String> = ordinals.iter().map(|ordinal| format!("cuda:{ordinal}")).collect();
                f.write_str(&names.join(","))
            }
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

/// Which of the devices that were named cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cuda:{ordinal}")]
pub struct OpenError {
    /// Its number.
    pub ordinal: u32,
    /// Why.
    #[source]
    pub reason: BackendError,
}

/// What computes: these CUDA devices, or the processor where there is none.
#[derive(Clone, Debug, Default)]
pub struct Backend(Vec<Arc<Accelerator>>);

impl Backend {
    /// Opens what is asked for; `memory` bounds the bytes of each device's memory that are taken.
    ///
    /// # Errors
    /// If a device is named and cannot be used. With [`Choice::Auto`] that is a line of the log.
    pub fn open(choice: &Choice, memory: Option<usize>) -> Result<Self, OpenError> {
        let open = |ordinal| -> Result<Arc<Accelerator>, BackendError> {
            Accelerator::new(Gpu::open(ordinal, memory)?)
        };
        match choice {
            Choice::Cpu => Ok(Self::default()),
            Choice::Cuda(ordinals) => {
                let named = |&ordinal| open(ordinal).map_err(|reason| OpenError { ordinal, reason });
                ordinals.iter().map(named).collect::<Result<_, _>>().map(Self)
            }
            Choice::Auto => {
                let ordinals = Gpu::ordinals().unwrap_or_else(|reason| {
                    tracing::info!(%reason, "no CUDA device is used");
                    Vec::new()
                });
                let found = |ordinal| {
                    open(ordinal)
                        .inspect_err(|reason| {
                            tracing::warn!(device = format!("cuda:{ordinal}"), %reason, "the device is not used");
                        })
                        .ok()
                };
                Ok(Self(ordinals.into_iter().filter_map(found).collect()))
            }
        }
    }

    /// The devices, in the order that they were named in; none: the processor.
    pub fn into_accelerators(self) -> Vec<Arc<Accelerator>> {
        self.0
    }
}

/// What computes, in words: the devices that work and those that were given up.
pub fn described<'a>(accelerators: impl IntoIterator<Item = &'a Arc<Accelerator>>) -> String {
    let all: Vec<_> = accelerators.into_iter().collect();
    let words: Vec<String> = all.iter().map(ToString::to_string).collect();
    match (all.is_empty(), all.iter().any(|accelerator| accelerator.gpu().is_some())) {
        (true, _) => "cpu".into(),
        (false, true) => words.join("; "),
        (false, false) => format!("cpu ({})", words.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_as_it_is_written() {
        let choices = [
            ("auto", Choice::Auto),
            ("cpu", Choice::Cpu),
            ("cuda:3", Choice::Cuda(vec![3])),
            ("cuda:1,cuda:0", Choice::Cuda(vec![1, 0])),
        ];
        for (text, choice) in choices {
            assert_eq!(text.parse(), Ok(choice.clone()));
            assert_eq!(choice.to_string(), text);
        }
        for wrong in
            ["", "cuda", "cuda:", "cuda:-1", "cuda:x", "gpu", "cuda:0,", "cuda:0,1", "cuda:0,cpu", "auto,cpu"]
        {
            let error = wrong.parse::<Choice>().expect_err(wrong);
            assert!(error.contains("expected auto, cpu or cuda:N"), "{wrong}: {error}");
        }
        assert_eq!("cuda:0,cuda:2,cuda:0".parse::<Choice>(), Err("cuda:0 is named twice".to_owned()));
        let names = |count: usize| (0..count).map(|i| format!("cuda:{i}")).collect::<Vec<_>>().join(",");
        assert!(names(MAX_DEVICES).parse::<Choice>().is_ok());
        assert!(names(MAX_DEVICES + 1).parse::<Choice>().is_err_and(|error| error.contains("at most 64")));
    }

    #[test]
    fn a_named_device_that_is_not_there_is_an_error_and_the_processor_always_is() {
        let OpenError { ordinal, .. } =
            Backend::open(&Choice::Cuda(vec![99]), None).expect_err("no machine has so many");
        assert_eq!(ordinal, 99);
        let devices = Backend::open(&Choice::Cpu, None).expect("the processor").into_accelerators();
        assert_eq!(described(&devices), "cpu");
    }
}
