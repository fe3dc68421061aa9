//! Compiled networks against the kernel interpreter (bit for bit) and the reference evaluator (to
//! rounding).

mod common;

use std::collections::HashMap;

use common::compiled::{
    bits, constants, fast_inner, other_targets, precisions, read_values, targets, with_some_cache,
    write_input,
};
use common::graphs::{Builder, activations, cut, random_graph, window};
use common::{Random, RandomWeights};
use proptest::prelude::*;
use xcc_compiler::codegen::jit::NativeProgram;
use xcc_compiler::graph::{
    Activation, Graph, NodeId, Pads, Partition, PoolKind, Shape, WeightSource, Window,
};
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::{Part, PlanOptions, Precision, Program, interpret, plan, plan_with};
use xcc_compiler::schedule::segments::{Candidate, cheapest};
use xcc_compiler::target::{Isa, Target};
use xcc_runtime::Model;
use xcc_runtime::reference::{Values, evaluate};

/// Every value of a compiled run.
fn compiled_values(model: &Model, graph: &Graph, input: &[f32]) -> HashMap<NodeId, Vec<f32>> {
    let mut values = HashMap::new();
    let mut keep = |node, value| {
        values.insert(node, value);
    };
    model.run_and_visit(input, graph.order(), &mut keep).unwrap();
    values
}

/// Every value of an interpreted run in memory that was poisoned with NaN, so that padding which
/// reaches a result shows.
fn interpreted_values(
    program: &Program,
    weights: &dyn WeightSource,
    input: &[f32],
    threads: u32,
) -> HashMap<NodeId, Vec<f32>> {
    let mut arena = vec![f32::NAN; program.arena_bytes as usize / 4];
    write_input(program, input, &mut arena);
    interpret::run(program, &constants(program, weights), &mut arena, threads).unwrap();
    read_values(program, &arena)
}

/// The value and its operands; for those that are within a chain, their operands, too.
fn related(graph: &Graph, node: NodeId, values: &HashMap<NodeId, Vec<f32>>) -> Vec<NodeId> {
    let operands = graph.node(node).inputs.iter();
    let within = operands.clone().filter(|operand| !values.contains_key(operand));
    let before: Vec<NodeId> = within.flat_map(|&operand| related(graph, operand, values)).collect();
    operands.copied().chain([node]).chain(before).collect()
}

/// The largest error of a value, relative to the largest element of the value and its operands:
/// sums of products that cancel are only as exact as what they are made of.
fn worst_error(
    graph: &Graph,
    node: NodeId,
    reference: &Values<f64>,
    values: &HashMap<NodeId, Vec<f32>>,
) -> f64 {
    let value = |node| reference.get(node).unwrap();
    let related = related(graph, node, values);
    let scale = related.iter().flat_map(|&node| value(node)).fold(1e-3f64, |scale, e| scale.max(e.abs()));
    let errors = value(node).iter().zip(&values[&node]).map(|(e, f)| {
        let error = (e - f64::from(*f)).abs() / scale;
        if error.is_nan() { f64::INFINITY } else { error }
    });
    errors.fold(0.0, f64::max)
}

/// The largest error of a value in a precision. A factor in bf16 is wrong by up to 2^-8 of itself,
/// one in two parts by up to 2^-17; a few layers and the cancelling of products make it several
/// times that.
fn bound(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 2e-5,
        Precision::Split => 1e-4,
        Precision::Bf16 => 3e-2,
    }
}

/// A number that stands for the last of the forms that segments can take: Winograd's method, where
/// it suits.
const LAST_FORM: u64 = u64::MAX;

/// A network with all that its runs depend on.
struct Case {
    /// Picks forms of segments.
    algorithms: Option<u64>,
    graph: Graph,
    weights: RandomWeights,
    input: Vec<f32>,
    batch: u32,
}

/// Compares all executions with the forms of segments that plans choose.
fn check(graph: &Graph, seed: u64, batch: u32) {
    check_forms(graph, seed, batch, None);
}

