//! `assay tx`: transactions of one's own account.

use std::path::PathBuf;

use anyhow::{Context, Result};
use assay_proto::PublicKey;
use assay_proto::transaction::{Body, Burn, Lock, Purpose, Transaction, Transfer};

use crate::connection::Tls;
use crate::{Answer, key, output};

/// Arguments of `assay tx`.
#[derive(clap::Args)]
#[command(
    after_help = "Amounts are base units. What is unlocked comes back after the chain's unbonding_blocks; `assay \
                  validator status --account` shows when."
)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// A validator's services, http://HOST:PORT
    #[arg(long, value_name = "URL")]
    endpoint: String,
    #[command(flatten)]
    tls: Tls,
    /// Secret key of the account
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Pay somebody
    Transfer {
        /// Public key of the receiver
        to: PublicKey,
        /// Base units
        amount: u64,
    },
    /// Take base units out of circulation, for ever
    Burn {
        /// Base units
        amount: u64,
    },
    /// Lock base units behind a validator: they are slashed if it equivocates
    Stake {
        /// Public key of the validator
        validator: PublicKey,
        /// Base units
        amount: u64,
    },
    /// Take stake back
    Unstake {
        /// Public key of the validator
        validator: PublicKey,
        /// Base units
        amount: u64,
    },
    /// Lock collateral behind one's answers as a miner
    Bond {
        /// Base units
        amount: u64,
    },
    /// Take collateral back
    Unbond {
        /// Base units
        amount: u64,
    },
    /// Put base units into the escrow that pays for one's jobs
    Deposit {
        /// Base units
        amount: u64,
    },
    /// Take them back
    Withdraw {
        /// Base units
        amount: u64,
    },
}

impl Action {
    fn body(&self) -> Body {
        let lock = |purpose, amount| Lock { purpose, amount };
        match *self {
            Self::Transfer { to, amount } => Body::Transfer(Transfer { to, amount }),
            Self::Burn { amount } => Body::Burn(Burn { amount }),
            Self::Stake { validator, amount } => Body::Lock(lock(Purpose::Stake(validator), amount)),
            Self::Unstake { validator, amount } => Body::Unlock(lock(Purpose::Stake(validator), amount)),
            Self::Bond { amount } => Body::Lock(lock(Purpose::Collateral, amount)),
            Self::Unbond { amount } => Body::Unlock(lock(Purpose::Collateral, amount)),
            Self::Deposit { amount } => Body::Lock(lock(Purpose::Escrow, amount)),
            Self::Withdraw { amount } => Body::Unlock(lock(Purpose::Escrow, amount)),
        }
    }
}

#[derive(serde::Serialize)]
struct Report {
    height: u64,
    index: u32,
    balance: u64,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<Answer> {
    let secret = key::load(&arguments.key)?;
    let runtime = tokio::runtime::Runtime::new().context("the runtime")?;
    let report = runtime.block_on(async {
        let client = arguments.tls.connect(&arguments.endpoint).await?;
        let account = client.account(&secret.public_key()).await?;
        let nonce = account.nonce.checked_add(1).context("the account has no nonce left")?;
        let transaction = Transaction { nonce, body: arguments.action.body() };
        let position = client.submit(&secret.sign(&account.chain_id, transaction)).await?;
        let balance = client.account(&secret.public_key()).await?.balance;
        anyhow::Ok(Report { height: position.height.0, index: position.index, balance })
    })?;
    if arguments.json {
        output::json(&report)?;
    } else {
        println!("in block {}, balance {}", report.height, report.balance);
    }
    Ok(Answer::Yes)
}
