//! An audit's outcome for people and for programs.
//!
//! Exit status: 0 accepted, 1 rejected, 2 unreadable.

use std::fmt::Write;

use assay_proto::PublicKey;
use assay_proto::report::{EpochReport, MinerEpoch, SubnetEpoch, ValidatorEpoch};
use serde_json::{Value, json};

use super::{AuditError, AuditReport};
use crate::error::describe;

/// Outcome of an audit.
pub type Outcome = Result<AuditReport, AuditError>;

/// The exit status of a program that reports this outcome.
pub fn exit_code(outcome: &Outcome) -> u8 {
    match outcome {
        Ok(_) => 0,
        Err(AuditError::Rejected(_)) => 1,
        Err(AuditError::Unreadable(_)) => 2,
    }
}

/// The outcome in one line: `accepted`, or what is wrong and where.
pub fn verdict(outcome: &Outcome) -> String {
    match outcome {
        Ok(_) => "audit: accepted".to_owned(),
        Err(error) => format!("audit: {}", describe(error)),
    }
}

/// The outcome as text: a table per epoch if there is a report, the verdict last.
pub fn render(outcome: &Outcome) -> String {
    let mut text = outcome.as_ref().map_or_else(|_| String::new(), tables);
    text.push_str(&verdict(outcome));
    text.push('\n');
    text
}

fn tables(report: &AuditReport) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_tables(&mut text, report);
    text
}

fn write_tables(text: &mut String, report: &AuditReport) -> std::fmt::Result {
    for epoch in &report.epochs {
        write_epoch(text, epoch)?;
    }
    writeln!(text, "{:<18} {:>10} {:>14}", "miner", "reputation", "earned")?;
    for total in &report.miners {
        let reputation = fraction(total.reputation_ppm);
        writeln!(text, "{:<18} {reputation:>10} {:>14}", short(&total.miner), total.earned)?;
    }
    let receipts = &report.receipts;
    writeln!(
        text,
        "\nreceipts      {} verified, {} invalid proof, {} malformed, {} late, {} absent",
        receipts.verified, receipts.invalid_proof, receipts.malformed, receipts.late, receipts.absent
    )?;
    writeln!(text, "transactions  {}", report.transactions)?;
    writeln!(text, "models        {}", report.models)?;
    let supply = &report.supply;
    writeln!(
        text,
        "supply        {} = {} genesis + {} minted - {} burned",
        supply.total(),
        supply.genesis,
        supply.minted,
        supply.burned
    )?;
    writeln!(text, "chain         {} (genesis {})", report.chain_id, report.genesis)?;
    writeln!(text, "height        {} (block {})", report.height, report.head)?;
    writeln!(text, "state root    {}", report.state_root)
}

/// One epoch as text.
pub fn render_epoch(epoch: &EpochReport) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_epoch(&mut text, epoch);
    text
}

fn write_epoch(text: &mut String, epoch: &EpochReport) -> std::fmt::Result {
    let EpochReport { epoch: number, height, emission, scored, miners, validators, subnets } = epoch;
    let minted = epoch.minted();
    writeln!(
        text,
        "epoch {number}, height {height}: {minted} of {emission} minted, shared by {}",
        by(*scored)
    )?;
    write_rows(text, *scored, miners, validators)?;
    for SubnetEpoch { subnet, epoch, emission, scored, miners, validators } in subnets {
        writeln!(
            text,
            "subnet {subnet}, epoch {epoch} of its own, {emission} of it, shared by {}",
            by(*scored)
        )?;
        write_rows(text, *scored, miners, validators)?;
    }
    writeln!(text)
}

fn by(scored: bool) -> &'static str {
    if scored { "the scores of validators" } else { "verified work" }
}

fn write_rows(
    text: &mut String,
    scored: bool,
    miners: &[MinerEpoch],
    validators: &[ValidatorEpoch],
) -> std::fmt::Result {
    writeln!(
        text,
        "{:<18} {:>8} {:>7} {:>5} {:>6} {:>9} {:>10} {:>2} {:>8} {:>10} {:>9} {:>9} {:>14}",
        "miner",
        "verified",
        "invalid",
        "late",
        "absent",
        "available",
        "latency",
        "by",
        "quality",
        "reputation",
        "consensus",
        "incentive",
        "reward"
    )?;
    for row in miners {
        let MinerEpoch { verified, invalid, late, absent, reward, .. } = row;
        let (quality, reputation) = (fraction(row.quality_ppm), fraction(row.reputation_ppm));
        let available = fraction(row.availability_ppm);
        // Seconds, and of how many validators.
        let (latency, by) = (fraction(row.latency_us), row.measured_by);
        let latency = if by > 0 { latency } else { "-".to_owned() };
        let (miner, incentive) = (short(&row.miner), fraction(row.incentive_ppm));
        let consensus = if scored { fraction(row.consensus_ppm) } else { "-".to_owned() };
        writeln!(
            text,
            "{miner:<18} {verified:>8} {invalid:>7} {late:>5} {absent:>6} {available:>9} {latency:>10} {by:>2} \
             {quality:>8} {reputation:>10} {consensus:>9} {incentive:>9} {reward:>14}"
        )?;
    }
    writeln!(
        text,
        "{:<18} {:>8} {:>7} {:>8} {:>8} {:>70}",
        "validator", "power", "scores", "trust", "dividend", "reward"
    )?;
    for row in validators {
        let shown = if row.revealed { "shown" } else { "-" };
        let (trust, dividend) = (fraction(row.trust_ppm), fraction(row.dividend_ppm));
        let validator = short(&row.validator);
        writeln!(
            text,
            "{validator:<18} {:>8} {shown:>7} {trust:>8} {dividend:>8} {:>70}",
            row.power, row.reward
        )?;
    }
    Ok(())
}

