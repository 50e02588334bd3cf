//! From floats to integers: scales from calibration data, and a report of what it cost.
//!
//! ```text
//! Network --evaluate samples--> what each value reaches --plan--> a scale a group of values
//!    |                                                                |
//!    +--node by node: a form (known, tensor, layer, clamped) ---------+--> Graph + weights --run samples--> Report
//! ```
//!
//! Every value of the network takes, at most, one *act* (an integer tensor within `i16`), made when the first operation
//! asks for it. Until then it is kept in the form that costs nothing: a known constant, a wide tensor whose scale is the product of
//! its operands' scales, a linear layer that waits for its output's scale, or a clamp that will be part of a rounding.
//!
//! - *Scales of weights follow from those of activations*: a layer's output scale is chosen first, then each channel's weight
//!   scale is rounded up until `input scale * weight scale / output scale` is exactly `M / 2^shift`, mostly with a shift
//!   of at most 16. So the one rounding of a layer is exact, and its remainder is one lookup.
//! - *Sums of different scales* take integer coefficients instead of a rounding of each operand.
//! - *Activations* take the fewest bits that keep the signal ([`Precision::Auto`]) where a linear layer reads them, and
//!   16 where a function, a sum, a comparison or the caller does. A quotient that its interval keeps inside `i16` is not clamped.
//! - *Tables* are of functions in `f64` made of IEEE operations and of `libm`, the same bits on every machine; the graph
//!   stores them.

mod arithmetic;
mod builder;
mod calibrate;
mod compare;
mod divide;
mod form;
mod function;
mod layer;
mod plan;
mod report;
mod rescale;
mod round;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::{fmt, str::FromStr};

pub(crate) use calibrate::MAX_SAMPLES;
pub use calibrate::Told;
pub use report::{LayerReport, OutputReport, Report};

use crate::{graph::Graph, network::Network};

/// Bits of activations and weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// By the calibrator, tensor by tensor.
    #[default]
    Auto,
    /// 8 bits wherever a linear layer reads; 16 where functions, sums and comparisons do.
    Bits8,
    /// 16 bits for activations and weights.
    Bits16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Bits8 => "8",
            Self::Bits16 => "16",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "8" => Ok(Self::Bits8),
            "16" => Ok(Self::Bits16),
            _ => Err(format!("precision '{text}'; expected auto, 8 or 16")),
        }
    }
}

/// How the range of an 8-bit activation follows from what was seen. Those of 16 bits always take the largest, and room.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// The largest magnitude.
    Max,
    /// The magnitude that this share of all values, in percent, does not exceed.
    Percentile(f64),
    /// The range of the least mean square error, of rounding and of clamping together.
    MeanSquare,
}

impl Default for Method {
    fn default() -> Self {
        Self::Percentile(99.99)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::Percentile(share) => write!(f, "percentile:{share}"),
            Self::MeanSquare => f.write_str("mse"),
        }
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("calibration '{text}'; expected max, mse, percentile or percentile:SHARE up to 100");
        match text {
            "max" => Ok(Self::Max),
            "mse" => Ok(Self::MeanSquare),
            "percentile" => Ok(Self::default()),
            _ => {
                let share = text.strip_prefix("percentile:").and_then(|share| share.parse::<f64>().ok());
                share.filter(|share| *share > 0.0 && *share <= 100.0).map(Self::Percentile).ok_or_else(wrong)
            }
        }
    }
}

/// How to quantise.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Options {
    /// Bits.
    pub precision: Precision,
    /// Ranges.
    pub method: Method,
    /// The least share of samples, 0 to 1, on which integers and floats must name the same class.
    pub minimum_agreement: f64,
}

/// An integer graph, its weights, and how far it is from the floats.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantised {
    /// The graph, checked.
    pub graph: Graph,
    /// One vector a constant of the graph.
    pub weights: Vec<Vec<i64>>,
    /// Measured on the calibration samples.
    pub report: Report,
}

/// Why a network was not quantised.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QuantiseError {
    /// Samples that cannot calibrate the network.
    #[error("calibration: {reason}")]
    Calibration {
        /// Expected and found.
        reason: String,
    },
    /// A node whose numbers cannot be kept in integers.
    #[error("node '{node}' ({operation}): {reason}")]
    Node {
        /// The ONNX node.
        node: String,
        /// The ONNX operation.
        operation: String,
        /// Expected and found, and what to do.
        reason: String,
    },
    /// The network itself is broken.
    #[error("network: {reason}")]
    Network {
        /// Expected and found.
        reason: String,
    },
    /// The integer graph has little in common with the floats.
    #[error(
        "the integers do not follow the floats: output '{output}' holds as much noise as signal on the samples, \
         and node '{node}' ({operation}) keeps the least, {sqnr_db:.1} dB; a network whose numbers differ so much in size has to \
         normalise them"
    )]
    Unlike {
        /// The output.
        output: String,
        /// The ONNX node with the least signal to noise.
        node: String,
        /// Its operation.
        operation: String,
        /// Its signal to noise, in decibels.
        sqnr_db: f64,
    },
    /// The integer graph names the same class as the floats too rarely.
    #[error(
        "the integers name the class that the floats name on {found:.4} of the samples, less than {expected:.4}; calibrate \
         on more of the data that the model is for, or ask for 16 bits"
    )]
    Agreement {
        /// Share found.
        found: f64,
        /// Least share accepted.
        expected: f64,
    },
}

/// Quantises a network on samples of real inputs: one row-major vector an input, for each sample.
///
/// # Errors
/// [`QuantiseError`] on unusable samples, a node whose numbers do not fit, or too little agreement.
pub fn quantise(network: &Network, samples: &[Vec<Vec<f64>>], options: &Options) -> Result<Quantised, QuantiseError> {
    quantise_told(network, samples, options, &|_, _| ())
}

/// [`quantise()`], which tells how far it is.
///
/// # Errors
/// As there.
pub fn quantise_told(
    network: &Network,
    samples: &[Vec<Vec<f64>>],
    options: &Options,
    told: &Told<'_>,
) -> Result<Quantised, QuantiseError> {
    let evaluated = calibrate::Evaluated::new(network, samples, told)?;
    let seen = evaluated.seen()?;
    let form::Built { graph, weights, placed } = form::build(network, &seen, options)?;
    let report = report::measure(network, &evaluated, &graph, &weights, &placed, options)?;
    if report.top1_agreement < options.minimum_agreement {
        return Err(QuantiseError::Agreement { found: report.top1_agreement, expected: options.minimum_agreement });
    }
    Ok(Quantised { graph, weights, report })
}
