//! What stands in for a session in a program that was built without devices: no value of it exists, so what is written
//! for devices compiles, is linted everywhere, and can never be reached.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::DeviceError;
use crate::kernel::{Arg, Grid, Kernel};

/// What a buffer may hold.
pub trait Element: Copy + Default + fmt::Debug + Send + Sync + 'static {}

impl<T: Copy + Default + fmt::Debug + Send + Sync + 'static> Element for T {}

/// An opened device, which does not exist.
#[derive(Debug)]
pub struct Session {
    never: Infallible,
}

/// Memory of a device, which does not exist.
#[derive(Debug)]
pub struct Buffer<T> {
    never: Infallible,
    element: PhantomData<T>,
}

impl<T: Element> Buffer<T> {
    pub fn len(&self) -> usize {
        match self.never {}
    }

    pub fn arg(&self) -> Arg {
        match self.never {}
    }

    pub fn read(&self) -> Result<Vec<T>, DeviceError> {
        match self.never {}
    }
}

impl Buffer<u64> {
    pub fn read_fours(&self) -> Result<Vec<[u64; 4]>, DeviceError> {
        match self.never {}
    }
}

impl Session {
    pub fn open(
        _ordinal: u32,
        _limit: Option<usize>,
        _folder: Option<&Path>,
    ) -> Result<Arc<Self>, DeviceError> {
        Err(DeviceError::NotBuilt)
    }

    pub fn capability(&self) -> (i32, i32) {
        match self.never {}
    }

    pub fn code(&self) -> &str {
        match self.never {}
    }

    pub fn limit(&self) -> usize {
        match self.never {}
    }

    pub fn used(&self) -> usize {
        match self.never {}
    }

    pub fn alloc<T: Element>(&self, _len: usize) -> Result<Buffer<T>, DeviceError> {
        match self.never {}
    }

    pub fn zeroed<T: Element>(&self, _len: usize) -> Result<Buffer<T>, DeviceError> {
        match self.never {}
    }

    pub fn upload<T: Element>(&self, _values: &[T]) -> Result<Buffer<T>, DeviceError> {
        match self.never {}
    }

    pub fn upload_each<T: Element, E>(
        &self,
        _count: usize,
        _each: impl Fn(usize) -> E + Sync,
    ) -> Result<Buffer<T>, DeviceError> {
        match self.never {}
    }

    pub fn write_each<T: Element, E>(
        &self,
        _buffer: &mut Buffer<T>,
        _first: usize,
        _count: usize,
        _each: impl Fn(usize) -> E + Sync,
    ) -> Result<(), DeviceError> {
        match self.never {}
    }

    /// # Safety
    /// Never called.
    #[expect(unsafe_code, reason = "the same signature as that of a session that exists")]
    pub unsafe fn launch(&self, _kernel: Kernel, _grid: Grid, _args: &[Arg]) -> Result<(), DeviceError> {
        match self.never {}
    }

    pub fn timed<R>(
        &self,
        _work: impl FnOnce() -> Result<R, DeviceError>,
    ) -> Result<(R, Duration), DeviceError> {
        match self.never {}
    }

    pub fn finish(&self) -> Result<(), DeviceError> {
        match self.never {}
    }
}
