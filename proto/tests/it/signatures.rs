//! A signature counts for one signer, one kind, one chain and one payload.

use assay_proto::challenge::{Challenge, ChallengeAnswer};
use assay_proto::job::{Job, Output, Proof, job_binding};
use assay_proto::operating::KeyConsent;
use assay_proto::operator::Backup;
use assay_proto::transaction::Transaction;
use assay_proto::vote::{Proposal, Vote};
use assay_proto::{
    Canonical, ChainId, Envelope, JobId, Payload, ProtoError, PublicKey, SecretKey, Signature, signing, wire,
};

use crate::samples::{self, chain, flipped, key};

fn envelope() -> Envelope {
    key(1).sign(&chain(), samples::job()).into_envelope()
}

fn forged<T: Payload + std::fmt::Debug>(envelope: &Envelope, chain: &ChainId) {
    let got = envelope.open::<T>(chain).unwrap_err();
    assert_eq!(got, ProtoError::Signature { kind: T::KIND, signer: envelope.signer });
}

#[test]
fn what_is_signed_opens_to_the_same_value() {
    let signed = key(1).sign(&chain(), samples::job());
    let wire = wire::Signed::from(&signed);
    let opened = Envelope::try_from(wire).unwrap().open::<Job>(&chain()).unwrap();
    assert_eq!(opened, signed);
    assert_eq!(opened.signer(), key(1).public_key());
}

#[test]
fn another_payload_signer_or_signature_is_refused() {
    let mut payload = envelope();
    payload.payload[3] ^= 1;
    forged::<Job>(&payload, &chain());
    forged::<Job>(&Envelope { signer: key(2).public_key(), ..envelope() }, &chain());
    forged::<Job>(&Envelope { signature: flipped(envelope().signature), ..envelope() }, &chain());
    forged::<Job>(&Envelope { signature: Signature([0; 64]), ..envelope() }, &chain());
}

#[test]
fn a_signature_for_another_chain_is_refused() {
    forged::<Job>(&envelope(), &ChainId::new("test-wire2").unwrap());
    forged::<Job>(&envelope(), &ChainId::new("test-wir").unwrap());
}

#[test]
fn a_signature_of_another_kind_is_refused() {
    // An empty Output and an empty Proof have the same bytes; only the kind tells them apart.
    let job_id = JobId([3; 32]);
    let output = Output { job_id, outputs: vec![], compute_us: 0 };
    let proof = Proof { job_id, proof: vec![], prove_us: 0, elapsed_us: 0 };
    assert_eq!(output.encode(), proof.encode());
    let envelope = key(1).sign(&chain(), output).into_envelope();
    assert!(envelope.open::<Output>(&chain()).is_ok());
    forged::<Proof>(&envelope, &chain());
}

#[test]
fn kinds_are_distinct_and_none_is_a_prefix_that_could_be_continued() {
    let kinds = [
        Job::KIND,
        Output::KIND,
        Proof::KIND,
        Transaction::KIND,
        Vote::KIND,
        Proposal::KIND,
        Backup::KIND,
        Challenge::KIND,
        ChallengeAnswer::KIND,
        KeyConsent::KIND,
    ];
    for (index, kind) in kinds.iter().enumerate() {
        assert!(!kind.contains('\0'));
        assert!(kinds.iter().skip(index + 1).all(|other| other != kind));
    }
}

#[test]
fn a_well_signed_payload_that_is_not_canonical_is_refused() {
    let mut payload = samples::job().encode();
    payload.extend([0xf8, 0x3f, 0x01]);
    let signed = sign_raw(&key(1), Job::KIND, &chain(), &payload);
    assert_eq!(signed.open::<Job>(&chain()), Err(ProtoError::NotCanonical { what: "job" }));
}

#[test]
fn an_oversized_payload_is_refused_before_its_signature_is_looked_at() {
    let payload = vec![0; assay_proto::limits::JOB_BYTES + 1];
    let envelope = Envelope { payload, ..envelope() };
    assert!(matches!(envelope.open::<Job>(&chain()), Err(ProtoError::TooLong { .. })));
}

#[test]
fn lengths_of_signers_and_signatures_are_checked() {
    let wire = || wire::Signed::from(&envelope());
    for length in [0, 31, 33] {
        let wire = wire::Signed { signer: vec![1; length], ..wire() };
        assert!(matches!(Envelope::try_from(wire), Err(ProtoError::Length { what: "public key", .. })));
    }
    for length in [0, 63, 65] {
        let wire = wire::Signed { signature: vec![1; length], ..wire() };
        assert!(matches!(Envelope::try_from(wire), Err(ProtoError::Length { what: "signature", .. })));
    }
}

