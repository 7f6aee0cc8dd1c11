//! Verifying an exported log from its genesis on, by the functions that the validators used.
//!
//! For every block, in this order: canonical encoding; commit certificate; header; every signature; every proof; every
//! state transition; the end of its epoch; the supply; the state root. The file is read in windows: what does not
//! depend on order (decoding, certificates, signatures, proofs in batches over many blocks) is done for a window at
//! once on all cores, then its blocks apply one after another. The first fault in the order of the log is reported,
//! whatever was found first.

pub mod report;

use std::io::Read;

use assay_proto::block::CommittedBlock;
use assay_proto::genesis::{Genesis, GenesisValidator};
use assay_proto::receipt::Verdict;
use assay_proto::report::EpochReport;
use assay_proto::{BlockHash, Canonical, ChainId, Height, ProtoError, PublicKey, Root};
use rayon::prelude::*;

use crate::certificate::ValidatorSet;
use crate::error::{Reason, Rejection};
use crate::export::{ExportError, Frame, FrameError, Reader};
use crate::state::{KeyCache, State, Supply};
use crate::transition::{Candidate, Guard, apply_prepared, fault, prepare};
use crate::{certificate, limits};

/// How far an audit has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Height of the last block that was accepted.
    pub height: Height,
    /// Bytes of the file that were read.
    pub bytes: u64,
    /// Transactions that were accepted.
    pub transactions: u64,
}

/// Receipts by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipts {
    /// Verified.
    pub verified: u64,
    /// Invalid proof.
    pub invalid_proof: u64,
    /// Malformed.
    pub malformed: u64,
    /// Late.
    pub late: u64,
    /// Absent.
    pub absent: u64,
}

