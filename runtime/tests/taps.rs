//! Graphs as callers make them: outputs of any nodes, before and after passes, and graphs changed
//! by hand. Whatever is asked is computed or an error.

mod common;

use std::borrow::Cow;

use common::graphs::{Builder, cut, random_graph, window};
use common::{Random, RandomWeights};
use proptest::prelude::*;
use xcc_compiler::graph::text::{parse, write};
use xcc_compiler::graph::verify::verify;
use xcc_compiler::graph::{
    Activation, Graph, LayerId, NodeId, Op, PoolKind, Post, Shape, WeightError, WeightId, WeightSource,
};
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::{PlanError, PlanOptions};
use xcc_compiler::target::Target;
use xcc_runtime::decouple::{DecoupleError, decouple};
use xcc_runtime::onnx::{self, OnnxError};
use xcc_runtime::reference::{Values, evaluate};
use xcc_runtime::weights::save_safetensors;
use xcc_runtime::{Model, ModelError, npy};

/// Errors of f32 sums in such small networks, relative to the largest element.
const ROUNDING: f64 = 1e-4;

fn genes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

fn optimized(graph: &Graph) -> Graph {
    let mut fused = graph.clone();
    optimize(&mut fused, &PassOptions::default());
    fused
}

fn compile(graph: &Graph) -> Result<Model, ModelError> {
    Model::compile(graph, &RandomWeights::new(graph, 1), Target::native(), PlanOptions::default())
}

fn input(graph: &Graph) -> Vec<f64> {
    // Numbers that both formats have.
    let numbers = Random::new(2).vector(graph.node(graph.input).shape.elements() as usize);
    numbers.into_iter().map(|number| f64::from(number as f32)).collect()
}

/// Every value of a graph, exactly.
fn expected(graph: &Graph) -> Values<f64> {
    evaluate(graph, &RandomWeights::new(graph, 1), &input(graph), 1).unwrap()
}

