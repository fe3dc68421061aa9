//! What a step has to do: its multiply-adds and bytes, which kernels it calls, how often, and how
//! much of its work each of them does.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use xcc_compiler::cost::{macs, stage_macs};
use xcc_compiler::graph::{Conv, Graph, Layer, LayerId, LayerKind, NodeId, Op};
use xcc_compiler::plan::nest::{KernelId, Operand, for_each_count};
use xcc_compiler::plan::{Driver, Part, Program, Region, Step};
use xcc_compiler::vector::{Inst, Kernel, TILE_ROWS, Times};

/// A kernel that a step calls.
#[derive(Clone, Debug, Serialize)]
pub struct Called {
    /// Its number in the plan.
    pub kernel: String,
    /// Its descriptor's name.
    pub name: String,
    /// Calls in a run, those of all threads together.
    pub calls: u64,
    /// Share of the vector instructions that the step executes.
    pub instructions: f64,
    /// These instructions.
    #[serde(skip)]
    pub executed: u64,
}

/// What stands between the names of layers that run together.
pub const CHAIN: &str = " + ";

/// What a step has to do, whatever time it takes.
#[derive(Clone, Debug)]
pub struct StepWork {
    /// The layer that it computes, see [`layer`]; of a fused group all of them, with [`CHAIN`]
    /// between them.
    pub layer: String,
    /// The class in Keras of that layer.
    pub class: &'static str,
    /// Multiply-adds of all images of a run.
    pub macs: u64,
    /// Those of them that are products of bf16 values, by tiles or in pairs; the others that are
    /// computed are in vectors of f32.
    pub tile_macs: u64,
    /// Those of them that are not computed, since Winograd's method or fast inner products do with
    /// fewer.
    pub saved_macs: u64,
    /// Bytes that it reads and writes at least: its inputs, its result and its packed weights,
    /// each once.
    pub bytes: u64,
    /// Those of its packed weights.
    pub weight_bytes: u64,
    /// The kernels that it calls, the one that executes most instructions first.
    pub kernels: Vec<Called>,
}

/// The work of all steps of `program`, which was planned for `graph`.
pub fn of_steps(program: &Program, graph: &Graph) -> Vec<StepWork> {
    let called = of_drivers(program);
    let saved_of_stages = |node: NodeId| program.saved_macs.get(&node).copied().unwrap_or_default();
    let saved_of = |node: NodeId| saved_of_stages(node).iter().sum();
    let mut seen = HashSet::new();
    let work = |step: &Step| {
        // Steps after the first one that computes all of a node only finish its epilogue.
        let new: Vec<NodeId> = nodes(step).filter(|&node| seen.insert(node)).collect();
        let all =
            |macs: &dyn Fn(NodeId) -> u64| new.iter().map(|&node| macs(node)).fold(0, u64::saturating_add);
        let tiles_of_stages = |node: NodeId| program.schedule.bf16_macs(graph, node);
        let by_tiles = |node: NodeId| tiles_of_stages(node).iter().sum();
        let [spatial_tiles, pointwise_tiles] = tiles_of_stages(step.node);
        let [spatial, pointwise] = stage_macs(graph, step.node);
        let [spatial_saved, pointwise_saved] = saved_of_stages(step.node);
        let products = match step.part {
            Part::Whole => [all(&|node| macs(graph, node).total()), all(&by_tiles), all(&saved_of)],
            Part::Spatial | Part::Planes => [spatial, spatial_tiles, spatial_saved],
            Part::Pointwise => [pointwise, pointwise_tiles, pointwise_saved],
            Part::Activation | Part::Inputs | Part::Windows | Part::Patches | Part::Results => [0; 3],
            Part::Products => [macs(graph, step.node).total(), by_tiles(step.node), saved_of(step.node)],
        };
        // A fused group begins with a convolution, which is most of its work.
        let first = match step.before.first() {
            Some(&first) => layer(graph, first),
            None => layers(graph, step.node, step.part)[0],
        };
        let [macs, tile_macs, saved_macs] =
            products.map(|macs| macs.saturating_mul(u64::from(program.options.batch)));
        StepWork {
            layer: name(graph, step),
            class: first.kind.keras_class(),
            macs,
            tile_macs: tile_macs.min(macs.saturating_sub(saved_macs)),
            saved_macs,
            bytes: value_bytes(program, graph, step) + weight_bytes(step),
            weight_bytes: weight_bytes(step),
            kernels: called[step.driver.index()].clone(),
        }
    };
    program.steps.iter().map(work).collect()
}

