//! The four functions of the CUDA driver interface that say which devices there are.
//!
//! ```text
//! CUresult cuInit(unsigned int flags)                      flags = 0
//! CUresult cuDriverGetVersion(int *version)                1000 major + 10 minor
//! CUresult cuDeviceGetCount(int *count)
//! CUresult cuDeviceGetName(char *name, int len, CUdevice)  a CUdevice is the ordinal, an int
//! ```
//!
//! The library is loaded at run time, so programs start where there is none. A `CUresult` is kept as an integer:
//! newer drivers answer with codes that no list of today has.

use std::ffi::{CStr, c_char, c_int, c_uint};

use libloading::Library;

use crate::{Device, DriverVersion, MAX_DEVICES, Unavailable};

/// The driver's library; the toolkit's stub for linking has another name.
pub const LIBRARY: &str = "libcuda.so.1";

const SUCCESS: c_int = 0;
/// `CUDA_ERROR_NO_DEVICE`.
const NO_DEVICE: c_int = 100;
/// Bytes that a name may take, its end included.
const NAME: usize = 256;

type Init = unsafe extern "C" fn(c_uint) -> c_int;
type GetInt = unsafe extern "C" fn(*mut c_int) -> c_int;
type GetName = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;

/// The functions of a loaded driver.
#[derive(Clone, Copy, Debug)]
pub struct Driver {
    init: Init,
    version: GetInt,
    count: GetInt,
    name: GetName,
}

impl Driver {
    /// Loads the library and looks its functions up.
    #[expect(unsafe_code, reason = "code of another library is loaded")]
    pub fn load(library: &'static str) -> Result<Self, Unavailable> {
        // SAFETY: loading runs the library's initialisers. The name is a constant of this crate and means the machine's
        // CUDA driver, which every CUDA program loads in the same way.
        let loaded = unsafe { Library::new(library) };
        let loaded = loaded.map_err(|source| Unavailable::NoDriver { library, source })?;
        // The driver starts threads and registers exit handlers: it must never be unloaded.
        let driver: &'static Library = Box::leak(Box::new(loaded));
        // SAFETY: the types are those of the driver interface, which is stable, and the library lives as long as the
        // process, hence as long as the function pointers.
        unsafe {
            Ok(Self {
                init: function(driver, "cuInit")?,
                version: function(driver, "cuDriverGetVersion")?,
                count: function(driver, "cuDeviceGetCount")?,
                name: function(driver, "cuDeviceGetName")?,
            })
        }
    }

    /// Initialises the driver and describes its devices, at least one.
    pub fn devices(&self) -> Result<Vec<Device>, Unavailable> {
        match self.initialise() {
            SUCCESS => {}
            NO_DEVICE => return Err(Unavailable::NoDevice),
            code => return Err(Unavailable::Call { function: "cuInit", code }),
        }
        let driver = self.version()?;
        let count = self.count()?;
        (0..count).map(|ordinal| Ok(Device { ordinal, name: self.name(ordinal)?, driver })).collect()
    }

    #[expect(unsafe_code, reason = "a function of another library is called")]
    fn initialise(&self) -> c_int {
        // SAFETY: takes a number; 0 is the only one that is defined. Any thread may call it, any number of times.
        unsafe { (self.init)(0) }
    }

    fn version(&self) -> Result<DriverVersion, Unavailable> {
        let version = get(self.version, "cuDriverGetVersion")?;
        match u32::try_from(version) {
            Ok(version) => Ok(DriverVersion { major: version / 1000, minor: version % 1000 / 10 }),
            Err(_) => Err(answer("cuDriverGetVersion", "a version", version)),
        }
    }

    fn count(&self) -> Result<u32, Unavailable> {
        let count = get(self.count, "cuDeviceGetCount")?;
        match u32::try_from(count) {
            Ok(0) => Err(Unavailable::NoDevice),
            Ok(count) if usize::try_from(count).is_ok_and(|count| count <= MAX_DEVICES) => Ok(count),
            _ => Err(answer("cuDeviceGetCount", &format!("at most {MAX_DEVICES}"), count)),
        }
    }

