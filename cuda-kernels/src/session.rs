//! One opened device: memory, kernels, and the order of what runs on it. All calls of cust are here and in `staging.rs`.
//!
//! ```text
//! open      retain the device's primary context, load the kernels, make the lanes
//! alloc     counted against a limit; kept for a buffer of the same size when the last owner of the buffer drops
//! upload    done when it returns
//! launch    queued on the lane of the calling thread, in order
//! read      waits for what was queued on the buffer's lane and on the caller's; a kernel's error shows here at the latest
//! ```
//!
//! A lane is a stream and the memory that waits for its next buffer: the many small sums of a proof, asked for by several
//! threads, run beside each other. Whatever one thread asks for runs in order, so what was queued for a buffer's last owner
//! is done before anything of its next one is, and a buffer may be dropped while a kernel that was given it is queued.
//! What is handed to other threads is finished first ([`Session::finish`]). The driver's own allocation waits for the
//! device each time, and a proof allocates a hundred times, always the same sizes.

mod staging;

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cust::context::{Context, CurrentContext};
use cust::device::{Device as CudaDevice, DeviceAttribute};
use cust::error::CudaError;
use cust::event::{Event, EventFlags};
use cust::memory::bytemuck::{Pod, cast_slice, cast_slice_mut};
use cust::memory::{AsyncCopyDestination, DeviceBuffer, DeviceCopy};
use cust::module::Module;
use cust::stream::{Stream, StreamFlags};
use cust::sys;

use crate::error::{DeviceError, meaning};
use crate::image::{IMAGES, cubins};
use crate::kernel::{Arg, Grid, Kernel};
use staging::Stages;

/// Streams of a device.
const LANES: usize = 8;

/// Number of the threads that asked something of a device so far.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The lane of this thread.
    static LANE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % LANES;
}

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
    lanes: Vec<Stream>,
    modules: Vec<Module>,
    memory: Mutex<Memory>,
    stages: Stages,
    limit: usize,
    capability: (i32, i32),
    code: String,
    context: Context,
}

/// Bytes of buffers, and memory that waits for the next buffer of its size.
#[derive(Default)]
struct Memory {
    used: usize,
    kept: usize,
    waiting: [BTreeMap<usize, Vec<DeviceBuffer<u8>>>; LANES],
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
    lane: usize,
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

    /// The elements; waits for what was queued for them.
    pub fn read(&self) -> Result<Vec<T>, DeviceError> {
        self.read_as(self.len)
    }

    #[expect(unsafe_code, reason = "copies without waiting, then waits")]
    fn read_as<E: Pod + Send>(&self, count: usize) -> Result<Vec<E>, DeviceError> {
        let session = &self.session;
        session.enter()?;
        let mut values = vec![E::zeroed(); count];
        let Some(memory) = &self.memory else { return Ok(values) };
        session.lanes[self.lane].synchronize().map_err(|e| failed("the end of the kernels", e))?;
        if Stages::serve::<E>(count) {
            session.copy_down(memory, &mut values)?;
            return Ok(values);
        }
        let stream = session.stream();
        // SAFETY: the values are borrowed until the copy has ended.
        unsafe { memory.async_copy_to(cast_slice_mut(&mut values), stream) }
            .map_err(|e| failed("copy from the device", e))?;
        stream.synchronize().map_err(|e| failed("the end of the kernels", e))?;
        Ok(values)
    }
}