/// The layers that a step computes, and which part of them where it is not all.
fn name(graph: &Graph, step: &Step) -> String {
    let names = layers_of_step(graph, step).join(CHAIN);
    let is_whole = match step.part {
        Part::Whole => true,
        // Either is a layer of its own, or else part of one.
        Part::Spatial | Part::Pointwise => layers(graph, step.node, Part::Whole).len() > 1,
        _ => false,
    };
    match is_whole {
        true if is_softmax_of_layer(graph, step.node) => format!("{names} (softmax)"),
        true => names,
        false => format!("{names} ({})", step.part),
    }
}

/// Whether a node is the softmax after the products of a layer, which are a step of their own.
fn is_softmax_of_layer(graph: &Graph, node: NodeId) -> bool {
    let node = graph.node(node);
    matches!(node.op, Op::Softmax) && graph.layer(node.layer).kind != LayerKind::Softmax
}

/// The names of the layers that a step computes, or computes a part of.
pub fn layers_of_step<'g>(graph: &'g Graph, step: &Step) -> Vec<&'g str> {
    let of_node = |node| {
        let part = if node == step.node { step.part } else { Part::Whole };
        layers(graph, node, part)
    };
    let mut names: Vec<&str> = nodes(step).flat_map(of_node).map(|layer| layer.name.as_str()).collect();
    names.dedup();
    names
}

/// The layers in a step's name, and which part of them it computes.
pub fn layers_and_part(name: &str) -> (&str, Option<&str>) {
    let parts = name.strip_suffix(')').and_then(|name| name.rsplit_once(" ("));
    parts.map_or((name, None), |(layers, part)| (layers, Some(part)))
}

/// The nodes that a step computes.
fn nodes(step: &Step) -> impl Iterator<Item = NodeId> {
    step.before.iter().chain([&step.node]).copied()
}

/// Bytes of a step's packed weights and biases.
fn weight_bytes(step: &Step) -> u64 {
    let packed = step.operands.iter().flatten().filter(|place| place.region == Region::Constants);
    packed.map(|place| place.bytes).sum()
}

/// Bytes that a step reads and writes at least beside its weights: its inputs and its result, each
/// once.
fn value_bytes(program: &Program, graph: &Graph, step: &Step) -> u64 {
    let node = graph.node(step.node);
    let place = |operand: Operand| step.operands[operand.index()];
    let size = |value: NodeId| graph.node(value).shape.elements() * 4 * u64::from(program.options.batch);
    // Operands are places in the arena; where an input lies there tells which one is read.
    let lies_at = |value: NodeId, operand: Operand| {
        let view = program.values.get(&value);
        view.zip(place(operand)).is_some_and(|(view, place)| view.offset == place.offset)
    };
    let inputs: Vec<NodeId> = nodes(step).flat_map(|node| graph.node(node).inputs.iter().copied()).collect();
    let read = |operand: Operand| inputs.iter().copied().find(|&input| lies_at(input, operand));
    // A step that continues its node's epilogue, or its second part, reads what the step before
    // left.
    let left = |operand: Operand| place(operand).map_or(0, |place| place.bytes * u64::from(program.shards));
    let input = read(Operand::In).map_or_else(|| left(Operand::In), size);
    let output = match step.part {
        _ if node.op == Op::Concat => input,
        Part::Activation | Part::Inputs | Part::Spatial | Part::Windows | Part::Patches | Part::Planes => {
            left(Operand::Out)
        }
        Part::Results if matches!(node.op, Op::Separable(_)) => left(Operand::Out),
        _ => size(step.node),
    };
    input + read(Operand::Add).map_or(0, size) + output
}

