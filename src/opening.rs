//! The opening of a proof's commitments: what whoever proved keeps, and shows to those who may know the values.
//!
//! A JSON object, a port's name to its salt and its integers; inputs and outputs apart.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use assay_circuits::commitment::{self, Salt};
use assay_circuits::interpret::Trace;
use assay_circuits::ir::{Graph, Port, Visibility};
use assay_verifier::proof::{PortValue, Statement, VerifyingKey};

use crate::output;

/// Bytes of an opening file: 1,048,576 values of at most 7 characters each.
const BYTES: usize = 16 << 20;

/// Salts and values of committed ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    inputs: BTreeMap<String, Opened>,
    outputs: BTreeMap<String, Opened>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Opened {
    #[serde(with = "hex")]
    salt: [u8; 32],
    values: Vec<i32>,
}

impl Opening {
    /// The opening of what a proof of this trace commits to; `salts` in the order of [`Graph::committed`].
    pub fn new(graph: &Graph, trace: &Trace, salts: &[Salt]) -> Self {
        let mut salts = salts.iter();
        let mut side = |ports: Vec<&Port>, tensors: Vec<Vec<i32>>| {
            let committed = ports.into_iter().zip(tensors);
            let committed = committed.filter(|(port, _)| port.visibility == Visibility::Committed);
            let opened = |((port, values), salt): ((&Port, Vec<i32>), &Salt)| {
                (port.name.clone(), Opened { salt: salt.0, values })
            };
            committed.zip(&mut salts).map(opened).collect()
        };
        let inputs = side(graph.inputs().iter().collect(), trace.inputs(graph));
        let outputs = side(graph.outputs().iter().map(|output| &output.port).collect(), trace.outputs(graph));
        Self { inputs, outputs }
    }

    /// Writes the file, for its owner's eyes only.
    pub fn write(&self, path: &Path) -> Result<()> {
        output::write_private(path, |file| Ok(file.write_all(&serde_json::to_vec(self)?)?))
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = output::read(path, BYTES)?;
        serde_json::from_slice(&bytes).with_context(|| format!("{}: not an opening", path.display()))
    }

    /// The values that a statement shows or that this opens, inputs and outputs; `None` for those that stay hidden.
    ///
    /// # Errors
    /// Where a value or a salt is not the one that the statement commits to.
    pub fn reveal(&self, key: &VerifyingKey, statement: &Statement) -> Result<[Vec<Option<Vec<i32>>>; 2]> {
        let side = |ports: &[Port], values: &[PortValue], opened: &BTreeMap<String, Opened>| {
            let pairs = ports.iter().zip(values);
            pairs.map(|(port, value)| reveal(port, value, opened.get(&port.name))).collect::<Result<Vec<_>>>()
        };
        Ok([
            side(key.inputs(), &statement.inputs, &self.inputs)?,
            side(key.outputs(), &statement.outputs, &self.outputs)?,
        ])
    }
}

fn reveal(port: &Port, value: &PortValue, opened: Option<&Opened>) -> Result<Option<Vec<i32>>> {
    match (value, opened) {
        (PortValue::Public(values), _) => Ok(Some(values.clone())),
        (PortValue::Committed(_), None) => Ok(None),
        (PortValue::Committed(expected), Some(Opened { salt, values })) => {
            port.check(values)?;
            let commitment = commitment::commit(&port.quant, values, &Salt(*salt));
            ensure!(
                commitment == *expected,
                "the opening of port {} is not what the proof commits to",
                port.name
            );
            Ok(Some(values.clone()))
        }
    }
}
