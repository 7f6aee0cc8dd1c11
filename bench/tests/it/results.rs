//! Files of results.

use std::process::Command;

#[test]
fn a_file_of_another_machine_is_refused_before_anything_is_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("results.json");
    let machine = r#"{"cpu": "another", "cores": 1, "memory_gib": 1, "os": "another", "rustc": "1.0.0"}"#;
    let content = format!(r#"{{"date": "2026-01-01", "machine": {machine}, "results": []}}"#);
    std::fs::write(&file, &content).expect("written");
    let ran = Command::new(env!("CARGO_BIN_EXE_assay-bench"))
        .args(["load", "--sustained", "3600", "--rate", "1", "--out"])
        .arg(&file)
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(2), "{said}");
    assert!(said.contains("has results of another machine"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), content);
}
