//! How exact fast inner products are: for pixels, inputs and weights of any size.

mod common;

use std::borrow::Cow;

use common::compiled::{bits, fast_inner, targets};
use common::graphs::{Builder, window};
use common::{Random, RandomWeights};
use xcc_compiler::graph::{Partition, Shape, WeightError, WeightId, WeightSource, Window};
use xcc_compiler::plan::PlanOptions;
use xcc_compiler::schedule::segments::Candidate;
use xcc_compiler::target::Target;
use xcc_runtime::Model;

/// Fast inner products scale each pixel by itself: where all its inputs are multiplied by a power
/// of two, so are its results, to the last bit.
#[test]
fn fast_inner_products_are_as_exact_for_pixels_of_any_size() {
    let (pixels, ic) = (40, 100);
    let mut builder = Builder::new(Shape::map(1, pixels, ic));
    let result = builder.conv(builder.input(), Window::POINT, Partition::whole(ic, 50), false);
    let graph = builder.finish(&[result]);
    let weights = RandomWeights::new(&graph, 1);
    let values = Random::new(2).vector((pixels * ic) as usize);
    let scale = |pixel: usize| 2f64.powi(5 * pixel as i32 - 90);
    for target in targets() {
        let target = Target { fast_inner_products: Some(fast_inner(target, 9)), ..target };
        let model = Model::compile(&graph, &weights, target, PlanOptions::default()).unwrap();
        let results = |scale: &dyn Fn(usize) -> f64| {
            let scaled = values.iter().enumerate().map(|(at, x)| (x * scale(at / ic as usize)) as f32);
            model.run(&scaled.collect::<Vec<f32>>()).unwrap().remove(0)
        };
        let plain = results(&|_| 1.0);
        let expected = plain.iter().enumerate().map(|(at, y)| (f64::from(*y) * scale(at / 50)) as f32);
        assert_eq!(bits(&expected.collect::<Vec<f32>>()), bits(&results(&scale)), "{target}");
    }
}

/// The weights of a convolution, multiplied by factors.
struct Scaled<'a> {
    weights: &'a RandomWeights,
    /// What the weights of an input and an output are multiplied by.
    factor: &'a (dyn Fn(usize, usize) -> f64 + Sync),
    outputs: usize,
}

impl WeightSource for Scaled<'_> {
    fn tensor(&self, id: WeightId) -> Result<Cow<'_, [f32]>, WeightError> {
        let plain = self.weights.tensor(id)?;
        let inputs = plain.len() / self.outputs;
        let taps = if inputs.is_multiple_of(9) { 9 } else { 1 };
        let place = |at: usize| (at / self.outputs % (inputs / taps), at % self.outputs);
        let scaled = plain.iter().enumerate().map(|(at, &weight)| {
            let (input, output) = place(at);
            (f64::from(weight) * (self.factor)(input, output)) as f32
        });
        Ok(Cow::Owned(scaled.collect()))
    }

    fn length(&self, id: WeightId) -> u64 {
        self.weights.length(id)
    }
}

/// Fast inner products do not depend on how a product is shared between an input and its weight,
/// to the last bit; zeros are zeros.
#[test]
fn fast_inner_products_balance_inputs_and_weights() {
    let (pixels, ic, oc) = (40, 100, 50);
    for kernel in [1, 3] {
        let mut builder = Builder::new(Shape::map(4, pixels / 4, ic));
        let result = builder.conv(builder.input(), window(kernel, 1, 1), Partition::whole(ic, oc), false);
        let graph = builder.finish(&[result]);
        let weights = RandomWeights::new(&graph, 1);
        let values = Random::new(2).vector((pixels * ic) as usize);
        let scale = |input: usize| 2f64.powi(input as i32 % 41 - 20);
        for target in targets() {
            let target = Target { fast_inner_products: Some(fast_inner(target, 9)), ..target };
            let results = |of_input: &dyn Fn(usize) -> f64, factor: &(dyn Fn(usize, usize) -> f64 + Sync)| {
                let weights = Scaled { weights: &weights, factor, outputs: oc as usize };
                let choose = |candidates: &[Candidate]| candidates.len() - 1;
                let of_target = (target, PlanOptions::default());
                let model = Model::compile_choosing(&graph, &weights, of_target, &choose).unwrap();
                let scaled = values.iter().enumerate().map(|(at, x)| (x * of_input(at % ic as usize)) as f32);
                model.run(&scaled.collect::<Vec<f32>>()).unwrap().remove(0)
            };
            let plain = bits(&results(&|_| 1.0, &|_, _| 1.0));
            let balanced = bits(&results(&scale, &|input, _| 1.0 / scale(input)));
            if kernel == 1 {
                assert_eq!(plain, balanced, "{target}");
            }
            let zeros = results(&|_| 0.0, &|_, _| 1.0);
            assert!(zeros.iter().all(|y| *y == 0.0), "{target}");
            let without_first = results(&|_| 1.0, &|_, output| if output == 0 { 0.0 } else { 1.0 });
            assert!(without_first.iter().step_by(oc as usize).all(|y| *y == 0.0), "{target}");
        }
    }
}
