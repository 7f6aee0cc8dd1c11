//! An opened device.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::Device;
use crate::error::DeviceError;
use crate::session::Session;

/// An opened device; kernels run on it one after another, whatever thread asks for them.
#[derive(Clone, Debug)]
pub struct Gpu {
    session: Arc<Session>,
    name: Arc<str>,
    ordinal: u32,
}

impl Gpu {
    /// Opens a device, with machine code for it if `cubins` beside the program has it. `limit` bounds the bytes of its memory
    /// that this program takes.
    ///
    /// # Errors
    /// Says which of driver, device, kernels or feature is missing.
    pub fn open(ordinal: u32, limit: Option<usize>) -> Result<Self, DeviceError> {
        let program = std::env::current_exe().ok();
        let cubins = program.and_then(|program| Some(program.parent()?.join("cubins")));
        Self::open_with(ordinal, limit, cubins.as_deref())
    }

    /// Opens a device with the machine code of a folder, as `scripts/cubins` makes it; with PTX where it has none for this
    /// device, or of other kernels.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub fn open_with(ordinal: u32, limit: Option<usize>, cubins: Option<&Path>) -> Result<Self, DeviceError> {
        if cfg!(not(devices)) {
            return Err(DeviceError::NotBuilt);
        }
        let devices = crate::probe()?;
        let count = devices.len();
        let found = devices.into_iter().find(|device| device.ordinal == ordinal);
        let Device { name, .. } = found.ok_or(DeviceError::NoSuchDevice { ordinal, count })?;
        Ok(Self { session: Session::open(ordinal, limit, cubins)?, name: name.into(), ordinal })
    }

    /// The numbers of this machine's devices, whether they can be opened or not; at least one.
    ///
    /// # Errors
    /// Why there is none.
    pub fn ordinals() -> Result<Vec<u32>, DeviceError> {
        if cfg!(not(devices)) {
            return Err(DeviceError::NotBuilt);
        }
        Ok(crate::probe()?.into_iter().map(|device| device.ordinal).collect())
    }

    /// Name as the driver gives it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// Compute capability, major and minor.
    pub fn capability(&self) -> (i32, i32) {
        self.session.capability()
    }

    /// What its kernels were loaded from: `PTX`, or machine code for an architecture such as `sm_90`.
    pub fn code(&self) -> &str {
        self.session.code()
    }

    /// Bytes of its memory that may be in use.
    pub fn limit(&self) -> usize {
        self.session.limit()
    }

    /// Bytes of its memory in use.
    pub fn used(&self) -> usize {
        self.session.used()
    }

    /// The device's own time for what `work` asks it to do, without what comes before; waits for all of it.
    ///
    /// # Errors
    /// As of the work.
    pub fn timed<R>(
        &self,
        work: impl FnOnce() -> Result<R, DeviceError>,
    ) -> Result<(R, Duration), DeviceError> {
        self.session().timed(work)
    }

    /// Waits for everything that was asked for, and says whether it was done.
    ///
    /// # Errors
    /// The first kernel's that failed.
    pub fn finish(&self) -> Result<(), DeviceError> {
        self.session.finish()
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }
}
