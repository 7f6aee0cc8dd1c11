//! Key files: what is refused, and that nothing is lost.

use ark_bn254::{G1Affine, G2Affine};
use ark_ec::AffineRepr;
use assay_circuits::samples;
use assay_prover::groth16::{KeyError, ProvingKey, setup};
use assay_verifier::proof::{KeyParts, ProofError, VerifyingKey};

use crate::keys::SEED;

fn key() -> ProvingKey {
    setup(&samples::dense(), SEED, None, &|_, _| ())
}

fn file() -> Vec<u8> {
    let mut bytes = Vec::new();
    key().write(&mut bytes).expect("writes to memory");
    bytes
}

fn read(bytes: &[u8]) -> Result<ProvingKey, KeyError> {
    ProvingKey::read(bytes, &samples::dense())
}

#[test]
fn a_proving_key_survives_its_file() {
    assert_eq!(read(&file()).expect("reads"), key());
}

#[test]
fn a_cut_extended_or_damaged_proving_key_is_refused() {
    let bytes = file();
    for length in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(matches!(read(&bytes[..length]), Err(KeyError::Io(_))), "{length}");
    }
    assert!(matches!(read(&[&bytes[..], &[0]].concat()), Err(KeyError::Malformed(_))));
    assert!(matches!(read(&[&b"NOTAKEY!"[..], &bytes[8..]].concat()), Err(KeyError::Magic)));
    for at in (8..bytes.len()).step_by(997) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(read(&damaged).is_err(), "{at}");
    }
}

#[test]
fn a_proving_key_of_another_model_is_refused() {
    assert!(matches!(ProvingKey::read(&file()[..], &samples::cell()), Err(KeyError::OtherModel { .. })));
}

fn parts() -> KeyParts {
    KeyParts::from_bytes(key().verifying_key()).expect("a key file")
}

fn refused(change: impl FnOnce(&mut KeyParts)) -> ProofError {
    let mut parts = parts();
    change(&mut parts);
    VerifyingKey::decode(&parts.to_bytes()).expect_err("refused")
}

#[test]
fn degenerate_verifying_keys_are_refused() {
    VerifyingKey::decode(&parts().to_bytes()).expect("the key itself is accepted");
    let (g1, g2) = (KeyParts::g1(&G1Affine::generator()), KeyParts::g2(&G2Affine::generator()));
    assert!(matches!(refused(|k| k.delta1 = k.delta2), ProofError::KeyDegenerate(_)));
    assert!(matches!(refused(|k| k.gamma = k.delta1), ProofError::KeyDegenerate(_)));
    assert!(matches!(refused(|k| k.gamma = k.delta2), ProofError::KeyDegenerate(_)));
    assert!(matches!(refused(|k| k.beta = k.gamma), ProofError::KeyDegenerate(_)));
    assert!(matches!(refused(|k| k.alpha = g1), ProofError::KeyDegenerate(_)));
    assert!(matches!(refused(|k| k.beta = g2), ProofError::KeyDegenerate(_)));
    assert!(matches!(refused(|k| k.gamma = g2), ProofError::KeyDegenerate(_)));
    assert!(matches!(refused(|k| k.delta1 = g2), ProofError::KeyDegenerate(_)));
    assert!(matches!(refused(|k| k.delta2 = g2), ProofError::KeyDegenerate(_)));
    let identity = KeyParts::g1(&G1Affine::zero());
    assert!(matches!(
        refused(|k| *k.ic.last_mut().expect("not empty") = identity),
        ProofError::KeyDegenerate(_)
    ));
}

#[test]
fn verifying_keys_with_bad_points_or_lengths_are_refused() {
    let (zero1, zero2) = (KeyParts::g1(&G1Affine::zero()), KeyParts::g2(&G2Affine::zero()));
    assert!(matches!(refused(|k| k.alpha = zero1), ProofError::KeyPoint { name: "alpha", .. }));
    assert!(matches!(refused(|k| k.beta = zero2), ProofError::KeyPoint { name: "beta", .. }));
    assert!(matches!(refused(|k| k.gamma = zero2), ProofError::KeyPoint { name: "gamma", .. }));
    assert!(matches!(refused(|k| k.delta1 = zero2), ProofError::KeyPoint { name: "delta1", .. }));
    assert!(matches!(refused(|k| k.delta2 = zero2), ProofError::KeyPoint { name: "delta2", .. }));
    assert!(matches!(refused(|k| k.ic[1] = [0xff; 32]), ProofError::KeyPoint { name: "IC", .. }));
    assert!(matches!(refused(|k| _ = k.ic.pop()), ProofError::KeyFormat(_)));
    assert!(matches!(refused(|k| k.ic.push([1; 32])), ProofError::KeyFormat(_)));
    assert!(matches!(refused(|k| k.inputs[0].shape = vec![1, u32::MAX]), ProofError::KeyFormat(_)));
    assert!(matches!(refused(|k| k.inputs[0].quant.scale = f64::NAN), ProofError::KeyFormat(_)));
    let bytes = parts().to_bytes();
    assert!(matches!(VerifyingKey::decode(&bytes[..bytes.len() - 1]), Err(ProofError::KeyFormat(_))));
    assert!(matches!(VerifyingKey::decode(&[&bytes[..], &[0]].concat()), Err(ProofError::KeyFormat(_))));
    assert!(matches!(VerifyingKey::decode(&bytes[1..]), Err(ProofError::KeyFormat(_))));
}
