//! Whether the logs of several validators are one log that holds, by no code of the project but its generated messages: what
//! is hashed and signed is written out here again.
//!
//! ```text
//! no gap       heights ascend by one, each header names the one before it, times do not go back
//! certificate  more than two thirds of the power signed the precommit of each block, each validator once
//! validity     every transaction is signed, nonces of a signer ascend, an assignment counts once, a job is paid once
//! agreement    all logs have the same block at a height
//! ```

use std::collections::{BTreeMap, BTreeSet};

use assay_proto::genesis::Genesis;
use assay_proto::wire;
use prost::Message;

/// What the checker knows of a chain beforehand.
pub struct Checker {
    chain_id: String,
    genesis_hash: Vec<u8>,
    power: BTreeMap<Vec<u8>, u64>,
}

/// What a log says, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Last height.
    pub height: u64,
    /// Transactions of each signer.
    pub transactions: BTreeMap<Vec<u8>, u64>,
    /// Jobs that were paid.
    pub paid: u64,
}

impl Checker {
    pub fn new(genesis: &Genesis) -> Self {
        let bytes = wire::Genesis::from(genesis).encode_to_vec();
        let power = genesis.validators.iter().map(|entry| (entry.public_key.to_vec(), entry.power));
        Self {
            chain_id: genesis.chain_id.as_str().to_owned(),
            genesis_hash: blake3::derive_key("assay.v1 genesis", &bytes).to_vec(),
            power: power.collect(),
        }
    }

    /// Checks every log and that they agree; the summary of the longest.
    pub fn check(&self, logs: &[Vec<wire::CommittedBlock>]) -> Summary {
        let mut known: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut longest = Summary::default();
        for log in logs {
            let (summary, hashes) = self.check_log(log);
            for (height, hash) in hashes {
                let first = known.entry(height).or_insert_with(|| hash.clone());
                assert_eq!(*first, hash, "FORK at height {height}");
            }
            if summary.height >= longest.height {
                longest = summary;
            }
        }
        longest
    }

    fn check_log(&self, log: &[wire::CommittedBlock]) -> (Summary, BTreeMap<u64, Vec<u8>>) {
        let (mut parent, mut time) = (self.genesis_hash.clone(), 0);
        let (mut summary, mut hashes) = (Summary::default(), BTreeMap::new());
        let (mut nonces, mut assignments, mut paid) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for (height, committed) in (1..).zip(log) {
            let block = committed.block.as_ref().expect("a block");
            let header = block.header.as_ref().expect("a header");
            assert_eq!((header.height, &header.chain_id), (height, &self.chain_id), "a gap");
            assert_eq!(header.parent, parent, "height {height}: another parent");
            assert!(header.time_ms >= time, "height {height}: time goes back");
            assert!(self.power.contains_key(&header.proposer), "height {height}: a stranger proposed");
            assert_eq!(header.transactions_root, transactions_root(&block.transactions), "height {height}");
            let hash = blake3::derive_key("assay.v1 block header", &header.encode_to_vec()).to_vec();
            self.check_certificate(committed.certificate.as_ref().expect("a certificate"), height, &hash);
            for signed in &block.transactions {
                self.check_signature("Transaction", signed);
                let transaction =
                    wire::Transaction::decode(signed.payload.as_slice()).expect("a transaction");
                let last = nonces.insert(signed.signer.clone(), transaction.nonce).unwrap_or(0);
                assert!(transaction.nonce > last, "height {height}: a nonce is used twice");
                *summary.transactions.entry(signed.signer.clone()).or_default() += 1;
                if let Some(wire::transaction::Body::Receipt(receipt)) = transaction.body {
                    let job = receipt.job.expect("a job");
                    let job = (job.signer, job.payload);
                    assert!(
                        assignments.insert((job.clone(), receipt.miner)),
                        "height {height}: counted twice"
                    );
                    if receipt.verdict == i32::from(wire::Verdict::Verified) {
                        assert!(paid.insert(job), "height {height}: a job is paid twice");
                    }
                }
            }
            hashes.insert(height, hash.clone());
            (parent, time, summary.height) = (hash, header.time_ms, height);
        }
        summary.paid = u64::try_from(paid.len()).expect("small");
        (summary, hashes)
    }

    fn check_certificate(&self, certificate: &wire::CommitCertificate, height: u64, hash: &[u8]) {
        assert_eq!((certificate.height, certificate.block_hash.as_slice()), (height, hash));
        let vote = wire::Vote {
            kind: wire::VoteKind::Precommit.into(),
            height,
            round: certificate.round,
            block_hash: hash.to_vec(),
        };
        let (payload, mut signers, mut power) = (vote.encode_to_vec(), BTreeSet::new(), 0);
        for entry in &certificate.signatures {
            assert!(signers.insert(&entry.validator), "height {height}: a validator is counted twice");
            let known = self.power.get(&entry.validator);
            power += known.unwrap_or_else(|| panic!("height {height}: a stranger signed"));
            let (validator, signature) = (entry.validator.clone(), entry.signature.clone());
            let signed = wire::Signed { payload: payload.clone(), signer: validator, signature };
            self.check_signature("Vote", &signed);
        }
        let total: u64 = self.power.values().sum();
        assert!(power * 3 > total * 2, "height {height}: {power} of {total} signed");
    }

    fn check_signature(&self, kind: &str, signed: &wire::Signed) {
        let chain = self.chain_id.as_bytes();
        let length = [u8::try_from(chain.len()).expect("short")];
        let message = [b"assay.v1.", kind.as_bytes(), &[0], &length, chain, &signed.payload].concat();
        let key: [u8; 32] = signed.signer.as_slice().try_into().expect("a key");
        let key = ed25519_dalek::VerifyingKey::from_bytes(&key).expect("a key");
        let signature = ed25519_dalek::Signature::from_slice(&signed.signature).expect("a signature");
        key.verify_strict(&message, &signature).expect("the signature holds");
    }
}

/// The number of transactions and their tree: pairs from the left, what is left over goes up as it is.
fn transactions_root(transactions: &[wire::Signed]) -> Vec<u8> {
    let hash = |context: &str, parts: &[&[u8]]| blake3::derive_key(context, &parts.concat());
    let leaf = |t: &wire::Signed| hash("assay.v1 transaction leaf", &[&t.encode_to_vec()]);
    let mut level: Vec<[u8; 32]> = transactions.iter().map(leaf).collect();
    while level.len() > 1 {
        let pair = |pair: &[[u8; 32]]| match pair {
            [left, right] => hash("assay.v1 transaction node", &[left, right]),
            _ => pair[0],
        };
        level = level.chunks(2).map(pair).collect();
    }
    let count = u64::try_from(transactions.len()).expect("small").to_le_bytes();
    hash("assay.v1 transactions", &[&count, &level.first().copied().unwrap_or_default()]).to_vec()
}
