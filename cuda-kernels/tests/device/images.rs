//! Machine code beside the program: used where it is of this program's kernels and for this device, passed over elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use assay_cuda_kernels::Gpu;
use assay_cuda_kernels::work::Work;

use crate::device;

/// A folder that looks like a release's; the driver takes PTX where machine code is expected.
struct Release(PathBuf);

impl Release {
    fn new(name: &str, (major, minor): (i32, i32)) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("ptx");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let of = folder.join(format!("sm_{major}{minor}"));
        fs::create_dir_all(&of).expect("a folder");
        fs::copy(root.join("SOURCES"), folder.join("SOURCES")).expect("a file");
        for name in ["infer", "ntt", "msm", "gemm", "ceiling"] {
            fs::copy(root.join(name).with_extension("ptx"), of.join(name).with_extension("cubin"))
                .expect("a file");
        }
        Self(folder)
    }

    /// What a device's kernels are loaded from, once they compute right.
    fn code(&self) -> String {
        let gpu = Gpu::open_with(0, None, Some(&self.0)).expect("a device");
        let work = Work { seed: 3, side: 16, rounds: 2 };
        assert_eq!(gpu.work(&work).expect("work"), work.reference());
        gpu.code().to_owned()
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

#[test]
fn machine_code_is_used_where_it_is_of_these_kernels_and_for_this_device() {
    let Some(gpu) = device() else { return };
    let (major, minor) = gpu.capability();
    let of = format!("sm_{major}{minor}");
    assert_eq!(Release::new("same", (major, minor)).code(), of);
    // An earlier device of the same kind will do; a later one, or another kind, will not.
    if minor > 0 {
        assert_eq!(Release::new("earlier", (major, 0)).code(), format!("sm_{major}0"));
    }
    assert_eq!(Release::new("later", (major, minor + 1)).code(), "PTX");
    assert_eq!(Release::new("kind", (major + 1, 0)).code(), "PTX");
}

#[test]
fn machine_code_of_other_kernels_or_none_at_all_is_passed_over() {
    let Some(gpu) = device() else { return };
    let (major, minor) = gpu.capability();
    let of = format!("sm_{major}{minor}");
    let other = Release::new("other", (major, minor));
    let mut sources = fs::read(other.0.join("SOURCES")).expect("a file");
    sources[0] ^= 1;
    fs::write(other.0.join("SOURCES"), sources).expect("written");
    assert_eq!(other.code(), "PTX");

    let missing = Release::new("missing", (major, minor));
    fs::remove_file(missing.0.join(&of).join("msm.cubin")).expect("removed");
    assert_eq!(missing.code(), "PTX");

    let damaged = Release::new("damaged", (major, minor));
    fs::write(damaged.0.join(&of).join("msm.cubin"), "no machine code").expect("written");
    assert_eq!(damaged.code(), "PTX");

    let long = Release::new("long", (major, minor));
    let file = fs::File::options().write(true).open(long.0.join(&of).join("msm.cubin")).expect("a file");
    file.set_len((16 << 20) + 1).expect("set");
    assert_eq!(long.code(), "PTX");
}