/// Enough of a key to tell it from others at a glance.
fn short(key: &PublicKey) -> String {
    key.to_string().chars().take(16).chain(['~']).collect()
}

fn fraction(ppm: u64) -> String {
    let unit = assay_proto::limits::PPM;
    let (whole, rest) = (ppm.checked_div(unit).unwrap_or(0), ppm.checked_rem(unit).unwrap_or(0));
    format!("{whole}.{rest:06}")
}

/// The outcome as one JSON object; `verdict` is `accepted`, `rejected` or `unreadable`.
pub fn render_json(outcome: &Outcome) -> String {
    let value = match outcome {
        Ok(report) => accepted(report),
        Err(AuditError::Rejected(rejection)) => json!({
            "verdict": "rejected",
            "height": rejection.height.0,
            "index": rejection.index,
            "reason": describe(rejection.reason.as_ref()),
        }),
        Err(AuditError::Unreadable(error)) => {
            json!({ "verdict": "unreadable", "reason": describe(error) })
        }
    };
    format!("{value:#}\n")
}

fn accepted(report: &AuditReport) -> Value {
    let receipts = &report.receipts;
    let supply = &report.supply;
    json!({
        "verdict": "accepted",
        "chain_id": report.chain_id.as_str(),
        "genesis": report.genesis.to_string(),
        "height": report.height.0,
        "head": report.head.to_string(),
        "state_root": report.state_root.to_string(),
        "supply": {
            "total": supply.total(),
            "genesis": supply.genesis,
            "minted": supply.minted,
            "burned": supply.burned,
        },
        "models": report.models,
        "transactions": report.transactions,
        "receipts": {
            "verified": receipts.verified,
            "invalid_proof": receipts.invalid_proof,
            "malformed": receipts.malformed,
            "late": receipts.late,
            "absent": receipts.absent,
        },
        "miners": report.miners.iter().map(|total| json!({
            "miner": total.miner.to_string(),
            "reputation_ppm": total.reputation_ppm,
            "earned": total.earned,
        })).collect::<Vec<_>>(),
        "voters": report.voters.iter().map(|voter| json!({
            "validator": voter.public_key.to_string(),
            "power": voter.power,
        })).collect::<Vec<_>>(),
        "epochs": report.epochs.iter().map(epoch_json).collect::<Vec<_>>(),
    })
}

/// One epoch as JSON.
pub fn epoch_json(report: &EpochReport) -> Value {
    json!({
        "epoch": report.epoch.0,
        "height": report.height.0,
        "emission": report.emission,
        "minted": report.minted(),
        "shared_by": if report.scored { "scores" } else { "work" },
        "miners": miners_json(&report.miners),
        "validators": validators_json(&report.validators),
        "subnets": report.subnets.iter().map(|row| json!({
            "subnet": row.subnet.0,
            "epoch": row.epoch.0,
            "emission": row.emission,
            "minted": row.minted(),
            "shared_by": if row.scored { "scores" } else { "work" },
            "miners": miners_json(&row.miners),
            "validators": validators_json(&row.validators),
        })).collect::<Vec<_>>(),
    })
}

fn miners_json(rows: &[MinerEpoch]) -> Vec<Value> {
    let row = |row: &MinerEpoch| {
        json!({
            "miner": row.miner.to_string(),
            "verified": row.verified,
            "invalid": row.invalid,
            "late": row.late,
            "absent": row.absent,
            "online": row.online,
            "slow": row.slow,
            "wrong_device": row.wrong_device,
            "offline": row.offline,
            "availability_ppm": row.availability_ppm,
            "latency_us": row.latency_us,
            "measured_by": row.measured_by,
            "quality_ppm": row.quality_ppm,
            "reputation_ppm": row.reputation_ppm,
            "consensus_ppm": row.consensus_ppm,
            "incentive_ppm": row.incentive_ppm,
            "reward": row.reward,
        })
    };
    rows.iter().map(row).collect()
}

fn validators_json(rows: &[ValidatorEpoch]) -> Vec<Value> {
    let row = |row: &ValidatorEpoch| {
        json!({
            "validator": row.validator.to_string(),
            "power": row.power,
            "revealed": row.revealed,
            "trust_ppm": row.trust_ppm,
            "dividend_ppm": row.dividend_ppm,
            "reward": row.reward,
        })
    };
    rows.iter().map(row).collect()
}