impl Receipts {
    fn count(&mut self, verdict: Verdict) {
        let counter = match verdict {
            Verdict::Verified => &mut self.verified,
            Verdict::InvalidProof => &mut self.invalid_proof,
            Verdict::Malformed => &mut self.malformed,
            Verdict::Late => &mut self.late,
            Verdict::Absent => &mut self.absent,
        };
        *counter = counter.saturating_add(1);
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        [self.verified, self.invalid_proof, self.malformed, self.late, self.absent]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// A miner at the end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinerTotal {
    /// The miner.
    pub miner: PublicKey,
    /// Its reputation in the root, parts per million.
    pub reputation_ppm: u64,
    /// Base units that it was paid or awarded in all subnets.
    pub earned: u64,
}

/// What an accepted log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// Name of the chain.
    pub chain_id: ChainId,
    /// Hash of the genesis: two logs with another one are of other chains, whatever their name.
    pub genesis: BlockHash,
    /// Last height.
    pub height: Height,
    /// Hash of the last header.
    pub head: BlockHash,
    /// Commitment to the last state.
    pub state_root: Root,
    /// Base units in existence.
    pub supply: Supply,
    /// Registered models.
    pub models: u64,
    /// Transactions of all blocks.
    pub transactions: u64,
    /// Receipts among them.
    pub receipts: Receipts,
    /// Reports of every epoch that ended.
    pub epochs: Vec<EpochReport>,
    /// Every miner.
    pub miners: Vec<MinerTotal>,
    /// Who votes on the next block, by the keys that they sign with: those who can show others what is on the chain.
    pub voters: Vec<GenesisValidator>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Not a log that this program can read.
    #[error("unreadable")]
    Unreadable(#[from] ExportError),
    /// A log that does not hold.
    #[error("rejected")]
    Rejected(#[from] Rejection),
}

/// Verifies an export. `progress` is told after every window.
pub fn audit(source: impl Read, progress: &mut dyn FnMut(Progress)) -> Result<AuditReport, AuditError> {
    let mut reader = Reader::new(source)?;
    let mut auditor = Auditor::new(read_genesis(&mut reader)?)?;
    loop {
        let (blocks, stop) = read_window(&mut reader);
        auditor.apply(&blocks)?;
        progress(Progress {
            height: auditor.state.head().height,
            bytes: reader.position(),
            transactions: auditor.transactions,
        });
        match stop {
            None => {}
            Some(Ok(got)) => {
                auditor.end(got)?;
                reader.finish().map_err(|error| auditor.broken(error))?;
                return Ok(auditor.report());
            }
            Some(Err(error)) => return Err(auditor.broken(error)),
        }
    }
}

fn read_genesis<R: Read>(reader: &mut Reader<R>) -> Result<Genesis, AuditError> {
    let at_start = |reason| Rejection::new(Height(0), None, reason);
    match reader.frame() {
        Ok(Frame::Genesis(bytes)) => {
            Genesis::decode(&bytes).map_err(|error| at_start(Reason::Content(error)).into())
        }
        Ok(Frame::Block(_) | Frame::End(_)) => {
            Err(at_start(Reason::Frame(FrameError::Order { expected: "a genesis" })).into())
        }
        Err(FrameError::Read(error)) => Err(ExportError::Read(error).into()),
        Err(error) => Err(at_start(Reason::Frame(error)).into()),
    }
}

/// Blocks up to the limits of a window, and how the file ends if it ends here.
fn read_window<R: Read>(reader: &mut Reader<R>) -> (Vec<Vec<u8>>, Option<Result<Height, FrameError>>) {
    let (mut blocks, mut bytes) = (Vec::new(), 0_usize);
    while bytes < limits::AUDIT_WINDOW_BYTES && blocks.len() < limits::AUDIT_WINDOW_BLOCKS {
        match reader.frame() {
            Ok(Frame::Block(block)) => {
                bytes = bytes.saturating_add(block.len());
                blocks.push(block);
            }
            Ok(Frame::End(height)) => return (blocks, Some(Ok(height))),
            Ok(Frame::Genesis(_)) => {
                return (blocks, Some(Err(FrameError::Order { expected: "a block or the end" })));
            }
            Err(error) => return (blocks, Some(Err(error))),
        }
    }
    (blocks, None)
}

struct Auditor {
    state: State,
    keys: KeyCache,
    transactions: u64,
    receipts: Receipts,
    epochs: Vec<EpochReport>,
}

impl Auditor {
    fn new(genesis: Genesis) -> Result<Self, Rejection> {
        let state = State::genesis(genesis).map_err(|reason| Rejection::new(Height(0), None, reason))?;
        Ok(Self {
            state,
            keys: KeyCache::new(),
            transactions: 0,
            receipts: Receipts::default(),
            epochs: Vec::new(),
        })
    }

    /// The next blocks of the log.
    fn apply(&mut self, window: &[Vec<u8>]) -> Result<(), Rejection> {
        let decoded: Vec<_> = window.par_iter().map(|bytes| CommittedBlock::decode(bytes)).collect();
        let (blocks, undecoded) = until_error(decoded);
        // Validators seldom change within a window: a certificate is checked again where they did.
        let (chain, validators) = (self.state.chain_id().clone(), self.state.voters().clone());
        let certify = |validators: &ValidatorSet, entry: &CommittedBlock| {
            certificate::verify(&chain, validators, &entry.certificate, &entry.block.header)
        };
        let certified: Vec<_> = blocks.par_iter().map(|entry| certify(&validators, entry)).collect();
        let transactions: Vec<_> =
            blocks.iter().flat_map(|entry| &entry.block.transactions).map(Candidate::Sealed).collect();
        let mut prepared =
            prepare::prepare(&self.state, Guard::Nobody, &transactions, &self.keys).into_iter();
        for (entry, certified) in blocks.iter().zip(certified) {
            let current = self.state.voters();
            let certified = if *current == validators { certified } else { certify(current, entry) };
            certified.map_err(|reason| fault(&self.state, None, reason))?;
            let own = prepared.by_ref().take(entry.block.transactions.len()).collect();
            let transition = apply_prepared(&self.state, &entry.block, own, &self.keys)?;
            let count = u64::try_from(entry.block.transactions.len()).unwrap_or(u64::MAX);
            self.transactions = self.transactions.saturating_add(count);
            transition.receipts.iter().for_each(|receipt| self.receipts.count(receipt.verdict));
            self.epochs.extend(transition.report);
            self.state = transition.state;
        }
        match undecoded {
            Some(error) => Err(fault(&self.state, None, Reason::Content(error))),
            None => Ok(()),
        }
    }

    fn end(&self, got: Height) -> Result<(), Rejection> {
        let expected = self.state.head().height;
        if got == expected { Ok(()) } else { Err(fault(&self.state, None, Reason::End { expected, got })) }
    }

    /// The file breaks off after the last block.
    fn broken(&self, error: FrameError) -> AuditError {
        match error {
            FrameError::Read(error) => ExportError::Read(error).into(),
            error => fault(&self.state, None, Reason::Frame(error)).into(),
        }
    }

    fn report(self) -> AuditReport {
        let state = &self.state;
        let total = |(&miner, record): (&PublicKey, &crate::state::Miner)| MinerTotal {
            miner,
            reputation_ppm: record.root.reputation_ppm,
            earned: state.earned(&miner),
        };
        let voter = |(public_key, power)| GenesisValidator { public_key, power };
        AuditReport {
            chain_id: state.chain_id().clone(),
            genesis: state.genesis_hash(),
            height: state.head().height,
            head: state.head().hash,
            state_root: state.root(),
            supply: *state.supply(),
            models: u64::try_from(state.models().count()).unwrap_or(u64::MAX),
            transactions: self.transactions,
            receipts: self.receipts,
            miners: state.miners().map(total).collect(),
            voters: state.voters().iter().map(voter).collect(),
            epochs: self.epochs,
        }
    }
}

fn until_error(
    results: Vec<Result<CommittedBlock, ProtoError>>,
) -> (Vec<CommittedBlock>, Option<ProtoError>) {
    let mut values = Vec::with_capacity(results.len());
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(error) => return (values, Some(error)),
        }
    }
    (values, None)
}
