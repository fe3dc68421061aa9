//! Compares a compiled network with the reference evaluator, value by value.
//!
//! The reference runs the graph as it was elaborated, the machine code the graph after all passes.
//! A value keeps its id through passes, so each value that survives them is compared with the one
//! of the same id: passes, plan and code are checked together.

use xcc_compiler::graph::{Graph, NodeId, Shape, WeightSource};
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::{PlanOptions, Precision};
use xcc_compiler::target::Target;

use crate::reference::{Float, ReferenceError, evaluate_keeping, exactly};
use crate::{Model, ModelError, OutOfMemory};

/// The largest error of a value that counts as rounding, relative to the value's largest element.
///
/// In f32, about 30 times what networks of the size of Xception show. A factor in two parts lacks
/// up to 2^-17 of itself, which makes 2e-5 in most networks and 3e-5 in Inception V3, the deepest
/// in layers without a residual.
///
/// In bf16 this is what networks show, not a bound. A factor has 8 significant bits and is wrong
/// by up to 2^-8 of itself, so a sum by up to 2^-7 of the sum of its absolute products; by
/// Winograd's method, by up to 2^-7 of 16 times the largest inputs times the absolute weights of a
/// window. The errors of many products are as often up as down, so that a layer adds about one
/// rounding to the error of a value's largest elements. Where products cancel in most elements, as
/// they may in layers of a few channels, the largest element is itself far smaller than its
/// absolute products, and errors relative to it have no bound: small random networks have shown
/// 2.3e-2.
pub fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 1e-4,
        Precision::Bf16 => 2e-2,
        Precision::Split => 5e-5,
    }
}

/// Largest element that counts as zero, where products are in vectors of f32: below it, f32 values
/// have steps of 2^-149, so that roundings are 2^-24 of this number rather than of themselves.
const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

/// The same where bf16 values are multiplied: denormal factors, parts of factors and sums become
/// zero. An output loses up to 2^-126 of each weight and of each input that it is the sum of, and
/// as much in each sum: up to the tolerance of f32 in 2^-100, where absolute weights and inputs of
/// an output, and their number, add up to no more than 6000.
const SMALLEST_OF_BF16: f64 = 1.0 / (1u128 << 100) as f64;

/// Why a network cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The network cannot be compiled or run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The reference cannot be computed.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// There is no memory for the input in the reference's numbers.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
}

/// Where an element is in a value of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Image of the batch.
    pub image: u64,
    /// Row; 0 in vectors.
    pub row: u64,
    /// Pixel in the row; 0 in vectors.
    pub column: u64,
    /// Channel, or element of a vector.
    pub channel: u64,
}

/// How far two versions of a value are apart, where they are so most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The largest error relative to the largest finite element of the reference, or to 2^-126
    /// (2^-100 where bf16 values are multiplied) if all are smaller; infinite where one side is no
    /// finite number and the other is another.
    pub error: f64,
    /// Where that is.
    pub position: Position,
    /// The reference's element there.
    pub expected: f64,
    /// The compiled network's element there.
    pub found: f32,
}

/// The comparison of one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The value.
    pub node: NodeId,
    /// The layer that yields it.
    pub layer: String,
    /// Shape of one image's worth.
    pub shape: Shape,
    /// The worst element.
    pub worst: Difference,
    /// Elements that are NaN or infinite on one side at least. Where both sides have the same
    /// there, they count as equal.
    pub not_finite: usize,
}

impl Comparison {
    /// Whether the value is as it should be in this precision.
    pub fn passes(&self, precision: Precision) -> bool {
        self.worst.error <= tolerance(precision)
    }
}

/// Runs `graph`, as it was elaborated, compiled for `target` and by the reference evaluator in
/// numbers of type `F`, on `options.batch` inputs (compact NHWC), and compares every value that
/// passes leave and that the plan has in memory whole, in the order of computation. Outputs are
/// those of a second run, in which values take each other's memory as ever.
///
/// The memory for all these values is taken twice, once in `F`.
pub fn verify<F: Float>(
    graph: &Graph,
    weights: &(dyn WeightSource + Sync),
    target: Target,
    options: PlanOptions,
    input: &[f32],
) -> Result<Vec<Comparison>, VerifyError> {
    let mut fused = graph.clone();
    optimize(&mut fused, &PassOptions::default());
    let model = |keep_all| Model::compile(&fused, weights, target, PlanOptions { keep_all, ..options });
    let outputs = model(false)?.run(input)?;
    let model = model(true)?;
    let exact = exactly::<F>(input)?;
    let of_bf16 = model.program().bf16_unit().is_some();
    let smallest = if of_bf16 { SMALLEST_OF_BF16 } else { SMALLEST };
    let reference = evaluate_keeping(graph, weights, &exact, options.batch as usize, fused.order())?;
    let mut comparisons = Vec::with_capacity(fused.order().len());
    model.run_and_visit(input, fused.order(), |id, kept| {
        let node = fused.node(id);
        let Some(expected) = reference.get(id) else { return };
        let output = fused.outputs.iter().position(|&output| output == id);
        let found = output.map_or(&kept, |output| &outputs[output]);
        comparisons.push(Comparison {
            node: id,
            layer: fused.layer(node.layer).name.clone(),
            shape: node.shape,
            worst: worst(expected, found, node.shape, smallest),
            not_finite: not_finite(expected, found),
        });
    })?;
    Ok(comparisons)
}