#[test]
fn keys_of_small_order_sign_nothing() {
    // Under the identity as a key, R = identity and s = 0 pass a verification that is not strict.
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    let signer = PublicKey(identity);
    let got = signing::verify("Job", &chain(), b"anything", &signer, &Signature(signature));
    assert_eq!(got, Err(ProtoError::Signature { kind: "Job", signer }));
}

#[test]
fn a_second_form_of_a_signature_is_refused() {
    // s + L is the same scalar.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut envelope = envelope();
    let mut carry = 0;
    for (byte, order) in envelope.signature.0[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = u8::try_from(sum & 0xff).unwrap();
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    forged::<Job>(&envelope, &chain());
}

#[test]
fn the_signed_bytes_are_the_documented_ones() {
    use ed25519_dalek::{Signer, SigningKey};
    let payload = samples::job().encode();
    let mut message = b"assay.v1.Job\0".to_vec();
    message.push(u8::try_from("test-wire".len()).unwrap());
    message.extend(b"test-wire");
    message.extend(&payload);
    let signature = SigningKey::from_bytes(&[1; 32]).sign(&message).to_bytes();
    assert_eq!(Signature(signature), envelope().signature);
}

#[test]
fn job_ids_and_bindings_depend_on_every_part() {
    let signed = key(1).sign(&chain(), samples::job());
    let other_chain = ChainId::new("test-wire2").unwrap();
    let other_job = Job { nonce: 6, ..samples::job() };
    let ids = [
        signed.id(&chain()),
        signed.id(&other_chain),
        key(2).sign(&chain(), samples::job()).id(&chain()),
        key(1).sign(&chain(), other_job).id(&chain()),
    ];
    assert!((1..ids.len()).all(|n| !ids[n..].contains(&ids[n - 1])));
    let (a, b) = (key(2).public_key(), key(3).public_key());
    let bindings = [
        job_binding(&chain(), &ids[0], &a),
        job_binding(&chain(), &ids[0], &b),
        job_binding(&chain(), &ids[2], &a),
        job_binding(&other_chain, &ids[0], &a),
    ];
    assert!((1..bindings.len()).all(|n| !bindings[n..].contains(&bindings[n - 1])));
}

#[test]
fn digests_are_pinned() {
    // What a signature, an id or a hash covers cannot change without a new version of the protocol.
    let signed = key(1).sign(&chain(), samples::job());
    let pinned = [
        ("job id", signed.id(&chain()).to_string()),
        ("genesis", samples::genesis().hash().to_string()),
        ("header", samples::header().hash().to_string()),
        ("binding", hex::encode(job_binding(&chain(), &JobId([1; 32]), &PublicKey([2; 32])))),
    ];
    let text: String = pinned.iter().map(|(name, digest)| format!("{name} {digest}\n")).collect();
    assert_eq!(text, include_str!("digests.txt"));
}

#[test]
fn secret_keys_round_trip_and_do_not_show_themselves() {
    let secret = SecretKey::generate().unwrap();
    let hex = secret.to_hex();
    assert_eq!(SecretKey::from_hex(&format!(" {}\n", *hex)).unwrap().public_key(), secret.public_key());
    assert_eq!(SecretKey::from_bytes(&secret.to_bytes()).public_key(), secret.public_key());
    assert_ne!(SecretKey::generate().unwrap().public_key(), secret.public_key());
    assert!(!format!("{secret:?}").contains(hex.as_str()));
    let mistyped = format!("{}x", &hex[..63]);
    let error = SecretKey::from_hex(&mistyped).unwrap_err();
    assert!(!format!("{error:?} {error}").contains(&hex[..32]));
}

/// Signs bytes that no honest signer would sign.
fn sign_raw(secret: &SecretKey, kind: &str, chain: &ChainId, payload: &[u8]) -> Envelope {
    use ed25519_dalek::{Signer, SigningKey};
    let message = [b"assay.v1.", kind.as_bytes(), &[0], &chain.prefixed(), payload].concat();
    let signature = SigningKey::from_bytes(&secret.to_bytes()).sign(&message).to_bytes();
    Envelope { payload: payload.to_vec(), signer: secret.public_key(), signature: Signature(signature) }
}