/// Compares all executions with the forms of segments that a number stands for, if it is given.
fn check_forms(graph: &Graph, seed: u64, batch: u32, algorithms: Option<u64>) {
    let mut graph = graph.clone();
    optimize(&mut graph, &PassOptions::default());
    let weights = RandomWeights::new(&graph, seed);
    let length = graph.node(graph.input).shape.elements() as usize * batch as usize;
    let exact: Vec<f64> = Random::new(seed).vector(length).iter().map(|&x| f64::from(x as f32)).collect();
    let input = exact.iter().map(|&x| x as f32).collect();
    let reference = evaluate(&graph, &weights, &exact, batch as usize).unwrap();
    let case = Case { algorithms, graph, weights, input, batch };
    for target in targets() {
        for precision in precisions(target) {
            case.check((with_some_cache(target, seed), precision), &reference);
        }
    }
    for target in other_targets() {
        // To interpret takes long, so each case does it in one precision.
        let possible: Vec<_> = Precision::ALL.into_iter().filter(|p| p.is_for(target)).collect();
        let precision = possible[(seed / 5) as usize % possible.len()];
        case.check_interpreted((with_some_cache(target, seed), precision), &reference);
    }
    case.check_unfused();
}

impl Case {
    fn model(&self, target: Target, options: PlanOptions) -> Model {
        let of_target = (target, options);
        let choose = |candidates: &[Candidate]| self.choose(candidates);
        Model::compile_choosing(&self.graph, &self.weights, of_target, &choose).unwrap()
    }

    /// Picks one of several forms.
    fn choose(&self, candidates: &[Candidate]) -> usize {
        match self.algorithms {
            None => cheapest(candidates),
            Some(LAST_FORM) => candidates.len() - 1,
            Some(algorithms) => algorithms as usize % candidates.len(),
        }
    }

    /// Every value of a compiled run, compared with an interpreted one bit for bit.
    fn values(&self, (target, precision): (Target, Precision)) -> HashMap<NodeId, Vec<f32>> {
        let Case { graph, weights, input, batch, .. } = self;
        let options = PlanOptions { batch: *batch, threads: 2, keep_all: true, precision };
        let model = self.model(target, options);
        let values = compiled_values(&model, graph, input);
        let interpreted = interpreted_values(model.program(), weights, input, 2);
        assert_eq!(values.len(), interpreted.len());
        for (node, value) in &values {
            let agree = bits(value) == bits(&interpreted[node]);
            assert!(agree, "{node} for {target} in {precision} is not as interpreted\n{}", self.text());
        }
        values
    }

    /// Compares values with those of the reference.
    fn check_errors(
        &self,
        (target, precision): (Target, Precision),
        values: &HashMap<NodeId, Vec<f32>>,
        reference: &Values<f64>,
    ) {
        for &node in values.keys() {
            let error = worst_error(&self.graph, node, reference, values);
            let place = format!("{node} for {target} in {precision}");
            assert!(error < bound(precision), "{place}: error {error:e}\n{}", self.text());
        }
    }

    fn check(&self, (target, precision): (Target, Precision), reference: &Values<f64>) {
        let values = self.values((target, precision));
        self.check_errors((target, precision), &values, reference);
        let outputs: Vec<Vec<u32>> = self.graph.outputs.iter().map(|output| bits(&values[output])).collect();
        // Kernels do not depend on the number of threads, so one target is enough for most numbers.
        let most = target.isa == Target::native().isa && precision != Precision::Split;
        let numbers = if most { 1..=4 } else { 3..=3 };
        for threads in numbers {
            let options = PlanOptions { batch: self.batch, threads, keep_all: false, precision };
            let model = self.model(target, options);
            for run in 0..2 {
                let found: Vec<_> = model.run(&self.input).unwrap().iter().map(|v| bits(v)).collect();
                assert_eq!(
                    found,
                    outputs,
                    "run {run} for {target} in {precision}, {threads} threads\n{}",
                    self.text()
                );
            }
        }
    }