/// What to call the step of a node: fused nodes are named after their last layer, such as an
/// activation, which says little about where time goes. So it is the first layer whose weights are
/// read, if there is one.
pub fn layer(graph: &Graph, id: NodeId) -> &Layer {
    layers(graph, id, Part::Whole)[0]
}

/// The layers of a part of a node, one at least: those of its kernels, which are several where a
/// convolution and a pointwise one became a node, or branches one convolution; of a node without
/// kernels that of its first weights, or its own.
pub fn layers(graph: &Graph, id: NodeId, part: Part) -> Vec<&Layer> {
    let node = graph.node(id);
    let convolutions: &[&Conv] = match (&node.op, part) {
        (Op::Conv(conv), _) => &[conv],
        (Op::Separable(parts), Part::Whole) => &[&parts.spatial, &parts.pointwise],
        (Op::Separable(parts), Part::Pointwise | Part::Inputs) => &[&parts.pointwise],
        (Op::Separable(parts), _) => &[&parts.spatial],
        _ => &[],
    };
    let kernels = convolutions.iter().flat_map(|conv| &conv.parts).map(|part| part.kernel);
    let mut found: Vec<LayerId> = kernels.map(|kernel| graph.weight(kernel).layer).collect();
    found.dedup();
    if found.is_empty() {
        let first = node.op.weights().first().map(|&weight| graph.weight(weight).layer);
        found.push(first.unwrap_or(node.layer));
    }
    found.into_iter().map(|layer| graph.layer(layer)).collect()
}

/// The kernels of every driver of a program, the one that executes most instructions first.
fn of_drivers(program: &Program) -> Vec<Vec<Called>> {
    let kernels: Vec<Kernel> = program.kernels.iter().map(|descriptor| descriptor.generate()).collect();
    program.drivers.iter().map(|driver| of_driver(&kernels, driver, program.shards)).collect()
}

/// The kernels of a driver that is run so many times.
fn of_driver(kernels: &[Kernel], driver: &Driver, times: u32) -> Vec<Called> {
    let mut work: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
    for_each_count(&driver.nest, u64::from(times), &mut |kernel, rows, calls| {
        let (all_calls, all_instructions) = work.entry(kernel.index()).or_default();
        *all_calls += calls;
        *all_instructions += calls * instructions(&kernels[kernel.index()].body, rows.map_or(0, u64::from));
    });
    let total: u64 = work.values().map(|(_, instructions)| instructions).sum();
    let called = |(kernel, (calls, instructions)): (usize, (u64, u64))| Called {
        kernel: KernelId::new(kernel).to_string(),
        name: kernels[kernel].name.clone(),
        calls,
        instructions: instructions as f64 / total.max(1) as f64,
        executed: instructions,
    };
    let mut called: Vec<Called> = work.into_iter().map(called).collect();
    called.sort_by(|a, b| b.instructions.total_cmp(&a.instructions));
    called
}

/// Vector instructions that a call executes; one with tiles counts as one for each of their rows,
/// which is about what it takes.
fn instructions(body: &[Inst], rows: u64) -> u64 {
    let executed = |inst: &Inst| match inst {
        Inst::Loop { times: Times::Exactly(times), body } => u64::from(*times) * instructions(body, rows),
        Inst::Loop { times: Times::Rows, body } => rows * instructions(body, rows),
        Inst::Point { .. } => 0,
        _ if inst.tile_written().is_some() || !inst.tiles_read().is_empty() => u64::from(TILE_ROWS),
        _ => 1,
    };
    body.iter().map(executed).sum()
}

