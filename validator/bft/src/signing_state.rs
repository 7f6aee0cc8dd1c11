//! What this key signed last, on disk before the signature leaves.
//!
//! ```text
//! order      (height, round, prevote < precommit) for votes, (height, round) for proposals
//! admit m    if m is later than the last of its kind, or is the last one again
//! concede h  anything up to height h may have been signed, nobody knows what: nothing up to h is admitted any more
//! ```
//!
//! The file has two slots of 256 bytes, written in turn and synced, so that one of them is always whole: length, record
//! (borsh), BLAKE3 of both under the key and the chain. While the file is open it is locked.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use assay_proto::vote::{Proposal, Vote, VoteKind};
use assay_proto::{Canonical, ChainId, Height, PublicKey};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::error::Error;

const SLOT: usize = 256;
const DIGEST: usize = 32;

/// The record of what a key signed on a chain.
#[derive(Debug)]
pub struct SigningState {
    path: PathBuf,
    file: File,
    context: [u8; DIGEST],
    record: Record,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Record {
    writes: u64,
    vote: Mark,
    proposal: Mark,
}

/// The place of a message in the order, and its digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Mark {
    height: u64,
    round: u32,
    step: u8,
    digest: [u8; DIGEST],
}

/// Why a message is not signed: the record says that it could be a second one in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at height {height} round {round} this key may have signed something else, last at height {last}")]
pub(crate) struct Refusal {
    pub height: Height,
    pub round: u32,
    pub last: Height,
}

impl SigningState {
    /// Its file in the engine's folder.
    pub fn path(folder: &Path) -> PathBuf {
        folder.join("signing.state")
    }

    /// The record of a key that has signed nothing yet on this chain. There must be no file.
    pub fn create(path: &Path, chain: &ChainId, key: &PublicKey) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(path).map_err(|source| failed(path, source))?;
        let mut state =
            Self { path: path.to_owned(), file, context: context(chain, key), record: Record::default() };
        state.lock()?;
        state.write(Record::default())?;
        sync_folder(path)?;
        Ok(state)
    }

    /// Reads the record; none if there is no file.
    pub fn open(path: &Path, chain: &ChainId, key: &PublicKey) -> Result<Option<Self>, Error> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(path, error)),
        };
        let mut state =
            Self { path: path.to_owned(), file, context: context(chain, key), record: Record::default() };
        state.lock()?;
        let slots = [state.read(0)?, state.read(1)?];
        let newest = slots.into_iter().flatten().max_by_key(|record| record.writes);
        state.record = newest.ok_or_else(|| Error::SigningState { path: path.to_owned() })?;
        Ok(Some(state))
    }

    /// Gives the file another name, durably.
    pub(crate) fn rename(&mut self, path: &Path) -> Result<(), Error> {
        if self.path == path {
            return Ok(());
        }
        std::fs::rename(&self.path, path).map_err(|source| failed(path, source))?;
        sync_folder(path)?;
        self.path = path.to_owned();
        Ok(())
    }

    /// The greatest height that anything was signed at; 0 if nothing was.
    pub fn height(&self) -> Height {
        Height(self.record.vote.height.max(self.record.proposal.height))
    }

    /// Whether the record knows of this vote, or of a later one.
    pub(crate) fn knows(&self, vote: &Vote) -> bool {
        let mark = mark(vote);
        let last = self.record.vote;
        if place(mark) == place(last) { mark == last } else { place(mark) < place(last) }
    }

    /// Notes that this key may have signed anything up to a height.
    pub fn concede(&mut self, height: Height) -> Result<(), Error> {
        let last = Mark { height: height.0, round: u32::MAX, step: u8::MAX, digest: [0; DIGEST] };
        let later = |mark: Mark| if mark.height > height.0 { mark } else { last };
        let Record { writes, vote, proposal } = self.record;
        self.write(Record { writes, vote: later(vote), proposal: later(proposal) })
    }

    /// Records a vote that is about to be signed.
    pub(crate) fn admit_vote(&mut self, vote: &Vote) -> Result<Result<(), Refusal>, Error> {
        let mark = mark(vote);
        self.admit(mark, self.record.vote, |record| record.vote = mark)
    }

    /// Records a proposal that is about to be signed.
    pub(crate) fn admit_proposal(&mut self, proposal: &Proposal) -> Result<Result<(), Refusal>, Error> {
        let digest = digest(&proposal.encode());
        let mark = Mark { height: proposal.height.0, round: proposal.round, step: 0, digest };
        self.admit(mark, self.record.proposal, |record| record.proposal = mark)
    }

    fn admit(
        &mut self,
        mark: Mark,
        last: Mark,
        set: impl FnOnce(&mut Record),
    ) -> Result<Result<(), Refusal>, Error> {
        if mark == last {
            return Ok(Ok(()));
        }
        if place(mark) <= place(last) {
            let (height, last) = (Height(mark.height), Height(last.height));
            return Ok(Err(Refusal { height, round: mark.round, last }));
        }
        let mut record = self.record;
        set(&mut record);
        self.write(record)?;
        Ok(Ok(()))
    }

    fn lock(&self) -> Result<(), Error> {
        self.file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => Error::Locked { path: self.path.clone() },
            std::fs::TryLockError::Error(source) => failed(&self.path, source),
        })
    }

    /// Replaces the older slot, durably.
    fn write(&mut self, mut record: Record) -> Result<(), Error> {
        record.writes = self.record.writes.saturating_add(1);
        let error = |source| failed(&self.path, source);
        let body = borsh::to_vec(&record).map_err(error)?;
        let mut slot = vec![u8::try_from(body.len()).map_err(|_| error(io::ErrorKind::InvalidData.into()))?];
        slot.extend_from_slice(&body);
        slot.extend_from_slice(blake3::keyed_hash(&self.context, &body).as_bytes());
        slot.resize(SLOT, 0);
        let offset = if record.writes.is_multiple_of(2) { 0 } else { SLOT as u64 };
        self.file.write_all_at(&slot, offset).map_err(error)?;
        self.file.sync_data().map_err(error)?;
        self.record = record;
        Ok(())
    }

    /// The record of a slot; none if it is not whole.
    fn read(&self, slot: u64) -> Result<Option<Record>, Error> {
        let mut bytes = [0; SLOT];
        match self.file.read_exact_at(&mut bytes, slot * SLOT as u64) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(failed(&self.path, error)),
        }
        let Some((&length, rest)) = bytes.split_first() else { return Ok(None) };
        let Some((body, rest)) = rest.split_at_checked(usize::from(length)) else { return Ok(None) };
        let Some((tag, _)) = rest.split_first_chunk::<DIGEST>() else { return Ok(None) };
        if blake3::keyed_hash(&self.context, body) != *tag {
            return Ok(None);
        }
        Ok(borsh::from_slice(body).ok())
    }
}

