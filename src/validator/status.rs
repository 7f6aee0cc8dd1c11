//! `assay validator status`: the ledger at a glance.

use std::collections::BTreeMap;

use anyhow::Result;
use assay_proto::client::{
    AccountEntry, BlockPoint, ClientError, LockEntry, MinerEntry, ModelEntry, OperatingEntry,
};
use assay_proto::genesis::Parameters;
use assay_proto::report::EpochReport;
use assay_proto::subnet::{Number, SubnetEntry, Subnets};
use assay_proto::{Height, PublicKey};
use assay_verifier::proof::system_of;
use tonic::Code;

use super::block_on;
use crate::connection::Tls;
use crate::{Answer, output};

/// Arguments of `assay validator status`.
#[derive(clap::Args)]
pub struct Arguments {
    /// A validator's services, http://HOST:PORT
    #[arg(long, value_name = "URL")]
    endpoint: String,
    #[command(flatten)]
    tls: Tls,
    /// Show this account too
    #[arg(long, value_name = "PUBKEY")]
    account: Option<PublicKey>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report {
    chain_id: String,
    height: u64,
    hash: String,
    /// Height of the earliest block that the node keeps.
    earliest: u64,
    /// Whether the node is where the other validators are.
    ready: bool,
    /// Blocks whose states the node offers.
    snapshots: Vec<Point>,
    models: Vec<Model>,
    subnets: Vec<Subnet>,
    /// Numbers of the rules that take another value when an epoch begins.
    announced: Vec<Announced>,
    /// Votes that decide nothing yet.
    votes: Vec<Vote>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<Epoch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Account>,
}

#[derive(serde::Serialize)]
struct Point {
    height: u64,
    hash: String,
}

#[derive(serde::Serialize)]
struct Model {
    model_id: String,
    name: String,
    proof_system: String,
    owner: String,
    miners: u32,
}

#[derive(serde::Serialize)]
struct Subnet {
    subnet: u64,
    task: String,
    /// None for the root.
    owner: Option<String>,
    /// Models that it accepts; none: any.
    accepts: Vec<String>,
    proof_system: Option<String>,
    labelled: bool,
    models: u64,
    miners: u64,
    /// Base units of a miner's place.
    price: u64,
    /// Base units of the emission that its running epoch has so far.
    pending_emission: u64,
    /// Numbers that its rules use.
    numbers: BTreeMap<String, u64>,
}

#[derive(serde::Serialize)]
struct Announced {
    epoch: u64,
    name: String,
    value: u64,
}

#[derive(serde::Serialize)]
struct Vote {
    validator: String,
    name: String,
    value: u64,
}

/// The last epoch that ended.
#[derive(serde::Serialize)]
struct Epoch {
    epoch: u64,
    height: u64,
    minted: u64,
    verified: u64,
}

#[derive(serde::Serialize)]
struct Account {
    public_key: String,
    balance: u64,
    nonce: u64,
    job_nonce: u64,
    locks: Vec<Lock>,
    held: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    miner: Option<Miner>,
    /// The latest key that signs its work.
    #[serde(skip_serializing_if = "Option::is_none")]
    operating_key: Option<Operating>,
    /// What it is as an operating key.
    #[serde(skip_serializing_if = "Option::is_none")]
    operates: Option<Operating>,
}

#[derive(serde::Serialize)]
struct Operating {
    public_key: String,
    owner: String,
    /// First height at which it signs.
    from: u64,
    /// First height at which another one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

#[derive(serde::Serialize)]
struct Lock {
    purpose: String,
    amount: u64,
    leaving: Vec<Leaving>,
}

#[derive(serde::Serialize)]
struct Leaving {
    height: u64,
    amount: u64,
}

#[derive(serde::Serialize)]
struct Miner {
    endpoint: String,
    model_ids: Vec<String>,
    reputation_ppm: u64,
    earned: u64,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<Answer> {
    let report = block_on(async {
        let client = arguments.tls.connect(&arguments.endpoint).await?;
        let status = client.status().await?;
        let account = match &arguments.account {
            Some(key) => Some(Account::new(key, client.account(key).await?)),
            None => None,
        };
        let models = client.models().await?;
        let Subnets { subnets, announced, votes, height: _ } = client.subnets().await?;
        let epoch = match client.epoch_report(None).await {
            Ok(report) => Some(Epoch::from(&report)),
            // No epoch has ended yet.
            Err(ClientError::Refused(status)) if status.code() == Code::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Report {
            chain_id: status.chain_id.to_string(),
            height: status.head.height.0,
            hash: status.head.hash.to_string(),
            earliest: status.earliest.0,
            ready: status.ready,
            snapshots: status.snapshots.iter().map(Point::from).collect(),
            models: models.into_iter().map(Model::from).collect(),
            subnets: subnets.into_iter().map(Subnet::from).collect(),
            announced: announced
                .into_iter()
                .map(|(epoch, Number { name, value })| Announced { epoch: epoch.0, name, value })
                .collect(),
            votes: votes
                .into_iter()
                .map(|(validator, Number { name, value })| Vote {
                    validator: validator.to_string(),
                    name,
                    value,
                })
                .collect(),
            epoch,
            account,
        })
    })?;
    if arguments.json {
        output::json(&report)?
    } else {
        report.print()
    }
    Ok(Answer::Yes)
}

impl From<&BlockPoint> for Point {
    fn from(point: &BlockPoint) -> Self {
        Self { height: point.height.0, hash: point.hash.to_string() }
    }
}

impl From<ModelEntry> for Model {
    fn from(entry: ModelEntry) -> Self {
        let ModelEntry { model_id, name, owner, miners, verifying_key } = entry;
        let proof_system = system_of(&verifying_key).to_string();
        Self { model_id: model_id.to_string(), name, proof_system, owner: owner.to_string(), miners }
    }
}

impl From<SubnetEntry> for Subnet {
    fn from(entry: SubnetEntry) -> Self {
        let numbers = Parameters::NAMES.iter();
        let numbers = numbers.filter_map(|&name| Some((name.to_owned(), entry.parameters.get(name)?)));
        Self {
            subnet: entry.subnet.0,
            task: entry.task,
            owner: entry.owner.map(|owner| owner.to_string()),
            accepts: entry.accepts.iter().map(ToString::to_string).collect(),
            proof_system: entry.proof_system.map(|system| system.to_string()),
            labelled: entry.labelled,
            models: entry.models,
            miners: entry.miners,
            price: entry.price,
            pending_emission: entry.pending_emission,
            numbers: numbers.collect(),
        }
    }
}

impl From<&EpochReport> for Epoch {
    fn from(report: &EpochReport) -> Self {
        let rows = report.subnets.iter().flat_map(|subnet| &subnet.miners).chain(&report.miners);
        let verified = rows.map(|row| row.verified).fold(0, u64::saturating_add);
        Self { epoch: report.epoch.0, height: report.height.0, minted: report.minted(), verified }
    }
}

impl Account {
    fn new(key: &PublicKey, entry: AccountEntry) -> Self {
        let AccountEntry { balance, nonce, job_nonce, miner, locks, held, .. } = entry;
        let locks = locks.into_iter().map(Lock::from).collect();
        Self {
            public_key: key.to_string(),
            balance,
            nonce,
            job_nonce,
            locks,
            held,
            miner: miner.map(Miner::from),
            operating_key: entry.operating_key.map(Operating::from),
            operates: entry.operates.map(Operating::from),
        }
    }
}

impl From<OperatingEntry> for Operating {
    fn from(OperatingEntry { key, owner, from, until }: OperatingEntry) -> Self {
        let (public_key, owner) = (key.to_string(), owner.to_string());
        Self { public_key, owner, from: from.0, until: until.map(|until| until.0) }
    }
}

impl From<LockEntry> for Lock {
    fn from(entry: LockEntry) -> Self {
        let leaving = |(height, amount): (Height, u64)| Leaving { height: height.0, amount };
        let leaving = entry.leaving.into_iter().map(leaving).collect();
        Self { purpose: entry.purpose.to_string(), amount: entry.amount, leaving }
    }
}

impl From<MinerEntry> for Miner {
    fn from(entry: MinerEntry) -> Self {
        let MinerEntry { endpoint, model_ids, reputation_ppm, earned } = entry;
        let model_ids = model_ids.iter().map(ToString::to_string).collect();
        Self { endpoint, model_ids, reputation_ppm, earned }
    }
}

impl Report {
    fn print(&self) {
        println!("chain    {}", self.chain_id);
        println!("height   {}, {}", self.height, self.hash);
        println!("blocks   from height {} on", self.earliest);
        println!("ready    {}", if self.ready { "yes" } else { "no: it waits for others, or catches up" });
        for Point { height, hash } in &self.snapshots {
            println!("snapshot {height} {hash}");
        }
        for model in &self.models {
            println!(
                "model    {} {}, {}, {} miners",
                model.model_id, model.name, model.proof_system, model.miners
            );
        }
        for Subnet { subnet, task, models, miners, price, .. } in &self.subnets {
            println!("subnet   {subnet} {task:?}: {models} models, {miners} miners, a place costs {price}");
        }
        for Announced { epoch, name, value } in &self.announced {
            println!("rule     {name} = {value} from epoch {epoch} on");
        }
        for Vote { validator, name, value } in &self.votes {
            println!("vote     {name} = {value} by {validator}");
        }
        if let Some(Epoch { epoch, height, minted, verified }) = &self.epoch {
            println!(
                "epoch    {epoch} ended at height {height}: {verified} answers verified, {minted} minted"
            );
        }
        if let Some(account) = &self.account {
            println!("account  {}: balance {}", account.public_key, account.balance);
            println!("nonces   {} of transactions, {} of jobs", account.nonce, account.job_nonce);
            for Lock { purpose, amount, leaving } in &account.locks {
                println!("locked   {amount} as {purpose}");
                for Leaving { height, amount } in leaving {
                    println!("leaving  {amount} of it at the end of block {height}");
                }
            }
            if account.held > 0 {
                println!("held     {} for jobs in progress", account.held);
            }
            if let Some(Operating { public_key, from, .. }) = &account.operating_key {
                println!("signed   by {public_key} from height {from} on");
            }
            if let Some(Operating { owner, from, until, .. }) = &account.operates {
                let until = until.map(|until| format!(" until height {until}")).unwrap_or_default();
                println!("signs    for {owner} from height {from}{until}");
            }
            if let Some(Miner { endpoint, model_ids, reputation_ppm, earned }) = &account.miner {
                println!("miner    at {endpoint} for {} models", model_ids.len());
                println!("earned   {earned}, reputation {reputation_ppm} ppm");
            }
        }
    }
}
