//! The measurement of devices.

use std::process::Command;

#[test]
fn without_a_device_it_says_so_and_exits_with_2() {
    for device in ["cuda:99", "cpu"] {
        let ran = Command::new(env!("CARGO_BIN_EXE_assay-bench"))
            .args(["gpu", "--device", device])
            .output()
            .expect("the program starts");
        assert_eq!((ran.status.code(), ran.stdout.as_slice()), (Some(2), [].as_slice()));
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(said.starts_with("error: no device to measure: "), "{said}");
    }
}