    /// What can be told of a target that this machine cannot run: its code can be written, and its
    /// plans yield what they should, for any number of threads, when kernels are interpreted.
    fn check_interpreted(&self, (target, precision): (Target, Precision), reference: &Values<f64>) {
        let values = |threads| {
            let options = PlanOptions { batch: self.batch, threads, keep_all: true, precision };
            let choose = |candidates: &[Candidate]| self.choose(candidates);
            let program = plan_with(&self.graph, target, options, &choose).unwrap();
            NativeProgram::compile(&program, false).unwrap();
            interpreted_values(&program, &self.weights, &self.input, threads)
        };
        let of_two = values(2);
        self.check_errors((target, precision), &of_two, reference);
        let of_one = values(1);
        for output in &self.graph.outputs {
            let agree = bits(&of_two[output]) == bits(&of_one[output]);
            assert!(agree, "{output} for {target} in {precision}, one thread and two\n{}", self.text());
        }
    }

    /// Without fused multiply-add, compiled code and interpreter round the same way, too.
    fn check_unfused(&self) {
        self.values((Target { fused: false, ..Target::baseline() }, Precision::F32));
    }

    fn text(&self) -> String {
        xcc_compiler::graph::text::write(&self.graph)
    }
}

/// Whether some layers of a network run strip by strip where [`check`] plans it for this machine.
fn has_chain(graph: &Graph, seed: u64) -> bool {
    let mut graph = graph.clone();
    optimize(&mut graph, &PassOptions::default());
    let options = PlanOptions { threads: 2, ..PlanOptions::default() };
    let program = plan(&graph, with_some_cache(Target::native(), seed), options).unwrap();
    program.steps.iter().any(|step| !step.before.is_empty())
}

/// A window and padding that every map of at least `kernel` pixels can take.
fn any_window() -> impl Strategy<Value = Window> {
    let pair = |range: std::ops::Range<u32>| [range.clone(), range];
    (pair(1..5), pair(1..4), pair(1..3), [0u32..4, 0..4, 0..4, 0..4]).prop_map(
        |(kernel, strides, dilation, pads)| {
            let window = Window { kernel, strides, dilation, ..Window::POINT };
            let [rows, columns] = window.extent().map(|extent| extent - 1);
            let pads = Pads {
                top: pads[0].min(rows),
                bottom: pads[1].min(rows),
                left: pads[2].min(columns),
                right: pads[3].min(columns),
            };
            Window { pads, ..window }
        },
    )
}

