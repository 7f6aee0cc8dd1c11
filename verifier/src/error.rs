//! Why a block, a transaction or a receipt does not count.

use assay_proto::challenge::Outcome;
use assay_proto::job::Tier;
use assay_proto::receipt::Verdict;
use assay_proto::transaction::Purpose;
use assay_proto::{
    BlockHash, ChainId, ChallengeId, Commitment, Epoch, Height, JobId, ModelId, ProofSystem, ProtoError,
    PublicKey, Root, SubnetId,
};

use crate::proof::ProofError;

/// A block that does not count: where, and why.
#[derive(Debug, thiserror::Error)]
#[error("height {height}{}", index.map_or_else(String::new, |index| format!(", transaction {index}")))]
pub struct Rejection {
    /// Height at which the log stops being valid.
    pub height: Height,
    /// Index of the transaction at fault; none if it is the block, its certificate or the file.
    pub index: Option<usize>,
    /// Why.
    #[source]
    pub reason: Box<Reason>,
}

impl Rejection {
    /// The fault at a place.
    pub fn new(height: Height, index: Option<usize>, reason: Reason) -> Self {
        Self { height, index, reason: Box::new(reason) }
    }
}

/// An error and its sources on one line.
pub fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

/// One variant a reason.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    // Blocks.
    /// Another chain.
    #[error("the block is of chain {got}, expected {expected}")]
    Chain {
        /// This chain.
        expected: ChainId,
        /// The block's.
        got: ChainId,
    },
    /// Not the next height.
    #[error("the block has height {got}, expected {expected}")]
    Height {
        /// The next.
        expected: Height,
        /// The block's.
        got: Height,
    },
    /// Not a child of the last block.
    #[error("the block's parent is {got}, expected {expected}")]
    Parent {
        /// Hash of the last header or of the genesis.
        expected: BlockHash,
        /// The block's.
        got: BlockHash,
    },
    /// Older than its parent.
    #[error("the block's time is {got} ms, before its parent's {parent} ms")]
    Time {
        /// The parent's.
        parent: u64,
        /// The block's.
        got: u64,
    },
    /// Proposed by a key that is no validator.
    #[error("the proposer {0} is not a validator")]
    Proposer(PublicKey),
    /// The header is of other transactions.
    #[error("the transactions have root {got}, the header says {expected}")]
    TransactionsRoot {
        /// The header's.
        expected: Root,
        /// Of the transactions.
        got: Root,
    },
    /// The header is of another state.
    #[error("the state after the block has root {got}, the header says {expected}")]
    StateRoot {
        /// The header's.
        expected: Root,
        /// Of the state.
        got: Root,
    },
    /// Bytes of a block.
    #[error("the block has {got} bytes, at most {limit} are accepted")]
    BlockBytes {
        /// Greatest length accepted.
        limit: usize,
        /// Length found.
        got: usize,
    },
    /// Transactions of a block.
    #[error("the block has {got} transactions, at most {limit} are accepted")]
    BlockTransactions {
        /// Greatest count accepted.
        limit: usize,
        /// Count found.
        got: usize,
    },
    /// Balances and locks do not add up to what was minted.
    #[error("balances and locks add up to {got}, the supply is {expected}")]
    Supply {
        /// Genesis balances + minted - burned.
        expected: u64,
        /// Sum of balances and locks.
        got: u128,
    },

    // Certificates.
    /// The certificate is of another block.
    #[error("the certificate is for block {got} of another hash or height, expected {expected}")]
    CertificateBlock {
        /// Hash of the header.
        expected: BlockHash,
        /// The certificate's.
        got: BlockHash,
    },
    /// A signer that has no vote.
    #[error("the certificate is signed by {0}, which is not a validator")]
    CertificateSigner(PublicKey),
    /// A signer that is counted twice.
    #[error("the certificate is signed by {0} twice")]
    CertificateDuplicate(PublicKey),
    /// A signature of a certificate.
    #[error("the certificate")]
    CertificateSignature(#[source] ProtoError),
    /// Not more than two thirds.
    #[error("the certificate has voting power {got} of {total}, more than two thirds are needed")]
    CertificatePower {
        /// Power that signed.
        got: u64,
        /// Power of all validators.
        total: u64,
    },

    // Exports.
    /// The file is cut, or its framing is wrong.
    #[error("the file")]
    Frame(#[source] crate::export::FrameError),
    /// A genesis or block that is no message of the protocol.
    #[error("the frame's content")]
    Content(#[source] ProtoError),
    /// The end names another height.
    #[error("the file ends at height {expected}, its end mark says {got}")]
    End {
        /// Height of the last block.
        expected: Height,
        /// Height in the mark.
        got: Height,
    },

    // Transactions.
    /// The signature or the encoding.
    #[error("the transaction")]
    Transaction(#[source] ProtoError),
    /// A nonce that is used up, or too far ahead.
    #[error("the nonce is {got}, expected {} to {}", last.saturating_add(1), last.saturating_add(crate::limits::NONCE_STEP))]
    Nonce {
        /// The signer's last nonce.
        last: u64,
        /// The transaction's.
        got: u64,
    },
    /// The account holds less.
    #[error("account {account} holds {balance}, {needed} are needed")]
    Balance {
        /// Who pays.
        account: PublicKey,
        /// What it holds.
        balance: u64,
        /// What it is to pay.
        needed: u64,
    },
    /// Less is locked.
    #[error("the {purpose} of {owner} is {locked}, {needed} are needed")]
    Lock {
        /// What it is locked for.
        purpose: Purpose,
        /// Whose it is.
        owner: PublicKey,
        /// What is locked.
        locked: u64,
        /// What is to be taken.
        needed: u64,
    },
    /// Stake on a key that is no validator and not the owner's, or that equivocated.
    #[error("no stake is taken on {0}, which is not a validator that may keep its place")]
    StakeTarget(PublicKey),
    /// Parts of one lock that leave at different heights.
    #[error("the {0} leaves at the greatest number of heights already, {max}", max = assay_proto::limits::LEAVING)]
    Leaving(Purpose),
    /// A miner in service with too little locked.
    #[error("miner {miner} has collateral {got}, {needed} are needed to serve models")]
    Collateral {
        /// The miner.
        miner: PublicKey,
        /// What the chain asks for.
        needed: u64,
        /// What would be locked.
        got: u64,
    },

    // Scores.
    /// Scores of an epoch whose turn it is not.
    #[error("the scores are of epoch {got}, those of epoch {expected} are taken now")]
    ScoresEpoch {
        /// The one whose turn it is.
        expected: Epoch,
        /// The one in the transaction.
        got: Epoch,
    },
    /// Two commitments of one epoch.
    #[error("validator {validator} has committed to scores of epoch {epoch} already")]
    ScoresSealed {
        /// The validator.
        validator: PublicKey,
        /// The epoch.
        epoch: Epoch,
    },
    /// Scores that nobody committed to, or that were shown before.
    #[error("validator {validator} has no commitment of epoch {epoch} to open")]
    ScoresUnknown {
        /// The validator.
        validator: PublicKey,
        /// The epoch.
        epoch: Epoch,
    },
    /// Other scores than those that were committed to.
    #[error("the scores have commitment {got}, the validator committed to {expected}")]
    ScoresCommitment {
        /// What was committed to.
        expected: Commitment,
        /// What the scores give.
        got: Commitment,
    },

    /// A number leaves 64 bits.
    #[error("{0} leaves 64 bits")]
    Overflow(&'static str),
    /// The verifying key.
    #[error("the verifying key")]
    Key(#[source] ProofError),
    /// The key stands for another model.
    #[error("the verifying key is of model {got}, expected {expected}")]
    KeyModel {
        /// The model that is registered.
        expected: ModelId,
        /// The model in the key.
        got: ModelId,
    },
    /// The key is of another proof system than the registration says.
    #[error("the verifying key is of {got}, the registration says {expected}")]
    KeySystem {
        /// What the registration says.
        expected: ProofSystem,
        /// What the key is of.
        got: ProofSystem,
    },
    /// A key that anyone can forge under.
    #[error("the verifying key is a test key, which only chains named test-* accept")]
    TestKey,
    /// A receipt shows what a client asked and what it got.
    #[error("the model commits to inputs or outputs, and receipts show them: it cannot be served here")]
    CommittedPorts,
    /// Registered before.
    #[error("model {0} is registered already")]
    ModelExists(ModelId),
    /// Not registered.
    #[error("model {0} is not registered")]
    ModelUnknown(ModelId),
    /// No room for another model.
    #[error("the chain has its greatest number of models, {0}")]
    Models(usize),
    /// No room for another miner.
    #[error("the subnet has its greatest number of miners, {0}, and none of them may be made to leave")]
    Miners(usize),

    // Challenges.
    /// No challenge of this miner is open that was drawn at this height.
    #[error("miner {miner} has no open challenge of height {height} that asks this")]
    ChallengeUnknown {
        /// The miner.
        miner: PublicKey,
        /// The height in the challenge.
        height: Height,
    },
    /// A validator that was not to ask, or that has said how it ended.
    #[error(
        "validator {validator} is not to say how miner {miner} took the challenge of height {height}, or has done so"
    )]
    NotAsker {
        /// The validator.
        validator: PublicKey,
        /// The miner.
        miner: PublicKey,
        /// Of the challenge.
        height: Height,
    },
    /// An answer to another challenge.
    #[error("the answer is to challenge {got}, expected {expected}")]
    ChallengeAnswer {
        /// The challenge.
        expected: ChallengeId,
        /// The one it names.
        got: ChallengeId,
    },
    /// Another outcome follows from the answer and its time.
    #[error("the outcome is \"{got}\", the answer says \"{expected}\"")]
    Outcome {
        /// What the answer says.
        expected: Outcome,
        /// What the validator says.
        got: Outcome,
    },
    /// A class that the genesis does not have, or none where one is needed.
    #[error("device class {0} is none of this chain's, or a miner in service names none")]
    DeviceClass(u32),

    // Prices.
    /// Less than the tier costs.
    #[error("the price is {got}, a job of the {tier} tier costs at least {floor}")]
    PriceFloor {
        /// The job's.
        tier: Tier,
        /// Least price of it.
        floor: u64,
        /// The job's.
        got: u64,
    },
    /// Jobs are not prepaid here, or prices are not locked.
    #[error("prices of jobs are not locked on this chain")]
    HoldNotTaken,
    /// Two holds of one nonce.
    #[error("the price of nonce {nonce} of client {client} is held by {broker} already")]
    HoldExists {
        /// The client.
        client: PublicKey,
        /// The job's nonce.
        nonce: u64,
        /// Who holds it.
        broker: PublicKey,
    },
    /// Nothing to be paid or given back.
    #[error("the price of nonce {nonce} of client {client} is not held by {broker}")]
    HoldMissing {
        /// The client.
        client: PublicKey,
        /// The job's nonce.
        nonce: u64,
        /// Who asks for it.
        broker: PublicKey,
    },
    /// Too many at a time.
    #[error("client {0} has its greatest number of held prices, {max}", max = crate::limits::HOLDS)]
    Holds(PublicKey),

    // Subnets and votes.
    /// No room for another subnet.
    #[error("the chain has its greatest number of subnets beside the root, {0}")]
    Subnets(usize),
    /// Not registered.
    #[error("subnet {0} is not registered")]
    SubnetUnknown(SubnetId),
    /// A tempo of a subnet that is none of the chain's epochs.
    #[error("the tempo of a subnet is a multiple of the chain's {tempo} blocks up to {limit}, got {got}")]
    SubnetTempo {
        /// The chain's.
        tempo: u64,
        /// The greatest.
        limit: u64,
        /// The subnet's.
        got: u64,
    },
    /// A model that the subnet does not name.
    #[error("subnet {subnet} does not accept model {model}")]
    SubnetModel {
        /// The subnet.
        subnet: SubnetId,
        /// The model.
        model: ModelId,
    },
    /// A model that is proven by something else.
    #[error("subnet {subnet} accepts models that are proven by {expected}, got {got}")]
    SubnetSystem {
        /// The subnet.
        subnet: SubnetId,
        /// What it accepts.
        expected: ProofSystem,
        /// The model's.
        got: ProofSystem,
    },
    /// A validator without a say in the subnet.
    #[error("validator {validator} has no permit in subnet {subnet}")]
    Permit {
        /// The validator.
        validator: PublicKey,
        /// The subnet.
        subnet: SubnetId,
    },
    /// Numbers outside their ranges.
    #[error("the numbers of the rules")]
    Parameters(#[source] ProtoError),
    /// No vote changes it.
    #[error("{0} is as the genesis says, for ever")]
    FixedParameter(String),
    /// It is decided.
    #[error("{name} changes in epoch {epoch}, and is not voted on before")]
    AnnouncedParameter {
        /// Its name.
        name: String,
        /// When the new value counts.
        epoch: Epoch,
    },

    // Operating keys.
    /// The operating key did not sign that it agrees.
    #[error("the consent of the operating key")]
    KeyConsent(#[source] ProtoError),
    /// It agreed to sign for somebody else.
    #[error("the operating key agrees to sign for {got}, not for {expected}")]
    KeyOwner {
        /// The signer of the transaction.
        expected: PublicKey,
        /// In the consent.
        got: PublicKey,
    },
    /// It is, or was, something else.
    #[error("{0} cannot become an operating key: it has signed, is somebody, or was an operating key before")]
    KeyTaken(PublicKey),
    /// One change at a time.
    #[error("the latest operating key of {owner} is not in force before height {from}")]
    KeyPending {
        /// Who names keys.
        owner: PublicKey,
        /// First height of the one that waits.
        from: Height,
    },
    /// Not yet, or no longer.
    #[error("the operating key {key} of {owner} signs from height {from} on{}", .until.map(|until| format!(", and not from {until} on")).unwrap_or_default())]
    KeyTerm {
        /// The key.
        key: PublicKey,
        /// Whose it is.
        owner: PublicKey,
        /// First height.
        from: Height,
        /// First height of another one.
        until: Option<Height>,
    },
    /// What only the owner may ask for.
    #[error("{key} is an operating key of {owner}, who has to sign this itself")]
    KeyDuty {
        /// The key.
        key: PublicKey,
        /// Whose it is.
        owner: PublicKey,
    },

    // Equivocations.
    /// Signed by a key that had no vote then.
    #[error("the key {key} did not vote for {owner} at height {height}")]
    OffenceKey {
        /// The key.
        key: PublicKey,
        /// Whose it is.
        owner: PublicKey,
        /// Where it signed twice.
        height: Height,
    },
    /// The messages do not hold, or one validator may have signed both.
    #[error("the evidence proves no equivocation")]
    Equivocation(#[source] ProtoError),
    /// It was proven before.
    #[error("the validator {0} was found to equivocate before")]
    OffenderKnown(PublicKey),
    /// A height that is not decided yet.
    #[error("an equivocation at height {got} cannot be judged at height {height}")]
    OffenceHeight {
        /// Where it happened.
        got: Height,
        /// Where it is judged.
        height: Height,
    },

    // Receipts.
    /// Signed by a key that is no validator.
    #[error("it is signed by {0}, which is not a validator")]
    NotValidator(PublicKey),
    /// The validator has a part in its own receipt.
    #[error("the validator {0} is the miner or the client of its own receipt")]
    OwnReceipt(PublicKey),
    /// The client is the miner.
    #[error("{0} is both the client and the miner")]
    OwnJob(PublicKey),
    /// The client's signature or encoding.
    #[error("the job")]
    Job(#[source] ProtoError),
    /// Not registered.
    #[error("miner {0} is not registered")]
    MinerUnknown(PublicKey),
    /// Registered for other models.
    #[error("miner {miner} is not registered for model {model}")]
    MinerModel {
        /// The miner.
        miner: PublicKey,
        /// The job's model.
        model: ModelId,
    },
    /// The key given is not that of the job's model.
    #[error("the job is for model {expected}, the key is of {got}")]
    JobModel {
        /// The job's.
        expected: ModelId,
        /// The key's.
        got: ModelId,
    },
    /// The inputs do not fit the model.
    #[error("the inputs of the job")]
    Inputs(#[source] ProofError),
    /// The outputs do not fit the model.
    #[error("the outputs of the miner")]
    Outputs(#[source] ProofError),
    /// The job is settled, or too old to be.
    #[error("nonce {nonce} of client {client} is closed")]
    JobClosed {
        /// The client.
        client: PublicKey,
        /// The job's nonce.
        nonce: u64,
    },
    /// The job's nonce is too far ahead.
    #[error("nonce {got} of client {client} is too far ahead of its greatest, {latest}")]
    JobNonce {
        /// The client.
        client: PublicKey,
        /// Its greatest nonce.
        latest: u64,
        /// The job's.
        got: u64,
    },
    /// Two jobs with one nonce.
    #[error("the nonce of job {got} belongs to job {first}")]
    JobConflict {
        /// The job that has it.
        first: JobId,
        /// The other.
        got: JobId,
    },
    /// One assignment recorded twice.
    #[error("job {job} has a receipt for miner {miner} already")]
    DuplicateReceipt {
        /// The job.
        job: JobId,
        /// The miner.
        miner: PublicKey,
    },
    /// Too many assignments of one job.
    #[error("job {0} has its greatest number of receipts, {max}", max = crate::limits::ATTEMPTS)]
    Attempts(JobId),
    /// An output or a proof that is not a signed message of the protocol.
    #[error("the {what} of the miner")]
    Evidence {
        /// "output", "proof", "challenge" or "answer".
        what: &'static str,
        /// Why.
        source: ProtoError,
    },
    /// Signed by somebody else.
    #[error("the {what} is signed by {got}, expected {expected}")]
    EvidenceSigner {
        /// "output" or "proof".
        what: &'static str,
        /// The miner.
        expected: PublicKey,
        /// The signer.
        got: PublicKey,
    },
    /// An output or a proof of another job.
    #[error("the {what} is for job {got}, expected {expected}")]
    EvidenceJob {
        /// "output" or "proof".
        what: &'static str,
        /// The job.
        expected: JobId,
        /// The one it names.
        got: JobId,
    },
    /// Timings that contradict the evidence.
    #[error("the timings contradict the evidence: {0}")]
    Timings(&'static str),
    /// Another verdict follows from the evidence.
    #[error("the verdict is \"{got}\", the evidence says \"{expected}\"")]
    Verdict {
        /// What the evidence says.
        expected: Verdict,
        /// What the receipt says.
        got: Verdict,
        /// Why the evidence says so.
        #[source]
        cause: Option<Box<Reason>>,
    },
    /// The proof.
    #[error("the proof")]
    Proof(#[source] ProofError),
    /// Past the deadline.
    #[error("the proof came after {got_us} us, the deadline was {deadline_ms} ms")]
    Deadline {
        /// The job's deadline.
        deadline_ms: u64,
        /// When it came.
        got_us: u64,
    },
    /// There is no output.
    #[error("no output that the miner signed for this job came")]
    NoOutput,
    /// There is no proof.
    #[error("no proof that the miner signed for this job came")]
    NoProof,
}