/// Compares what a compiled graph yields as its outputs with their values.
fn check_outputs(graph: &Graph, expected: &Values<f64>) -> Result<(), TestCaseError> {
    let input: Vec<f32> = input(graph).into_iter().map(|number| number as f32).collect();
    let found = compile(graph).map_err(|error| TestCaseError::fail(format!("{error}\n{}", write(graph))))?;
    let found = found.run(&input).unwrap();
    prop_assert_eq!(found.len(), graph.outputs.len());
    for (id, found) in graph.outputs.iter().zip(found) {
        let expected = expected.get(*id).unwrap();
        let scale = expected.iter().fold(1e-30, |most: f64, x| most.max(x.abs()));
        prop_assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let error = (f64::from(*found) - expected).abs() / scale;
            prop_assert!(error <= ROUNDING, "{}: {} of\n{}", id, error, write(graph));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_nodes_can_be_outputs_before_passes(genes in genes(60), picks in prop::collection::vec(any::<prop::sample::Index>(), 1..4)) {
        let mut graph = random_graph(&genes);
        let expected = expected(&graph);
        // An output twice is computed once and given twice.
        graph.outputs = picks.iter().map(|pick| graph.order()[pick.index(graph.order().len())]).collect();
        check_outputs(&graph, &expected)?;
        check_outputs(&optimized(&graph), &expected)?;
        let none = evaluate::<f64>(&graph, &RandomWeights::new(&graph, 1), &[], 0).unwrap();
        prop_assert!(graph.outputs.iter().all(|&id| none.get(id) == Some(&[])));
    }

    #[test]
    fn nodes_that_passes_left_can_be_outputs_and_others_are_errors(genes in genes(60)) {
        let graph = random_graph(&genes);
        let expected = expected(&graph);
        let mut fused = optimized(&graph);
        for id in (0..graph.id_bound() + 2).map(NodeId::new) {
            fused.outputs = vec![id];
            if fused.order().contains(&id) {
                // What passes insert has no value before them.
                if expected.get(id).is_some() {
                    check_outputs(&fused, &expected)?;
                }
                continue;
            }
            let error = compile(&fused).err().map(|error| error.to_string()).unwrap_or_default();
            let exists = id.index() < fused.id_bound();
            let said = if exists { format!("outputs: {id} is not a live node; ") } else { format!("outputs: the graph has no node {id}") };
            prop_assert!(error.contains(&said), "{}", error);
            // Passes neither mend nor worsen it.
            prop_assert_eq!(write(&optimized(&fused)), write(&fused));
        }
    }

    #[test]
    fn layers_names_lead_to_their_values_or_to_none(genes in genes(150)) {
        let graph = random_graph(&genes);
        let fused = optimized(&graph);
        let texts = [write(&graph), write(&fused)].map(|text| parse(&text).unwrap());
        for (at, layer) in graph.layers.iter().enumerate() {
            let is_of_layer = |&&id: &&NodeId| graph.node(id).layer == LayerId::new(at);
            let last = graph.order().iter().rfind(is_of_layer).copied();
            prop_assert_eq!(graph.value(&layer.name), last);
            prop_assert_eq!(texts[0].value(&layer.name), last);
            let live = last.filter(|id| fused.order().contains(id));
            prop_assert_eq!(fused.value(&layer.name), live);
            prop_assert!(texts[1].value(&layer.name).is_none_or(|id| Some(id) == live));
        }
        prop_assert_eq!(graph.value("no such layer"), None);
    }
}

/// A change that breaks a graph, or not.
#[derive(Clone, Debug)]
enum Change {
    Outputs(Vec<usize>),
    Input(usize),
    Inputs(usize, Vec<usize>),
    Layer(usize, usize),
    Shape(usize, u32, u32),
    Swap(usize, usize),
    Remove(usize),
    Replace(usize, usize),
    Post(usize, usize),
    Weight(usize, Vec<u32>),
    Forget(usize),
    Push(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let id = || 0..24_usize;
    let ids = || prop::collection::vec(id(), 0..4);
    let extent = || prop_oneof![0..9_u32, Just(u32::MAX), Just(1 << 16)];
    prop_oneof![
        ids().prop_map(Change::Outputs),
        id().prop_map(Change::Input),
        (id(), ids()).prop_map(|(at, inputs)| Change::Inputs(at, inputs)),
        (id(), id()).prop_map(|(at, layer)| Change::Layer(at, layer)),
        (id(), extent(), extent()).prop_map(|(at, rows, channels)| Change::Shape(at, rows, channels)),
        (id(), id()).prop_map(|(at, other)| Change::Swap(at, other)),
        id().prop_map(Change::Remove),
        (id(), id()).prop_map(|(from, to)| Change::Replace(from, to)),
        (id(), 0..3_usize).prop_map(|(at, adds)| Change::Post(at, adds)),
        (id(), prop::collection::vec(extent(), 0..4)).prop_map(|(at, shape)| Change::Weight(at, shape)),
        id().prop_map(Change::Forget),
        (id(), id()).prop_map(|(at, layer)| Change::Push(at, layer)),
    ]
}

/// Makes a change to what there is: numbers count round, but for those that refer to something.
fn apply(graph: &mut Graph, change: &Change) {
    let nodes = graph.id_bound();
    let node = |at: usize| NodeId::new(at % nodes);
    let ids = |list: &[usize]| list.iter().copied().map(NodeId::new).collect::<Vec<_>>();
    match change {
        Change::Outputs(outputs) => graph.outputs = ids(outputs),
        Change::Input(input) => graph.input = NodeId::new(*input),
        Change::Inputs(at, inputs) => graph.node_mut(node(*at)).inputs = ids(inputs),
        Change::Layer(at, layer) => graph.node_mut(node(*at)).layer = LayerId::new(*layer),
        Change::Shape(at, rows, channels) => {
            graph.node_mut(node(*at)).shape = Shape::map(*rows, 3, *channels)
        }
        Change::Swap(at, other) => {
            let op = graph.node(node(*other)).op.clone();
            graph.node_mut(node(*at)).op = op;
        }
        Change::Remove(at) => graph.remove(NodeId::new(*at)),
        Change::Replace(from, to) => graph.replace_uses(NodeId::new(*from), NodeId::new(*to)),
        Change::Post(at, adds) => graph.node_mut(node(*at)).fusion.post = vec![Post::Add; *adds],
        Change::Weight(at, shape) => {
            let count = graph.weights.len().max(1);
            graph.weights.get_mut(at % count).into_iter().for_each(|weight| weight.shape.clone_from(shape));
        }
        Change::Forget(at) => graph.weights.truncate(*at),
        Change::Push(at, layer) => {
            graph.push(
                Op::Activation(Activation::Relu),
                ids(&[*at]),
                Shape::map(2, 2, 2),
                LayerId::new(*layer),
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn graphs_changed_by_hand_are_computed_or_refused(genes in genes(60), changes in prop::collection::vec(change(), 1..4)) {
        let whole = random_graph(&genes);
        for mut graph in [whole.clone(), optimized(&whole)] {
            changes.iter().for_each(|change| apply(&mut graph, change));
            let weights = RandomWeights::new(&whole, 1);
            let given = Given(&weights, whole.weights.len());
            let is_whole = verify(&graph).is_ok();
            let fits = is_whole && graph.weights.iter().zip(&whole.weights).all(|(a, b)| a.elements() == b.elements());
            let compiled = Model::compile(&graph, &given, Target::native(), PlanOptions::default());
            // Broken ones first: nothing is planned of them.
            prop_assert_eq!(is_whole, !matches!(compiled, Err(ModelError::Plan(PlanError::Graph { .. }))));
            prop_assert_eq!(fits, compiled.is_ok(), "{:?}\n{}", compiled.err(), write(&graph));
            let evaluated = evaluate(&graph, &given, &input(&whole), 1);
            prop_assert!(is_whole || evaluated.is_err());
            let exported = onnx::bytes(&graph, &given);
            prop_assert_eq!(is_whole, !matches!(exported, Err(OnnxError::Graph(_))));
            let carried = decouple(&whole, &graph, &given);
            prop_assert_eq!(is_whole, !matches!(carried, Err(DecoupleError::Graph(_))));
            let fused = optimized(&graph);
            prop_assert_eq!(is_whole, verify(&fused).is_ok());
        }
    }
}

/// Some numbers for tensors that there are, and none for others.
struct Given<'a>(&'a RandomWeights, usize);

impl WeightSource for Given<'_> {
    fn tensor(&self, id: WeightId) -> Result<Cow<'_, [f32]>, WeightError> {
        if id.index() < self.1 { self.0.tensor(id) } else { Ok(Cow::Borrowed(&[])) }
    }

    fn length(&self, id: WeightId) -> u64 {
        if id.index() < self.1 { self.0.length(id) } else { 0 }
    }
}

/// A small network with weights.
fn network() -> Graph {
    let mut builder = Builder::new(Shape::map(5, 5, 8));
    let conv = builder.conv(builder.input(), window(3, 1, 1), cut(8, 8, 2), true);
    let pool = builder.global_pool(conv, PoolKind::Average);
    builder.finish(&[pool])
}

#[test]
fn files_of_wrong_lengths_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    for shape in [&[3, 2][..], &[0], &[u64::MAX, u64::MAX]] {
        assert!(npy::write(&path, shape, &[0.5; 5]).is_err(), "{shape:?}");
    }
    let graph = network();
    let mut weights = RandomWeights::new(&graph, 1);
    weights.tensor_mut(WeightId::new(1)).pop();
    let error = save_safetensors(&graph, &weights, &path).unwrap_err().to_string();
    assert!(error.contains("conv2d_1/bias has 8 elements, but 7 were given"), "{error}");
    assert!(!path.exists());
}

#[test]
fn there_must_be_an_output() {
    let mut graph = network();
    graph.outputs.clear();
    let error = compile(&graph).err().unwrap().to_string();
    assert_eq!(error, "the graph is broken: outputs: there are none");
}

#[test]
fn any_numbers_of_threads_and_images_are_run_or_refused() {
    let graph = network();
    let weights = RandomWeights::new(&graph, 1);
    for (threads, batch) in [(0, 0), (1, 3), (5, 0), (1025, 1), (1, 4097), (u32::MAX, u32::MAX)] {
        let options = PlanOptions { threads, batch, ..PlanOptions::default() };
        let found = Model::compile(&graph, &weights, Target::native(), options);
        if threads > 1024 || batch > 4096 {
            let refused = matches!(found, Err(ModelError::Plan(PlanError::TooMany { .. })));
            assert!(refused, "{threads} threads and {batch} images");
            continue;
        }
        let images = batch.max(1) as usize;
        let model = found.unwrap();
        assert_eq!(model.run(&vec![0.5; images * 200]).unwrap()[0].len(), images * 8);
        for length in [0, 1, images * 200 - 1, images * 200 + 1] {
            let error = model.run(&vec![0.5; length]).unwrap_err();
            assert!(matches!(error, ModelError::Input { found, .. } if found == length), "{error}");
        }
    }
}

#[test]
fn tensors_of_other_lengths_are_refused() {
    let graph = network();
    for length in [0, 1, 287, 289] {
        let mut weights = RandomWeights::new(&graph, 1);
        weights.tensor_mut(WeightId::new(0)).resize(length, 0.0);
        let options = PlanOptions::default();
        let error = Model::compile(&graph, &weights, Target::native(), options).err().unwrap().to_string();
        assert_eq!(error, format!("weight conv2d_1/kernel has 288 elements, but {length} were given"));
    }
}
