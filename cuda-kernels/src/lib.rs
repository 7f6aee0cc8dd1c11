#![doc = include_str!("../README.md")]

#[cfg(not(devices))]
#[path = "absent.rs"]
mod session;
#[cfg(devices)]
mod session;

pub mod ceiling;
mod driver;
mod error;
mod gpu;
#[cfg(devices)]
mod image;
mod kernel;
pub mod msm;
pub mod tensor;
pub mod transform;
pub mod work;

use std::fmt;

pub use error::DeviceError;
pub use gpu::Gpu;

/// Devices that are described at most; a driver that counts more is not believed.
pub const MAX_DEVICES: usize = 64;

/// A CUDA device of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Number of the device, from 0, in the driver's order.
    pub ordinal: u32,
    /// Name as the driver gives it, such as "NVIDIA H200".
    pub name: String,
    /// Greatest CUDA version that the driver supports.
    pub driver: DriverVersion,
}

/// Version of the CUDA driver interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DriverVersion {
    /// Major version.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
}

impl fmt::Display for DriverVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Why no CUDA device can be used.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The driver's library is not on this machine, or cannot be loaded.
    #[error("no CUDA driver: {library} cannot be loaded")]
    NoDriver {
        /// Name of the library.
        library: &'static str,
        /// What the loader said.
        source: libloading::Error,
    },
    /// The library that was found is not a CUDA driver, or an older one than is known here.
    #[error("the CUDA driver has no function {function}")]
    NoFunction {
        /// The function that is missing.
        function: &'static str,
        /// What the loader said.
        source: libloading::Error,
    },
    /// The driver works and finds no device.
    #[error("the CUDA driver finds no device")]
    NoDevice,
    /// A call failed.
    #[error("the CUDA driver answers {function} with error {code}")]
    Call {
        /// The function that was called.
        function: &'static str,
        /// The driver's error code, a `CUresult`.
        code: i32,
    },
    /// A call succeeded with a result that makes no sense.
    #[error("the CUDA driver answers {function} with {got}, expected {expected}")]
    Answer {
        /// The function that was called.
        function: &'static str,
        /// What it may answer.
        expected: String,
        /// What it answered.
        got: i32,
    },
}

/// The CUDA devices of this machine, at least one, in the driver's order.
///
/// Loads the driver and initialises it, which can take a second; the driver then stays loaded until the process
/// ends. A machine without driver or device is an ordinary [`Unavailable`].
pub fn probe() -> Result<Vec<Device>, Unavailable> {
    driver::Driver::load(driver::LIBRARY)?.devices()
}
