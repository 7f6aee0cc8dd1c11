//! Room for work on one miner.
//!
//! ```text
//! ticket     one a job, from admission until its stream ends; at most `capacity`, the next is refused
//! inference  one at a time, in order of arrival; never waits for a proof
//! challenge  takes turns with inferences, at most 8 of them wait; needs no ticket, so that a full queue is not an absence
//! proving    one at a time, in order of arrival: a proof uses every core, so two at once finish no sooner
//! ```

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounded room for jobs, and the order in which they use the machine.
#[derive(Clone, Debug)]
pub struct Queue {
    capacity: u32,
    room: Arc<Semaphore>,
    inference: Arc<Semaphore>,
    proving: Arc<Semaphore>,
    challenges: Arc<Semaphore>,
}

/// Challenges that are computed or wait.
pub const CHALLENGES: u16 = 8;

/// A challenge's place; dropping it makes room.
#[derive(Debug)]
pub struct Waiting {
    place: OwnedSemaphorePermit,
    inference: Arc<Semaphore>,
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
    _permit: OwnedSemaphorePermit,
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
    /// A queue of `capacity` jobs.
    pub fn new(capacity: u16) -> Self {
        Self {
            capacity: u32::from(capacity),
            room: Arc::new(Semaphore::new(usize::from(capacity))),
            inference: Arc::new(Semaphore::new(1)),
            proving: Arc::new(Semaphore::new(1)),
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

impl Turn {
    async fn of(semaphore: &Arc<Semaphore>) -> Self {
        match Arc::clone(semaphore).acquire_owned().await {
            Ok(permit) => Self { _permit: permit, _place: None },
            // The semaphores live as long as the queue and are never closed.
            Err(_) => std::future::pending().await,
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
        let queue = Queue::new(2);
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
        let queue = Queue::new(1);
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
        let queue = Queue::new(2);
        let (a, b) = (queue.enter().expect("place"), queue.enter().expect("place"));
        let proving = ready(a.proving()).await.expect("first proof");
        assert!(ready(b.inference()).await.is_some());
        assert!(ready(b.proving()).await.is_none());
        drop(proving);
        assert!(ready(b.proving()).await.is_some());
    }
}
