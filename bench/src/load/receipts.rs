//! Receipts with real proofs, made once and kept in a file.
//!
//! ```text
//! target/load/NAME-MODEL-KEY.receipts = (length (u32, little-endian) || receipt) ...
//! ```
//!
//! MODEL and KEY are the beginnings of the digests of the model and of its verifying key, so a file of other proofs is never
//! read. Chain, clients, miners and the setup are of fixed seeds: the same receipts count on every new chain of that name. A
//! file that was cut loses its last receipt; missing ones are made and appended.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use assay_proto::job::{Job, Output, Proof, job_binding};
use assay_proto::receipt::{Evidence, Receipt, Verdict};
use assay_proto::{Canonical, ChainId, ModelId, PublicKey, SecretKey, limits};
use assay_prover::groth16::{Prover, Secret, setup};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;

use crate::digits::{self, Digit};
use crate::models;

/// Name of the chain; keys of a known secret are refused on any other kind.
pub const CHAIN: &str = "test-load";
/// Clients: jobs of one client may end in any order within a window only.
pub const CLIENTS: u64 = 64;
/// Miners.
pub const MINERS: u64 = 2;
/// Base units of a job.
pub const PRICE: u64 = 1;
const DEADLINE_MS: u64 = 60_000;
/// Receipts that are made between two writes.
const CHUNK: usize = 64;

/// What is submitted, and what the chain must know for it to count.
pub struct Stock {
    /// Name of the model.
    pub name: String,
    /// Its verifying key.
    pub verifying_key: Vec<u8>,
    /// The model.
    pub model: ModelId,
    /// Each of another job.
    pub receipts: Vec<Receipt>,
}

/// A key that everybody may know.
pub fn secret(kind: u8, number: u64) -> SecretKey {
    let mut hasher = blake3::Hasher::new_derive_key("assay-bench load");
    hasher.update(&[kind]).update(&number.to_le_bytes());
    SecretKey::from_bytes(hasher.finalize().as_bytes())
}

/// A client's key.
pub fn client(number: u64) -> SecretKey {
    secret(1, number)
}

/// A miner's key.
pub fn miner(number: u64) -> SecretKey {
    secret(2, number)
}

impl Stock {
    /// Reads what is there and makes the rest.
    pub fn make(model: &str, count: usize) -> Result<Self> {
        let source = models::find(model)?;
        let graph = source.import()?.graph;
        ensure!(graph.inputs().len() == 1, "{model}: a digit classifier has one input");
        let digits = digits::load(&graph.inputs()[0])?;
        let key = setup(&graph, Secret::Seed([7; 32]), None, &|_, _| {});
        let verifying_key = key.verifying_key().to_vec();
        let id = ModelId(graph.id().0);
        let path = path(&source.name, &id, &verifying_key);
        // Two runs at a time would write into each other's receipts.
        let held = lock(&path)?;
        let mut receipts = read(&path, count)?;
        let missing = count.saturating_sub(receipts.len());
        if missing > 0 {
            let maker =
                Maker { prover: Prover::new(graph, key)?, chain: ChainId::new(CHAIN)?, model: id, digits };
            maker.append(&path, &mut receipts, missing)?;
        }
        drop(held);
        Ok(Self { name: source.name, verifying_key, model: id, receipts })
    }
}

fn path(name: &str, model: &ModelId, key: &[u8]) -> PathBuf {
    let (model, key) = (model.to_string(), blake3::hash(key).to_hex());
    let file = format!("{name}-{}-{}.receipts", &model[..12], &key[..12]);
    models::root().join("target/load").join(file)
}

/// The right to change a file, held until it is dropped.
fn lock(path: &Path) -> Result<File> {
    let path = path.with_extension("lock");
    let name = || path.display().to_string();
    std::fs::create_dir_all(path.parent().context("a folder")?).with_context(name)?;
    let file = File::create(&path).with_context(name)?;
    file.lock().with_context(name)?;
    Ok(file)
}

/// Whole receipts from the beginning of a file.
fn read(path: &Path, count: usize) -> Result<Vec<Receipt>> {
    let mut receipts = Vec::new();
    let Ok(file) = File::open(path) else { return Ok(receipts) };
    let (mut file, mut whole) = (BufReader::with_capacity(1 << 20, file), 0_u64);
    while receipts.len() < count {
        let mut length = [0; 4];
        if file.read_exact(&mut length).is_err() {
            break;
        }
        let length = usize::try_from(u32::from_le_bytes(length))?;
        ensure!(length <= limits::TRANSACTION_BYTES, "{}: not a file of receipts", path.display());
        let mut bytes = vec![0; length];
        if file.read_exact(&mut bytes).is_err() {
            break;
        }
        receipts.push(Receipt::decode(&bytes).with_context(|| path.display().to_string())?);
        whole += 4 + u64::try_from(length)?;
    }
    if receipts.len() < count {
        // What is appended must follow a whole receipt.
        OpenOptions::new().write(true).open(path)?.set_len(whole)?;
    }
    Ok(receipts)
}