/// A kernel's name without its sizes: what kind it is.
pub fn kind(name: &str) -> &str {
    // Channels and vectors, or rows, columns and inputs of a product.
    let is_size = |part: &str| {
        part.strip_prefix(['c', 'v']).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            || part.split('x').count() == 3
    };
    let mut end = 0;
    for part in name.split('_').take_while(|part| !is_size(part)) {
        end += part.len() + 1;
    }
    &name[..end.saturating_sub(1)]
}

#[cfg(test)]
mod tests {
    use xcc_compiler::elaborate;
    use xcc_compiler::instruction_times::InstructionTimes;
    use xcc_compiler::kernels::Descriptor;
    use xcc_compiler::passes::{PassOptions, optimize};
    use xcc_compiler::plan::nest::NestBuilder;
    use xcc_compiler::plan::{PlanOptions, Precision, plan};
    use xcc_compiler::target::{Isa, Target};
    use xcc_compiler::vector::{Builder, TILE_BYTES, TILE_LANES};

    use super::*;

    /// A kernel of so many instructions, once and in every row.
    fn kernel(name: &str, once: usize, in_row: usize) -> Kernel {
        let mut builder = Builder::new(4, &["p"], true);
        let slot = builder.slot();
        (0..once).for_each(|_| builder.constant(slot, 0.0));
        builder.repeat(Times::Rows, |builder| {
            (0..in_row).for_each(|_| builder.fma(slot, slot, slot));
            let pointer = builder.parameter("p");
            builder.advance(pointer, 4);
        });
        builder.finish(name.to_owned())
    }

    #[test]
    fn work_is_counted_through_loops() {
        let kernels = [kernel("few", 1, 0), kernel("many", 2, 3)];
        let mut nest = NestBuilder::new();
        nest.divide(2, |nest, _| {
            nest.units(0..2, 1, |nest, _| {
                nest.call(KernelId::new(0), Vec::new(), Some(1));
                nest.repeat(0..5, |nest, _| nest.call(KernelId::new(1), Vec::new(), Some(10)));
            });
            nest.units(2..4, 1, |nest, _| nest.call(KernelId::new(0), Vec::new(), Some(1)));
        });
        let called = of_driver(&kernels, &Driver { nest: nest.finish() }, 1);
        let found: Vec<(&str, u64)> = called.iter().map(|c| (c.name.as_str(), c.calls)).collect();
        assert_eq!(found, [("many", 20), ("few", 8)]);
        let all = (20 * (2 + 3 * 10) + 8) as f64;
        assert_eq!(called.iter().map(|c| c.instructions * all).collect::<Vec<_>>(), [640.0, 8.0]);
    }

    /// Multiply-adds for which a step's tiles have room: of all rows, columns and inputs, padding
    /// included.
    fn room_in_tiles(program: &Program, step: &Step) -> u64 {
        let mut dots = 0;
        for_each_count(
            &program.drivers[step.driver.index()].nest,
            u64::from(program.shards),
            &mut |kernel, _, calls| {
                if let Descriptor::Matmul(panel) = &program.kernels[kernel.index()] {
                    let rows = u64::from(
                        panel.pixels.div_ceil(TILE_ROWS)
                            * panel.columns.div_ceil(TILE_LANES)
                            * panel.taps.count
                            * panel.chunks,
                    );
                    dots += calls * rows;
                }
            },
        );
        dots * u64::from(TILE_ROWS * TILE_LANES * TILE_BYTES as u32 / 2)
    }

