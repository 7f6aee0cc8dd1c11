//! Who is who on the network: a validator's peer identity is its key, so that a list of peers pins exactly the
//! validators that the ledger names.
//!
//! `peer id = identity multihash of the protobuf {key type Ed25519, 32 bytes}`, as libp2p has it.

use std::net::{IpAddr, SocketAddr};

use assay_proto::{PublicKey, SecretKey};
use malachitebft_app_channel::app::net::Multiaddr;
use malachitebft_app_channel::app::types::{Keypair, PeerId};

use crate::engine::Peer;
use crate::error::Error;

/// Multihash: identity, 36 bytes; protobuf: field 1 = Ed25519, field 2 = 32 bytes.
const PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// The key of a peer; none if its identity is no Ed25519 key.
pub(crate) fn key_of(peer: &PeerId) -> Option<PublicKey> {
    key_of_bytes(&peer.to_bytes())
}

/// The key of a peer whose identity is given as bytes.
pub(crate) fn key_of_bytes(identity: &[u8]) -> Option<PublicKey> {
    PublicKey::try_from(identity.strip_prefix(PREFIX.as_slice())?).ok()
}

/// The identity of a validator.
pub(crate) fn peer_id(key: &PublicKey) -> Result<PeerId, Error> {
    PeerId::from_bytes(&[PREFIX.as_slice(), &key.0].concat()).map_err(|_| Error::PeerKey(*key))
}

/// A peer of the settings as the engine names it: where it listens, and who it must be.
pub(crate) fn configured(peer: &Peer) -> Result<Multiaddr, Error> {
    let text = format!("{}/p2p/{}", transport_address(&peer.address), peer_id(&peer.key)?);
    text.parse().map_err(|_| Error::PeerKey(peer.key))
}

/// A peer by its identity alone: it may connect, and nobody knows where to dial it.
pub(crate) fn identity(key: &PublicKey) -> Result<Multiaddr, Error> {
    format!("/p2p/{}", peer_id(key)?).parse().map_err(|_| Error::PeerKey(*key))
}

/// This validator's network key.
pub(crate) fn keypair(secret: &SecretKey) -> Result<Keypair, Error> {
    let refused = |_| Error::PeerKey(secret.public_key());
    Keypair::ed25519_from_bytes(*secret.to_bytes()).map_err(refused)
}

/// An address as the transport writes it.
pub(crate) fn transport_address(address: &SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) => format!("/ip4/{ip}"),
        IpAddr::V6(ip) => format!("/ip6/{ip}"),
    };
    format!("{ip}/tcp/{}", address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_and_a_key_name_each_other() {
        let secret = SecretKey::from_bytes(&[7; 32]);
        let id = peer_id(&secret.public_key()).expect("a key");
        assert_eq!(key_of(&id), Some(secret.public_key()));
        let pair = keypair(&secret).expect("a key pair");
        assert_eq!(pair.public().to_peer_id().to_bytes(), id.to_bytes());
    }

    #[test]
    fn addresses_are_written_for_both_families() {
        let written = |text: &str| transport_address(&text.parse().expect("an address"));
        assert_eq!(written("10.0.0.1:7000"), "/ip4/10.0.0.1/tcp/7000");
        assert_eq!(written("[::1]:7000"), "/ip6/::1/tcp/7000");
    }
}
