//! Compiles the call of sppark's template with the CUDA compiler that is on the path.

fn main() {
    println!("cargo:rerun-if-changed=src/msm.cu");
    let sppark = std::env::var_os("DEP_SPPARK_ROOT").expect("sppark says where its headers are");
    cc::Build::new()
        .cuda(true)
        .cudart("static")
        .flag("-arch=sm_80")
        .flag("-gencode=arch=compute_90,code=sm_90")
        .define("FEATURE_BN254", None)
        .include(sppark)
        .file("src/msm.cu")
        .compile("assay_sppark_msm");
}
