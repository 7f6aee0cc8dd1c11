//! Files of halo2 parameters, `halo2-K.params`, one for each size of circuit. They follow from nothing but their size; a
//! file saves the seconds that making them takes.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use assay_verifier::proof::halo2::Parameters;
use assay_verifier::proof::{VerifyingKey, limits};

use crate::output;

fn file(folder: &Path, k: u32) -> PathBuf {
    folder.join(format!("halo2-{k}.params"))
}

/// Reads the parameters that a key needs, if the folder has them.
pub fn restore(folder: &Path, key: &VerifyingKey) -> Result<()> {
    match key {
        VerifyingKey::Groth16(_) => Ok(()),
        VerifyingKey::Halo2(key) => restore_size(folder, key.layout().k),
    }
}

/// Reads all parameters that a folder has.
pub fn restore_all(folder: &Path) -> Result<()> {
    (0..=limits::HALO2_K).try_for_each(|k| restore_size(folder, k))
}

fn restore_size(folder: &Path, k: u32) -> Result<()> {
    let path = file(folder, k);
    if Parameters::known(k).is_some() || !path.exists() {
        return Ok(());
    }
    let name = || path.display().to_string();
    let parameters =
        Parameters::from_bytes(&output::read(&path, Parameters::file_bytes(k))?).with_context(name)?;
    anyhow::ensure!(parameters.k() == k, "{}: parameters of k = {}", path.display(), parameters.k());
    parameters.keep();
    Ok(())
}

/// Writes the parameters that this process has and the folder does not; their files.
pub fn save(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for parameters in Parameters::all() {
        let path = file(folder, parameters.k());
        if !path.exists() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            output::write(&path, |file| Ok(file.write_all(&parameters.to_bytes())?))?;
            written.push(path);
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_written_once_and_a_damaged_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Parameters::get(4);
        let written = save(folder.path()).unwrap();
        let path = file(folder.path(), 4);
        assert!(written.contains(&path) && save(folder.path()).unwrap().is_empty());
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(Parameters::from_bytes(&whole).unwrap().k(), 4);
        // k = 5 is in no other test of this program.
        std::fs::write(file(folder.path(), 5), &whole).unwrap();
        let error = restore_all(folder.path()).unwrap_err();
        assert!(error.to_string().contains("parameters of k = 4"), "{error}");
        std::fs::write(file(folder.path(), 5), &whole[1..]).unwrap();
        assert!(restore_all(folder.path()).unwrap_err().to_string().contains("halo2-5.params"));
    }
}