fn mark(vote: &Vote) -> Mark {
    let step = match vote.kind {
        VoteKind::Prevote => 1,
        VoteKind::Precommit => 2,
    };
    Mark { height: vote.height.0, round: vote.round, step, digest: digest(&vote.encode()) }
}

fn place(mark: Mark) -> (u64, u32, u8) {
    (mark.height, mark.round, mark.step)
}

fn context(chain: &ChainId, key: &PublicKey) -> [u8; DIGEST] {
    blake3::derive_key("assay.v1 signing state", &[chain.prefixed().as_slice(), &key.0].concat())
}

fn digest(message: &[u8]) -> [u8; DIGEST] {
    blake3::hash(message).into()
}

/// Makes a name in a folder durable.
fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_proto::BlockHash;

    fn chain() -> ChainId {
        ChainId::new("test-signing").expect("chain id")
    }

    const KEY: PublicKey = PublicKey([1; 32]);

    fn vote(kind: VoteKind, height: u64, round: u32, block: Option<u8>) -> Vote {
        Vote { kind, height: Height(height), round, block_hash: block.map(|byte| BlockHash([byte; 32])) }
    }

    fn proposal(height: u64, round: u32, block: u8) -> Proposal {
        Proposal { height: Height(height), round, block_hash: BlockHash([block; 32]), valid_round: None }
    }

    fn reopened(state: SigningState) -> SigningState {
        let path = state.path.clone();
        drop(state);
        SigningState::open(&path, &chain(), &KEY).expect("readable").expect("there")
    }

    #[test]
    fn nothing_is_signed_twice_in_one_place_nor_before_what_was_signed_also_after_a_restart() {
        use VoteKind::{Precommit, Prevote};
        let folder = tempfile::tempdir().expect("a folder");
        let mut state = SigningState::create(&folder.path().join("state"), &chain(), &KEY).expect("made");
        let steps = [
            (vote(Prevote, 3, 0, Some(1)), true),
            (vote(Prevote, 3, 0, Some(1)), true),
            (vote(Prevote, 3, 0, Some(2)), false),
            (vote(Prevote, 3, 0, None), false),
            (vote(Precommit, 3, 0, Some(1)), true),
            (vote(Prevote, 3, 0, Some(1)), false),
            (vote(Precommit, 3, 1, None), true),
            (vote(Precommit, 3, 0, Some(1)), false),
            (vote(Precommit, 2, 9, Some(1)), false),
            (vote(Prevote, 4, 0, None), true),
        ];
        for (vote, admitted) in steps {
            assert_eq!(state.admit_vote(&vote).expect("written").is_ok(), admitted, "{vote:?}");
            state = reopened(state);
        }
        assert_eq!(state.height(), Height(4));
    }

    #[test]
    fn the_record_knows_what_it_admitted_and_all_before_it() {
        use VoteKind::{Precommit, Prevote};
        let folder = tempfile::tempdir().expect("a folder");
        let mut state = SigningState::create(&folder.path().join("state"), &chain(), &KEY).expect("made");
        assert!(!state.knows(&vote(Prevote, 1, 0, None)));
        state.admit_vote(&vote(Prevote, 3, 1, Some(1))).expect("written").expect("admitted");
        for (vote, known) in [
            (vote(Prevote, 3, 1, Some(1)), true),
            (vote(Prevote, 3, 1, Some(2)), false),
            (vote(Precommit, 3, 0, Some(2)), true),
            (vote(Prevote, 2, 9, Some(2)), true),
            (vote(Precommit, 3, 1, Some(1)), false),
            (vote(Prevote, 4, 0, None), false),
        ] {
            assert_eq!(state.knows(&vote), known, "{vote:?}");
        }
        state.concede(Height(4)).expect("written");
        assert!(state.knows(&vote(Prevote, 4, 0, None)) && !state.knows(&vote(Prevote, 5, 0, None)));
    }

    #[test]
    fn proposals_have_an_order_of_their_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut state = SigningState::create(&folder.path().join("state"), &chain(), &KEY).expect("made");
        state.admit_vote(&vote(VoteKind::Precommit, 3, 5, None)).expect("written").expect("admitted");
        for (proposal, admitted) in [
            (proposal(3, 6, 1), true),
            (proposal(3, 6, 2), false),
            (proposal(3, 5, 2), false),
            (proposal(3, 7, 2), true),
        ] {
            assert_eq!(state.admit_proposal(&proposal).expect("written").is_ok(), admitted, "{proposal:?}");
        }
    }

    #[test]
    fn nothing_up_to_a_conceded_height_is_signed_and_what_is_known_beyond_it_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut state = SigningState::create(&folder.path().join("state"), &chain(), &KEY).expect("made");
        state.admit_proposal(&proposal(3, 6, 1)).expect("written").expect("admitted");
        state.concede(Height(5)).expect("written");
        state = reopened(state);
        assert_eq!(state.height(), Height(5));
        assert!(state.admit_vote(&vote(VoteKind::Precommit, 5, 9, None)).expect("written").is_err());
        assert!(state.admit_proposal(&proposal(5, 9, 1)).expect("written").is_err());
        state.admit_vote(&vote(VoteKind::Prevote, 6, 0, Some(1))).expect("written").expect("admitted");
        state.concede(Height(5)).expect("written");
        assert!(state.admit_vote(&vote(VoteKind::Prevote, 6, 0, Some(2))).expect("written").is_err());
        assert!(state.admit_vote(&vote(VoteKind::Precommit, 6, 0, Some(1))).expect("written").is_ok());
    }

    #[test]
    fn a_write_that_was_cut_leaves_the_one_before_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        let mut state = SigningState::create(&path, &chain(), &KEY).expect("made");
        for height in 1..=4 {
            state.admit_vote(&vote(VoteKind::Prevote, height, 0, None)).expect("written").expect("admitted");
        }
        let newest = if state.record.writes.is_multiple_of(2) { 0 } else { SLOT as u64 };
        state.file.write_all_at(&[0xff; 16], newest).expect("damaged");
        assert_eq!(reopened(state).height(), Height(3));
    }

    #[test]
    fn a_file_of_another_key_or_chain_or_one_in_use_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        assert!(SigningState::open(&path, &chain(), &KEY).expect("no error").is_none());
        let state = SigningState::create(&path, &chain(), &KEY).expect("made");
        assert!(matches!(SigningState::open(&path, &chain(), &KEY), Err(Error::Locked { .. })));
        assert!(matches!(SigningState::create(&path, &chain(), &KEY), Err(Error::File { .. })));
        drop(state);
        let other = ChainId::new("test-other").expect("chain id");
        assert!(matches!(SigningState::open(&path, &other, &KEY), Err(Error::SigningState { .. })));
        let other = PublicKey([2; 32]);
        assert!(matches!(SigningState::open(&path, &chain(), &other), Err(Error::SigningState { .. })));
    }
}
