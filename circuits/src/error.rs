//! Why a model, an input or a byte string is refused.

/// Errors of this crate, a variant a reason.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The bytes do not begin with this version's magic.
    #[error("not an Assay model of this version")]
    Magic,
    /// The bytes are cut, too long, or not in canonical form.
    #[error("model bytes are malformed: {0}")]
    Malformed(String),
    /// A named limit is exceeded.
    #[error("{what} is {got}, the limit is {limit}")]
    Limit {
        /// What was counted.
        what: String,
        /// What was found.
        got: u64,
        /// What is allowed.
        limit: u64,
    },
    /// A node contradicts itself or its operands.
    #[error("node {node}: {reason}")]
    Node {
        /// Name of the node.
        node: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An accumulator may leave the range that interpreter and field share.
    #[error("node {node}: accumulators may need {bits} bits, the limit is {limit}")]
    Overflow {
        /// Name of the node.
        node: String,
        /// Bits of the static bound.
        bits: u32,
        /// Largest bound allowed.
        limit: u32,
    },
    /// An input does not fit its port.
    #[error("input {port}: expected {expected}, got {got}")]
    Input {
        /// Name of the port.
        port: String,
        /// What the model's type admits.
        expected: String,
        /// What was given.
        got: String,
    },
    /// The source model cannot be imported.
    #[error("import: {0}")]
    Import(String),
    /// An operator that this version cannot prove.
    #[error("node {node}: operator {op} is not supported: {needed}")]
    Unsupported {
        /// Name of the node.
        node: String,
        /// Operator as the source model names it.
        op: String,
        /// What would be needed.
        needed: String,
    },
}

impl ModelError {
    pub(crate) fn node(node: &str, reason: impl Into<String>) -> Self {
        Self::Node { node: node.into(), reason: reason.into() }
    }
}