struct Maker {
    prover: Prover,
    chain: ChainId,
    model: ModelId,
    digits: Vec<Digit>,
}

impl Maker {
    fn append(&self, path: &Path, receipts: &mut Vec<Receipt>, missing: usize) -> Result<()> {
        let name = || path.display().to_string();
        let mut file = OpenOptions::new().create(true).append(true).open(path).with_context(name)?;
        let style = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len} {eta}");
        let bar = ProgressBar::new(u64::try_from(missing)?)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_message("proofs");
        let (first, end) = (receipts.len(), receipts.len() + missing);
        for start in (first..end).step_by(CHUNK) {
            let made: Vec<Receipt> = (start..end.min(start + CHUNK))
                .into_par_iter()
                .map(|number| self.receipt(u64::try_from(number)?))
                .collect::<Result<_>>()?;
            let mut bytes = Vec::new();
            for receipt in &made {
                let encoded = receipt.encode();
                bytes.extend(u32::try_from(encoded.len())?.to_le_bytes());
                bytes.extend(encoded);
            }
            file.write_all(&bytes).with_context(name)?;
            bar.inc(u64::try_from(made.len())?);
            receipts.extend(made);
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Clients in turn, each with ascending nonces.
    fn receipt(&self, number: u64) -> Result<Receipt> {
        let (client, miner) = (client(number % CLIENTS), miner(number % MINERS));
        let digit = usize::try_from(number)? % self.digits.len();
        let job = Job {
            model_id: self.model,
            inputs: vec![self.digits[digit].input.clone()],
            nonce: number / CLIENTS + 1,
            max_price: PRICE,
            deadline_ms: DEADLINE_MS,
            tier: Default::default(),
        };
        let trace = self.prover.graph().run(&job.inputs)?;
        let job = client.sign(&self.chain, job);
        let job_id = job.id(&self.chain);
        let began = Instant::now();
        let binding = job_binding(&self.chain, &job_id, &miner.public_key());
        let (statement, proof) = self.prover.prove(&trace, binding, &[])?;
        let prove_us = u64::try_from(began.elapsed().as_micros())?.max(1);
        let outputs =
            statement.outputs.iter().filter_map(|port| port.public()).map(<[i32]>::to_vec).collect();
        let output = miner.sign(&self.chain, Output { job_id, outputs, compute_us: 1 });
        let proof = miner.sign(&self.chain, Proof { job_id, proof, prove_us, elapsed_us: prove_us });
        let evidence = Evidence {
            job: job.into_envelope(),
            miner: miner.public_key(),
            output: Some(output.into_envelope()),
            proof: Some(proof.into_envelope()),
            assigned_at_ms: 1,
            output_us: 1,
            proof_us: prove_us,
            ping_us: 0,
        };
        Ok(Receipt { evidence, verdict: Verdict::Verified })
    }
}

/// Everybody who must exist before a receipt counts.
pub fn clients() -> impl Iterator<Item = PublicKey> {
    (0..CLIENTS).map(|number| client(number).public_key())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_are_read_back_and_a_cut_file_goes_on_after_its_last_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.receipts");
        let key = secret(3, 0);
        let evidence = Evidence {
            job: key
                .sign(
                    &ChainId::new(CHAIN).unwrap(),
                    Output { job_id: assay_proto::JobId([1; 32]), outputs: vec![], compute_us: 1 },
                )
                .into_envelope(),
            miner: key.public_key(),
            output: None,
            proof: None,
            assigned_at_ms: 1,
            output_us: 0,
            proof_us: 0,
            ping_us: 0,
        };
        let receipt = Receipt { evidence, verdict: Verdict::Absent };
        let bytes = receipt.encode();
        let entry = [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes.as_slice()].concat();
        std::fs::write(&path, [entry.as_slice(), &entry, &entry[..9]].concat()).unwrap();
        assert_eq!(read(&path, 1).unwrap().len(), 1);
        assert_eq!(read(&path, 5).unwrap(), [receipt.clone(), receipt]);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 2 * u64::try_from(entry.len()).unwrap());
        assert!(read(&folder.path().join("none"), 1).unwrap().is_empty());
    }
}
