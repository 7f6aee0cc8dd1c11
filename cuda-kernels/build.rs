//! Where the feature `cuda` is wanted and the machine can have a driver, says so to the crate (`cfg(devices)`) and builds the static
//! `libcuda.a` that `-lcuda` of cust finds: entry points that look the machine's driver up at their first call. Nothing of CUDA is
//! needed, and no program depends on `libcuda.so.1`.

fn main() {
    println!("cargo:rerun-if-changed=shim");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(devices)");
    #[cfg(feature = "cuda")]
    shim();
}

#[cfg(feature = "cuda")]
fn shim() {
    let variable = |name| std::env::var(name).expect("cargo sets it");
    // The target of the dependency on cust in Cargo.toml.
    if (variable("CARGO_CFG_TARGET_ARCH"), variable("CARGO_CFG_TARGET_OS"))
        != ("x86_64".into(), "linux".into())
    {
        return;
    }
    println!("cargo:rustc-cfg=devices");
    // `cargo_metadata(false)`: cust_raw asks for `-lcuda` already, once is enough.
    cc::Build::new().cargo_metadata(false).file("shim/entries.S").file("shim/resolve.c").compile("cuda");
    println!("cargo:rustc-link-search=native={}", variable("OUT_DIR"));
}
