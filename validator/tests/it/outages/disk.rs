//! A validator whose disk is full: it stops, in order, the others go on, and with room again it catches up.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Network, Spec, VALIDATORS, agree, transfer};
use crate::support::process::{STOPPED, until};

/// Bytes of the small disk: an empty database fits; the room that RocksDB reserves ahead for its log does not, or else it could
/// go on writing there for long after the disk is full.
const DISK: &str = "size=6m";

/// A file system in memory; gone when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: &Path) -> Option<Self> {
        std::fs::create_dir_all(path).expect("a folder");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(path).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(path.to_owned()))
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let chunk = vec![0xa5; 1 << 16];
        let mut bytes = chunk.len();
        let mut file = std::fs::File::create(self.filler()).expect("a file");
        while bytes > 0 {
            match std::io::Write::write(&mut file, &chunk[..bytes]) {
                Ok(0) | Err(_) => bytes /= 2,
                Ok(_) => {}
            }
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).expect("removed");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a child may still be going.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_one_validator_in_order_and_it_catches_up_with_room_again_slow() {
    let network = Network::new(VALIDATORS);
    let small = network.chain.dir.path().join("small");
    let Some(disk) = Disk::mount(&small) else {
        println!("SKIP: a file system cannot be mounted here; it takes root");
        return;
    };
    let mut specs: Vec<Spec> = (0..4).map(|index| Spec::new(&network, index)).collect();
    specs[3].folder = small.join("data");
    assay_validator::begin_signing(&specs[3].folder, network.chain.chain_id(), &network.keys[3].public_key())
        .expect("a fresh key");
    let mut nodes: Vec<_> = specs.iter().map(Spec::start).collect();
    let mut nonce = 1;
    transfer(&network, &nodes[0], &mut nonce).await;
    disk.fill();
    let mut status = None;
    for _ in 0..200 {
        transfer(&network, &nodes[0], &mut nonce).await;
        status = nodes[3].ended();
        if status.is_some() {
            break;
        }
    }
    let status = status.expect("a validator that cannot write stops");
    assert_eq!(status.code(), Some(STOPPED), "it stops in order: {status}");
    nodes.pop();
    transfer(&network, &nodes[0], &mut nonce).await;
    disk.free();
    let again = specs[3].start();
    let height = nodes[0].height().await;
    until("the height of the others", || async { again.height().await >= height }).await;
    nodes.push(again);
    transfer(&network, &nodes[0], &mut nonce).await;
    let summary = agree(&network, &nodes).await;
    let client = network.chain.client.public_key().to_vec();
    assert_eq!(summary.transactions[&client], nonce - 1, "nothing lost, nothing twice");
    drop(nodes);
}
