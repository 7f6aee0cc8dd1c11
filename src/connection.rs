//! How the commands reach a validator.

use std::path::{Path, PathBuf};

use anyhow::Result;
use assay_proto::client::{Client, ClientOptions, ClientTls};

use crate::output;

/// Bytes of a PEM file.
const PEM_BYTES: usize = 1 << 20;

/// How an encrypted validator is recognised: for endpoints that begin with https://.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Tls {
    /// PEM file of the authorities that may vouch for the validator
    #[arg(long, value_name = "FILE", env = "ASSAY_TLS_CA")]
    tls_ca: Option<PathBuf>,
    /// PEM file of the certificate that the validator asks for
    #[arg(long, value_name = "FILE", env = "ASSAY_TLS_CERT", requires_all = ["tls_key", "tls_ca"])]
    tls_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, value_name = "FILE", env = "ASSAY_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// A PEM file.
pub fn read_pem(path: &Path) -> Result<Vec<u8>> {
    output::read(path, PEM_BYTES)
}

impl Tls {
    /// What the options say; none without an authority.
    pub fn read(&self) -> Result<Option<ClientTls>> {
        let Some(ca) = &self.tls_ca else { return Ok(None) };
        let ca = read_pem(ca)?;
        let identity = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Some((read_pem(certificate)?, read_pem(key)?)),
            _ => None,
        };
        Ok(Some(ClientTls { ca, identity }))
    }

    /// Connects to a validator.
    pub async fn connect(&self, endpoint: &str) -> Result<Client> {
        let options = ClientOptions { tls: self.read()?, ..ClientOptions::default() };
        Ok(Client::connect(endpoint, options).await?)
    }
}
