//! The PTX is that of the sources beside it: its digests are kept with it, and need no compiler to be checked.

use std::fmt::Write;
use std::path::Path;

const MANIFEST: &str = "ptx/SOURCES";

/// `digest  path` of every source and every PTX, in order.
fn manifest(root: &Path) -> String {
    let mut paths: Vec<String> = Vec::new();
    for (folder, extensions) in [("kernels", ["cu", "cuh"].as_slice()), ("ptx", &["ptx"])] {
        for entry in std::fs::read_dir(root.join(folder)).expect("a folder") {
            let path = Path::new(folder).join(entry.expect("an entry").file_name());
            if path.extension().is_some_and(|e| extensions.iter().any(|extension| e == *extension)) {
                paths.push(path.to_str().expect("UTF-8").to_owned());
            }
        }
    }
    paths.sort();
    paths.iter().fold(String::new(), |mut text, path| {
        let digest = blake3::hash(&std::fs::read(root.join(path)).expect("a file"));
        writeln!(text, "{digest}  {path}").expect("a String takes any text");
        text
    })
}

#[test]
fn ptx_is_of_the_sources_beside_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = manifest(root);
    if std::env::var_os("ASSAY_REGENERATE").is_some() {
        std::fs::write(root.join(MANIFEST), &found).expect("written");
    }
    let kept = std::fs::read_to_string(root.join(MANIFEST)).expect("the manifest");
    assert_eq!(kept, found, "kernels and PTX differ from what {MANIFEST} says: run `make ptx`");
}

#[test]
fn ptx_is_of_a_version_and_for_devices_that_drivers_of_cuda_11_8_take() {
    for source in ["infer", "ntt", "msm"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("ptx/{source}.ptx"));
        let text = std::fs::read_to_string(path).expect("PTX");
        assert!(text.contains("\n.version 7.8\n") && text.contains("\n.target sm_80\n"), "{source}");
        assert!(!text.contains("clang version"), "{source}: the line of the compiler's build is left out");
    }
}
