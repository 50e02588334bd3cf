//! Why relations or a trace were not made, and which demand a trace does not meet.

/// A graph that has no relations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArithmetiseError {
    /// The graph is not a sound one.
    #[error(transparent)]
    Graph(#[from] crate::graph::GraphError),
    /// A node that no gadget proves.
    #[error("node {node} ({op}) cannot be proved: {reason}")]
    Node {
        /// Its name.
        node: String,
        /// Its operation.
        op: &'static str,
        /// Expected and found.
        reason: String,
    },
}

/// Weights or inputs that no trace can be made from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct TraceError {
    /// Which.
    pub what: String,
    /// Expected and found.
    pub reason: String,
}

/// A demand that a trace does not meet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsatisfied {
    /// Not a trace of these relations.
    #[error("{what}: expected {expected} values, found {found}")]
    Size {
        /// Of what.
        what: String,
        /// Values it has.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A cell that is not what the statement, the weights or its definition say.
    #[error("{column}, cell {cell}: expected {expected}, found {found}")]
    Cell {
        /// Column and node.
        column: String,
        /// Cell of the column, row-major.
        cell: usize,
        /// What it must be; as an element of the field, from `-2^63` on.
        expected: i128,
        /// What it is.
        found: i128,
    },
    /// Products that do not add up to 0.
    #[error("zero {zero} of node {node}, cell {cell}: found {found}")]
    Zero {
        /// By position.
        zero: usize,
        /// The node, by position.
        node: usize,
        /// Cell, row-major.
        cell: usize,
        /// What they add up to.
        found: i128,
    },
    /// A cell or pair that is not in its table.
    #[error("lookup {lookup} of node {node}, cell {cell}: {found} is not in the table")]
    Lookup {
        /// By position.
        lookup: usize,
        /// The node, by position.
        node: usize,
        /// Cell, row-major.
        cell: usize,
        /// What is looked up.
        found: String,
    },
}
