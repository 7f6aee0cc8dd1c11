//! The measurement of proofs.

use std::process::Command;

#[test]
fn the_figures_of_a_model_are_complete_and_make_sense() {
    let ran = Command::new(env!("CARGO_BIN_EXE_assay-bench"))
        .args(["prove", "mlp", "--runs", "1", "--json"])
        .output()
        .expect("the program starts");
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    let report: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("one JSON object");
    let number = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("{name} in {report}"));
    assert_eq!(number("proof_bytes"), 160.0);
    assert_eq!(number("batch"), 256.0);
    assert!(number("constraints") <= number("domain"));
    assert!(number("prove_seconds") >= number("witness_seconds"));
    let floor = number("floor_msm_seconds") + number("floor_ffts_seconds");
    assert!((number("floor_seconds") - floor).abs() < 1e-9);
    assert!((number("ratio_to_floor") - number("prove_seconds") / floor).abs() < 1e-9);
    for name in [
        "setup_seconds",
        "verify_seconds",
        "batch_proofs_per_second",
        "prove_peak_bytes",
        "proving_key_bytes",
    ] {
        assert!(number(name) > 0.0, "{name}");
    }
}

#[test]
fn the_figures_of_halo2_are_complete_and_make_sense() {
    let ran = Command::new(env!("CARGO_BIN_EXE_assay-bench"))
        .args(["prove", "mlp", "--system", "halo2", "--runs", "1", "--json"])
        .output()
        .expect("the program starts");
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    let report: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("one JSON object");
    let number = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("{name} in {report}"));
    assert_eq!(report["system"], "halo2");
    assert!(number("constraints") < number("domain"));
    assert!(number("proof_bytes") < 8192.0);
    assert!(number("prove_seconds") >= number("witness_seconds"));
    for name in ["setup_seconds", "verify_seconds", "batch_seconds_per_proof", "prove_peak_bytes"] {
        assert!(number(name) > 0.0, "{name}");
    }
}

#[test]
fn a_circuit_is_drawn_a_pixel_a_cell() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mlp.png");
    let ran = Command::new(env!("CARGO_BIN_EXE_assay-bench"))
        .args(["layout", "mlp", "-o"])
        .arg(&path)
        .output()
        .expect("the program starts");
    let shown = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(shown.contains("in use") && shown.contains("second phase"), "{shown}");
    let picture = std::fs::read(path).expect("the picture");
    assert_eq!(picture[..8], *b"\x89PNG\r\n\x1a\n");
}
