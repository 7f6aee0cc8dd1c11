//! The demo, and what an auditor makes of its log.

use std::path::Path;
use std::process::{Command, Output};

use assay_verifier::audit::{AuditError, audit};
use assay_verifier::export::MAGIC;

/// Digits of the demo that is run here.
const DIGITS: usize = 4;
/// Bytes of the log that are changed, spread evenly.
const CHANGES: usize = 400;

fn demo(model: &str, system: &str, digits: usize, folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_assay-bench"))
        .args(["demo", "--model", model, "--system", system, "--digits", &digits.to_string(), "-o"])
        .arg(folder)
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_demo_pays_the_honest_miner_alone_and_its_log_is_worth_nothing_with_a_byte_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let ran = demo("mlp", "groth16", DIGITS, folder.path());
    let (shown, problems) = (text(&ran.stdout), text(&ran.stderr));
    assert_eq!(ran.status.code(), Some(0), "{shown}\n{problems}");
    assert!(shown.contains("audit: accepted"), "{shown}");
    assert!(shown.contains("audit: rejected: height "), "{shown}");
    assert!(shown.contains(&format!("{DIGITS} of {DIGITS} digits answered with proof")), "{shown}");
    assert!(shown.contains("invalid proof"), "no liar was tried\n{shown}");

    let log = std::fs::read(folder.path().join("log.assay")).expect("the log");
    audit(log.as_slice(), &mut |_| {}).expect("the log as it is");
    let head = MAGIC.len() + 4;
    for change in 0..CHANGES {
        let at = change * log.len() / CHANGES;
        let mut forged = log.clone();
        forged[at] ^= 1 << (change % 8);
        match audit(forged.as_slice(), &mut |_| {}) {
            Ok(_) => panic!("byte {at} of {} was changed and nobody noticed", log.len()),
            Err(AuditError::Rejected(_)) => assert!(at >= head, "byte {at}"),
            Err(AuditError::Unreadable(_)) => assert!(at < head, "byte {at}"),
        }
    }
    for length in (0..log.len()).step_by(log.len() / CHANGES) {
        assert!(audit(&log[..length], &mut |_| {}).is_err(), "cut at {length}");
    }
}

#[test]
fn the_demo_runs_without_a_setup_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let ran = demo("mlp", "halo2", DIGITS, folder.path());
    let (shown, problems) = (text(&ran.stdout), text(&ran.stderr));
    assert_eq!(ran.status.code(), Some(0), "{shown}\n{problems}");
    assert!(shown.contains("halo2, 2^") && shown.contains("audit: accepted"), "{shown}");
    assert!(shown.contains("audit: rejected: height "), "{shown}");
    assert!(shown.contains("invalid proof"), "no liar was tried\n{shown}");
}

#[test]
fn a_demo_that_cannot_start_says_why_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    for (model, why) in [("nonsense", "neither a file"), ("missing.onnx", "No such file")] {
        let ran = demo(model, "groth16", 1, folder.path());
        let errors = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(2), "{errors}");
        assert!(
            errors.starts_with("error: ") && errors.contains(why) && errors.lines().count() == 1,
            "{errors}"
        );
    }
}
