//! `assay tx`: transactions of one's own account.

use std::path::PathBuf;

use anyhow::{Context, Result};
use assay_proto::operating::SetOperatingKey;
use assay_proto::subnet::{Number, RegisterSubnet, VoteParameter, WeighSubnets};
use assay_proto::transaction::{Body, Burn, Lock, Purpose, Transaction, Transfer};
use assay_proto::{Canonical, ModelId, ProofSystem, PublicKey, SubnetId, wire};

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
    /// Name the key that signs one's work as a miner or a validator from the block after the next on, in place of the one
    /// before. Only it moves from there: base units, stake and collateral stay with --key
    SetOperatingKey {
        /// What `assay key consent` printed
        consent: Consent,
    },
    /// Register a subnet, at the chain's subnet_price
    RegisterSubnet {
        /// Name for people
        task: String,
        /// A model that it accepts; may be repeated [default: any]
        #[arg(long = "model", value_name = "MODEL_ID")]
        models: Vec<ModelId>,
        /// What its models are proven by: groth16 or halo2 [default: either]
        #[arg(long)]
        proof_system: Option<ProofSystem>,
        /// Answers are right or wrong, and validators have labels to tell
        #[arg(long)]
        labelled: bool,
        /// A number of the rules that differs from the chain's; may be repeated. The names are in verifier/README.md
        #[arg(long = "set", value_name = "NAME=VALUE", value_parser = number)]
        numbers: Vec<Number>,
    },
    /// Say, as a validator, how subnets are to share the emission; nothing: all for the root
    WeighSubnets {
        /// Subnet and its weight, 1 to 65535
        #[arg(value_name = "SUBNET=WEIGHT", value_parser = weight)]
        weights: Vec<(SubnetId, u16)>,
    },
    /// Vote, as a validator, for another value of a number of the rules, in place of an earlier vote
    Vote {
        /// Name and value; the names are in verifier/README.md
        #[arg(value_name = "NAME=VALUE", value_parser = number)]
        number: Number,
    },
}

/// The signed consent of an operating key, in hexadecimal.
#[derive(Clone, Debug)]
struct Consent(SetOperatingKey);

impl std::str::FromStr for Consent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = hex::decode(text).map_err(|_| "no hexadecimal digits")?;
        SetOperatingKey::decode(&bytes).map(Self).map_err(|error| error.to_string())
    }
}

fn number(text: &str) -> Result<Number, String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let value = value.parse().map_err(|_| format!("{value:?} is no number"))?;
    Number::try_from(wire::Number { name: name.to_owned(), value }).map_err(|error| error.to_string())
}

fn weight(text: &str) -> Result<(SubnetId, u16), String> {
    let (subnet, weight) = text.split_once('=').ok_or("expected SUBNET=WEIGHT")?;
    let subnet = subnet.parse().map_err(|_| format!("{subnet:?} is no number"))?;
    let weight = weight.parse().map_err(|_| format!("{weight:?} is no weight"))?;
    Ok((SubnetId(subnet), weight))
}

impl Action {
    fn body(&self) -> Body {
        let lock = |purpose, amount| Lock { purpose, amount };
        match *self {
            Self::RegisterSubnet { ref task, ref models, proof_system, labelled, ref numbers } => {
                let (mut models, mut numbers) = (models.clone(), numbers.clone());
                models.sort_unstable();
                numbers.sort_unstable();
                let task = task.clone();
                Body::RegisterSubnet(RegisterSubnet { task, models, proof_system, labelled, numbers })
            }
            Self::WeighSubnets { ref weights } => {
                let mut weights = weights.clone();
                weights.sort_unstable();
                Body::WeighSubnets(WeighSubnets { weights })
            }
            Self::SetOperatingKey { consent: Consent(ref body) } => Body::SetOperatingKey(body.clone()),
            Self::Vote { ref number } => Body::VoteParameter(VoteParameter { number: number.clone() }),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_weights_are_read_as_name_and_value() {
        assert_eq!(number("fee=7"), Ok(Number { name: "fee".into(), value: 7 }));
        assert_eq!(weight("3=65535"), Ok((SubnetId(3), u16::MAX)));
        for bad in ["fee", "fee=", "fee=-1", "fees=1", "=1"] {
            assert!(number(bad).is_err(), "{bad}");
        }
        for bad in ["1", "1=", "1=65536", "a=1", "-1=1"] {
            assert!(weight(bad).is_err(), "{bad}");
        }
    }
}
