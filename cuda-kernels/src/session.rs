//! One opened device: memory, kernels, and the order of what runs on it. All calls of cust are in this file.
//!
//! ```text
//! open      retain the device's primary context, load the modules, make a stream
//! alloc     counted against a limit; freed when the last owner of the buffer drops
//! launch    queued on the one stream, in order
//! read      waits for everything that was queued; the error of a kernel shows here at the latest
//! ```
//!
//! The stream is a blocking one: copies, which go to the device's default stream, wait for kernels before them and
//! kernels wait for copies. Freeing memory waits for the device, so a buffer may be dropped while a kernel that was
//! given it is queued.

use std::ffi::c_void;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cust::context::{Context, CurrentContext};
use cust::device::Device as CudaDevice;
use cust::error::CudaError;
use cust::memory::bytemuck::Pod;
use cust::memory::{CopyDestination, DeviceBuffer, DeviceCopy};
use cust::module::Module;
use cust::stream::{Stream, StreamFlags};

use crate::error::{DeviceError, meaning};
use crate::kernel::{Arg, Grid, IMAGES, Kernel};

/// What a buffer may hold: plain integers, for which every pattern of bits is a value.
pub trait Element: DeviceCopy + Pod + Default + fmt::Debug + Send + Sync + 'static {}

impl Element for i8 {}
impl Element for i32 {}
impl Element for u32 {}
impl Element for i64 {}
impl Element for u64 {}

/// An opened device.
pub struct Session {
    // Fields drop in this order: the context must be the last.
    stream: Stream,
    modules: Vec<Module>,
    used: AtomicUsize,
    limit: usize,
    context: Context,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// Memory of a device.
pub struct Buffer<T: Element> {
    /// `None` only while it is dropped, and for no elements, which need no memory.
    memory: Option<DeviceBuffer<T>>,
    len: usize,
    session: Arc<Session>,
}

impl<T: Element> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len).finish_non_exhaustive()
    }
}

impl<T: Element> Buffer<T> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The argument of a kernel.
    pub fn arg(&self) -> Arg {
        Arg::Address(self.memory.as_ref().map_or(0, |memory| memory.as_device_ptr().as_raw()))
    }

    /// The elements; waits for everything that was queued.
    pub fn read(&self) -> Result<Vec<T>, DeviceError> {
        self.session.enter()?;
        let mut values = vec![T::default(); self.len];
        if let Some(memory) = &self.memory {
            self.session.stream.synchronize().map_err(|e| failed("the end of the kernels", e))?;
            memory.copy_to(&mut values).map_err(|e| failed("copy from the device", e))?;
        }
        Ok(values)
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        self.session.used.fetch_sub(self.len * size_of::<T>(), Ordering::Relaxed);
        // Memory can only be freed where its context is current. If that fails the device is lost and the memory with it.
        match self.session.enter() {
            Ok(()) => drop(self.memory.take()),
            Err(_) => std::mem::forget(self.memory.take()),
        }
    }
}

impl Session {
    /// Opens a device that the probe has described.
    pub fn open(ordinal: u32, limit: Option<usize>) -> Result<Arc<Self>, DeviceError> {
        cust::init(cust::CudaFlags::empty()).map_err(|e| failed("cuInit", e))?;
        let device = CudaDevice::get_device(ordinal).map_err(|e| failed("cuDeviceGet", e))?;
        let memory = device.total_memory().map_err(|e| failed("cuDeviceTotalMem", e))?;
        let context = Context::new(device).map_err(|e| failed("cuDevicePrimaryCtxRetain", e))?;
        let load = |image: &&str| Module::from_ptx(image, &[]).map_err(|e| failed("load of the kernels", e));
        let modules = IMAGES.iter().map(load).collect::<Result<_, _>>()?;
        let stream = Stream::new(StreamFlags::DEFAULT, None).map_err(|e| failed("cuStreamCreate", e))?;
        let limit = limit.map_or(memory, |limit| limit.min(memory));
        Ok(Arc::new(Self { stream, modules, used: AtomicUsize::new(0), limit, context }))
    }

