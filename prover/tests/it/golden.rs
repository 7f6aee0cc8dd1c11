//! What must not change unnoticed: the pinned verifying key of a circuit as text, a proof as bytes, sizes as numbers.
//! `make regenerate` writes the files anew; a change of any of them is a change of the proof system.

use std::path::{Path, PathBuf};

use assay_circuits::samples;
use assay_prover::halo2::Prover;
use assay_verifier::proof::{self, Statement, VerifyingKey};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn regenerates() -> bool {
    std::env::var_os("ASSAY_REGENERATE").is_some()
}

/// Holds bytes against a file, or writes it.
fn check(name: &str, bytes: &[u8]) {
    if regenerates() {
        std::fs::write(file(name), bytes).expect("the folder is there");
    }
    let golden = std::fs::read(file(name)).expect("the file is in the repository");
    assert!(golden == bytes, "{name} has changed; `make regenerate` if that is meant");
}

fn statement() -> Statement {
    let inputs = vec![vec![3, 200, 17]];
    let graph = samples::dense();
    let outputs = graph.run(&inputs).expect("inputs fit").outputs(&graph);
    Statement::public([1; 32], inputs, outputs)
}

#[test]
fn the_verifying_key_of_the_dense_sample_is_pinned() {
    let prover = Prover::new(&samples::dense()).expect("a circuit");
    let VerifyingKey::Halo2(key) = prover.verifying_key() else { panic!("another system") };
    check("dense.vk.txt", (key.pinned().expect("a key") + "\n").as_bytes());
}

#[test]
fn a_proof_of_old_still_holds() {
    let prover = Prover::new(&samples::dense()).expect("a circuit");
    if regenerates() {
        let trace = prover.graph().run(&[vec![3, 200, 17]]).expect("inputs fit");
        let (_, proof) = prover.prove(&trace, [1; 32], &[]).expect("honest");
        std::fs::write(file("dense.proof"), proof).expect("the folder is there");
    }
    let proof = std::fs::read(file("dense.proof")).expect("the file is in the repository");
    proof::verify(prover.verifying_key(), &statement(), &proof).expect("holds");
    let other = Statement { job: [2; 32], ..statement() };
    assert!(proof::verify(prover.verifying_key(), &other, &proof).is_err());
}

#[test]
fn sizes_of_the_samples_circuits_are_known() {
    let samples = [
        ("cell", samples::cell()),
        ("hidden_cell", samples::hidden_cell()),
        ("maximum", samples::maximum()),
        ("dense", samples::dense()),
        ("convolution", samples::convolution()),
    ];
    let line = |(name, graph): (&str, assay_circuits::ir::Graph)| {
        let bytes = proof::halo2::key_bytes(&graph);
        let key = proof::halo2::VerifyingKey::decode(&bytes).expect("a key");
        let layout = key.layout();
        format!(
            "{name}: k {}, {} units, {} and {} columns, key {} bytes, proof {} bytes\n",
            layout.k,
            layout.units,
            layout.shape.first_phase(),
            layout.shape.second_phase(),
            bytes.len(),
            key.proof_bytes()
        )
    };
    let lines: String = samples.map(line).concat();
    check("sizes.txt", lines.as_bytes());
}
