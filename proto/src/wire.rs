//! Messages and, under feature `grpc`, services of package `assay.v1`, generated from `proto/assay/v1`.
//!
//! A wire type says nothing about validity; it becomes a domain type by `TryFrom` once, at the edge.

#![expect(missing_docs, reason = "the .proto files are the documentation")]
#![cfg_attr(
    feature = "grpc",
    expect(
        unused_qualifications,
        clippy::allow_attributes,
        reason = "generated services are written this way"
    )
)]

include!(concat!(env!("OUT_DIR"), "/assay.v1.rs"));

/// Encoded descriptors of every file, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
