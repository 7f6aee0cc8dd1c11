//! Compiles the call of sppark's template with the CUDA compiler that is on the path.

fn main() {
    println!("cargo:rerun-if-changed=src/msm.cu");
    let sppark = std::env::var_os("DEP_SPPARK_ROOT").expect("sppark says where its headers are");
    // Fields on the processor are blst's.
    let blst = std::env::var_os("DEP_BLST_C_SRC").expect("blst says where its sources are");
    cc::Build::new()
        .cuda(true)
        .cudart("static")
        .flag("-arch=sm_80")
        .flag("-gencode=arch=compute_90,code=sm_90")
        .define("FEATURE_BN254", None)
        .include(sppark)
        .include(blst)
        .file("src/msm.cu")
        .compile("assay_sppark_msm");
}