/// Sizes of segments: an even cut, or any list.
fn any_segments() -> impl Strategy<Value = Vec<u32>> {
    let even = (1u32..20, 1u32..20).prop_map(|(a, b)| cut(a.max(b), a.max(b), a.min(b)).inputs().to_vec());
    prop_oneof![even, proptest::collection::vec(1u32..8, 1..6)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn convolutions_of_several_panels_agree(
        outputs in proptest::collection::vec(1u32..180, 1..4),
        ic in 1u32..12,
        taps in 1u32..4,
        pixels in 1u32..70,
        (load, batch) in (activations(), 1u32..3),
        seed in any::<u64>(),
    ) {
        let mut builder = Builder::new(Shape::map(1, pixels, ic * outputs.len() as u32));
        let window = Window { kernel: [1, taps.min(pixels)], ..Window::POINT };
        let partition = Partition::new(vec![ic; outputs.len()], outputs);
        let input = builder.activation(builder.input(), load);
        let spatial = builder.conv(input, window, partition, true);
        let pointwise = builder.pointwise(spatial, 1 + seed as u32 % 150);
        check(&builder.finish(&[pointwise]), seed, batch);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    /// Segments of at least a vector, of several sizes; results that are added to, and parts of
    /// others.
    #[test]
    fn convolutions_by_winograds_method_agree(
        pads in [0u32..3, 0..3, 0..3, 0..3],
        (ic, oc, count, rest) in (16u32..36, 16u32..52, 1u32..4, 0u32..2),
        (h, w) in (1u32..19, 1u32..19),
        (load, last) in (activations(), activations()),
        (kind, batch) in (0u32..4, 1u32..3),
        seed in any::<u64>(),
    ) {
        let [top, bottom, left, right] = pads;
        let window = Window { kernel: [3, 3], pads: Pads { top, bottom, left, right }, ..Window::POINT };
        prop_assume!(window.output(0, h).is_some() && window.output(1, w).is_some());
        let sizes = |size: u32| [vec![size; count as usize], vec![size + 1; rest as usize]].concat();
        let partition = Partition::new(sizes(ic), sizes(oc));
        let (inputs, outputs) = (partition.ic(), partition.oc());
        let mut builder = Builder::new(Shape::map(h, w, inputs));
        let loaded = builder.activation(builder.input(), load);
        let mut conv = |window, partition| builder.conv(loaded, window, partition, true);
        let result = match kind {
            0 => builder.separable(loaded, window, partition, last, 20),
            1 => {
                let operands = [conv(window, partition), conv(window, Partition::whole(inputs, outputs))];
                builder.add(&operands)
            }
            2 => {
                let operands = [conv(window, Partition::whole(inputs, 32)), conv(window, partition)];
                builder.concat(&operands)
            }
            _ => conv(window, partition),
        };
        let result = builder.activation(result, last);
        check_forms(&builder.finish(&[result]), seed, batch, Some(LAST_FORM));
    }
}

/// The parts of steps that a plan for so many threads has.
fn parts(graph: &Graph, (target, precision): (Target, Precision), threads: u32) -> Vec<Part> {
    let mut graph = graph.clone();
    optimize(&mut graph, &PassOptions::default());
    let options = PlanOptions { threads, precision, ..PlanOptions::default() };
    plan(&graph, target, options).unwrap().steps.iter().map(|step| step.part).collect()
}

/// Maps so small that threads share their planes: three steps, one after the other, in memory
/// behind what they read and write.
#[test]
fn planes_that_threads_share_agree() {
    for (seed, (ic, kind)) in (0..).step_by(12).zip([(264, 0), (264, 1), (264, 2), (528, 3)]) {
        let mut builder = Builder::new(Shape::map(12, 11, ic));
        let input = builder.activation(builder.input(), Activation::Relu);
        let window = window(3, 1, 1);
        let layer = match kind {
            0 => builder.conv(input, window, Partition::whole(ic, 300), true),
            1 => builder.separable(input, window, Partition::whole(ic, ic), Activation::Elu, 40),
            2 => {
                let layer = builder.conv(builder.input(), window, Partition::whole(ic, ic), true);
                builder.add(&[layer, builder.input()])
            }
            _ => builder.conv(input, window, cut(ic, ic, 2), true),
        };
        let result = builder.activation(layer, Activation::Sigmoid);
        let graph = builder.finish(&[result]);
        let threads = if kind == 3 { 4 } else { 2 };
        for (isa, precision) in [(Isa::Avx512, Precision::F32), (Isa::Avx512Bf16, Precision::Bf16)] {
            let parts = parts(&graph, (with_some_cache(Target::of(isa), seed), precision), threads);
            assert!(parts.contains(&Part::Planes), "kind {kind} in {precision}: {parts:?}");
        }
        check(&graph, seed, 1);
    }
}

/// Steps that make pixels ready: of a map, of what a separable layer leaves between its parts, and
/// of planes.
#[test]
fn pixels_are_made_ready_in_steps() {
    let target = Target::of(Isa::Avx512);
    let target = Target { fast_inner_products: Some(fast_inner(target, 9)), unit_macs: 16, ..target };
    let parts_of = |layer: &dyn Fn(&mut Builder) -> NodeId, threads| {
        let mut builder = Builder::new(Shape::map(12, 11, 60));
        let result = layer(&mut builder);
        parts(&builder.finish(&[result]), (target, Precision::F32), threads)
    };
    let pointwise = |b: &mut Builder| b.pointwise(b.input(), 70);
    assert_eq!(parts_of(&pointwise, 1), [Part::Inputs, Part::Products]);
    let separable = |segments| {
        move |b: &mut Builder| {
            b.separable(b.input(), window(3, 1, 1), cut(60, 60, segments), Activation::Linear, 70)
        }
    };
    assert_eq!(parts_of(&separable(60), 1), [Part::Whole]);
    assert_eq!(parts_of(&separable(60), 2), [Part::Spatial, Part::Pointwise]);
    assert_eq!(parts_of(&separable(20), 2), [Part::Spatial, Part::Inputs, Part::Pointwise]);
}

/// More runs of segments than have units of work of their own.
#[test]
fn many_different_segments_agree_and_share_units() {
    let inputs: Vec<u32> = (0..90).map(|number| 1 + number % 3).collect();
    let channels = inputs.iter().sum();
    let mut builder = Builder::new(Shape::map(9, 7, channels));
    let partition = Partition::new(inputs.clone(), inputs);
    let layer = builder.conv(builder.input(), window(3, 1, 1), partition, true);
    let graph = builder.finish(&[layer]);
    check(&graph, 1, 2);
    let program = plan(&graph, Target::of(Isa::Avx2), PlanOptions::default()).unwrap();
    let text = program.to_string();
    let kinds = text.lines().filter(|line| line.trim_start().starts_with("units ")).count();
    assert!((1..=40).contains(&kinds), "{kinds} kinds of units in\n{text}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn random_networks_agree_in_all_executions(
        genes in proptest::collection::vec(any::<u8>(), 0..100),
        seed in any::<u64>(),
        batch in 1u32..4,
    ) {
        check(&random_graph(&genes), seed, batch);
    }

    #[test]
    fn convolutions_of_any_window_and_partition_agree(
        window in any_window(),
        inputs in any_segments(),
        multiplier in 1u32..3,
        (h, w) in (1u32..12, 1u32..24),
        (load, activation) in (activations(), activations()),
        (bias, batch) in (any::<bool>(), 1u32..3),
        seed in any::<u64>(),
    ) {
        let outputs = inputs.iter().map(|i| i * multiplier).collect();
        let partition = Partition::new(inputs, outputs);
        prop_assume!(window.output(0, h).is_some() && window.output(1, w).is_some());
        let mut builder = Builder::new(Shape::map(h, w, partition.ic()));
        let input = builder.activation(builder.input(), load);
        let conv = builder.conv(input, window, partition, bias);
        let result = builder.activation(conv, activation);
        check(&builder.finish(&[result]), seed, batch);
    }

    #[test]
    fn segments_in_any_form_agree(
        window in any_window(),
        (ic, oc, count, rest) in (1u32..20, 1u32..20, 2u32..20, 0u32..3),
        (h, w) in (1u32..9, 1u32..24),
        (load, last) in (activations(), activations()),
        algorithms in any::<u64>(),
        seed in any::<u64>(),
    ) {
        // Another run of equal segments behind the first, unless there is no rest.
        let sizes = |size: u32| [vec![size; count as usize], vec![size + 1; rest as usize]].concat();
        let partition = Partition::new(sizes(ic), sizes(oc));
        prop_assume!(window.output(0, h).is_some() && window.output(1, w).is_some());
        let mut builder = Builder::new(Shape::map(h, w, partition.ic()));
        let loaded = builder.activation(builder.input(), load);
        let conv = builder.conv(loaded, window, partition, true);
        let result = builder.activation(conv, last);
        check_forms(&builder.finish(&[result]), seed, 1, Some(algorithms));
    }

    #[test]
    fn separable_layers_of_any_tail_agree(
        window in any_window(),
        inputs in any_segments(),
        outputs in 1u32..18,
        (h, w) in (4u32..12, 4u32..24),
        (load, between) in (activations(), activations()),
        seed in any::<u64>(),
    ) {
        let partition = Partition::new(inputs.clone(), inputs);
        prop_assume!(window.output(0, h).is_some() && window.output(1, w).is_some());
        let mut builder = Builder::new(Shape::map(h, w, partition.ic()));
        let loaded = builder.activation(builder.input(), load);
        let result = builder.separable(loaded, window, partition, between, outputs);
        let result = builder.norm(result);
        check(&builder.finish(&[result]), seed, 2);
    }

    /// So few outputs that inputs can lie side by side, in a layer and as the spatial part of one.
    #[test]
    fn layers_with_few_outputs_agree(
        window in any_window(),
        (ic, oc, pointwise) in (1u32..17, 1u32..9, 0u32..20),
        (h, w) in (1u32..9, 1u32..12),
        (load, last) in (activations(), activations()),
        algorithms in any::<u64>(),
        seed in any::<u64>(),
    ) {
        prop_assume!(window.output(0, h).is_some() && window.output(1, w).is_some());
        let mut builder = Builder::new(Shape::map(h, w, ic));
        let loaded = builder.activation(builder.input(), load);
        let whole = Partition::whole(ic, oc);
        let layer = match pointwise {
            0..10 => builder.conv(loaded, window, whole, true),
            outputs => builder.separable(loaded, window, whole, Activation::Linear, outputs),
        };
        let result = builder.activation(layer, last);
        check_forms(&builder.finish(&[result]), seed, 1, Some(algorithms));
    }

    /// So many channels that tiles have groups of them, for results of every format.
    #[test]
    fn depthwise_layers_of_many_channels_agree(
        (channels, w) in (200u32..900, 5u32..34),
        stride in 1u32..3,
        (load, last) in (activations(), activations()),
        (adds, is_separable) in any::<(bool, bool)>(),
        seed in any::<u64>(),
    ) {
        let mut builder = Builder::new(Shape::map(3, w, channels));
        let loaded = builder.activation(builder.input(), load);
        let partition = Partition::new(vec![1; channels as usize], vec![1; channels as usize]);
        let layer = match is_separable {
            true => builder.separable(loaded, window(3, stride, 1), partition.clone(), Activation::Linear, 24),
            false => builder.conv(loaded, window(3, stride, 1), partition.clone(), true),
        };
        let sum = match adds && !is_separable {
            true => {
                let other = builder.conv(loaded, window(1, stride, 1), partition, false);
                builder.add(&[layer, other])
            }
            false => layer,
        };
        let result = builder.activation(sum, last);
        check(&builder.finish(&[result]), seed, 1);
    }

    /// A single input and so few outputs that pixels can lie side by side, at borders and between
    /// them.
    #[test]
    fn layers_with_one_input_agree(
        window in any_window(),
        (oc, pointwise) in (1u32..9, 0u32..20),
        (h, w) in (1u32..6, 1u32..50),
        (load, last, adds) in (activations(), activations(), any::<bool>()),
        (algorithms, batch) in (any::<u64>(), 1u32..4),
        seed in any::<u64>(),
    ) {
        let window = Window { strides: [window.strides[0], 1], ..window };
        prop_assume!(window.output(0, h).is_some() && window.output(1, w).is_some());
        let mut builder = Builder::new(Shape::map(h, w, 1));
        let loaded = builder.activation(builder.input(), load);
        let whole = || Partition::whole(1, oc);
        let layer = match pointwise {
            0..15 => builder.conv(loaded, window, whole(), true),
            outputs => builder.separable(loaded, window, whole(), Activation::Linear, outputs),
        };
        let other = builder.conv(loaded, window, whole(), false);
        let sum = if adds && pointwise < 15 { builder.add(&[layer, other]) } else { layer };
        let result = builder.activation(sum, last);
        check_forms(&builder.finish(&[result]), seed, batch, Some(algorithms));
    }

    /// Wide enough for tiles, with every way that a layer can reach them.
    #[test]
    fn layers_that_run_by_tiles_agree(
        window in any_window(),
        (ic, oc) in (4u32..80, 16u32..100),
        (h, w) in (1u32..8, 1u32..14),
        (load, between, last) in (activations(), activations(), activations()),
        (kind, segments, batch) in (0u32..7, 1u32..5, 1u32..3),
        seed in any::<u64>(),
    ) {
        prop_assume!(window.output(0, h).is_some() && window.output(1, w).is_some());
        // Equal segments that are wide enough for tiles, for two of the kinds.
        let (ic, oc) = if kind > 4 { (ic * segments, oc * segments) } else { (ic, oc) };
        let wide = Partition::new(vec![ic / segments; segments as usize], vec![oc / segments; segments as usize]);
        let mut builder = Builder::new(Shape::map(h, w, ic));
        let input = builder.activation(builder.input(), load);
        let layer = match kind {
            0 => builder.conv(input, window, Partition::whole(ic, oc), true),
            1 => builder.pointwise(input, oc),
            2 => builder.separable(input, window, cut(ic, ic, ic), between, oc),
            3 => builder.separable(input, window, cut(ic, ic, segments), between, oc),
            5 => builder.conv(input, window, wide, true),
            6 => builder.separable(input, window, wide, between, oc),
            _ => {
                let flat = builder.flatten(input);
                builder.dense(flat, oc)
            }
        };
        let next = if kind == 4 { builder.dense(layer, oc) } else { builder.pointwise(layer, oc) };
        let sum = builder.add(&[next, layer]);
        let result = builder.activation(sum, last);
        check(&builder.finish(&[result]), seed, batch);
    }

    /// Groups of paired channels and a rest, with every way that a pointwise layer can be reached.
    #[test]
    fn fast_inner_products_agree(
        (ic, oc) in (40u32..120, 1u32..80),
        (h, w) in (1u32..9, 1u32..14),
        (load, between, last) in (activations(), activations(), activations()),
        (kind, stride, batch) in (0u32..5, 1u32..3, 1u32..3),
        seed in any::<u32>(),
    ) {
        let seed = u64::from(seed) / 6 * 6 + 2 + u64::from(seed) % 4;
        let mut builder = Builder::new(Shape::map(h, w, ic));
        let input = builder.activation(builder.input(), load);
        let layer = match kind {
            0 => builder.conv(input, window(1, stride, 1), Partition::whole(ic, oc), true),
            1 => builder.separable(input, window(3, stride, 1), cut(ic, ic, ic), between, oc),
            2 => builder.separable(input, window(3, stride, 1), cut(ic, ic, 7), between, oc),
            3 => builder.conv(input, window(3, 1, 1), Partition::whole(ic, oc), true),
            _ => builder.pointwise(input, oc),
        };
        let next = builder.pointwise(layer, oc);
        let sum = builder.add(&[next, layer]);
        let result = builder.activation(sum, last);
        // For such seeds all products are fast inner products.
        check_forms(&builder.finish(&[result]), seed, batch, (kind == 3).then_some(LAST_FORM));
    }

    /// Windows whose rows of taps are shared by rows of pixels.
    #[test]
    fn overlapping_windows_by_tiles_agree(
        kernel in [2u32..6, 1u32..4],
        pads in [0u32..5, 0..5, 0..3, 0..3],
        stride in 1u32..3,
        (vectors, lacking, oc) in (1u32..4, 0u32..4, 16u32..40),
        (h, w) in (1u32..12, 1u32..10),
        (segments, load, spatial, batch) in (1u32..3, activations(), any::<bool>(), 1u32..3),
        seed in any::<u64>(),
    ) {
        let [above, below] = [pads[0], pads[1]].map(|pad| pad.min(kernel[0] - 1));
        let [left, right] = [pads[2], pads[3]].map(|pad| pad.min(kernel[1] - 1));
        let pads = Pads { top: above, bottom: below, left, right };
        let window = Window { kernel, strides: [1, stride], pads, ..Window::POINT };
        prop_assume!(window.output(0, h).is_some() && window.output(1, w).is_some());
        let (ic, count) = (16 * vectors - lacking, segments as usize);
        let partition = Partition::new(vec![ic; count], vec![oc; count]);
        let mut builder = Builder::new(Shape::map(h, w, ic * segments));
        let input = builder.activation(builder.input(), load);
        let result = match spatial {
            true => builder.separable(input, window, partition, load, oc),
            false => builder.conv(input, window, partition, true),
        };
        check(&builder.finish(&[result]), seed, batch);
    }

    #[test]
    fn depthwise_windows_of_any_width_agree(
        kernel in [1u32..4, 1u32..22],
        channels in 1u32..9,
        multiplier in 1u32..3,
        activation in activations(),
        seed in any::<u64>(),
    ) {
        let [rows, columns] = kernel.map(|taps| taps - 1);
        let pads = Pads { top: rows / 2, bottom: rows - rows / 2, left: columns / 2, right: columns / 2 };
        let window = Window { kernel, pads, ..Window::POINT };
        let partition = Partition::new(vec![1; channels as usize], vec![multiplier; channels as usize]);
        let mut builder = Builder::new(Shape::map(4, 24, channels));
        let stem = builder.pointwise(builder.input(), channels);
        let loaded = builder.activation(stem, activation);
        let result = builder.conv(loaded, window, partition, true);
        check(&builder.finish(&[result]), seed, 1);
    }

    #[test]
    fn concatenations_of_repeated_values_agree(
        widths in proptest::collection::vec(1u32..10, 1..4),
        order in proptest::collection::vec(0usize..4, 1..7),
        nested in any::<bool>(),
        flat in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut builder = Builder::new(Shape::map(3, 4, 2));
        let branches: Vec<NodeId> = widths.iter().map(|&w| builder.pointwise(builder.input(), w)).collect();
        let operands: Vec<NodeId> = order.iter().map(|&at| branches[at % branches.len()]).collect();
        let mut result = builder.concat(&operands);
        if nested {
            result = builder.concat(&[branches[0], result, branches[0]]);
        }
        if flat {
            result = builder.flatten(result);
        }
        check(&builder.finish(&[result, branches[0]]), seed, 2);
    }

    #[test]
    fn pools_of_any_window_agree(
        window in any_window(),
        channels in 1u32..18,
        (h, w) in (1u32..12, 1u32..24),
        average in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let window = Window { dilation: [1, 1], pads: Pads::default(), ..window };
        prop_assume!(window.output(0, h).is_some() && window.output(1, w).is_some());
        let kind = if average { PoolKind::Average } else { PoolKind::Max };
        let mut builder = Builder::new(Shape::map(h, w, channels));
        let pool = builder.pool(builder.input(), kind, window);
        let global = builder.global_pool(pool, kind);
        let dense = builder.dense(global, channels);
        check(&builder.finish(&[dense, pool]), seed, 2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_global_rejects: 4000, ..ProptestConfig::default() })]

    /// Maps that are taller than a strip, so that rows are kept from one to the next and computed
    /// twice between threads.
    #[test]
    fn chains_of_layers_agree(
        (window, pool) in (any_window(), any_window()),
        (h, w) in (12u32..32, 4u32..20),
        (ic, oc) in (1u32..20, 1u32..40),
        (load, between, last) in (activations(), activations(), activations()),
        (kind, segments, batch) in (0u32..5, 1u32..5, 1u32..3),
        (front, pooled, average, residual) in (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        seed in any::<u64>(),
    ) {
        let pool = Window { dilation: [1, 1], ..pool };
        let pads = Pads {
            top: pool.pads.top.min(pool.kernel[0] - 1),
            bottom: pool.pads.bottom.min(pool.kernel[0] - 1),
            left: pool.pads.left.min(pool.kernel[1] - 1),
            right: pool.pads.right.min(pool.kernel[1] - 1),
        };
        let pool = Window { pads, ..pool };
        let outputs = |window: Window| Some((window.output(0, h)?, window.output(1, w)?));
        let inner = if kind == 1 { Some((h, w)) } else { outputs(window) };
        prop_assume!(inner.is_some_and(|(h, w)| pool.output(0, h).is_some() && pool.output(1, w).is_some()));
        let mut builder = Builder::new(Shape::map(h, w, ic));
        let input = builder.activation(builder.input(), load);
        let mut branch = || {
                let same = Window { pads: Pads { top: 1, bottom: 1, left: 1, right: 1 }, kernel: [3, 3], ..Window::POINT };
            let input = match front {
                true => builder.separable(input, same, cut(ic, ic, ic), between, ic),
                false => input,
            };
            let layer = match kind {
                0 => builder.conv(input, window, Partition::whole(ic, oc), true),
                1 => builder.pointwise(input, oc),
                2 => builder.conv(input, window, cut(ic, ic, ic), true),
                3 => builder.separable(input, window, cut(ic, ic, ic), between, oc),
                _ => builder.separable(input, window, cut(ic, ic, segments.min(ic)), between, oc),
            };
            let layer = builder.activation(layer, last);
            let kind = if average { PoolKind::Average } else { PoolKind::Max };
            if pooled { builder.pool(layer, kind, pool) } else { layer }
        };
        let branches = if residual { vec![branch(), branch()] } else { vec![branch()] };
        let result = if residual { builder.add(&branches) } else { branches[0] };
        let graph = builder.finish(&[result]);
        prop_assume!(has_chain(&graph, seed));
        check(&graph, seed, batch);
    }
}