    /// Bytes that may be in use.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Memory with whatever was there before.
    pub fn alloc<T: Element>(self: &Arc<Self>, len: usize) -> Result<Buffer<T>, DeviceError> {
        self.enter()?;
        let bytes = len.saturating_mul(size_of::<T>());
        if bytes > self.limit {
            return Err(DeviceError::Limit { asked: bytes, used: self.used(), limit: self.limit });
        }
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        let refuse = |error| {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            Err(error)
        };
        if used.saturating_add(bytes) > self.limit {
            return refuse(DeviceError::Limit { asked: bytes, used, limit: self.limit });
        }
        match len {
            0 => Ok(Buffer { memory: None, len, session: Arc::clone(self) }),
            len => match uninitialised(len) {
                Ok(memory) => Ok(Buffer { memory: Some(memory), len, session: Arc::clone(self) }),
                Err(error) => refuse(failed("allocation", error)),
            },
        }
    }

    /// Memory of zeros.
    pub fn zeroed<T: Element>(self: &Arc<Self>, len: usize) -> Result<Buffer<T>, DeviceError> {
        let mut buffer = self.alloc(len)?;
        if let Some(memory) = &mut buffer.memory {
            memory.set_8(0).map_err(|e| failed("memset", e))?;
        }
        Ok(buffer)
    }

    /// Memory with these values.
    pub fn upload<T: Element>(self: &Arc<Self>, values: &[T]) -> Result<Buffer<T>, DeviceError> {
        let mut buffer = self.alloc(values.len())?;
        if let Some(memory) = &mut buffer.memory {
            memory.copy_from(values).map_err(|e| failed("copy to the device", e))?;
        }
        Ok(buffer)
    }

    /// Queues a kernel; nothing if the grid is empty.
    ///
    /// # Safety
    /// The arguments are the kernel's parameters in number, order and type; every address is of a buffer that is at least
    /// as long as the kernel reads or writes for these arguments, and no two that are written overlap.
    #[expect(unsafe_code, reason = "what a kernel does with its arguments cannot be checked")]
    pub unsafe fn launch(&self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<(), DeviceError> {
        self.enter()?;
        let Grid { blocks: [x, y, z], threads } = grid;
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        let name = kernel.name();
        let function = self.modules[kernel.image()].get_function(name).map_err(|e| failed(name, e))?;
        let values: Vec<u64> = args.iter().map(|arg| arg.bits()).collect();
        let pointers: Vec<*mut c_void> =
            values.iter().map(|value| std::ptr::from_ref(value).cast_mut().cast()).collect();
        // SAFETY: each pointer is to eight bytes that outlive the call, of which the driver reads as many as the
        // parameter has (the machine is little-endian). The rest is the caller's promise.
        let launched = unsafe { self.stream.launch(&function, (x, y, z), threads, 0, &pointers) };
        launched.map_err(|e| failed(name, e))
    }

    /// Waits for everything that was queued.
    pub fn finish(&self) -> Result<(), DeviceError> {
        self.enter()?;
        self.stream.synchronize().map_err(|e| failed("the end of the kernels", e))
    }

    /// Makes the device's context that of the calling thread.
    fn enter(&self) -> Result<(), DeviceError> {
        CurrentContext::set_current(&self.context).map_err(|e| failed("cuCtxSetCurrent", e))
    }
}

#[expect(unsafe_code, reason = "memory is allocated without being written")]
fn uninitialised<T: Element>(len: usize) -> Result<DeviceBuffer<T>, CudaError> {
    // SAFETY: every pattern of bits is a value of an `Element`, so whatever the memory holds may be read.
    unsafe { DeviceBuffer::uninitialized(len) }
}

fn failed(call: &'static str, error: CudaError) -> DeviceError {
    let code = error as u32;
    DeviceError::Call { call, code, meaning: meaning(code) }
}
