//! Which miner gets a job.
//!
//! ```text
//! eligible   registered for the model, not failed at this job, with room (`jobs_per_miner`)
//! draw       with probability exploration:  each eligible miner alike
//!            otherwise:                     miner j with probability r_j / sum r,  r = reputation on the ledger,
//!                                           each alike where the sum is 0
//! ```
//!
//! The draw is the operating system's randomness: neither a client nor a miner can steer a job by choosing its
//! nonce. It decides who works, never what counts.

use assay_proto::PublicKey;
use assay_verifier::operating::Signers;

const PPM: u64 = 1_000_000;

/// A miner that may get the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Key of the miner.
    pub miner: PublicKey,
    /// Where its service listens.
    pub endpoint: String,
    /// Reputation on the ledger, parts per million.
    pub reputation_ppm: u64,
    /// Keys that its answers may be signed by.
    pub signers: Signers,
}

/// Two uniform numbers: whether to explore, and whom to pick.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// Compared with the exploration share.
    pub explore: u64,
    /// Picks the miner.
    pub pick: u64,
}

impl Draw {
    /// From the operating system.
    pub fn random() -> Result<Self, getrandom::Error> {
        Ok(Self { explore: getrandom::u64()?, pick: getrandom::u64()? })
    }
}

/// The miner that the draw falls on; none only where there is no candidate.
pub fn choose(candidates: &[Candidate], exploration_ppm: u32, draw: Draw) -> Option<&Candidate> {
    let explore = scale(draw.explore, u128::from(PPM)) < u128::from(exploration_ppm);
    let weight = |c: &Candidate| if explore { 1 } else { u128::from(c.reputation_ppm.min(PPM)) };
    let total: u128 = candidates.iter().map(weight).sum();
    if total == 0 {
        let position = scale(draw.pick, u128::try_from(candidates.len()).ok()?);
        return candidates.get(usize::try_from(position).ok()?);
    }
    let mut position = scale(draw.pick, total);
    candidates.iter().find(|c| match position.checked_sub(weight(c)) {
        Some(rest) => {
            position = rest;
            false
        }
        None => true,
    })
}

/// A uniform `u64` to a uniform number below `below`, which is at most 2^64.
fn scale(uniform: u64, below: u128) -> u128 {
    (u128::from(uniform) * below) >> 64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: u64 = u64::MAX;
    const ALWAYS: u64 = 0;

    fn candidates(reputations: &[u64]) -> Vec<Candidate> {
        reputations
            .iter()
            .zip(1u8..)
            .map(|(&reputation_ppm, n)| Candidate {
                miner: PublicKey([n; 32]),
                endpoint: format!("http://127.0.0.1:{n}"),
                reputation_ppm,
                signers: Signers::new(PublicKey([n; 32]), [PublicKey([n; 32])]),
            })
            .collect()
    }

    /// How often each candidate is picked over an even sweep of draws.
    fn shares(reputations: &[u64], explore: u64) -> Vec<usize> {
        let all = candidates(reputations);
        let mut counts = vec![0; all.len()];
        for i in 0..1_000u64 {
            let draw = Draw { explore, pick: i * (u64::MAX / 1_000) };
            let chosen = choose(&all, 100_000, draw).expect("a candidate");
            counts[usize::from(chosen.miner.0[0]) - 1] += 1;
        }
        counts
    }

    #[test]
    fn the_share_of_a_miner_is_its_share_of_the_reputation() {
        let counts = shares(&[600_000, 300_000, 100_000, 0], NEVER);
        for (count, expected) in counts.iter().zip([600usize, 300, 100, 0]) {
            assert!(count.abs_diff(expected) <= 1, "{counts:?}");
        }
    }

    #[test]
    fn exploration_gives_every_miner_the_same_share_whatever_its_reputation() {
        let counts = shares(&[600_000, 300_000, 100_000, 0], ALWAYS);
        assert!(counts.iter().all(|c| c.abs_diff(250) <= 1), "{counts:?}");
    }

    #[test]
    fn miners_at_zero_share_alike_where_nobody_has_reputation() {
        let counts = shares(&[0, 0], NEVER);
        assert!(counts.iter().all(|c| c.abs_diff(500) <= 1), "{counts:?}");
    }

    #[test]
    fn the_exploration_share_is_a_share_of_the_draws() {
        let all = candidates(&[1_000_000, 0]);
        let explored = (0..1_000u64)
            .filter(|i| {
                let draw = Draw { explore: i * (u64::MAX / 1_000), pick: u64::MAX };
                choose(&all, 100_000, draw).is_some_and(|c| c.reputation_ppm == 0)
            })
            .count();
        assert!(explored.abs_diff(100) <= 1, "{explored}");
    }

    #[test]
    fn nobody_is_chosen_among_none() {
        assert!(choose(&[], 0, Draw { explore: 0, pick: 0 }).is_none());
        assert!(choose(&[], 1_000_000, Draw { explore: NEVER, pick: NEVER }).is_none());
    }

    #[test]
    fn the_greatest_draw_and_reputation_stay_in_range() {
        let all = candidates(&[u64::MAX, u64::MAX]);
        assert!(choose(&all, 0, Draw { explore: NEVER, pick: u64::MAX }).is_some());
    }
}
