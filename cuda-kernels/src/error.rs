//! Why a device does not do what it was asked.

use crate::Unavailable;

/// Why nothing was computed on a device.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The program was built without the feature `cuda`, or for a machine that it does not exist for.
    #[error("this program was built without CUDA devices: they need the feature `cuda` and x86-64 Linux")]
    NotBuilt,
    /// The device failed before and is used no more.
    #[error("the device failed before and is used no more")]
    GivenUp,
    /// There is no driver or no device.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A device that is not there.
    #[error("there is no CUDA device {ordinal}: the driver counts {count}")]
    NoSuchDevice {
        /// Number that was asked for.
        ordinal: u32,
        /// Devices of this machine.
        count: usize,
    },
    /// More memory than this program may take.
    #[error("{asked} bytes of device memory are needed beside the {used} in use, the limit is {limit}")]
    Limit {
        /// Bytes of the allocation.
        asked: usize,
        /// Bytes in use.
        used: usize,
        /// Bytes that may be in use.
        limit: usize,
    },
    /// A size that the kernels do not take.
    #[error("{what}: expected at most {limit}, got {got}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The largest that is taken.
        limit: usize,
        /// What was asked for.
        got: usize,
    },
    /// The driver refused a call, or reports that an earlier kernel failed.
    #[error("CUDA error {code} at {call}: {meaning}")]
    Call {
        /// What was being done.
        call: &'static str,
        /// The driver's code, a `CUresult`; 999 for one that is not known here.
        code: u32,
        /// What the code means, and what helps.
        meaning: &'static str,
    },
}

/// What a driver's code means to whoever runs the program. Codes and their numbers are the driver interface's.
#[cfg_attr(not(any(test, devices)), expect(dead_code, reason = "no driver is called in this build"))]
pub(crate) fn meaning(code: u32) -> &'static str {
    match code {
        1 => "a value was not accepted; this is a fault of this program",
        2 => "the device is out of memory; other programs may hold it, or the models are too large for it",
        3 | 4 => "the driver is not ready; the process may be ending",
        34 => "the driver lacks a function that this program calls; a newer driver has it",
        100 => "no device can be used; see CUDA_VISIBLE_DEVICES",
        101 => "the device does not exist or is in an unusable state; nvidia-smi shows which",
        200 | 209 | 218 | 300 => {
            "the driver cannot compile the kernels for this device; compute capability 8.0 is needed"
        }
        201 | 709 => "the device's context is gone",
        214 => "an uncorrectable memory error; the device needs a reset or replacement",
        220 => "an uncorrectable error of NVLink",
        222 => "the driver is older than the kernels' PTX; a driver of CUDA 11.8 or newer is needed",
        304 => "the operating system refused; the device files may not be accessible to this user",
        400 | 500 => "the driver does not know a handle or a kernel; this is a fault of this program",
        600 => "the device is still at work",
        700 | 716 | 717 | 718 => {
            "a kernel used a bad address; this is a fault of this program or of the device"
        }
        701 => "a kernel needs more registers or shared memory than the device has",
        702 => "a kernel ran too long; the device also drives a display, or hangs",
        710 | 714 | 715 | 719 => "a kernel was stopped by an exception of the device",
        46 | 802 | 803 => {
            "the driver, its kernel module or the fabric do not match or are not ready; see dmesg"
        }
        800 => "the operation is not permitted; the device may be in exclusive use",
        801 => "the device or driver does not support the operation",
        _ => "the driver gives no known reason; dmesg may have an Xid line about the device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errors_that_users_can_act_on_say_what_helps() {
        for (code, part) in
            [(2, "out of memory"), (100, "CUDA_VISIBLE_DEVICES"), (218, "8.0"), (12345, "dmesg")]
        {
            assert!(meaning(code).contains(part), "{code}: {}", meaning(code));
        }
        let error = DeviceError::Call { call: "launch of gemm", code: 700, meaning: meaning(700) };
        assert!(
            error.to_string().starts_with("CUDA error 700 at launch of gemm: a kernel used a bad address")
        );
    }
}
