//! `assay verify-state`: a record of the ledger's state or a transaction of a block, such as a receipt, checked without the log.
//!
//! The proof is a file, or asked of a validator that need not be trusted. Whose signatures count is in the genesis, or in what an
//! audit printed.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use assay_proto::client::{Client, Position};
use assay_proto::genesis::{Genesis, GenesisValidator};
use assay_proto::inclusion::{self as proofs, InclusionProof};
use assay_proto::job::Job;
use assay_proto::transaction::{Body, Transaction};
use assay_proto::{Canonical, ChainId, Height, JobId, ProtoError, PublicKey, Signed, SubnetId, limits};
use assay_verifier::inclusion::{self, Included, InclusionError, Trusted};
use assay_verifier::state::Kind;
use serde::Deserialize;

use crate::connection::Tls;
use crate::{Answer, output};

/// Bytes of what an audit printed, at most.
const REPORT_BYTES: usize = 1 << 30;

/// Arguments of `assay verify-state`.
#[derive(clap::Args)]
#[command(after_help = "Exit codes: 0 it was so, 1 the proof does not show it, 2 could not tell.")]
pub struct Arguments {
    /// Proof, as written by --output
    #[arg(required_unless_present = "endpoint")]
    file: Option<PathBuf>,
    /// Genesis of the chain
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// What `assay audit --json` printed of the log: its last validators are trusted, instead of those of the genesis. Needed
    /// where stake votes or validators changed their keys
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Ask this validator for the proof instead, http://HOST:PORT
    #[arg(long, value_name = "URL", conflicts_with = "file", requires = "record")]
    endpoint: Option<String>,
    #[command(flatten)]
    tls: Tls,
    /// What to ask for: account, model, miner, client, offender, collateral, escrow, ballot, membership or weights, and
    /// whose; of a subnet miner=SUBNET/ID and ballot=SUBNET/ID; subnet=SUBNET; votes; receipt=JOB, the last of the job;
    /// transaction=HEIGHT/INDEX
    #[arg(long, value_name = "KIND=ID", value_parser = question)]
    record: Option<Question>,
    /// Write the proof that was asked for to a file
    #[arg(short, long, value_name = "FILE", requires = "endpoint")]
    output: Option<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// What a validator is asked to show.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Question {
    /// The record with this key.
    Record(Vec<u8>),
    /// The last receipt of a job.
    Receipt(JobId),
    /// A transaction by its place.
    Transaction(Position),
}

/// The part of an audit's report that says whom to trust.
#[derive(Deserialize)]
struct Audited {
    verdict: String,
    #[serde(default)]
    genesis: String,
    #[serde(default)]
    voters: Vec<Voter>,
}

#[derive(Deserialize)]
struct Voter {
    validator: String,
    power: u64,
}

fn question(text: &str) -> Result<Question, String> {
    if text == "votes" {
        return Ok(Question::Record(Kind::votes()));
    }
    let (name, id) = text.split_once('=').ok_or("expected KIND=ID")?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
    match name {
        "subnet" => return Ok(Question::Record(Kind::subnet(SubnetId(number(id)?)))),
        "receipt" => return id.parse().map(Question::Receipt).map_err(|error: ProtoError| error.to_string()),
        "transaction" => {
            let (height, index) = id.split_once('/').ok_or("expected transaction=HEIGHT/INDEX")?;
            let index = index.parse().map_err(|_| format!("{index:?} is no place in a block"))?;
            return Ok(Question::Transaction(Position { height: Height(number(height)?), index }));
        }
        _ => {}
    }
    let kind = Kind::NAMES.iter().find(|(other, _)| *other == name);
    let (_, kind) = kind.ok_or_else(|| format!("{name:?} is no kind of record"))?;
    let (of, id) = match id.split_once('/') {
        Some((of, id)) => (SubnetId(number(of)?), id),
        None => (SubnetId::ROOT, id),
    };
    let id: PublicKey = id.parse().map_err(|error: ProtoError| error.to_string())?;
    let key = kind.in_subnet(of, &id.0).ok_or_else(|| format!("a subnet has no {name} of its own"))?;
    Ok(Question::Record(key))
}

impl Question {
    async fn ask(&self, client: &Client, chain: &ChainId) -> Result<InclusionProof> {
        let position = match self {
            Self::Record(key) => return Ok(client.prove_record(key.clone()).await?),
            Self::Transaction(position) => *position,
            Self::Receipt(job) => {
                let receipts = client.receipts(chain, *job).await?;
                receipts.last().with_context(|| format!("the log has no receipt of job {job}"))?.position
            }
        };
        Ok(client.prove_transaction(position).await?)
    }

    /// Whatever a proof shows, it is to be about what was asked.
    fn is_answered(&self, chain: &ChainId, proof: &InclusionProof) -> bool {
        match (self, &proof.path) {
            (Self::Record(asked), proofs::Path::Record { key, .. }) => asked == key,
            (Self::Transaction(asked), proofs::Path::Transaction { index, .. }) => {
                *asked == Position { height: proof.header.height, index: *index }
            }
            (Self::Receipt(asked), proofs::Path::Transaction { transaction, .. }) => {
                let opened = transaction.open::<Transaction>(chain);
                opened.is_ok_and(|opened| job(chain, &opened) == Some(*asked))
            }
            _ => false,
        }
    }
}

