//! The file that an auditor gets: no other bytes than the log's tell of this chain.
#![no_main]

use assay_fuzz::{CHAIN, changed};
use assay_verifier::audit::audit;

fn seeds() {
    assay_fuzz::seed("export", [CHAIN.log.clone(), vec![], vec![40, 0, 0, 1]]);
}

libfuzzer_sys::fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let accepted = |log: &[u8]| audit(log, &mut |_| ()).ok();
    if let Some(report) = accepted(bytes) {
        // The fuzzer may find a log without blocks, of another chain.
        assert!(bytes == CHAIN.log || report.genesis != CHAIN.genesis.hash());
    }
    let other = changed(&CHAIN.log, bytes);
    if let Some(report) = accepted(&other) {
        assert!(other == CHAIN.log || report.genesis != CHAIN.genesis.hash());
    }
});
