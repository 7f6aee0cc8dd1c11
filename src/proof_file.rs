//! A proof and everything that is needed to check it but the key.
//!
//! ```text
//! file = "ASSAYPR\x02" || borsh(model id, job, inputs, outputs, proof)
//! ```

use anyhow::{Context, Result, ensure};
use assay_circuits::commitment::Commitment;
use assay_circuits::ir::ModelId;
use assay_verifier::proof::{PortValue, Statement, limits as key_limits};
use borsh::{BorshDeserialize, BorshSerialize};

const MAGIC: &[u8; 8] = b"ASSAYPR\x02";

/// Limits of a proof file.
pub mod limits {
    /// Bytes of the file.
    pub const BYTES: usize = 8 << 20;
    /// Input, or output, tensors.
    pub const PORTS: usize = assay_circuits::ir::limits::PORTS;
    /// Bytes of the proof.
    pub const PROOF: usize = 1 << 20;
}

/// That these inputs give these outputs under a model, and the proof of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofFile {
    /// The model.
    pub model: ModelId,
    /// What is proven.
    pub statement: Statement,
    /// The proof, not checked.
    pub proof: Vec<u8>,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Content {
    model: ModelId,
    job: [u8; 32],
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    proof: Vec<u8>,
}

/// The wire form of a [`PortValue`].
#[derive(BorshSerialize, BorshDeserialize)]
enum Value {
    Public(Vec<i32>),
    Committed([u8; 32]),
}

impl From<PortValue> for Value {
    fn from(value: PortValue) -> Self {
        match value {
            PortValue::Public(values) => Self::Public(values),
            PortValue::Committed(Commitment(bytes)) => Self::Committed(bytes),
        }
    }
}

impl From<Value> for PortValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Public(values) => Self::Public(values),
            Value::Committed(bytes) => Self::Committed(Commitment(bytes)),
        }
    }
}

impl ProofFile {
    /// The bytes of the file.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let Statement { job, inputs, outputs } = self.statement.clone();
        let [inputs, outputs] = [inputs, outputs].map(|side| side.into_iter().map(Value::from).collect());
        let content = Content { model: self.model, job, inputs, outputs, proof: self.proof.clone() };
        let mut bytes = MAGIC.to_vec();
        borsh::to_writer(&mut bytes, &content)?;
        ensure!(
            bytes.len() <= limits::BYTES,
            "the proof file has {} bytes, the limit is {}",
            bytes.len(),
            limits::BYTES
        );
        Ok(bytes)
    }

    /// Strict inverse of [`ProofFile::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        ensure!(
            bytes.len() <= limits::BYTES,
            "{} bytes, a proof file has at most {}",
            bytes.len(),
            limits::BYTES
        );
        let body = bytes.strip_prefix(MAGIC).context("not an Assay proof of this version")?;
        let content: Content = borsh::from_slice(body).context("the proof file is malformed or cut off")?;
        let Content { model, job, inputs, outputs, proof } = content;
        let [inputs, outputs]: [Vec<PortValue>; 2] =
            [inputs, outputs].map(|side| side.into_iter().map(PortValue::from).collect());
        for (side, tensors) in [("inputs", &inputs), ("outputs", &outputs)] {
            ensure!(
                tensors.len() <= limits::PORTS,
                "{} {side}, the limit is {}",
                tensors.len(),
                limits::PORTS
            );
        }
        let values: usize =
            inputs.iter().chain(&outputs).filter_map(PortValue::public).map(<[i32]>::len).sum();
        let limit = key_limits::PUBLIC_VALUES;
        ensure!(values <= limit, "{values} values of inputs and outputs, the limit is {limit}");
        ensure!(
            proof.len() <= limits::PROOF,
            "the proof has {} bytes, the limit is {}",
            proof.len(),
            limits::PROOF
        );
        Ok(Self { model, statement: Statement { job, inputs, outputs }, proof })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ProofFile {
        let mut statement = Statement::public([7; 32], vec![vec![1, -2], vec![]], vec![vec![i32::MIN]]);
        statement.outputs.push(PortValue::Committed(Commitment([5; 32])));
        ProofFile { model: ModelId([9; 32]), statement, proof: vec![1, 2, 3] }
    }

    #[test]
    fn a_file_round_trips() {
        let file = sample();
        assert_eq!(ProofFile::from_bytes(&file.to_bytes().unwrap()).unwrap(), file);
    }

    #[test]
    fn a_file_that_is_cut_or_continued_anywhere_is_refused() {
        let bytes = sample().to_bytes().unwrap();
        for length in 0..bytes.len() {
            assert!(ProofFile::from_bytes(&bytes[..length]).is_err(), "{length}");
        }
        assert!(ProofFile::from_bytes(&[bytes.as_slice(), &[0]].concat()).is_err());
    }

    #[test]
    fn another_magic_or_version_is_refused() {
        let mut bytes = sample().to_bytes().unwrap();
        bytes[7] = 1;
        let error = ProofFile::from_bytes(&bytes).unwrap_err();
        assert!(error.to_string().contains("this version"), "{error}");
    }

    #[test]
    fn every_limit_is_enforced() {
        type Change = fn(&mut ProofFile);
        let cases: [(&str, Change); 4] = [
            ("17 inputs", |file| file.statement.inputs = vec![vec![].into(); 17]),
            ("17 outputs", |file| file.statement.outputs = vec![vec![].into(); 17]),
            ("1048577 values", |file| {
                file.statement.inputs = vec![vec![0; (1 << 20) - 1].into(), vec![0].into()]
            }),
            ("the proof has 1048577 bytes", |file| file.proof = vec![0; limits::PROOF + 1]),
        ];
        for (expected, change) in cases {
            let mut file = sample();
            change(&mut file);
            let error = ProofFile::from_bytes(&file.to_bytes().unwrap()).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{expected}: {error}");
        }
        assert!(
            ProofFile::from_bytes(&vec![0; limits::BYTES + 1]).unwrap_err().to_string().contains("at most")
        );
    }

    #[test]
    fn a_length_that_promises_more_than_is_there_takes_no_memory() {
        let mut bytes = sample().to_bytes().unwrap();
        let outer = MAGIC.len() + 32 + 32;
        bytes[outer..outer + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(ProofFile::from_bytes(&bytes).is_err());
    }
}
