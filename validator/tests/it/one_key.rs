//! A second machine with the key of a validator that runs, on a computer that has too much to do.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use assay_validator::Node;

use crate::records::{blocks_until, signs_from};
use crate::support::network::{Network, calls, height};

const TWICE: usize = 3;
/// Time in which a node that heard nothing of the other one would begin to sign.
const WATCHED: Duration = Duration::from_secs(25);

/// Threads that take the processor from everybody else, until dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn new(threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(stop)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_machine_with_a_key_does_not_sign_while_the_first_one_does() {
    let network = Network::new(4);
    let nodes = network.start_all().await;
    let (mut first, mut nonce, key) = (calls(&nodes[0]).await, 0, network.keys[TWICE].public_key());
    let signed = || signs_from(key, &nodes[0], 1).is_some();
    blocks_until(&network, &mut first, &mut nonce, "a signature", signed).await;

    let _busy = Busy::new(4);
    let mut config = network.config(TWICE);
    config.data_dir = network.chain.dir.path().join("second");
    let address = config.consensus.listen.ip();
    let port = TcpListener::bind((address, 0)).expect("a port").local_addr().expect("an address");
    config.consensus.listen = port;
    let second = Node::start(config, network.keys[TWICE].clone(), network.chain.genesis.clone()).await;
    let second = second.expect("it starts, and watches");
    let began = std::time::Instant::now();
    while began.elapsed() < WATCHED {
        nonce += 1;
        first.submit(&network.chain.transfer(nonce, 1)).await.expect("the others go on");
        assert!(!second.consensus().borrow().signing, "it signs after {} blocks", height(&nodes[0]));
    }
    assert_eq!(nodes[0].application().state().offenders().count(), 0);
    second.shutdown().await.expect("stops");
}