    #[expect(unsafe_code, reason = "a function of another library is called")]
    fn name(&self, ordinal: u32) -> Result<String, Unavailable> {
        // `count` bounds the ordinal, and the buffer's length is a small constant.
        let (ordinal, length) = (ordinal.cast_signed(), const { NAME as c_int });
        let mut buffer = [0u8; NAME];
        // SAFETY: the driver writes at most `length` bytes, the terminating zero included, to a buffer of that length
        // that outlives the call. `u8` and `c_char` have the same layout.
        let code = unsafe { (self.name)(buffer.as_mut_ptr().cast(), length, ordinal) };
        if code != SUCCESS {
            return Err(Unavailable::Call { function: "cuDeviceGetName", code });
        }
        // A name without an end fills the buffer.
        let bytes = CStr::from_bytes_until_nul(&buffer).map_or(buffer.as_slice(), CStr::to_bytes);
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// Looks a function up.
///
/// # Safety
/// `F` is a function pointer of the function's own type.
#[expect(unsafe_code, reason = "the type of a symbol cannot be checked")]
unsafe fn function<F: Copy>(driver: &'static Library, function: &'static str) -> Result<F, Unavailable> {
    // SAFETY: passed on to the caller.
    let symbol = unsafe { driver.get::<F>(function) };
    symbol.map(|symbol| *symbol).map_err(|source| Unavailable::NoFunction { function, source })
}

#[expect(unsafe_code, reason = "a function of another library is called")]
fn get(getter: GetInt, function: &'static str) -> Result<c_int, Unavailable> {
    let mut value = 0;
    // SAFETY: the driver writes one integer through the pointer, which is valid for the call.
    match unsafe { getter(&raw mut value) } {
        SUCCESS => Ok(value),
        NO_DEVICE => Err(Unavailable::NoDevice),
        code => Err(Unavailable::Call { function, code }),
    }
}

fn answer(function: &'static str, expected: &str, got: c_int) -> Unavailable {
    Unavailable::Answer { function, expected: expected.to_owned(), got }
}

#[cfg(test)]
#[expect(unsafe_code, reason = "the tests play the driver")]
mod tests {
    use super::*;

    extern "C" fn ready(flags: c_uint) -> c_int {
        if flags == 0 { SUCCESS } else { 1 }
    }

    extern "C" fn no_device(_flags: c_uint) -> c_int {
        NO_DEVICE
    }

    /// What the toolkit's stub library answers to everything.
    extern "C" fn stub(_flags: c_uint) -> c_int {
        34
    }

    extern "C" fn broken(_value: *mut c_int) -> c_int {
        999
    }

    unsafe extern "C" fn answers<const VALUE: c_int>(value: *mut c_int) -> c_int {
        // SAFETY: the caller hands over a valid pointer.
        unsafe { value.write(VALUE) };
        SUCCESS
    }

    /// Names device 0 "Device 0", and so on.
    unsafe extern "C" fn numbered(name: *mut c_char, length: c_int, ordinal: c_int) -> c_int {
        let text = format!("Device {ordinal}\0");
        assert!(usize::try_from(length).is_ok_and(|length| text.len() <= length));
        // SAFETY: the text fits the caller's buffer.
        unsafe { name.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), text.len()) };
        SUCCESS
    }

    /// Fills the buffer with bytes that are no UTF-8, without an end.
    unsafe extern "C" fn endless(name: *mut c_char, length: c_int, _ordinal: c_int) -> c_int {
        let length = usize::try_from(length).unwrap();
        // SAFETY: the caller's buffer has this length.
        unsafe { name.cast::<u8>().write_bytes(0xff, length) };
        SUCCESS
    }

    extern "C" fn nameless(_name: *mut c_char, _length: c_int, _ordinal: c_int) -> c_int {
        101
    }

    const GOOD: Driver =
        Driver { init: ready, version: answers::<13_020>, count: answers::<2>, name: numbered };

    #[test]
    fn a_library_that_is_not_there_is_no_driver() {
        let missing = "libcuda-that-is-not-there.so.1";
        let error = Driver::load(missing).unwrap_err();
        assert!(matches!(error, Unavailable::NoDriver { library, .. } if library == missing), "{error:?}");
        assert_eq!(error.to_string(), "no CUDA driver: libcuda-that-is-not-there.so.1 cannot be loaded");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_library_that_is_no_driver_lacks_its_functions() {
        let error = Driver::load("libc.so.6").unwrap_err();
        assert!(matches!(error, Unavailable::NoFunction { function: "cuInit", .. }), "{error:?}");
    }

    #[test]
    fn every_device_is_described_in_order() {
        let driver = DriverVersion { major: 13, minor: 2 };
        let device = |ordinal| Device { ordinal, name: format!("Device {ordinal}"), driver };
        assert_eq!(GOOD.devices().unwrap(), [device(0), device(1)]);
        assert_eq!(driver.to_string(), "13.2");
    }

    #[test]
    fn no_device_is_told_apart_from_a_failure() {
        let none = [Driver { init: no_device, ..GOOD }, Driver { count: answers::<0>, ..GOOD }];
        for driver in none {
            assert!(matches!(driver.devices(), Err(Unavailable::NoDevice)), "{driver:?}");
        }
    }

    #[test]
    fn a_failed_call_is_named_with_its_code() {
        let failing = [
            (Driver { init: stub, ..GOOD }, "cuInit", 34),
            (Driver { version: broken, ..GOOD }, "cuDriverGetVersion", 999),
            (Driver { count: broken, ..GOOD }, "cuDeviceGetCount", 999),
            (Driver { name: nameless, ..GOOD }, "cuDeviceGetName", 101),
        ];
        for (driver, expected, expected_code) in failing {
            match driver.devices() {
                Err(Unavailable::Call { function, code }) => {
                    assert_eq!((function, code), (expected, expected_code))
                }
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[test]
    fn impossible_answers_are_refused() {
        let impossible = [
            (Driver { version: answers::<-1>, ..GOOD }, "cuDriverGetVersion"),
            (Driver { count: answers::<-1>, ..GOOD }, "cuDeviceGetCount"),
            (Driver { count: answers::<65>, ..GOOD }, "cuDeviceGetCount"),
        ];
        for (driver, expected) in impossible {
            match driver.devices() {
                Err(Unavailable::Answer { function, .. }) => assert_eq!(function, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
        assert_eq!(Driver { count: answers::<64>, ..GOOD }.devices().unwrap().len(), MAX_DEVICES);
    }

    #[test]
    fn a_name_without_end_or_of_other_bytes_is_still_a_name() {
        let devices = Driver { name: endless, count: answers::<1>, ..GOOD }.devices().unwrap();
        assert_eq!(devices[0].name, "\u{fffd}".repeat(NAME));
    }

    #[test]
    fn probing_this_machine_describes_devices_or_says_why_not() {
        match crate::probe() {
            Ok(devices) => assert!(!devices.is_empty() && devices.len() <= MAX_DEVICES),
            Err(reason) => assert!(!reason.to_string().is_empty()),
        }
    }
}
