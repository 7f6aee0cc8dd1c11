//! `assay validator init`: the home of a validator of a new chain, or of one whose genesis is there already.

use std::io::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use assay_proto::genesis::{DeviceClass, Genesis, GenesisAccount, GenesisValidator, Parameters};
use assay_proto::{Canonical, ChainId, PublicKey, SecretKey, limits};

use super::Home;
use crate::{Answer, key, output};

/// The settings that a new home gets: the defaults, documented.
pub const CONFIG: &str = include_str!("config.toml");

/// Arguments of `assay validator init`.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("chain").required(true).args(["chain_id", "genesis"]))]
pub struct Arguments {
    /// Folder to make the home in; must hold none yet
    home: PathBuf,
    /// Name of a new chain: 1 to 64 of a-z, 0-9 and -. On a chain named test-* keys from a fixed seed may be registered
    #[arg(long)]
    chain_id: Option<ChainId>,
    /// Genesis of a chain that this validator is one of
    #[arg(long, value_name = "FILE", requires = "key")]
    genesis: Option<PathBuf>,
    /// Secret key of the validator [default: a new one]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Voting power of this validator on a new chain
    #[arg(long, default_value_t = 1)]
    power: u64,
    /// Another validator of a new chain; may be repeated
    #[arg(long = "validator", value_name = "PUBKEY=POWER", value_parser = account)]
    validators: Vec<(PublicKey, u64)>,
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
    /// Another number of the rules of a new chain, by its name; may be repeated. The names and their units are in
    /// verifier/README.md
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = number)]
    numbers: Vec<(String, u64)>,
    /// A class of devices of a new chain: its number, multiply-adds a second that a device of it does at least, and its
    /// collateral in parts per million of the parameter; may be repeated
    #[arg(long = "class", value_name = "ID=RATE,PPM", value_parser = class)]
    classes: Vec<DeviceClass>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<Answer> {
    let home = Home(arguments.home.clone());
    // Before a key is made, so that a mistake leaves nothing behind.
    let given = arguments.key.as_deref().map(key::load).transpose()?;
    let genesis = match &arguments.genesis {
        Some(path) => {
            let bytes = output::read(path, limits::GENESIS_BYTES)?;
            Some(Genesis::decode(&bytes).with_context(|| path.display().to_string())?)
        }
        None => None,
    };
    let accounts = sorted(&arguments.accounts)?;
    sorted(&arguments.validators)?;
    home.claim()?;
    let secret = match &given {
        Some(secret) => secret.clone(),
        None => SecretKey::generate()?,
    };
    let genesis = match genesis {
        Some(genesis) => genesis,
        None => new_chain(arguments, accounts, secret.public_key())?,
    };
    let own = secret.public_key();
    ensure!(
        assay_validator::may_validate(&genesis, &own),
        "the genesis does not name {own} as a validator, and stake makes nobody one"
    );
    home.make(&secret, &genesis, CONFIG)?;
    if given.is_none() {
        // A key that was made here has signed nothing. What another has signed is found out at its start.
        assay_validator::begin_signing(&home.path().join("data"), &genesis.chain_id, &own)?;
    }

    let (chain, hash, public_key) = (&genesis.chain_id, genesis.hash().to_string(), own.to_string());
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

fn new_chain(arguments: &Arguments, accounts: Vec<(PublicKey, u64)>, own: PublicKey) -> Result<Genesis> {
    let mut parameters = Parameters {
        tempo: arguments.tempo,
        emission: arguments.emission,
        halving_epochs: arguments.halving_epochs,
        reputation_rate_ppm: arguments.reputation_rate_ppm,
        latency_target_us: arguments.latency_target_us,
        ..Parameters::default()
    };
    for (name, value) in &arguments.numbers {
        parameters.set(name, *value)?;
    }
    parameters.check()?;
    let chain_id = arguments.chain_id.clone().context("a new chain needs a name")?;
    let validators = [arguments.validators.as_slice(), &[(own, arguments.power)]].concat();
    let mut classes = arguments.classes.clone();
    classes.sort_by_key(|class| class.id);
    genesis(chain_id, sorted(&validators)?, accounts, parameters, classes)
}

/// A genesis of now. Keys ascend.
pub fn genesis(
    chain_id: ChainId,
    validators: Vec<(PublicKey, u64)>,
    accounts: Vec<(PublicKey, u64)>,
    parameters: Parameters,
    classes: Vec<DeviceClass>,
) -> Result<Genesis> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let validator = |(public_key, power)| GenesisValidator { public_key, power };
    let account = |(public_key, balance)| GenesisAccount { public_key, balance };
    let genesis = Genesis {
        chain_id,
        time_ms: u64::try_from(now.as_millis()).context("the clock is far in the future")?,
        validators: validators.into_iter().map(validator).collect(),
        accounts: accounts.into_iter().map(account).collect(),
        parameters,
        classes,
    };
    genesis.check()?;
    Ok(genesis)
}