    #[test]
    fn macs_by_tiles_are_those_of_steps_that_multiply_tiles() {
        let specs = ["xception", "mini_xception", "digits", "inception_v3"];
        for (spec, threads) in specs.into_iter().flat_map(|spec| [(spec, 1), (spec, 2), (spec, 3)]) {
            let text = std::fs::read_to_string(format!("specs/{spec}.xc")).unwrap();
            let mut graph = elaborate::read(&text, &[]).graph.unwrap();
            optimize(&mut graph, &PassOptions::default());
            let of_pairs = Target::of(Isa::Avx512Bf16);
            let times = InstructionTimes { pair: of_pairs.times.multiply_add, ..of_pairs.times };
            let targets = [of_pairs, Target { times, ..of_pairs }, Target::of(Isa::Amx)];
            let of_target = |target| Precision::ALL.map(|precision| (target, precision));
            let cases = targets.into_iter().flat_map(of_target);
            for (target, precision) in cases.filter(|(target, precision)| precision.is_for(*target)) {
                let options = PlanOptions { precision, threads, batch: 2, ..PlanOptions::default() };
                let program = plan(&graph, target, options).unwrap();
                for (step, work) in program.steps.iter().zip(of_steps(&program, &graph)) {
                    let room = room_in_tiles(&program, step);
                    let StepWork { layer, macs, tile_macs, .. } = work;
                    assert!(
                        tile_macs <= macs && (tile_macs > 0) == (room > 0),
                        "{spec} {precision}: {layer}"
                    );
                    assert!(tile_macs <= room, "{spec} {precision}: {layer} has {tile_macs} in {room}");
                }
            }
        }
    }

    #[test]
    fn every_layer_with_a_kernel_is_named_by_a_step() {
        let specs = ["xception", "resnet50", "inception_module", "vgg16", "mobilenet"];
        for (spec, threads) in specs.into_iter().flat_map(|spec| [(spec, 1), (spec, 2)]) {
            let text = std::fs::read_to_string(format!("specs/{spec}.xc")).unwrap();
            let mut graph = elaborate::read(&text, &[]).graph.unwrap();
            optimize(&mut graph, &PassOptions::default());
            let with_kernels = |id: &NodeId| match &graph.node(*id).op {
                Op::Conv(_) | Op::Separable(_) | Op::Dense(_) => graph.node(*id).op.weights(),
                _ => Vec::new(),
            };
            let weights = graph.order().iter().flat_map(with_kernels).map(|id| graph.weight(id));
            let kernels = weights.filter(|weight| weight.name.ends_with("kernel"));
            let expected: HashSet<&str> =
                kernels.map(|weight| graph.layer(weight.layer).name.as_str()).collect();
            let options = PlanOptions { threads, ..PlanOptions::default() };
            let program = plan(&graph, Target::of(Isa::Avx512), options).unwrap();
            let steps = || program.steps.iter();
            let named: HashSet<&str> = steps().flat_map(|step| layers_of_step(&graph, step)).collect();
            assert!(expected.is_subset(&named), "{spec}: {:?}", expected.difference(&named));
            for step in steps() {
                let name = name(&graph, step);
                let is_softmax = is_softmax_of_layer(&graph, step.node);
                let part = if is_softmax { "softmax".to_owned() } else { step.part.to_string() };
                let (layers, told) = layers_and_part(&name);
                assert_eq!(layers.split(CHAIN).collect::<Vec<_>>(), layers_of_step(&graph, step));
                assert!(told.is_none_or(|told| told == part), "{name}");
            }
        }
    }

    #[test]
    fn a_kind_is_a_name_without_sizes() {
        for (name, expected) in [
            ("conv_1x1_c728_v16_6x4_i2944.0.0_o2944_ahead91_relu", "conv_1x1"),
            ("depthwise_3x3_v16x4_12_i256.256.37632_o256", "depthwise_3x3"),
            ("global_averagepool_v16x8_100_i8256", "global_averagepool"),
            ("softmax_c1000_v16", "softmax"),
            ("matmul_361x32x736_i1472_split531392_o2944", "matmul"),
            ("gather_3x3_c32_i128.128.19072_o576_bf16", "gather_3x3"),
            ("copy", "copy"),
        ] {
            assert_eq!(kind(name), expected);
        }
    }
}
