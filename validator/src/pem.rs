//! Certificates and keys from files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::Error;

/// Bytes of a PEM file.
const PEM_BYTES: u64 = 1 << 20;

/// A PEM file; none if the path is empty.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let failed = |source| Error::File { path: path.to_owned(), source };
    let mut text = Vec::new();
    File::open(path).map_err(failed)?.take(PEM_BYTES).read_to_end(&mut text).map_err(failed)?;
    Ok(Some(text))
}