/// The job that a receipt is of.
fn job(chain: &ChainId, transaction: &Signed<Transaction>) -> Option<JobId> {
    match &transaction.value().body {
        Body::Receipt(receipt) => Some(receipt.evidence.job.open::<Job>(chain).ok()?.id(chain)),
        _ => None,
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<Answer> {
    let bytes = output::read(&arguments.genesis, limits::GENESIS_BYTES)?;
    let genesis = Genesis::decode(&bytes).with_context(|| arguments.genesis.display().to_string())?;
    let proof = match (&arguments.file, &arguments.endpoint, &arguments.record) {
        (Some(path), _, _) => {
            let bytes = output::read(path, limits::INCLUSION_PROOF_BYTES)?;
            InclusionProof::decode(&bytes).with_context(|| path.display().to_string())?
        }
        (None, Some(endpoint), Some(question)) => {
            let runtime = tokio::runtime::Runtime::new().context("the runtime")?;
            let asked = async {
                let client = arguments.tls.connect(endpoint).await?;
                question.ask(&client, &genesis.chain_id).await
            };
            let proof = runtime.block_on(asked)?;
            ensure!(
                question.is_answered(&genesis.chain_id, &proof),
                "the validator answers with something else"
            );
            proof
        }
        _ => bail!("give a file, or --endpoint and --record"),
    };
    if let Some(path) = &arguments.output {
        output::write(path, |file| Ok(file.write_all(&proof.encode())?))?;
    }
    let (height, block) = (proof.header.height.0, proof.header.hash().to_string());
    let trusted = match &arguments.audit {
        Some(path) => trusted(&genesis, path)?,
        None => Trusted::of_genesis(&genesis),
    };
    let shown = trusted.and_then(|trusted| inclusion::verify(&genesis, &trusted, &proof));
    let (answer, line) = match &shown {
        Ok(Included::Record(record)) => (Answer::Yes, format!("{record:?}")),
        Ok(Included::Transaction(transaction)) => {
            (Answer::Yes, described(&genesis.chain_id, &proof, transaction))
        }
        Err(error) => (Answer::No, assay_verifier::describe(error)),
    };
    if arguments.json {
        let holds = shown.is_ok();
        let found = serde_json::json!({ "holds": holds, "height": height, "block": block, "record": line });
        output::json(&found)?;
    } else {
        println!(
            "{} at height {height}, block {block}",
            if shown.is_ok() { "holds" } else { "does not hold" }
        );
        println!("{line}");
    }
    Ok(answer)
}

/// Whom an audit's report says to trust.
fn trusted(genesis: &Genesis, path: &Path) -> Result<Result<Trusted, InclusionError>> {
    let name = || path.display().to_string();
    let bytes = output::read(path, REPORT_BYTES)?;
    let audited: Audited = serde_json::from_slice(&bytes).with_context(name)?;
    ensure!(audited.verdict == "accepted", "{}: the log was {}", name(), audited.verdict);
    let (expected, got) = (genesis.hash().to_string(), audited.genesis);
    ensure!(got == expected, "{}: the log is of genesis {got}, expected {expected}", name());
    let voter = |voter: Voter| -> Result<GenesisValidator> {
        Ok(GenesisValidator { public_key: voter.validator.parse().with_context(name)?, power: voter.power })
    };
    Ok(Trusted::of_audit(&audited.voters.into_iter().map(voter).collect::<Result<Vec<_>>>()?))
}

/// A transaction and its place in words; of a receipt, what it is about.
fn described(chain: &ChainId, proof: &InclusionProof, transaction: &Signed<Transaction>) -> String {
    let place = match &proof.path {
        proofs::Path::Transaction { index, count, .. } => format!("transaction {index} of {count}"),
        proofs::Path::Record { .. } => String::new(),
    };
    let signer = transaction.signer();
    match &transaction.value().body {
        Body::Receipt(receipt) => {
            let job = job(chain, transaction).map_or_else(String::new, |job| job.to_string());
            let (miner, verdict) = (receipt.evidence.miner, receipt.verdict);
            format!("{place}: receipt of job {job}, miner {miner}, {verdict:?}, signed by {signer}")
        }
        body => format!("{place}, signed by {signer}: {body:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_named_by_kind_and_id_and_where_it_matters_by_subnet() {
        let id = "ab".repeat(32);
        let key = |text: &str| match question(text) {
            Ok(Question::Record(key)) => Some(key),
            _ => None,
        };
        assert_eq!(key(&format!("miner={id}")), Some(Kind::Miner.key(&[0xab; 32])));
        assert_eq!(key(&format!("miner=0/{id}")), key(&format!("miner={id}")));
        assert_eq!(key(&format!("miner=2/{id}")), Kind::Miner.in_subnet(SubnetId(2), &[0xab; 32]));
        assert_eq!((key("subnet=2"), key("votes")), (Some(Kind::subnet(SubnetId(2))), Some(Kind::votes())));
        let position = Position { height: Height(7), index: 3 };
        assert_eq!(question("transaction=7/3"), Ok(Question::Transaction(position)));
        assert_eq!(question(&format!("receipt={id}")), Ok(Question::Receipt(JobId([0xab; 32]))));
        let wrong = ["miner", "subnet=a", "mine=ab", "transaction=7", "transaction=7/-1", "receipt=ab"];
        for bad in
            wrong.into_iter().map(str::to_owned).chain([format!("account=2/{id}"), format!("miner=x/{id}")])
        {
            assert!(question(&bad).is_err(), "{bad}");
        }
    }
}
