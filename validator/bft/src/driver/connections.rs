//! Who is connected, who may be, and whose connection is of no use.
//!
//! ```text
//! may connect   the peers of the settings, and the keys that the ledger names: the latter by their key alone, and it is they
//!               who dial; less those that are banned (`bans.rs`). One that no longer may is disconnected
//! of no use     connected, and nothing heard for SILENCE, though every node tells its height once a second: the connection
//!               is given up and made anew
//! ```
//!
//! The transport announces what a node listens to on the first of several connections to a peer only. Where that one breaks
//! before the announcement arrives and another one stays, the peer is connected and says nothing for as long as that one lasts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use assay_proto::PublicKey;
use malachitebft_app_channel::app::net::Multiaddr;
use malachitebft_app_channel::{Channels, NetworkRequest};
use tokio::time::Instant;

use crate::context::Context;
use crate::engine::Peer;
use crate::error::Error;
use crate::peers::{configured, identity, key_of_bytes};

/// Time after which a connected peer has told where it is: every node does once a second.
pub(super) const TELLING: Duration = Duration::from_secs(2);
/// Time in which a connected peer must be heard.
pub(super) const SILENCE: Duration = Duration::from_secs(10);

/// The connections of a run of the engine.
#[derive(Debug, Default)]
pub(super) struct Connections {
    peers: Vec<Peer>,
    /// Connected peers, and when they were heard last, or were connected.
    heard: BTreeMap<PublicKey, Instant>,
    /// Who may connect, as the engine was told; it knows the peers of the settings from its start.
    allowed: BTreeSet<PublicKey>,
}

impl Connections {
    /// With the peers of the settings.
    pub fn new(peers: Vec<Peer>) -> Self {
        Self { peers, ..Self::default() }
    }

    /// A new run, which knows the peers of the settings.
    pub fn begin(&mut self) {
        self.heard.clear();
        self.allowed = self.peers.iter().map(|peer| peer.key).collect();
    }

    /// Whether the settings name a peer.
    pub fn is_configured(&self, key: &PublicKey) -> bool {
        self.peers.iter().any(|peer| peer.key == *key)
    }

