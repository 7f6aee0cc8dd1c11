//! One opened device: memory, kernels, and the order of what runs on it. All calls of cust are in this file.
//!
//! ```text
//! open      retain the device's primary context, load the modules, make the lanes
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

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cust::context::{Context, CurrentContext};
use cust::device::Device as CudaDevice;
use cust::error::CudaError;
use cust::event::{Event, EventFlags};
use cust::memory::bytemuck::{Pod, cast_slice, cast_slice_mut};
use cust::memory::{AsyncCopyDestination, DeviceBuffer, DeviceCopy, LockedBuffer};
use cust::module::Module;
use cust::stream::{Stream, StreamFlags};
use cust::sys;

use crate::error::{DeviceError, meaning};
use crate::kernel::{Arg, Grid, IMAGES, Kernel};

/// Streams of a device.
const LANES: usize = 8;
/// Words of each of the two buffers that large uploads go through.
const STAGE: usize = 1 << 19;

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
    stages: Mutex<Option<[Stage; 2]>>,
    limit: usize,
    context: Context,
}

/// Bytes of buffers, and memory that waits for the next buffer of its size.
#[derive(Default)]
struct Memory {
    used: usize,
    kept: usize,
    waiting: [BTreeMap<usize, Vec<DeviceBuffer<u8>>>; LANES],
}

/// Memory of the machine that the device copies from by itself, and the end of the last copy from it.
struct Stage {
    words: LockedBuffer<u64>,
    copied: Event,
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
        self.session.enter()?;
        let mut values = vec![T::default(); self.len];
        self.copy_to(cast_slice_mut(&mut values))?;
        Ok(values)
    }

    #[expect(unsafe_code, reason = "copies without waiting, then waits")]
    fn copy_to(&self, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let Some(memory) = &self.memory else { return Ok(()) };
        let (own, stream) = (&self.session.lanes[self.lane], self.session.stream());
        own.synchronize().map_err(|e| failed("the end of the kernels", e))?;
        // SAFETY: the bytes are borrowed until the copy has ended.
        unsafe { memory.async_copy_to(bytes, stream) }.map_err(|e| failed("copy from the device", e))?;
        stream.synchronize().map_err(|e| failed("the end of the kernels", e))
    }
}

impl Buffer<u64> {
    /// The elements by fours.
    pub fn read_fours(&self) -> Result<Vec<[u64; 4]>, DeviceError> {
        self.session.enter()?;
        let mut values = vec![[0; 4]; self.len / 4];
        self.copy_to(cast_slice_mut(&mut values))?;
        Ok(values)
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
    /// Opens a device that the probe has described.
    pub fn open(ordinal: u32, limit: Option<usize>) -> Result<Arc<Self>, DeviceError> {
        cust::init(cust::CudaFlags::empty()).map_err(|e| failed("cuInit", e))?;
        let device = CudaDevice::get_device(ordinal).map_err(|e| failed("cuDeviceGet", e))?;
        let memory = device.total_memory().map_err(|e| failed("cuDeviceTotalMem", e))?;
        let context = Context::new(device).map_err(|e| failed("cuDevicePrimaryCtxRetain", e))?;
        let load = |image: &&str| Module::from_ptx(image, &[]).map_err(|e| failed("load of the kernels", e));
        let modules = IMAGES.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        allow_shared(&modules, Kernel::GemmTensor)?;
        let lane = |_| Stream::new(StreamFlags::NON_BLOCKING, None).map_err(|e| failed("cuStreamCreate", e));
        let lanes = (0..LANES).map(lane).collect::<Result<_, _>>()?;
        let limit = limit.map_or(memory, |limit| limit.min(memory));
        let (memory, stages) = (Mutex::default(), Mutex::default());
        Ok(Arc::new(Self { lanes, modules, memory, stages, limit, context }))
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

    /// Memory with `count` fours of words, each made when it is copied: a large array is never made on this side, and one
    /// half of it is made while the device copies the other.
    #[expect(unsafe_code, reason = "copies without waiting, then waits")]
    pub fn upload_fours(
        self: &Arc<Self>,
        count: usize,
        four: impl Fn(usize) -> [u64; 4],
    ) -> Result<Buffer<u64>, DeviceError> {
        let buffer = self.alloc::<u64>(4 * count)?;
        let Some(memory) = &buffer.memory else { return Ok(buffer) };
        let stream = self.stream();
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        if stages.is_none() {
            let stage = || -> Result<Stage, CudaError> {
                Ok(Stage { words: LockedBuffer::new(&0, STAGE)?, copied: Event::new(EventFlags::DEFAULT)? })
            };
            *stages = Some([
                stage().map_err(|e| failed("memory of the machine", e))?,
                stage().map_err(|e| failed("memory of the machine", e))?,
            ]);
        }
        let [even, odd] = stages.as_mut().expect("made before");
        for (at, from) in (0..count).step_by(STAGE / 4).enumerate() {
            let Stage { words, copied } = if at % 2 == 0 { &mut *even } else { &mut *odd };
            // An event that was never recorded has happened.
            copied.synchronize().map_err(|e| failed("copy to the device", e))?;
            let to = count.min(from + STAGE / 4);
            for (word, i) in words.chunks_exact_mut(4).zip(from..to) {
                word.copy_from_slice(&four(i));
            }
            let bytes: &[u8] = cast_slice(&words[..4 * (to - from)]);
            let mut part = memory.index(32 * from..32 * to);
            // SAFETY: the stage is written again only after this copy, and lives as long as the session.
            unsafe { part.async_copy_from(bytes, stream) }.map_err(|e| failed("copy to the device", e))?;
            copied.record(stream).map_err(|e| failed("cuEventRecord", e))?;
        }
        // The stages are another thread's next, which waits for the copies on a lane of its own.
        stream.synchronize().map_err(|e| failed("copy to the device", e))?;
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
