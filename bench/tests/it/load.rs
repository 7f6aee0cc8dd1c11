//! The load, small.

use std::process::Command;

/// Runs it; its figures.
fn load(arguments: &[&str]) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay-bench"));
    let ran = command.arg("load").args(arguments).arg("--json").output().expect("the program starts");
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).expect("one JSON object")
}

#[test]
fn four_validators_commit_every_receipt_and_none_is_lost() {
    let report = load(&["60", "--in-flight", "8"]);
    assert_eq!((&report["receipts"], &report["lost"]), (&60.into(), &0.into()), "{report}");
    assert_eq!((&report["roots_equal"], &report["validators"]), (&true.into(), &4.into()), "{report}");
    for name in
        ["receipts_per_second", "processor_ms_per_receipt", "latency_p50_seconds", "disk_bytes_per_receipt"]
    {
        assert!(report[name].as_f64().expect("a number") > 0.0, "{name}: {report}");
    }
    let [p50, p99] = ["p50", "p99"].map(|name| report[format!("latency_{name}_seconds")].as_f64());
    assert!(p50 <= p99, "{report}");
}

#[test]
fn a_rate_is_kept_for_as_long_as_asked() {
    let report = load(&["--sustained", "4", "--rate", "10"]);
    assert_eq!((&report["receipts"], &report["lost"]), (&40.into(), &0.into()), "{report}");
    assert!(report["seconds"].as_f64().expect("a number") >= 3.9, "{report}");
    let [all, anonymous] = ["resident_bytes", "anonymous_bytes"].map(|name| {
        let each = report[name].as_array().expect("a list");
        each.iter().map(|bytes| bytes.as_u64().expect("bytes")).collect::<Vec<_>>()
    });
    assert_eq!((all.len(), anonymous.len()), (10, 10), "{report}");
    // The rest is the program's own file, of many MiB.
    let both = all.iter().zip(&anonymous);
    assert!(both.into_iter().all(|(all, part)| 1 << 20 < *part && part + (1 << 20) < *all), "{report}");
}
