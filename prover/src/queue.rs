//! Room for work on one miner.
//!
//! ```text
//! ticket     one a job, from admission until its stream ends; at most `capacity`, the next is refused
//! inference  one a device at a time, in order of arrival; never waits for a proof
//! challenge  takes turns with inferences, at most 8 of them wait; needs no ticket, so that a full queue is not an absence
//! proving    one a device at a time, in order of arrival
//! ```
//!
//! Without devices there is one turn of each kind: a proof uses every core, so two at once finish no sooner. When a device is
//! lost, there is a turn less.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounded room for jobs, and the order in which they use the machine.
#[derive(Clone, Debug)]
pub struct Queue {
    capacity: u32,
    room: Arc<Semaphore>,
    inference: Arc<Turns>,
    proving: Arc<Turns>,
    challenges: Arc<Semaphore>,
}

/// What can go on at a time of one kind of computation.
#[derive(Debug)]
struct Turns {
    free: Arc<Semaphore>,
    /// Free and taken ones.
    count: AtomicUsize,
}

/// Challenges that are computed or wait.
pub const CHALLENGES: u16 = 8;

/// A challenge's place; dropping it makes room.
#[derive(Debug)]
pub struct Waiting {
    place: OwnedSemaphorePermit,
    inference: Arc<Turns>,
}

/// A job's place in the queue; dropping it makes room.
#[derive(Debug)]
pub struct Ticket {
    _place: OwnedSemaphorePermit,
    queue: Queue,
}

/// The right to use the machine for one step; dropping it lets the next job in.
#[derive(Debug)]
pub struct Turn {
    permit: OwnedSemaphorePermit,
    turns: Arc<Turns>,
    /// Of a challenge, which has no ticket.
    _place: Option<OwnedSemaphorePermit>,
}

/// Every place is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue is full: {capacity} places")]
pub struct Full {
    /// Places that it has.
    pub capacity: u32,
}

impl Queue {
    /// A queue of `capacity` jobs, of which `turns` infer and as many prove at a time.
    pub fn new(capacity: u16, turns: usize) -> Self {
        Self {
            capacity: u32::from(capacity),
            room: Arc::new(Semaphore::new(usize::from(capacity))),
            inference: Turns::new(turns),
            proving: Turns::new(turns),
            challenges: Arc::new(Semaphore::new(usize::from(CHALLENGES))),
        }
    }

    /// Takes a place, or says at once that there is none.
    pub fn enter(&self) -> Result<Ticket, Full> {
        match Arc::clone(&self.room).try_acquire_owned() {
            Ok(place) => Ok(Ticket { _place: place, queue: self.clone() }),
            Err(_) => Err(Full { capacity: self.capacity }),
        }
    }

    /// Takes a place for a challenge, or says at once that there is none.
    pub fn challenge(&self) -> Result<Waiting, Full> {
        match Arc::clone(&self.challenges).try_acquire_owned() {
            Ok(place) => Ok(Waiting { place, inference: Arc::clone(&self.inference) }),
            Err(_) => Err(Full { capacity: CHALLENGES.into() }),
        }
    }

    /// Jobs that hold a place.
    pub fn length(&self) -> u32 {
        let free = u32::try_from(self.room.available_permits()).unwrap_or(u32::MAX);
        self.capacity.saturating_sub(free)
    }

    /// Jobs that it can hold.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }
}

impl Ticket {
    /// Waits for the turn to infer.
    pub async fn inference(&self) -> Turn {
        Turn::of(&self.queue.inference).await
    }

    /// Waits for the turn to prove.
    pub async fn proving(&self) -> Turn {
        Turn::of(&self.queue.proving).await
    }
}

impl Waiting {
    /// Waits for the turn to compute.
    pub async fn wait(self) -> Turn {
        Turn { _place: Some(self.place), ..Turn::of(&self.inference).await }
    }
}

impl Turns {
    fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(count)), count: AtomicUsize::new(count) })
    }
}

impl Turn {
    async fn of(turns: &Arc<Turns>) -> Self {
        match Arc::clone(&turns.free).acquire_owned().await {
            Ok(permit) => Self { permit, turns: Arc::clone(turns), _place: None },
            // The semaphores live as long as the queue and are never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Ends it. If there are more than `most` turns of its kind, nobody gets it after.
    pub fn end(self, most: usize) {
        let fewer = |count: usize| (count > most.max(1)).then(|| count - 1);
        if self.turns.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok() {
            self.permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(Duration::from_millis(50), future).await.ok()
    }

    #[tokio::test]
    async fn the_queue_refuses_one_job_more_than_its_capacity() {
        let queue = Queue::new(2, 1);
        let first = queue.enter().expect("first place");
        let _second = queue.enter().expect("second place");
        assert_eq!(queue.enter().expect_err("full"), Full { capacity: 2 });
        assert_eq!(queue.length(), 2);
        drop(first);
        assert_eq!(queue.length(), 1);
        queue.enter().expect("room again");
    }

    #[tokio::test]
    async fn challenges_take_turns_with_inferences_and_need_no_ticket() {
        let queue = Queue::new(1, 1);
        let ticket = queue.enter().expect("the only place");
        let inference = ready(ticket.inference()).await.expect("the turn");
        let mut waiting: Vec<Waiting> = (0..8).map(|_| queue.challenge().expect("a place")).collect();
        assert_eq!(queue.challenge().expect_err("full"), Full { capacity: 8 });
        let first = tokio::spawn(waiting.remove(0).wait());
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!first.is_finished());
        drop(inference);
        let turn = first.await.expect("the turn");
        assert!(ready(ticket.inference()).await.is_none());
        // A place is taken until the turn ends.
        assert!(queue.challenge().is_err());
        drop(turn);
        assert!(queue.challenge().is_ok());
    }

    #[tokio::test]
    async fn inference_does_not_wait_for_a_proof_and_proofs_take_turns() {
        let queue = Queue::new(2, 1);
        let (a, b) = (queue.enter().expect("place"), queue.enter().expect("place"));
        let proving = ready(a.proving()).await.expect("first proof");
        assert!(ready(b.inference()).await.is_some());
        assert!(ready(b.proving()).await.is_none());
        drop(proving);
        assert!(ready(b.proving()).await.is_some());
    }

    #[tokio::test]
    async fn two_devices_have_two_turns_until_one_is_lost() {
        let queue = Queue::new(4, 2);
        let ticket = queue.enter().expect("place");
        let first = ready(ticket.proving()).await.expect("a turn");
        let second = ready(ticket.proving()).await.expect("a turn");
        assert!(ready(ticket.proving()).await.is_none());
        first.end(2);
        let first = ready(ticket.proving()).await.expect("a turn again");
        first.end(1);
        assert!(ready(ticket.proving()).await.is_none(), "the lost device's turn is gone");
        // The last turn stays, whatever is lost.
        second.end(0);
        ready(ticket.proving()).await.expect("the last turn").end(0);
        assert!(ready(ticket.proving()).await.is_some());
    }
}
