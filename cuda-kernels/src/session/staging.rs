//! Copies of large arrays, through memory of the machine that the device reads and writes by itself:
//!
//! ```text
//! up      thread: make a stage's elements | the device copies them | ..     the other stage meanwhile, on the other side
//! down    the device fills a stage        | thread: copy it out    | ..
//! ```
//!
//! From and to ordinary memory the driver copies with one thread, and what comes back meets pages that the system has yet to give:
//! 128 MiB took 20 ms up and 160 ms down. An array is therefore cut into a part for each of a few threads.

use std::sync::{Mutex, PoisonError};
use std::thread::{self, available_parallelism};

use cust::event::{Event, EventFlags};
use cust::memory::bytemuck::{Pod, cast_slice, cast_slice_mut};
use cust::memory::{AsyncCopyDestination, DeviceSlice, LockedBuffer};
use cust::stream::Stream;

use super::{Session, failed};
use crate::error::DeviceError;

/// 64-bit words of a stage.
const WORDS: usize = 1 << 17;
/// Bytes that one more thread is worth, and threads at most.
const SHARE: usize = 4 << 20;
const THREADS: usize = 8;

/// Memory of the machine that the device copies to and from by itself, and the end of the last copy.
struct Stage {
    words: LockedBuffer<u64>,
    copied: Event,
}

/// Pairs of stages that no thread uses.
#[derive(Default)]
pub struct Stages(Mutex<Vec<[Stage; 2]>>);

impl Stage {
    fn new() -> Result<Self, DeviceError> {
        let words = LockedBuffer::new(&0, WORDS).map_err(|e| failed("memory of the machine", e))?;
        let copied = Event::new(EventFlags::DISABLE_TIMING).map_err(|e| failed("cuEventCreate", e))?;
        Ok(Self { words, copied })
    }

    /// Waits for the last copy; one that was never asked for has ended.
    fn wait(&self) -> Result<(), DeviceError> {
        self.copied.synchronize().map_err(|e| failed("the end of a copy", e))
    }

    fn record(&self, stream: &Stream) -> Result<(), DeviceError> {
        self.copied.record(stream).map_err(|e| failed("cuEventRecord", e))
    }
}

impl Stages {
    /// Whether an array is long enough to go through stages.
    pub fn serve<E>(count: usize) -> bool {
        count.saturating_mul(size_of::<E>()) > 8 * WORDS
    }

    fn with<R>(
        &self,
        work: impl FnOnce(&mut [Stage; 2]) -> Result<R, DeviceError>,
    ) -> Result<R, DeviceError> {
        let waiting = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = waiting().pop();
        let mut pair = if let Some(pair) = pair { pair } else { [Stage::new()?, Stage::new()?] };
        // After an error a copy may still be under way: the driver waits for it when the memory is given back.
        let result = work(&mut pair)?;
        waiting().push(pair);
        Ok(result)
    }
}

/// Elements of each part of an array, one at least.
fn part<E>(count: usize) -> usize {
    let cores = available_parallelism().map_or(1, usize::from);
    let parts = (count * size_of::<E>() / SHARE).clamp(1, THREADS.min(cores));
    count.div_ceil(parts).max(1)
}

impl Session {
    /// Fills memory with elements that are made when they are copied; done when it returns.
    pub(super) fn copy_up<E: Pod>(
        &self,
        memory: &DeviceSlice<u8>,
        count: usize,
        each: impl Fn(usize) -> E + Sync,
    ) -> Result<(), DeviceError> {
        let (stream, part) = (self.stream(), part::<E>(count));
        let parts = (0..count).step_by(part).map(|from| from..count.min(from + part));
        self.on_threads(parts, |range| self.stages.with(|pair| up(memory, stream, range, pair, &each)))
    }

    /// Copies a buffer's elements out; what was queued for them is done.
    pub(super) fn copy_down<E: Pod + Send>(
        &self,
        memory: &DeviceSlice<u8>,
        values: &mut [E],
    ) -> Result<(), DeviceError> {
        let (stream, part) = (self.stream(), part::<E>(values.len()));
        let parts = values.chunks_mut(part).enumerate();
        self.on_threads(parts, |(at, values)| {
            self.stages.with(|pair| down(memory, stream, at * part, values, pair))
        })
    }

    /// Does each part on a thread of its own, the first one on this.
    fn on_threads<P: Send>(
        &self,
        parts: impl IntoIterator<Item = P>,
        work: impl Fn(P) -> Result<(), DeviceError> + Sync,
    ) -> Result<(), DeviceError> {
        let mut parts = parts.into_iter();
        let Some(first) = parts.next() else { return Ok(()) };
        let work = &work;
        thread::scope(|scope| {
            let others: Vec<_> =
                parts.map(|part| scope.spawn(move || self.enter().and_then(|()| work(part)))).collect();
            let own = work(first);
            let others = others.into_iter().map(|other| other.join().expect("copies do not panic"));
            others.fold(own, Result::and)
        })
    }
}

#[expect(unsafe_code, reason = "copies without waiting, then waits")]
fn up<E: Pod>(
    memory: &DeviceSlice<u8>,
    stream: &Stream,
    range: std::ops::Range<usize>,
    pair: &mut [Stage; 2],
    each: &impl Fn(usize) -> E,
) -> Result<(), DeviceError> {
    let size = size_of::<E>();
    let room = 8 * WORDS / size;
    for (turn, from) in range.clone().step_by(room).enumerate() {
        let stage = &mut pair[turn % 2];
        stage.wait()?;
        let to = range.end.min(from + room);
        let elements: &mut [E] = &mut cast_slice_mut(&mut stage.words)[..to - from];
        elements.iter_mut().zip(from..to).for_each(|(element, i)| *element = each(i));
        let mut place = memory.index(size * from..size * to);
        // SAFETY: the stage is written again, or given to another thread, only after this copy.
        unsafe { place.async_copy_from(cast_slice::<E, u8>(elements), stream) }
            .map_err(|e| failed("copy to the device", e))?;
        stage.record(stream)?;
    }
    pair.iter().try_for_each(Stage::wait)
}

#[expect(unsafe_code, reason = "copies without waiting, then waits")]
fn down<E: Pod>(
    memory: &DeviceSlice<u8>,
    stream: &Stream,
    first: usize,
    values: &mut [E],
    pair: &mut [Stage; 2],
) -> Result<(), DeviceError> {
    let size = size_of::<E>();
    let room = 8 * WORDS / size;
    let (mut before, mut last) = (None, 0);
    let drain = |stage: &Stage, values: &mut [E]| -> Result<(), DeviceError> {
        stage.wait()?;
        values.copy_from_slice(&cast_slice(&stage.words)[..values.len()]);
        Ok(())
    };
    for (turn, values) in values.chunks_mut(room).enumerate() {
        let from = first + turn * room;
        let stage = &mut pair[turn % 2];
        let place = memory.index(size * from..size * (from + values.len()));
        let bytes: &mut [u8] = &mut cast_slice_mut(&mut stage.words)[..size_of_val(values)];
        // SAFETY: the stage is read only after this copy, and was read out before.
        unsafe { place.async_copy_to(bytes, stream) }.map_err(|e| failed("copy from the device", e))?;
        stage.record(stream)?;
        if let Some(values) = before.replace(values) {
            drain(&pair[(turn + 1) % 2], values)?;
        }
        last = turn;
    }
    before.map_or(Ok(()), |values| drain(&pair[last % 2], values))
}
