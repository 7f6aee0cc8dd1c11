//! Runs of the ledger under a scripted network, each from a seed: four applications with their databases, no engine.
//!
//! ```text
//! step     submit | keep a receipt | gossip | crash | a round of a height | hand a decision on
//! network  loses, delays and reorders: who hears what, and when, is drawn
//! round    one validator proposes; those who get the block and find it valid may certify it; three of four must
//! crash    between any two steps, also between a vote and the decision, and between a decision and its news
//! ```
//!
//! What must hold in every run: a database that is opened again is at a decided block, with its state; all states of one
//! height are equal; in the end everything that was kept or insisted on is in the log once, and paid once.

mod world;

use world::World;

/// Seeds of the many short runs.
const SHORT: u64 = 1_000;
/// Steps of a short run before it is let come to its end.
const FEW: usize = 8;
/// Seeds of the quick run.
const QUICK: u64 = 12;
/// Seeds of the long one, unless ASSAY_SEEDS says how many.
const LONG: u64 = 120;
/// Steps of a whole run before it is let come to its end.
const STEPS: usize = 60;

fn run(seeds: std::ops::Range<u64>, steps: usize) {
    let (count, began) = (seeds.end - seeds.start, std::time::Instant::now());
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let take =
        || Some(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)).filter(|seed| *seed < seeds.end);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(seed) = take() {
                    // Named on every failure.
                    let _named = Named(seed);
                    let mut world = World::new(seed);
                    (0..steps).for_each(|_| world.step());
                    world.come_to_an_end();
                    world.check();
                }
            });
        }
    });
    println!("{count} runs of {steps} steps in {:.1} s", began.elapsed().as_secs_f64());
}

/// Says the seed when a run panics.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the run of seed {} failed", self.0);
        }
    }
}

#[test]
fn runs_with_losses_and_crashes_agree_lose_nothing_and_pay_once() {
    run(0..QUICK, STEPS);
}

#[test]
fn a_thousand_short_runs_agree_lose_nothing_and_pay_once_slow() {
    run(1_000_000..1_000_000 + SHORT, FEW);
}

#[test]
fn many_runs_with_losses_and_crashes_agree_lose_nothing_and_pay_once_slow() {
    let asked = std::env::var("ASSAY_SEEDS").ok().map(|seeds| seeds.parse().expect("a number of seeds"));
    run(QUICK..QUICK + asked.unwrap_or(LONG), STEPS);
}
