//! Who depends on whom. `deny.toml` holds the table; a crate that is in no row may have no dependents. What a layer must
//! never reach, however far away, is listed here, resolved with the features that the layer has when it is built alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Edges that exist for tests only: dependent, dependency.
const FOR_TESTS: [(&str, &str); 1] = [("assay-validator", "assay-circuits")];

/// What must not be among the dependencies of a package that is built alone.
const NEVER: [(&str, &[&str]); 5] = [
    ("assay-verifier", &["tokio", "tonic", "hyper", "rocksdb", "librocksdb-sys", "tract-onnx", "libloading"]),
    ("assay-circuits", &["tokio", "tonic", "prost", "rocksdb", "tract-onnx", "libloading"]),
    ("assay-proto", &["tokio", "tonic", "rocksdb", "ark-ff", "libloading"]),
    ("assay-cuda-kernels", &["tokio", "tonic", "prost", "rocksdb", "ark-ff"]),
    ("assay-prover", &["rocksdb", "librocksdb-sys", "tract-onnx"]),
];

/// The only crate that may contain unsafe code.
const UNSAFE: &str = "assay-cuda-kernels";

/// A crate and those that may depend on it.
type Rules = BTreeMap<String, Vec<String>>;

#[derive(Clone, Debug)]
struct Member {
    name: String,
    manifest: PathBuf,
    /// Dependency, and whether only tests have it.
    dependencies: Vec<(String, bool)>,
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .arg("--locked")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

fn members() -> Vec<Member> {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let member = |package: &Value| Member {
        name: text(&package["name"]),
        manifest: text(&package["manifest_path"]).into(),
        dependencies: list(&package["dependencies"])
            .iter()
            .map(|dependency| (text(&dependency["name"]), dependency["kind"] == "dev"))
            .collect(),
    };
    list(&metadata["packages"]).iter().map(member).collect()
}

fn rules() -> Rules {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
    let table: toml::Table = std::fs::read_to_string(path).expect("deny.toml").parse().expect("TOML");
    let denied = table["bans"]["deny"].as_array().expect("a list");
    let rule = |entry: &toml::Value| {
        let name = entry["crate"].as_str().expect("a name").split(':').next().expect("a name").to_owned();
        let wrappers = entry.get("wrappers")?.as_array().expect("a list");
        Some((name, wrappers.iter().map(|w| w.as_str().expect("a name").to_owned()).collect()))
    };
    denied.iter().filter_map(rule).collect()
}

/// Every edge that the table does not allow.
fn violations(members: &[Member], rules: &Rules) -> Vec<String> {
    let is_member = |name: &str| members.iter().any(|member| member.name == name);
    let mut violations = Vec::new();
    for Member { name: dependent, dependencies, .. } in members {
        for (dependency, only_tests) in dependencies {
            let allowed = match rules.get(dependency) {
                Some(wrappers) => wrappers.contains(dependent),
                None => !is_member(dependency),
            };
            let excused = *only_tests
                && (!is_member(dependency) || FOR_TESTS.contains(&(dependent.as_str(), dependency.as_str())));
            if !allowed && !excused {
                violations.push(format!("{dependent} must not depend on {dependency}"));
            }
        }
    }
    violations
}

/// Names of all packages that a package needs when it is built alone, itself left out.
fn needs(package: &str) -> Vec<String> {
    let tree = cargo(&["tree", "-p", package, "-e", "normal", "--prefix", "none", "--format", "{p}"]);
    let names = tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned);
    let names: Vec<String> = names.filter(|name| name != package).collect();
    assert!(!names.is_empty(), "{package} depends on nothing: the tree was not read");
    names
}

#[test]
fn every_edge_is_in_the_table() {
    assert_eq!(violations(&members(), &rules()), Vec::<String>::new());
}

#[test]
fn an_edge_that_is_not_in_the_table_is_found() {
    let (members, rules) = (members(), rules());
    let forbidden = [
        ("assay-validator", "assay-prover", true),
        ("assay-prover", "assay-validator", false),
        ("assay-verifier", "rocksdb", false),
        ("assay-verifier", "assay-cuda-kernels", false),
        ("assay-proto", "assay-circuits", false),
        ("assay-circuits", "assay-proto", true),
        ("assay-prover", "assay-bench", false),
        ("assay-bench", "assay", true),
    ];
    for (dependent, dependency, only_tests) in forbidden {
        let mut members = members.clone();
        let member = members.iter_mut().find(|member| member.name == dependent).expect("a member");
        member.dependencies.push((dependency.into(), only_tests));
        let expected = format!("{dependent} must not depend on {dependency}");
        assert_eq!(violations(&members, &rules), [expected]);
    }
}

#[test]
fn every_name_in_the_table_exists() {
    let members = members();
    for (name, wrappers) in rules() {
        let known = |name: &str| members.iter().any(|member| member.name == name);
        assert!(!name.starts_with("assay") || known(&name), "{name} is no member");
        for wrapper in wrappers {
            assert!(known(&wrapper), "{wrapper}, which may depend on {name}, is no member");
        }
    }
}

#[test]
fn no_layer_reaches_what_it_must_never_know() {
    for (package, never) in NEVER {
        let needs = needs(package);
        for name in never {
            assert!(!needs.iter().any(|needed| needed == name), "{package} reaches {name}");
        }
    }
    // The same look at a layer that does reach them finds them.
    let validator = needs("assay-validator");
    assert!(["tokio", "tonic", "rocksdb"].iter().all(|name| validator.iter().any(|needed| needed == name)));
}

#[test]
fn every_member_has_the_lints_of_the_workspace() {
    for Member { name, manifest, .. } in members() {
        let manifest: toml::Table =
            std::fs::read_to_string(&manifest).expect("a manifest").parse().expect("TOML");
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        assert_eq!(inherits.and_then(toml::Value::as_bool), Some(true), "{name}");
    }
}

#[test]
fn unsafe_code_is_expected_in_one_crate_only() {
    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    // The lint denies unsafe code; only an attribute that names it lets some through. Written in two parts, so that
    // this file does not name it.
    let excuse = ["(unsafe", "_code"].concat();
    let mut exceptions = 0;
    for Member { name, manifest, .. } in members() {
        let folder = manifest.parent().expect("a folder");
        let mut found = Vec::new();
        ["src", "tests", "benches", "examples"]
            .iter()
            .for_each(|part| sources(&folder.join(part), &mut found));
        for path in found {
            let text = std::fs::read_to_string(&path).expect("a source").replace("forbid(unsafe_code", "");
            let excused = text.contains(&excuse);
            assert!(!excused || name == UNSAFE, "{} excuses unsafe code", path.display());
            exceptions += usize::from(excused);
        }
    }
    assert!(exceptions > 0, "the look at the sources found nothing");
}
