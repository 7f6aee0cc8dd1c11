//! The exported log before an auditor, as it is and with one bit flipped.

use std::path::Path;

use anyhow::{Context, Result};
use assay_verifier::audit::{AuditError, audit, report};

use super::client::Attempt;

/// Audits the log, flips one bit of a proof in it and audits that; what is not as it should be.
pub fn audit_and_forge(folder: &Path, log: &[u8], attempts: &[Attempt]) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let file = write(folder, "log.assay", log)?;
    let outcome = audit(log, &mut |_| {});
    println!("{file}, {} bytes: {}", log.len(), report::verdict(&outcome));
    if outcome.is_err() {
        problems.push("the audit does not accept the log".to_owned());
    }

    let paid =
        attempts.iter().rev().find(|attempt| attempt.position.is_some()).context("no verified answer")?;
    let at = log.windows(paid.proof.len()).position(|window| window == paid.proof);
    let at = at.context("a paid proof is not in the log")? + paid.proof.len() / 2;
    let mut forged = log.to_vec();
    forged[at] ^= 1;
    let file = write(folder, "log-forged.assay", &forged)?;
    let outcome = audit(forged.as_slice(), &mut |_| {});
    println!(
        "{file}, bit 0 of byte {at} flipped (in the proof for digit {}): {}",
        paid.digit,
        report::verdict(&outcome)
    );
    match (outcome, paid.position) {
        (Err(AuditError::Rejected(rejection)), Some(position)) if rejection.height == position.height => {}
        _ => problems.push("the audit does not reject the forged log where it was forged".to_owned()),
    }
    Ok(problems)
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<String> {
    let path = folder.join(name);
    std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    Ok(path.display().to_string())
}
