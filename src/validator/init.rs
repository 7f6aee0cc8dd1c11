//! `assay validator init`: a new chain with one validator.

use std::io::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use assay_proto::genesis::{Genesis, GenesisAccount, GenesisValidator, Parameters};
use assay_proto::{Canonical, ChainId, PublicKey};

use super::Home;
use crate::{Answer, key, output};

/// The settings that a new home gets: the defaults, documented.
pub const CONFIG: &str = include_str!("config.toml");

/// Arguments of `assay validator init`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Folder to make the home in; must hold none yet
    home: PathBuf,
    /// Name of the chain: 1 to 64 of a-z, 0-9 and -. On a chain named test-* keys from a fixed seed may be registered
    #[arg(long)]
    chain_id: ChainId,
    /// A balance that exists from the start; may be repeated
    #[arg(long = "account", value_name = "PUBKEY=BALANCE", value_parser = account)]
    accounts: Vec<(PublicKey, u64)>,
    /// Blocks an epoch
    #[arg(long, default_value_t = Parameters::default().tempo)]
    tempo: u64,
    /// Base units minted an epoch, before halvings
    #[arg(long, default_value_t = Parameters::default().emission)]
    emission: u64,
    /// Epochs until the emission halves
    #[arg(long, default_value_t = Parameters::default().halving_epochs)]
    halving_epochs: u64,
    /// Weight of the newest epoch in a miner's reputation, parts per million
    #[arg(long, default_value_t = Parameters::default().reputation_rate_ppm)]
    reputation_rate_ppm: u64,
    /// Microseconds from assignment to proof at or below which an answer has full quality
    #[arg(long, default_value_t = Parameters::default().latency_target_us)]
    latency_target_us: u64,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<Answer> {
    let home = Home(arguments.home.clone());
    let accounts = accounts(&arguments.accounts)?;
    std::fs::create_dir_all(home.path()).with_context(|| home.path().display().to_string())?;
    for path in [home.key(), home.config(), home.genesis()] {
        ensure!(!path.exists(), "{}: exists already; a validator's home is made once", path.display());
    }
    let parameters = Parameters {
        tempo: arguments.tempo,
        emission: arguments.emission,
        halving_epochs: arguments.halving_epochs,
        reputation_rate_ppm: arguments.reputation_rate_ppm,
        latency_target_us: arguments.latency_target_us,
    };
    parameters.check()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let key = key::create(&home.key())?;
    let genesis = Genesis {
        chain_id: arguments.chain_id.clone(),
        time_ms: u64::try_from(now.as_millis()).context("the clock is far in the future")?,
        validators: vec![GenesisValidator { public_key: key.public_key(), power: 1 }],
        accounts,
        parameters,
    };
    genesis.check()?;
    output::write(&home.config(), |file| Ok(file.write_all(CONFIG.as_bytes())?))?;
    output::write(&home.genesis(), |file| Ok(file.write_all(&genesis.encode())?))?;

    let (chain, hash, public_key) =
        (&genesis.chain_id, genesis.hash().to_string(), key.public_key().to_string());
    if arguments.json {
        let report =
            serde_json::json!({ "chain_id": chain.as_str(), "genesis": hash, "validator": public_key });
        output::json(&report)?;
    } else {
        println!("chain      {chain}");
        println!("genesis    {hash}");
        println!("validator  {public_key}");
        println!("next       assay validator start --home {}", home.path().display());
    }
    Ok(Answer::Yes)
}

/// Accounts in the order of a genesis.
fn accounts(given: &[(PublicKey, u64)]) -> Result<Vec<GenesisAccount>> {
    let account = |&(public_key, balance): &(PublicKey, u64)| GenesisAccount { public_key, balance };
    let mut accounts: Vec<GenesisAccount> = given.iter().map(account).collect();
    accounts.sort_by_key(|account| account.public_key);
    for pair in accounts.windows(2) {
        if let [a, b] = pair
            && a.public_key == b.public_key
        {
            bail!("account {} is given twice", a.public_key);
        }
    }
    Ok(accounts)
}

fn account(text: &str) -> Result<(PublicKey, u64), String> {
    let (key, balance) = text.split_once('=').ok_or("expected PUBKEY=BALANCE")?;
    let key: PublicKey = key.parse().map_err(|error: assay_proto::ProtoError| error.to_string())?;
    let balance = balance.parse().map_err(|_| format!("balance {balance:?} is no number of base units"))?;
    Ok((key, balance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_validator::Config;

    #[test]
    fn the_documented_settings_are_the_defaults() {
        let documented: Config = toml::from_str(CONFIG).unwrap();
        assert_eq!(documented, Config { data_dir: "data".into(), ..Config::default() });
    }

    #[test]
    fn every_setting_is_documented() {
        let documented: toml::Table = toml::from_str(CONFIG).unwrap();
        assert_eq!(toml::Table::try_from(Config::default()).unwrap().len(), documented.len());
        for (name, value) in toml::Table::try_from(Config::default()).unwrap() {
            let (Some(expected), Some(found)) = (value.as_table(), documented[&name].as_table()) else {
                continue;
            };
            assert!(expected.keys().eq(found.keys()), "{name}");
        }
    }

    #[test]
    fn an_account_given_twice_is_refused() {
        let twice = [(PublicKey([1; 32]), 5), (PublicKey([0; 32]), 1), (PublicKey([1; 32]), 6)];
        assert!(accounts(&twice).unwrap_err().to_string().contains("twice"));
        let sorted = accounts(&twice[..2]).unwrap();
        assert!(sorted.is_sorted_by_key(|account| account.public_key));
    }

    #[test]
    fn accounts_are_read_as_key_and_balance() {
        let key = "ab".repeat(32);
        assert_eq!(account(&format!("{key}=7")), Ok((PublicKey([0xab; 32]), 7)));
        for bad in [key.clone(), format!("{key}="), format!("{key}=-1"), "ab=1".to_owned()] {
            assert!(account(&bad).is_err(), "{bad}");
        }
    }
}