    /// Who is connected.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.heard.keys()
    }

    /// Whether a peer is connected.
    pub fn contains(&self, key: &PublicKey) -> bool {
        self.heard.contains_key(key)
    }

    /// Whether every connected peer has told where it is, or had the time to.
    pub fn have_told<T>(&self, heads: &BTreeMap<PublicKey, T>, now: Instant) -> bool {
        let had_time = |since: Instant| now.saturating_duration_since(since) >= TELLING;
        self.heard.iter().all(|(key, last)| heads.contains_key(key) || had_time(*last))
    }

    /// A peer has said something.
    pub fn heard(&mut self, key: PublicKey, now: Instant) {
        if let Some(last) = self.heard.get_mut(&key) {
            *last = now;
        }
    }

    /// Asks the engine who is connected.
    pub async fn look(&mut self, channels: &Channels<Context>) {
        if let Ok(Some(dump)) = NetworkRequest::dump_state(&channels.net_requests).await {
            self.are(
                dump.peers.keys().filter_map(|peer| key_of_bytes(&peer.to_bytes())).collect(),
                Instant::now(),
            );
        }
    }

    pub(super) fn are(&mut self, connected: BTreeSet<PublicKey>, now: Instant) {
        let before = std::mem::take(&mut self.heard);
        let last = |key| (key, before.get(&key).copied().unwrap_or(now));
        self.heard = connected.into_iter().map(last).collect();
    }

    /// Lets those connect who may now, and no longer those who may not.
    pub async fn allow(
        &mut self,
        known: Vec<PublicKey>,
        own: &PublicKey,
        banned: &BTreeSet<PublicKey>,
        channels: &Channels<Context>,
    ) {
        let wanted = self.wanted(known, own, banned);
        let requests = &channels.net_requests;
        for key in wanted.difference(&self.allowed) {
            if let Ok(address) = self.address(key) {
                tracing::info!(%key, "may connect");
                // An error says that the engine knows it, or has stopped, which the next message says too.
                let _ = NetworkRequest::add_persistent_peer(requests, address).await;
            }
        }
        for key in self.allowed.difference(&wanted) {
            if let Ok(address) = self.address(key) {
                tracing::info!(%key, banned = banned.contains(key), "may not connect any more");
                let _ = NetworkRequest::remove_persistent_peer(requests, address).await;
            }
        }
        self.allowed = wanted;
    }

    fn wanted(
        &self,
        known: Vec<PublicKey>,
        own: &PublicKey,
        banned: &BTreeSet<PublicKey>,
    ) -> BTreeSet<PublicKey> {
        let configured = self.peers.iter().map(|peer| peer.key);
        configured.chain(known).filter(|key| key != own && !banned.contains(key)).collect()
    }

    /// A peer as the engine names it.
    fn address(&self, key: &PublicKey) -> Result<Multiaddr, Error> {
        let peer = self.peers.iter().find(|peer| peer.key == *key);
        peer.map_or_else(|| identity(key), configured)
    }

    /// Gives connections up that are of no use; the engine dials anew, or is dialled.
    pub async fn renew(&mut self, channels: &Channels<Context>) {
        for key in self.silent(Instant::now()) {
            let Ok(address) = self.address(&key) else { continue };
            tracing::warn!(%key, "connected and silent: the connection is made anew");
            let requests = &channels.net_requests;
            // As above. Whoever is taken away is disconnected.
            let _ = NetworkRequest::remove_persistent_peer(requests, address.clone()).await;
            let _ = NetworkRequest::add_persistent_peer(requests, address).await;
            self.heard.remove(&key);
        }
    }

    fn silent(&self, now: Instant) -> Vec<PublicKey> {
        let silent = |last: &Instant| now.saturating_duration_since(*last) >= SILENCE;
        self.heard.iter().filter(|(_, last)| silent(last)).map(|(key, _)| *key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PublicKey = PublicKey([1; 32]);
    const B: PublicKey = PublicKey([2; 32]);

    #[test]
    fn a_connected_peer_that_is_not_heard_is_silent_and_a_new_connection_has_time_again() {
        let (mut connections, began, second) =
            (Connections::default(), Instant::now(), Duration::from_secs(1));
        connections.are([A, B].into(), began);
        connections.heard(A, began + SILENCE - second);
        connections.are([A, B].into(), began + SILENCE - second);
        assert_eq!(connections.silent(began + SILENCE - second), []);
        assert_eq!(connections.silent(began + SILENCE), [B]);
        connections.are([A].into(), began + SILENCE);
        connections.are([A, B].into(), began + SILENCE);
        assert_eq!(connections.silent(began + SILENCE + second), []);
        let stranger = PublicKey([3; 32]);
        connections.heard(stranger, began);
        assert!(!connections.contains(&stranger), "who is not connected is not known");
    }

    #[test]
    fn a_peer_has_told_when_it_was_heard_or_had_the_time_to() {
        let (mut connections, began) = (Connections::default(), Instant::now());
        let heads = |of: &[PublicKey]| of.iter().map(|key| (*key, ())).collect::<BTreeMap<_, _>>();
        assert!(connections.have_told(&heads(&[]), began), "nobody is there");
        connections.are([A].into(), began);
        assert!(!connections.have_told(&heads(&[]), began) && connections.have_told(&heads(&[A]), began));
        connections.are([A, B].into(), began + TELLING / 2);
        assert!(!connections.have_told(&heads(&[A]), began + TELLING), "the other came later");
        assert!(!connections.have_told(&heads(&[B]), began + TELLING / 2));
        assert!(connections.have_told(&heads(&[B]), began + TELLING));
        assert!(connections.have_told(&heads(&[]), began + TELLING + TELLING / 2));
    }

    #[test]
    fn the_settings_and_the_ledger_say_who_may_connect_but_for_oneself_and_the_banned() {
        let peer = |key| Peer { key, address: "127.0.0.1:7000".parse().expect("an address") };
        let mut connections = Connections::new(vec![peer(A), peer(B)]);
        connections.begin();
        let [own, named] = [PublicKey([3; 32]), PublicKey([4; 32])];
        let wanted = |banned: &[PublicKey]| {
            connections.wanted(vec![own, B, named], &own, &banned.iter().copied().collect())
        };
        assert_eq!(connections.allowed, [A, B].into());
        assert_eq!(wanted(&[]), [A, B, named].into());
        assert_eq!(wanted(&[A, named]), [B].into());
        assert_eq!(wanted(&[A, B, named]), [].into());
        // By its address if the settings have it, by its key otherwise.
        let written = |key| connections.address(&key).expect("a name").to_string();
        assert!(
            written(A).starts_with("/ip4/127.0.0.1/tcp/7000/p2p/") && written(named).starts_with("/p2p/")
        );
    }
}
