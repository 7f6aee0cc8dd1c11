//! A secret key under a password.
//!
//! ```text
//! {"assay_key": 1, "public_key": .., "memory_kib": m, "passes": t, "salt": .., "nonce": .., "sealed": ..}
//! key    = Argon2id(password, salt; m, t, 1 lane)
//! sealed = XChaCha20-Poly1305(key, nonce, secret; associated data: "assay.v1 key" || public key)
//! ```
//!
//! bytes in hexadecimal. What Argon2 costs is in the file, so that it can grow, and bounded, so that a file cannot ask for
//! all memory.

use anyhow::{Context, Result, bail, ensure};
use argon2::{Algorithm, Argon2, Params, Version};
use assay_proto::{PublicKey, SecretKey};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
/// Greatest costs that are accepted.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 16;
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;

/// A sealed key as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    assay_key: u32,
    public_key: String,
    memory_kib: u32,
    passes: u32,
    salt: String,
    nonce: String,
    sealed: String,
}

/// Seals a key.
pub fn seal(secret: &SecretKey, password: &[u8]) -> Result<String> {
    ensure!(!password.is_empty(), "an empty password protects nothing");
    let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_BYTES]);
    getrandom::fill(&mut salt).and_then(|()| getrandom::fill(&mut nonce)).context("randomness")?;
    let public_key = secret.public_key();
    let cipher = cipher(password, &salt, MEMORY_KIB, PASSES)?;
    let bytes = secret.to_bytes();
    let payload = Payload { msg: bytes.as_slice(), aad: &associated(&public_key) };
    let sealed = cipher
        .encrypt(&XNonce::from(nonce), payload)
        .map_err(|_| anyhow::anyhow!("the key cannot be sealed"))?;
    let file = Sealed {
        assay_key: 1,
        public_key: public_key.to_string(),
        memory_kib: MEMORY_KIB,
        passes: PASSES,
        salt: hex::encode(salt),
        nonce: hex::encode(nonce),
        sealed: hex::encode(sealed),
    };
    Ok(serde_json::to_string(&file)? + "\n")
}

/// Whether a key file is sealed.
pub fn is_sealed(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// The public key of a sealed key, which needs no password.
pub fn public_key(text: &str) -> Result<PublicKey> {
    Ok(parse(text)?.public_key.parse()?)
}

/// Opens a sealed key.
pub fn open(text: &str, password: &[u8]) -> Result<SecretKey> {
    let file = parse(text)?;
    let (memory, passes) = (file.memory_kib, file.passes);
    ensure!(
        (8..=MEMORY_KIB_MAX).contains(&memory) && (1..=PASSES_MAX).contains(&passes),
        "its costs of {memory} KiB and {passes} passes are out of bounds"
    );
    let public_key: PublicKey = file.public_key.parse()?;
    let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_BYTES]);
    hex::decode_to_slice(&file.salt, &mut salt).context("its salt")?;
    hex::decode_to_slice(&file.nonce, &mut nonce).context("its nonce")?;
    let sealed = hex::decode(&file.sealed).context("its sealed key")?;
    let cipher = cipher(password, &salt, memory, passes)?;
    let payload = Payload { msg: &sealed, aad: &associated(&public_key) };
    let Ok(opened) = cipher.decrypt(&XNonce::from(nonce), payload) else {
        bail!("the password is wrong, or the file was changed");
    };
    let bytes: Zeroizing<[u8; 32]> =
        Zeroizing::new(Zeroizing::new(opened).as_slice().try_into().context("its length")?);
    let secret = SecretKey::from_bytes(&bytes);
    ensure!(secret.public_key() == public_key, "its public key is of another secret");
    Ok(secret)
}

fn parse(text: &str) -> Result<Sealed> {
    let file: Sealed = serde_json::from_str(text).context("not a sealed key")?;
    ensure!(file.assay_key == 1, "sealed keys of version {} are not known here", file.assay_key);
    Ok(file)
}

fn associated(key: &PublicKey) -> Vec<u8> {
    [b"assay.v1 key".as_slice(), &key.0].concat()
}

fn cipher(password: &[u8], salt: &[u8], memory: u32, passes: u32) -> Result<XChaCha20Poly1305> {
    let wrong = |error: argon2::Error| anyhow::anyhow!("Argon2: {error}");
    let parameters = Params::new(memory, passes, 1, Some(32)).map_err(wrong)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
        .hash_password_into(password, salt, key.as_mut_slice())
        .map_err(wrong)?;
    Ok(XChaCha20Poly1305::new(Key::from_slice(key.as_slice())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_key_opens_with_its_password_only_and_unchanged_only() {
        let secret = SecretKey::from_bytes(&[7; 32]);
        let text = seal(&secret, b"correct horse").unwrap();
        assert!(is_sealed(&text));
        assert!(!text.contains(&*secret.to_hex()));
        assert_eq!(public_key(&text).unwrap(), secret.public_key());
        assert_eq!(open(&text, b"correct horse").unwrap().public_key(), secret.public_key());
        assert!(open(&text, b"wrong horse").unwrap_err().to_string().contains("password"));
        let other = SecretKey::from_bytes(&[8; 32]).public_key().to_string();
        let relabelled = text.replace(&secret.public_key().to_string(), &other);
        assert!(open(&relabelled, b"correct horse").is_err());
    }

    #[test]
    fn a_file_cannot_ask_for_all_memory_nor_be_of_another_version() {
        let text = seal(&SecretKey::from_bytes(&[7; 32]), b"x").unwrap();
        for (from, to) in [
            ("65536", "4000000000"),
            ("\"passes\":3", "\"passes\":99"),
            ("\"assay_key\":1", "\"assay_key\":2"),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            assert!(open(&changed, b"x").is_err(), "{to}");
        }
        assert!(seal(&SecretKey::from_bytes(&[7; 32]), b"").is_err());
    }
}
