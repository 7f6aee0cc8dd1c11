//! `assay verify-state`: a record of the ledger's state, checked against the genesis alone.
//!
//! The proof is a file, or asked of a validator that need not be trusted.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use assay_proto::genesis::Genesis;
use assay_proto::record::RecordProof;
use assay_proto::{Canonical, PublicKey, SubnetId, limits};
use assay_verifier::inclusion;
use assay_verifier::state::Kind;

use crate::connection::Tls;
use crate::{Answer, output};

/// Arguments of `assay verify-state`.
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 the record was in the state, 1 the proof does not show it, 2 could not tell."
)]
pub struct Arguments {
    /// Proof, as written by --output
    #[arg(required_unless_present = "endpoint")]
    file: Option<PathBuf>,
    /// Genesis of the chain
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// Ask this validator for the proof instead, http://HOST:PORT
    #[arg(long, value_name = "URL", conflicts_with = "file", requires = "record")]
    endpoint: Option<String>,
    #[command(flatten)]
    tls: Tls,
    /// What to ask for: account, model, miner, client, offender, collateral, escrow, ballot, membership or weights, and
    /// whose; of a subnet miner=SUBNET/ID and ballot=SUBNET/ID; subnet=SUBNET; votes
    #[arg(long, value_name = "KIND=ID", value_parser = record)]
    record: Option<RecordKey>,
    /// Write the proof that was asked for to a file
    #[arg(short, long, value_name = "FILE", requires = "endpoint")]
    output: Option<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Key of a record.
#[derive(Clone, Debug)]
struct RecordKey(Vec<u8>);

fn record(text: &str) -> Result<RecordKey, String> {
    if text == "votes" {
        return Ok(RecordKey(Kind::votes()));
    }
    let (name, id) = text.split_once('=').ok_or("expected KIND=ID")?;
    let subnet = |text: &str| text.parse().map(SubnetId).map_err(|_| format!("{text:?} is no number"));
    if name == "subnet" {
        return Ok(RecordKey(Kind::subnet(subnet(id)?)));
    }
    let kind = Kind::NAMES.iter().find(|(other, _)| *other == name);
    let (_, kind) = kind.ok_or_else(|| format!("{name:?} is no kind of record"))?;
    let (of, id) = match id.split_once('/') {
        Some((of, id)) => (subnet(of)?, id),
        None => (SubnetId::ROOT, id),
    };
    let id: PublicKey = id.parse().map_err(|error: assay_proto::ProtoError| error.to_string())?;
    let key = kind.in_subnet(of, &id.0).ok_or_else(|| format!("a subnet has no {name} of its own"))?;
    Ok(RecordKey(key))
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<Answer> {
    let bytes = output::read(&arguments.genesis, limits::GENESIS_BYTES)?;
    let genesis = Genesis::decode(&bytes).with_context(|| arguments.genesis.display().to_string())?;
    let proof = match (&arguments.file, &arguments.endpoint, &arguments.record) {
        (Some(path), _, _) => {
            let bytes = output::read(path, limits::RECORD_PROOF_BYTES)?;
            RecordProof::decode(&bytes).with_context(|| path.display().to_string())?
        }
        (None, Some(endpoint), Some(RecordKey(key))) => {
            let runtime = tokio::runtime::Runtime::new().context("the runtime")?;
            let asked =
                async { anyhow::Ok(arguments.tls.connect(endpoint).await?.prove_record(key.clone()).await?) };
            let proof = runtime.block_on(asked)?;
            // Whatever it proves, it is to be about what was asked.
            anyhow::ensure!(proof.key == *key, "the validator answers with another record");
            proof
        }
        _ => bail!("give a file, or --endpoint and --record"),
    };
    if let Some(path) = &arguments.output {
        output::write(path, |file| Ok(file.write_all(&proof.encode())?))?;
    }
    let (height, block) = (proof.header.height.0, proof.header.hash().to_string());
    let shown = inclusion::verify(&genesis, &proof);
    let (answer, line) = match &shown {
        Ok(record) => (Answer::Yes, format!("{record:?}")),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_named_by_kind_and_id_and_where_it_matters_by_subnet() {
        let id = "ab".repeat(32);
        let key = |text: &str| record(text).map(|RecordKey(key)| key);
        assert_eq!(key(&format!("miner={id}")), Ok(Kind::Miner.key(&[0xab; 32])));
        assert_eq!(key(&format!("miner=0/{id}")), key(&format!("miner={id}")));
        assert_eq!(key(&format!("miner=2/{id}")).ok(), Kind::Miner.in_subnet(SubnetId(2), &[0xab; 32]));
        assert_eq!((key("subnet=2"), key("votes")), (Ok(Kind::subnet(SubnetId(2))), Ok(Kind::votes())));
        for bad in ["miner", "subnet=a", "mine=ab", &format!("account=2/{id}"), &format!("miner=x/{id}")] {
            assert!(key(bad).is_err(), "{bad}");
        }
    }
}
