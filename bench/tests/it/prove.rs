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
