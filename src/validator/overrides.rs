//! Settings from the command line and the environment, over those of the file.
//!
//! `--set engine.gather_ms=5` and `ASSAY_VALIDATOR_ENGINE_GATHER_MS=5` name the same setting; the command line wins. A
//! value is TOML, or else text. Only settings that exist can be named.

use std::collections::BTreeMap;
use std::ffi::OsString;

use anyhow::{Context, Result, bail};
use assay_validator::Config;
use toml::{Table, Value};

/// Beginning of every variable.
const PREFIX: &str = "ASSAY_VALIDATOR_";

/// The settings with everything replaced that is named elsewhere.
pub fn apply(config: Config, set: &[String], environment: &BTreeMap<OsString, OsString>) -> Result<Config> {
    let mut table = Table::try_from(&config).context("the settings")?;
    let names = names(&table);
    for (variable, value) in environment {
        let Some(variable) = variable.to_str().filter(|variable| variable.starts_with(PREFIX)) else {
            continue;
        };
        let Some(name) = names.iter().find(|name| as_variable(name) == variable) else {
            bail!("{variable} names no setting");
        };
        let text = value.to_str().with_context(|| format!("{variable}: not UTF-8"))?;
        replace(&mut table, name, text);
        settings(&table).with_context(|| format!("{variable}={text}"))?;
    }
    for entry in set {
        let (name, text) =
            entry.split_once('=').with_context(|| format!("--set {entry}: expected NAME=VALUE"))?;
        if !names.iter().any(|known| known == name) {
            bail!("--set {entry}: there is no such setting");
        }
        replace(&mut table, name, text);
        settings(&table).with_context(|| format!("--set {entry}"))?;
    }
    settings(&table)
}

fn settings(table: &Table) -> Result<Config> {
    table.clone().try_into().map_err(|error: toml::de::Error| anyhow::anyhow!("{}", error.message()))
}

/// Every setting, as `section.key` or `key`.
fn names(table: &Table) -> Vec<String> {
    let mut names = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(section) => names.extend(section.keys().map(|inner| format!("{key}.{inner}"))),
            _ => names.push(key.clone()),
        }
    }
    names
}

fn as_variable(name: &str) -> String {
    format!("{PREFIX}{}", name.replace('.', "_").to_uppercase())
}

fn replace(table: &mut Table, name: &str, text: &str) {
    let value = format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    let value = value.unwrap_or_else(|| Value::String(text.to_owned()));
    match name.split_once('.') {
        None => drop(table.insert(name.to_owned(), value)),
        Some((section, key)) => {
            if let Some(Value::Table(section)) = table.get_mut(section) {
                section.insert(key.to_owned(), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(entries: &[(&str, &str)]) -> BTreeMap<OsString, OsString> {
        entries.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn the_command_line_wins_over_the_environment_and_both_over_the_file() {
        let named = environment(&[
            ("ASSAY_VALIDATOR_ENGINE_GATHER_MS", "7"),
            ("ASSAY_VALIDATOR_LISTEN", "10.0.0.1:1"),
            ("ASSAY_VALIDATOR_CONSENSUS_PEERS", "[]"),
            ("PATH", "/bin"),
        ]);
        let set = ["engine.gather_ms=9".to_owned(), "data_dir=elsewhere".to_owned()];
        let config = apply(Config::default(), &set, &named).unwrap();
        assert_eq!(config.engine.gather_ms, 9);
        assert_eq!(config.listen.to_string(), "10.0.0.1:1");
        assert_eq!(config.data_dir.to_str(), Some("elsewhere"));
        assert_eq!(config.broker, Config::default().broker);
    }

    #[test]
    fn what_names_no_setting_or_does_not_fit_is_refused() {
        let none = BTreeMap::new();
        for wrong in ["engine.gathers=1", "engine=1", "engine.gather_ms", "engine.gather_ms=soon"] {
            assert!(apply(Config::default(), &[wrong.to_owned()], &none).is_err(), "{wrong}");
        }
        assert!(apply(Config::default(), &[], &environment(&[("ASSAY_VALIDATOR_ENGINE", "1")])).is_err());
    }

    #[test]
    fn a_value_that_does_not_fit_is_named_with_its_setting() {
        let wrong = apply(Config::default(), &["engine.gather_ms=soon".to_owned()], &BTreeMap::new());
        assert!(format!("{:#}", wrong.unwrap_err()).starts_with("--set engine.gather_ms=soon: "));
        let variable = environment(&[("ASSAY_VALIDATOR_LISTEN", "nowhere")]);
        let wrong = apply(Config::default(), &[], &variable);
        assert!(format!("{:#}", wrong.unwrap_err()).starts_with("ASSAY_VALIDATOR_LISTEN=nowhere: "));
    }

    #[test]
    fn no_two_settings_share_a_variable() {
        let names = names(&Table::try_from(Config::default()).unwrap());
        let variables: std::collections::BTreeSet<_> = names.iter().map(|name| as_variable(name)).collect();
        assert_eq!(variables.len(), names.len());
    }
}
