//! Compiles `proto/` with a protobuf compiler written in Rust, so that no `protoc` is needed. The services
//! are generated under feature `grpc` only; the messages always.

use std::path::PathBuf;
use std::{env, error::Error, fs};

use prost::Message;

const FILES: [&str; 5] = [
    "assay/v1/types.proto",
    "assay/v1/inference.proto",
    "assay/v1/ledger.proto",
    "assay/v1/miner.proto",
    "assay/v1/operator.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let services = env::var_os("CARGO_FEATURE_GRPC").is_some();
    let descriptors = protox::compile(FILES, ["proto"])?;
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_client(services)
        .build_server(services)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
