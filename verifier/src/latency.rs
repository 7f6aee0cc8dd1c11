//! How long a miner took: signed by both ends, less what the network took, and not on the word of one validator alone.
//!
//! ```text
//! total     from assignment to the proof, by the clock of the validator, signed in its receipt
//! claim     from the job's arrival to the proof, by the miner's clock, signed in the proof; above the total: the total
//! ping      until the miner answered a ping that went with the job, by the same clock
//! counted   = total - min(total - claim, PINGS * ping, latency_network_us)   the total where the miner does not say, or answers
//!                                                                             no ping before the proof
//! L_ij      = floor(sum of counted / number), of j's verified assignments in receipts of validator i in the epoch
//! L_j       = the least L_ij that no majority of the power exceeds      the lower median, over the i that have such receipts
//! quality_j = min(1, latency_target / L_j)                              of each of j's verified assignments, see `epoch`
//! ```
//!
//! So `claim <= counted <= total`. A miner that claims too little gains no more than the network was seen to take, or than it makes its
//! answer to the ping late, and at most `latency_network_us`. Power is that of
//! a validator when it signed its latest receipt. Where only one validator measured, `L_j` is its word; where several
//! did, those with less than half of their power change `L_j` by no more than to another word of the rest, and not at all where
//! the rest agree. All of it is of one subnet, and every validator's receipts count in it, whether it has a permit there or not. A
//! validator's own scores (`scores::Tally`) follow from the same sums, with power and bound as they are when it scores.
//!
//! Where `latency_network_us` is 0 nothing of this is counted: the quality of an assignment is that of its total.

use std::collections::BTreeMap;

use assay_proto::genesis::Parameters;
use assay_proto::job::Proof;
use assay_proto::receipt::Evidence;
use assay_proto::{Canonical, PublicKey, SubnetId};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::certificate::is_majority;
use crate::limits;
use crate::state::{State, of_subnet};

/// What one validator measured of a miner in the running epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Word {
    power: u64,
    verified: u64,
    counted_us: u64,
}

impl Word {
    fn mean_us(&self) -> u64 {
        self.counted_us.checked_div(self.verified).unwrap_or(0)
    }
}

/// What validators measured of a miner in the running epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Measured(BTreeMap<PublicKey, Word>);

impl Measured {
    /// Takes in a verified assignment in a receipt of a validator with this power.
    pub fn note(&mut self, validator: PublicKey, power: u64, counted_us: u64) {
        let word = self.0.entry(validator).or_default();
        word.power = power;
        word.verified = word.verified.saturating_add(1);
        word.counted_us = word.counted_us.saturating_add(counted_us);
    }

    /// The latency that counts, microseconds; none where nobody measured any.
    pub fn latency_us(&self) -> Option<u64> {
        let mut words: Vec<(u64, u64)> = self.0.values().map(|word| (word.mean_us(), word.power)).collect();
        words.sort_unstable();
        let total = words.iter().fold(0, |sum: u64, (_, power)| sum.saturating_add(*power));
        let mut slower = total;
        words.into_iter().find_map(|(latency_us, power)| {
            slower = slower.saturating_sub(power);
            (!is_majority(slower, total)).then_some(latency_us)
        })
    }

    /// How many validators measured.
    pub fn validators(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }
}

/// Microseconds that count, of an assignment that took `total_us`, that the miner says it had for `claim_us` (0: it does not say),
/// and in which it answered a ping after `ping_us` (0: not before the proof).
pub fn counted_us(parameters: &Parameters, total_us: u64, claim_us: u64, ping_us: u64) -> u64 {
    if claim_us == 0 {
        return total_us;
    }
    let seen_us = ping_us.saturating_mul(limits::PINGS).min(parameters.latency_network_us);
    total_us.saturating_sub(total_us.saturating_sub(claim_us).min(seen_us))
}

/// Microseconds that count, of the evidence of a verified assignment.
pub fn of(parameters: &Parameters, evidence: &Evidence) -> u64 {
    let proof = evidence.proof.as_ref().and_then(|proof| Proof::decode(&proof.payload).ok());
    let claim_us = proof.map_or(0, |proof| proof.elapsed_us);
    counted_us(parameters, evidence.proof_us, claim_us, evidence.ping_us)
}

/// Whether validators' clocks are held against each other.
pub fn is_shared(parameters: &Parameters) -> bool {
    parameters.latency_network_us > 0
}

/// Takes in a verified assignment in a receipt that `validator` signed.
pub(crate) fn note(
    state: &mut State,
    subnet: SubnetId,
    (validator, miner): (PublicKey, PublicKey),
    counted_us: u64,
) {
    let power = state.validators().power(&validator);
    state.latencies.entry((subnet, miner)).or_default().note(validator, power, counted_us);
}

/// A miner leaves its place in a subnet.
pub(crate) fn leave(state: &mut State, subnet: SubnetId, miner: PublicKey) {
    if let Some(measured) = state.latencies.get_mut(&(subnet, miner)) {
        *measured = Measured::default();
    }
}

/// At the end of a subnet's epoch.
pub(crate) fn begin_epoch(state: &mut State, subnet: SubnetId) {
    let own = state.latencies.range_mut(of_subnet(subnet));
    own.for_each(|(_, measured)| *measured = Measured::default());
}