/// The worst element of a value of one or more images, relative to its largest one, at least
/// `smallest`; of several equally bad ones the first.
fn worst<F: Float>(expected: &[F], found: &[f32], shape: Shape, smallest: f64) -> Difference {
    let finite = expected.iter().map(|e| e.to_f64().abs()).filter(|e| e.is_finite());
    let scale = finite.fold(smallest, f64::max);
    let mut worst = if expected.len() == found.len() { (-1.0, 0) } else { (f64::INFINITY, 0) };
    for (index, (e, f)) in expected.iter().zip(found).enumerate() {
        let error = relative_error(e.to_f64(), f64::from(*f), scale);
        if error > worst.0 {
            worst = (error, index);
        }
    }
    let (error, index) = worst;
    Difference {
        error: error.max(0.0),
        position: position(index as u64, shape),
        expected: expected.get(index).map_or(0.0, |e| e.to_f64()),
        found: found.get(index).copied().unwrap_or(0.0),
    }
}

/// How many elements are NaN or infinite on one side at least.
fn not_finite<F: Float>(expected: &[F], found: &[f32]) -> usize {
    expected.iter().zip(found).filter(|(e, f)| !(e.to_f64().is_finite() && f.is_finite())).count()
}

fn relative_error(expected: f64, found: f64, scale: f64) -> f64 {
    if expected == found || expected.is_nan() && found.is_nan() {
        return 0.0;
    }
    match (expected - found).abs() / scale {
        error if error.is_nan() => f64::INFINITY,
        error => error,
    }
}

fn position(index: u64, shape: Shape) -> Position {
    let (channels, width) = (u64::from(shape.c()), u64::from(shape.w()));
    let pixel = index / channels;
    let row = pixel / width;
    let height = u64::from(shape.h());
    Position { image: row / height, row: row % height, column: pixel % width, channel: index % channels }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_element_is_found_where_it_is() {
        let shape = Shape::map(2, 3, 2);
        let expected: Vec<f64> = (0..24).map(f64::from).collect();
        let mut found: Vec<f32> = (0..24).map(|n| n as f32).collect();
        found[3] += 0.5;
        found[21] -= 2.3;
        let worst = worst(&expected, &found, shape, SMALLEST);
        assert!((worst.error - 0.1).abs() < 1e-6, "{worst:?}");
        assert_eq!(worst.position, Position { image: 1, row: 1, column: 1, channel: 1 });
        assert_eq!((worst.expected, worst.found), (21.0, 18.7));
    }

    #[test]
    fn only_equal_infinities_and_nans_agree() {
        let error = |expected: f64, found: f32| {
            worst(&[expected, 1.0], &[found, 1.0], Shape::vector(2), SMALLEST).error
        };
        assert_eq!(error(f64::INFINITY, f32::INFINITY), 0.0);
        assert_eq!(error(f64::NAN, f32::NAN), 0.0);
        assert_eq!(error(f64::INFINITY, f32::NEG_INFINITY), f64::INFINITY);
        assert_eq!(error(f64::NAN, 1.0), f64::INFINITY);
        assert_eq!(error(1.0, f32::NAN), f64::INFINITY);
        assert_eq!(error(1e300, f32::INFINITY), f64::INFINITY);
        assert_eq!(worst(&[0.0], &[0.0], Shape::vector(1), SMALLEST).error, 0.0);
    }

    #[test]
    fn what_is_smaller_than_normal_numbers_has_their_errors() {
        let error = |expected: f64, found: f32, smallest| {
            worst(&[expected], &[found], Shape::vector(1), smallest).error
        };
        // Half of the smallest step, and values that are no rounding.
        assert!(error(1.5e-45, 0.0, SMALLEST) < tolerance(Precision::F32));
        assert!(error(1e-41, 0.0, SMALLEST) > tolerance(Precision::F32));
        assert!(error(0.0, 1e-30, SMALLEST) > 1.0);
        // Denormal values may be zero in bf16, and normal ones may not.
        assert!(error(1.1e-38, 0.0, SMALLEST_OF_BF16) < tolerance(Precision::F32));
        assert!(error(1e-34, 0.0, SMALLEST_OF_BF16) > tolerance(Precision::F32));
    }

    #[test]
    fn elements_that_are_not_finite_on_either_side_are_counted() {
        let (nan, infinity) = (f64::NAN, f64::INFINITY);
        let expected = [1.0, nan, infinity, nan, 2.0, 3.0];
        let found = [1.0, f32::NAN, f32::INFINITY, 0.0, f32::NEG_INFINITY, 3.5];
        assert_eq!(not_finite(&expected, &found), 4);
        assert_eq!(not_finite(&[0.0, -1e300], &[0.0, 1.0]), 0);
    }
}