impl Home {
    /// Makes the folder; none of the files may be there.
    pub fn claim(&self) -> Result<()> {
        std::fs::create_dir_all(self.path()).with_context(|| self.path().display().to_string())?;
        for path in [self.key(), self.config(), self.genesis()] {
            ensure!(!path.exists(), "{}: exists already; a validator's home is made once", path.display());
        }
        Ok(())
    }

    /// Writes the files.
    pub fn make(&self, secret: &SecretKey, genesis: &Genesis, config: &str) -> Result<()> {
        key::write(&self.key(), secret)?;
        output::write(&self.config(), |file| Ok(file.write_all(config.as_bytes())?))?;
        output::write(&self.genesis(), |file| Ok(file.write_all(&genesis.encode())?))
    }
}

/// Entries in the order of a genesis.
pub fn sorted(given: &[(PublicKey, u64)]) -> Result<Vec<(PublicKey, u64)>> {
    let mut entries = given.to_vec();
    entries.sort_by_key(|(key, _)| *key);
    for pair in entries.windows(2) {
        if let [(a, _), (b, _)] = pair
            && a == b
        {
            bail!("{a} is given twice");
        }
    }
    Ok(entries)
}

fn account(text: &str) -> Result<(PublicKey, u64), String> {
    let (key, balance) = text.split_once('=').ok_or("expected PUBKEY=NUMBER")?;
    let key: PublicKey = key.parse().map_err(|error: assay_proto::ProtoError| error.to_string())?;
    let balance = balance.parse().map_err(|_| format!("{balance:?} is no number"))?;
    Ok((key, balance))
}

fn class(text: &str) -> Result<DeviceClass, String> {
    let parsed = || {
        let (id, numbers) = text.split_once('=')?;
        let (rate, ppm) = numbers.split_once(',')?;
        let (id, rate, collateral_ppm) = (id.parse().ok()?, rate.parse().ok()?, ppm.parse().ok()?);
        Some(DeviceClass { id, rate, collateral_ppm })
    };
    parsed().ok_or_else(|| "expected ID=RATE,PPM".to_owned())
}

fn number(text: &str) -> Result<(String, u64), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=NUMBER")?;
    let value = value.parse().map_err(|_| format!("{value:?} is no number"))?;
    Ok((name.to_owned(), value))
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
        assert!(sorted(&twice).unwrap_err().to_string().contains("twice"));
        assert!(sorted(&twice[..2]).unwrap().is_sorted_by_key(|(key, _)| *key));
    }

    #[test]
    fn classes_are_read_as_number_rate_and_collateral() {
        let expected = DeviceClass { id: 3, rate: 5_000, collateral_ppm: 1_500_000 };
        assert_eq!(class("3=5000,1500000"), Ok(expected));
        for bad in ["", "3", "3=5000", "3=5000,", "3=5000,-1", "x=1,1"] {
            assert!(class(bad).is_err(), "{bad}");
        }
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