impl Buffer<u64> {
    /// The elements by fours.
    pub fn read_fours(&self) -> Result<Vec<[u64; 4]>, DeviceError> {
        self.read_as(self.len / 4)
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.session.keep(self.lane, memory);
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
    /// Opens a device that the probe has described; `folder` may have machine code for it.
    pub fn open(ordinal: u32, limit: Option<usize>, folder: Option<&Path>) -> Result<Arc<Self>, DeviceError> {
        cust::init(cust::CudaFlags::empty()).map_err(|e| failed("cuInit", e))?;
        let device = CudaDevice::get_device(ordinal).map_err(|e| failed("cuDeviceGet", e))?;
        let memory = device.total_memory().map_err(|e| failed("cuDeviceTotalMem", e))?;
        let attribute = |of| device.get_attribute(of).map_err(|e| failed("cuDeviceGetAttribute", e));
        let capability = (
            attribute(DeviceAttribute::ComputeCapabilityMajor)?,
            attribute(DeviceAttribute::ComputeCapabilityMinor)?,
        );
        let context = Context::new(device).map_err(|e| failed("cuDevicePrimaryCtxRetain", e))?;
        let (code, modules) = load(folder, capability)?;
        allow_shared(&modules, Kernel::GemmTensor)?;
        let lane = |_| Stream::new(StreamFlags::NON_BLOCKING, None).map_err(|e| failed("cuStreamCreate", e));
        let lanes = (0..LANES).map(lane).collect::<Result<_, _>>()?;
        let limit = limit.map_or(memory, |limit| limit.min(memory));
        let (memory, stages) = (Mutex::default(), Stages::default());
        Ok(Arc::new(Self { lanes, modules, memory, stages, limit, capability, code, context }))
    }

    /// Compute capability.
    pub fn capability(&self) -> (i32, i32) {
        self.capability
    }

    /// What its kernels are: `PTX`, or machine code for an architecture.
    pub fn code(&self) -> &str {
        &self.code
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
        let lane = LANE.with(|&lane| lane);
        let memory = if bytes == 0 { None } else { Some(memory.take(lane, bytes, self.limit)?) };
        Ok(Buffer { memory, len, lane, session: Arc::clone(self), element: PhantomData })
    }

    /// Memory of a buffer that is no more.
    fn keep(&self, lane: usize, buffer: DeviceBuffer<u8>) {
        let mut memory = self.memory();
        let bytes = buffer.len();
        memory.used -= bytes;
        memory.kept += bytes;
        memory.waiting[lane].entry(bytes).or_default().push(buffer);
        // Other programs use the device too.
        if memory.kept > self.limit / 2 {
            memory.free(self.enter().is_ok());
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory of zeros.
    #[expect(unsafe_code, reason = "queues the writing of memory")]
    pub fn zeroed<T: Element>(self: &Arc<Self>, len: usize) -> Result<Buffer<T>, DeviceError> {
        let mut buffer = self.alloc(len)?;
        if let Some(memory) = &mut buffer.memory {
            // SAFETY: whoever uses the buffer queues on the same lane, or waits for it.
            unsafe { memory.set_8_async(0, self.stream()) }.map_err(|e| failed("memset", e))?;
        }
        Ok(buffer)
    }

    /// Memory with these values.
    #[expect(unsafe_code, reason = "copies without waiting, then waits")]
    pub fn upload<T: Element>(self: &Arc<Self>, values: &[T]) -> Result<Buffer<T>, DeviceError> {
        if Stages::serve::<T>(values.len()) {
            return self.upload_each(values.len(), |i| values[i]);
        }
        let mut buffer = self.alloc(values.len())?;
        if let Some(memory) = &mut buffer.memory {
            let stream = self.stream();
            // SAFETY: the values are borrowed until the copy has ended.
            unsafe { memory.async_copy_from(cast_slice(values), stream) }
                .map_err(|e| failed("copy to the device", e))?;
            stream.synchronize().map_err(|e| failed("copy to the device", e))?;
        }
        Ok(buffer)
    }

    /// Memory with `count` elements or groups of elements, each made when it is copied: a large array is never made on this
    /// side, and one half of it is made while the device copies the other.
    pub fn upload_each<T: Element, E: Pod>(
        self: &Arc<Self>,
        count: usize,
        each: impl Fn(usize) -> E + Sync,
    ) -> Result<Buffer<T>, DeviceError> {
        let buffer = self.alloc(size_of::<E>() / size_of::<T>() * count)?;
        if let Some(memory) = &buffer.memory {
            self.copy_up(memory, count, each)?;
        }
        Ok(buffer)
    }

    /// Writes `count` elements or groups of elements to a part of a buffer, from its element `first` on.
    ///
    /// # Panics
    /// If the buffer has no such part.
    pub fn write_each<T: Element, E: Pod>(
        &self,
        buffer: &mut Buffer<T>,
        first: usize,
        count: usize,
        each: impl Fn(usize) -> E + Sync,
    ) -> Result<(), DeviceError> {
        self.enter()?;
        let Some(memory) = &buffer.memory else { return Ok(()) };
        // What was queued for the buffer comes first, on whatever lane.
        self.lanes[buffer.lane].synchronize().map_err(|e| failed("the end of the kernels", e))?;
        let first = first * size_of::<T>();
        self.copy_up(&memory.index(first..first + count * size_of::<E>()), count, each)
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
        let launched =
            unsafe { self.stream().launch(&function, (x, y, z), threads, kernel.shared(), &pointers) };
        launched.map_err(|e| failed(name, e))
    }

    /// The device's time between what this thread queued before and after `work`; waits for all of it.
    pub fn timed<R>(
        &self,
        work: impl FnOnce() -> Result<R, DeviceError>,
    ) -> Result<(R, Duration), DeviceError> {
        self.enter()?;
        let event = || Event::new(EventFlags::DEFAULT).map_err(|e| failed("cuEventCreate", e));
        let record = |event: &Event| event.record(self.stream()).map_err(|e| failed("cuEventRecord", e));
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
        let mut lanes = self.lanes.iter();
        lanes.try_for_each(|lane| lane.synchronize()).map_err(|e| failed("the end of the kernels", e))
    }

    /// The stream of the calling thread.
    fn stream(&self) -> &Stream {
        LANE.with(|&lane| &self.lanes[lane])
    }

    /// Makes the device's context that of the calling thread.
    fn enter(&self) -> Result<(), DeviceError> {
        CurrentContext::set_current(&self.context).map_err(|e| failed("cuCtxSetCurrent", e))
    }
}

impl Memory {
    /// Memory of this size, with whatever was there before; a context is current.
    fn take(&mut self, lane: usize, bytes: usize, limit: usize) -> Result<DeviceBuffer<u8>, DeviceError> {
        let waiting = self.waiting[lane].get_mut(&bytes).and_then(Vec::pop);
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

/// The kernels, from machine code if there is some that the driver takes, else from PTX; and which it was.
fn load(folder: Option<&Path>, capability: (i32, i32)) -> Result<(String, Vec<Module>), DeviceError> {
    if let Some(found) = folder.and_then(|folder| cubins(folder, capability)) {
        let modules = found.images.iter().map(|image| Module::from_cubin(image, &[]));
        if let Ok(modules) = modules.collect() {
            return Ok((found.architecture, modules));
        }
    }
    let modules = IMAGES.iter().map(|(_, ptx)| Module::from_ptx(ptx, &[]));
    let modules = modules.collect::<Result<_, _>>().map_err(|e| failed("load of the kernels", e))?;
    Ok(("PTX".into(), modules))
}

/// Lets a kernel have more memory a block than every kernel may have.
#[expect(unsafe_code, reason = "cust has no call for it")]
fn allow_shared(modules: &[Module], kernel: Kernel) -> Result<(), DeviceError> {
    let function =
        modules[kernel.image()].get_function(kernel.name()).map_err(|e| failed(kernel.name(), e))?;
    let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    // SAFETY: the function is of a module that is loaded; the driver checks the value.
    let answer = unsafe { sys::cuFuncSetAttribute(function.to_raw(), attribute, kernel.shared() as i32) };
    match answer as u32 {
        0 => Ok(()),
        code => Err(DeviceError::Call { call: "cuFuncSetAttribute", code, meaning: meaning(code) }),
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
