//! Clocks that are minutes apart.

use assay_validator::consensus::DRIFT_MS;

use super::{Network, Spec, VALIDATORS, agree, transfer};

const MINUTE: i64 = 60_000;

/// Runs four validators whose clocks are wrong by so much, and returns who proposed the blocks of the log.
async fn run(wrong_by_ms: [i64; 4], transfers: u64) -> (Network, Vec<Vec<u8>>, Vec<u64>) {
    let network = Network::new(VALIDATORS);
    let specs = wrong_by_ms.iter().enumerate();
    let nodes: Vec<_> = specs
        .map(|(index, &wrong_by_ms)| Spec { wrong_by_ms, ..Spec::new(&network, index) }.start())
        .collect();
    let mut nonce = 1;
    while nonce <= transfers {
        transfer(&network, &nodes[0], &mut nonce).await;
    }
    let summary = agree(&network, &nodes).await;
    let log = nodes[0].log(summary.height).await;
    let headers = || log.iter().filter_map(|entry| entry.block.as_ref()?.header.as_ref());
    let (proposers, times) =
        (headers().map(|h| h.proposer.clone()).collect(), headers().map(|h| h.time_ms).collect());
    (network, proposers, times)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_differ_by_minutes_agree_and_every_validator_proposes_slow() {
    let (network, proposers, times) = run([0, 4 * MINUTE, -4 * MINUTE, 2 * MINUTE], 24).await;
    for key in &network.keys {
        assert!(proposers.contains(&key.public_key().to_vec()), "{proposers:?}");
    }
    assert!(times.is_sorted(), "{times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_further_ahead_than_allowed_delays_its_own_turns_only_slow() {
    let (network, proposers, times) = run([0, -MINUTE, 0, 20 * MINUTE], 12).await;
    let ahead = network.keys[3].public_key().to_vec();
    // Its blocks are decided only where the time of the parent is what counts, which is never.
    assert!(!proposers.contains(&ahead), "a block from the future was decided");
    let now = assay_validator::clock::unix_ms();
    assert!(times.iter().all(|time| *time < now + DRIFT_MS));
}
