//! One opened device: memory, kernels, and the order of what runs on it. All calls of cust are in this file.
//!
//! ```text
//! open      retain the device's primary context, load the modules, make a stream
//! alloc     counted against a limit; kept for a buffer of the same size when the last owner of the buffer drops
//! launch    queued on the one stream, in order
//! read      waits for everything that was queued; the error of a kernel shows here at the latest
//! ```
//!
//! The stream is a blocking one: copies, which go to the device's default stream, wait for kernels before them and
//! kernels wait for copies. So what was queued for a buffer's last owner is done before anything of its next one is, and a
//! buffer may be dropped while a kernel that was given it is queued. The driver's own allocation waits for the device
//! each time, and a proof allocates a hundred times, always the same sizes.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cust::context::{Context, CurrentContext};
use cust::device::Device as CudaDevice;
use cust::error::CudaError;
use cust::event::{Event, EventFlags};
use cust::memory::bytemuck::{Pod, cast_slice, cast_slice_mut};
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
    memory: Mutex<Memory>,
    limit: usize,
    context: Context,
}

/// Bytes of buffers, and memory that waits for the next buffer of its size.
#[derive(Default)]
struct Memory {
    used: usize,
    kept: usize,
    waiting: BTreeMap<usize, Vec<DeviceBuffer<u8>>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// Memory of a device.
pub struct Buffer<T: Element> {
    /// `None` only while it is dropped, and for no elements, which need no memory.
    memory: Option<DeviceBuffer<u8>>,
    len: usize,
    session: Arc<Session>,
    element: PhantomData<T>,
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
            memory.copy_to(cast_slice_mut(&mut values)).map_err(|e| failed("copy from the device", e))?;
        }
        Ok(values)
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.session.keep(memory);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Memory can only be freed where its context is current. If that fails the device is lost and the memory with it.
        let entered = self.enter().is_ok();
        self.memory.get_mut().unwrap_or_else(PoisonError::into_inner).free(entered);
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
        Ok(Arc::new(Self { stream, modules, memory: Mutex::default(), limit, context }))
    }

    /// Bytes that may be in use.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.memory().used
    }

    /// Memory with whatever was there before.
    pub fn alloc<T: Element>(self: &Arc<Self>, len: usize) -> Result<Buffer<T>, DeviceError> {
        self.enter()?;
        let bytes = len.saturating_mul(size_of::<T>());
        let mut memory = self.memory();
        let used = memory.used;
        if used.saturating_add(bytes) > self.limit {
            return Err(DeviceError::Limit { asked: bytes, used, limit: self.limit });
        }
        let memory = if bytes == 0 { None } else { Some(memory.take(bytes, self.limit)?) };
        Ok(Buffer { memory, len, session: Arc::clone(self), element: PhantomData })
    }

    /// Memory of a buffer that is no more.
    fn keep(&self, buffer: DeviceBuffer<u8>) {
        let mut memory = self.memory();
        let bytes = buffer.len();
        memory.used -= bytes;
        memory.kept += bytes;
        memory.waiting.entry(bytes).or_default().push(buffer);
        // Other programs use the device too.
        if memory.kept > self.limit / 2 {
            memory.free(self.enter().is_ok());
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
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
            memory.copy_from(cast_slice(values)).map_err(|e| failed("copy to the device", e))?;
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

    /// The device's time between what was queued before and after `work`; waits for all of it.
    pub fn timed<R>(
        &self,
        work: impl FnOnce() -> Result<R, DeviceError>,
    ) -> Result<(R, Duration), DeviceError> {
        self.enter()?;
        let event = || Event::new(EventFlags::DEFAULT).map_err(|e| failed("cuEventCreate", e));
        let record = |event: &Event| event.record(&self.stream).map_err(|e| failed("cuEventRecord", e));
        let (began, ended) = (event()?, event()?);
        record(&began)?;
        let result = work()?;
        record(&ended)?;
        ended.synchronize().map_err(|e| failed("the end of the kernels", e))?;
        let time = ended.elapsed(&began).map_err(|e| failed("cuEventElapsedTime", e))?;
        Ok((result, time))
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

impl Memory {
    /// Memory of this size, with whatever was there before; a context is current.
    fn take(&mut self, bytes: usize, limit: usize) -> Result<DeviceBuffer<u8>, DeviceError> {
        let waiting = self.waiting.get_mut(&bytes).and_then(Vec::pop);
        let buffer = match waiting {
            Some(buffer) => {
                self.kept -= bytes;
                buffer
            }
            None => {
                if self.used.saturating_add(self.kept).saturating_add(bytes) > limit {
                    self.free(true);
                }
                uninitialised(bytes)
                    .or_else(|_| {
                        self.free(true);
                        uninitialised(bytes)
                    })
                    .map_err(|e| failed("allocation", e))?
            }
        };
        self.used += bytes;
        Ok(buffer)
    }

    /// Gives back what waits; where no context is current the device is lost, and its memory with it.
    fn free(&mut self, entered: bool) {
        let waiting = std::mem::take(&mut self.waiting);
        self.kept = 0;
        if !entered {
            std::mem::forget(waiting);
        }
    }
}

#[expect(unsafe_code, reason = "memory is allocated without being written")]
fn uninitialised(bytes: usize) -> Result<DeviceBuffer<u8>, CudaError> {
    // SAFETY: every pattern of bits is a value of an `Element`, so whatever the memory holds may be read.
    unsafe { DeviceBuffer::uninitialized(bytes) }
}

fn failed(call: &'static str, error: CudaError) -> DeviceError {
    let code = error as u32;
    DeviceError::Call { call, code, meaning: meaning(code) }
}
