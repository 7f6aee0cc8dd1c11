//! What a device is given to run: machine code, where a release has it beside the program, or PTX, which the driver compiles
//! when the device is opened and keeps in a cache of its own.
//!
//! ```text
//! cubins/SOURCES             what they were made of: `ptx/SOURCES` of this program, or none of them is used
//! cubins/sm_90/infer.cubin   for compute capability 9.0 and what follows within 9
//! ```
//!
//! `scripts/cubins` makes the folder. Machine code that the driver does not take is passed over as well.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Name and PTX of each source, compute capability 8.0.
pub const IMAGES: [(&str, &str); 5] = [
    ("infer", include_str!("../ptx/infer.ptx")),
    ("ntt", include_str!("../ptx/ntt.ptx")),
    ("msm", include_str!("../ptx/msm.ptx")),
    ("gemm", include_str!("../ptx/gemm.ptx")),
    ("ceiling", include_str!("../ptx/ceiling.ptx")),
];
/// Digests of kernels and PTX.
const SOURCES: &str = include_str!("../ptx/SOURCES");
/// Bytes of a file of the folder, at most.
const MOST: u64 = 16 << 20;

/// Machine code of every image.
pub struct Cubins {
    /// What it is for, such as `sm_90`.
    pub architecture: String,
    /// In the order of [`IMAGES`].
    pub images: Vec<Vec<u8>>,
}

/// Machine code for a compute capability, if the folder has it and it is of this program's PTX.
pub fn cubins(folder: &Path, (major, minor): (i32, i32)) -> Option<Cubins> {
    if read(&folder.join("SOURCES"))? != SOURCES.as_bytes() {
        return None;
    }
    (0..=minor).rev().find_map(|minor| {
        let architecture = format!("sm_{major}{minor}");
        let of = folder.join(&architecture);
        let images = IMAGES.iter().map(|(name, _)| read(&of.join(name).with_extension("cubin")));
        Some(Cubins { images: images.collect::<Option<_>>()?, architecture })
    })
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = File::open(path).ok()?.take(MOST + 1).read_to_end(&mut bytes).ok()?;
    (length as u64 <= MOST).then_some(bytes)
}
