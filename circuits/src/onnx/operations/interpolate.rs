//! Resize between positions: along each axis a product with a constant matrix, for every new position is a fixed sum of old ones.

use crate::{
    network::ValueId,
    onnx::builder::{Builder, Lowered},
};

/// How the neighbours of a place count.
pub(super) struct Filter {
    /// The cubic filter's parameter; linear without.
    pub(super) cubic: Option<f64>,
    /// Neighbours outside the image do not count at all, instead of the image's edge in their stead.
    pub(super) exclude_outside: bool,
    /// When the image shrinks, the filter widens.
    pub(super) antialias: bool,
}

impl Filter {
    /// What a neighbour at this distance counts.
    fn at(&self, distance: f64) -> f64 {
        let t = distance.abs();
        match self.cubic {
            None => (1.0 - t).max(0.0),
            // R. Keys, "Cubic convolution interpolation for digital image processing", 1981.
            Some(a) if t <= 1.0 => ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0,
            Some(a) if t < 2.0 => ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a,
            Some(_) => 0.0,
        }
    }

    /// What each old position of an axis counts for the new ones that lie at these places.
    pub(super) fn matrix(&self, places: &[f64], size: usize, scale: f64) -> Vec<f64> {
        let stretch = if self.antialias { scale.min(1.0) } else { 1.0 };
        let radius = if self.cubic.is_some() { 2.0 } else { 1.0 } / stretch;
        let mut matrix = vec![0.0; size * places.len()];
        for (column, &place) in places.iter().enumerate() {
            let (first, last) = ((place - radius).floor() as i64, (place + radius).ceil() as i64);
            let end = size as i64 - 1;
            let counted = |p: &i64| !self.exclude_outside || (0..=end).contains(p);
            let weight = |p: i64| self.at((p as f64 - place) * stretch);
            let sum: f64 = (first..=last).filter(counted).map(weight).sum();
            let sum = if self.exclude_outside || self.antialias { sum } else { 1.0 };
            for p in (first..=last).filter(counted) {
                matrix[p.clamp(0, end) as usize * places.len() + column] += weight(p) / sum;
            }
        }
        matrix
    }
}

/// The product of an axis with a matrix of its size by the new one.
pub(super) fn along(builder: &mut Builder, x: ValueId, axis: usize, to: usize, matrix: Vec<f64>) -> Lowered {
    let from = builder.shape(x).to_vec();
    let mut order: Vec<usize> = (0..from.len()).filter(|&a| a != axis).collect();
    order.push(axis);
    let last = builder.transpose(x, &order)?;
    let rest: usize = from.iter().product::<usize>() / from[axis];
    let rows = builder.reshape(last, &[1, rest, from[axis]])?;
    let matrix = builder.constant(vec![1, from[axis], to], builder.element(x), matrix)?;
    let mut shape: Vec<usize> = order.iter().map(|&a| from[a]).collect();
    shape[from.len() - 1] = to;
    let product = builder.product(rows, matrix, None, &shape)?;
    let mut back: Vec<usize> = (0..from.len() - 1).collect();
    back.insert(axis, from.len() - 1);
    builder.transpose(product, &back)
}
