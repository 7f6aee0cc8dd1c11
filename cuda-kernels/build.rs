//! With the feature `cuda`, builds the static `libcuda.a` that `-lcuda` of cust finds: entry points that look the
//! machine's driver up at their first call. Nothing of CUDA is needed, and no program depends on `libcuda.so.1`.

fn main() {
    println!("cargo:rerun-if-changed=shim");
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    shim();
}

#[cfg(feature = "cuda")]
fn shim() {
    let variable = |name| std::env::var(name).expect("cargo sets it");
    let target = (variable("CARGO_CFG_TARGET_ARCH"), variable("CARGO_CFG_TARGET_OS"));
    assert!(
        (target.0.as_str(), target.1.as_str()) == ("x86_64", "linux"),
        "the feature `cuda` is for x86-64 Linux, got {target:?}; build with --no-default-features there"
    );
    // `cargo_metadata(false)`: cust_raw asks for `-lcuda` already, once is enough.
    cc::Build::new().cargo_metadata(false).file("shim/entries.S").file("shim/resolve.c").compile("cuda");
    println!("cargo:rustc-link-search=native={}", variable("OUT_DIR"));
}
