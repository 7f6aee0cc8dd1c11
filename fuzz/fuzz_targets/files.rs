//! The program's own files: arrays of NumPy (`.npy`, `.npz`), proofs, openings of commitments.
#![no_main]
#![expect(dead_code, reason = "the program uses more of these modules than their decoders")]

use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::sync::LazyLock;

use assay_fuzz::HONEST;
use ndarray_npy::{NpzWriter, WriteNpyExt};
use proof_file::ProofFile;

#[path = "../../src/opening.rs"]
mod opening;
#[path = "../../src/output.rs"]
mod output;
#[path = "../../src/proof_file.rs"]
mod proof_file;
#[path = "../../src/tensors.rs"]
mod tensors;

fn seeds() {
    let array = ndarray::arr2(&[[1f32, 2.0], [3.0, 4.0]]);
    let (mut npy, mut npz) = (Vec::new(), NpzWriter::new(Cursor::new(Vec::new())));
    array.write_npy(&mut npy).expect("a Vec takes any number of bytes");
    npz.add_array("x", &array).expect("a Vec takes any number of bytes");
    let npz = npz.finish().expect("a Vec takes any number of bytes").into_inner();
    let (model, statement, proof) =
        (HONEST.prover.model_id(), HONEST.statement.clone(), HONEST.proof.clone());
    let proof = ProofFile { model, statement, proof }.to_bytes().expect("a small proof");
    let opening =
        format!(r#"{{"inputs":{{"x":{{"salt":"{}","values":[1,-2]}}}},"outputs":{{}}}}"#, "ab".repeat(32));
    assay_fuzz::seed("files", [npy, npz, proof, opening.into_bytes()]);
}

/// Arrays and openings are read from files only.
static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("assay-fuzz-{}", std::process::id())));

libfuzzer_sys::fuzz_target!(init: seeds(), |bytes: &[u8]| {
    if let Ok(file) = ProofFile::from_bytes(bytes) {
        assert_eq!(file.to_bytes().expect("it was as long before"), bytes);
    }
    let written = std::fs::File::create(&*FILE).and_then(|mut file| file.write_all(bytes));
    written.expect("the temporary folder can be written");
    let _ = opening::Opening::read(&FILE);
    match tensors::read(&FILE) {
        Ok(tensors::Arrays::One(array)) => check(&array),
        Ok(tensors::Arrays::Named(arrays)) => arrays.values().for_each(check),
        Err(_) => {}
    }
});

fn check(array: &tensors::Array) {
    assert_eq!(array.shape.iter().product::<usize>(), array.values.len());
}
