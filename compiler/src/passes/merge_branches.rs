//! Merges parallel branches of an Inception module (the paper's figure 2) into one large 1x1
//! convolution followed by a convolution in segments (figure 3; F. Chollet, arXiv 1610.02357,
//! section 1.1: the two are equivalent).
//!
//! A branch is `1x1 convolution -> [activation] -> spatial convolution -> [activation]`, or only
//! the 1x1 convolution and an activation. Neighbouring operands of a concatenation merge when they
//! read the same value and are equal in everything but channels and parameters: windows and
//! activations. Normalisations are folded already and belong to the parts. Each output is the sum
//! of the same products in the same order as before.

use super::{Report, shared};
use crate::graph::{
    Activation, Conv, Graph, LayerId, LinearPart, Node, NodeId, Op, Partition, Shape, Window, infer_shape,
};

/// How many times as large as their input and result together a map between merged layers may be.
const GROWTH: u64 = 4;

pub(super) fn run(graph: &mut Graph, report: &mut Report) {
    for id in graph.order().to_vec() {
        if graph.node(id).op == Op::Concat {
            merge(graph, report, id);
        }
    }
}

/// One operand of a concatenation, from its first node to its last.
#[derive(Clone)]
struct Branch {
    input: NodeId,
    pointwise: NodeId,
    between: Option<(NodeId, Activation)>,
    spatial: Option<(NodeId, Window)>,
    last: Option<(NodeId, Activation)>,
}

impl Branch {
    fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let between = self.between.map(|b| b.0);
        let last = self.last.map(|l| l.0);
        [self.pointwise].into_iter().chain(between).chain(self.spatial.map(|s| s.0)).chain(last)
    }

    /// How two branches differ, if they may not merge.
    fn difference(&self, other: &Branch) -> Option<String> {
        let activation = |a: Option<(NodeId, Activation)>| a.map_or(Activation::Linear, |a| a.1);
        let window = |b: &Branch| b.spatial.map(|s| s.1);
        if self.input != other.input {
            Some(format!("reads {} and {}", self.input, other.input))
        } else if window(self) != window(other) {
            Some(format!("has windows {} and {}", window_text(window(self)), window_text(window(other))))
        } else if activation(self.between) != activation(other.between) {
            Some(format!("has {} and {} between", activation(self.between), activation(other.between)))
        } else if activation(self.last) != activation(other.last) {
            Some(format!("has {} and {} at the end", activation(self.last), activation(other.last)))
        } else {
            None
        }
    }
}

fn window_text(window: Option<Window>) -> String {
    window.map_or("none".to_owned(), |window| window.to_string())
}

fn merge(graph: &mut Graph, report: &mut Report, concat: NodeId) {
    let operands = graph.node(concat).inputs.clone();
    let branches: Vec<_> = operands.iter().map(|&operand| branch(graph, concat, operand)).collect();
    let (mut merged, mut reasons) = (false, Vec::new());
    for run in runs(&branches, &mut reasons) {
        match steps(graph, &run) {
            Err(reason) => reasons.push(reason),
            Ok(steps) => {
                let what = description(&run, &steps);
                report.apply(graph, concat, what, |graph| replace(graph, concat, &run, steps));
                merged = true;
            }
        }
    }
    if !merged && !reasons.is_empty() {
        report.refuse(graph, concat, reasons.join("; "));
    }
}

/// Runs of two or more neighbouring branches that may merge; what keeps the others apart goes to
/// `reasons`.
fn runs(branches: &[Result<Branch, String>], reasons: &mut Vec<String>) -> Vec<Vec<Branch>> {
    let mut runs: Vec<Vec<Branch>> = Vec::new();
    let mut open = false;
    for branch in branches {
        match branch {
            Err(reason) => {
                reasons.push(reason.clone());
                open = false;
            }
            Ok(branch) => {
                let last = runs.last_mut().filter(|_| open);
                match last.map(|run| (run[0].difference(branch), run)) {
                    Some((None, run)) => run.push(branch.clone()),
                    Some((Some(difference), run)) => {
                        reasons.push(format!("{} {difference}", pair_name(&run[0], branch)));
                        runs.push(vec![branch.clone()]);
                    }
                    None => runs.push(vec![branch.clone()]),
                }
                open = true;
            }
        }
    }
    runs.retain(|run| run.len() > 1);
    runs
}

fn pair_name(a: &Branch, b: &Branch) -> String {
    format!("the pair of {} and {}", a.pointwise, b.pointwise)
}

/// Reads an operand of `concat` as a branch, or says why it is none.
fn branch(graph: &Graph, concat: NodeId, operand: NodeId) -> Result<Branch, String> {
    let (last, id) = activation_before(graph, operand, concat)?;
    let conv = conv_at(graph, id, last.map_or(concat, |l| l.0))?;
    let (between, spatial, pointwise) = if is_pointwise(conv) {
        (None, None, id)
    } else {
        let (between, pointwise) = activation_before(graph, graph.node(id).inputs[0], id)?;
        let first = conv_at(graph, pointwise, between.map_or(id, |b| b.0))?;
        if !is_pointwise(first) {
            return Err(format!("{pointwise} is not a 1x1 convolution with stride 1 and one segment"));
        }
        (between, Some((id, conv.window)), pointwise)
    };
    Ok(Branch { input: graph.node(pointwise).inputs[0], pointwise, between, spatial, last })
}

type ActivationNode = Option<(NodeId, Activation)>;

/// The activation node `id`, if it is one that only `user` reads, and the value before it.
fn activation_before(graph: &Graph, id: NodeId, user: NodeId) -> Result<(ActivationNode, NodeId), String> {
    let node = graph.node(id);
    let Op::Activation(activation) = node.op else { return Ok((None, id)) };
    match shared(graph, id, user) {
        Some(reason) => Err(reason),
        None => Ok((Some((id, activation)), node.inputs[0])),
    }
}

/// The convolution `id` that only `user` reads.
fn conv_at(graph: &Graph, id: NodeId, user: NodeId) -> Result<&Conv, String> {
    let Node { op, fusion, .. } = graph.node(id);
    let Op::Conv(conv) = op else { return Err(format!("{} {id} cannot merge", op.noun())) };
    if !fusion.is_empty() {
        return Err(format!("{id} has something fused into it"));
    }
    match shared(graph, id, user) {
        Some(reason) => Err(reason),
        None => Ok(conv),
    }
}

fn is_pointwise(conv: &Conv) -> bool {
    conv.window.is_point() && conv.partition.segments() == 1
}

/// One node of the merged branch.
struct Step {
    op: Op,
    shape: Shape,
    layer: LayerId,
}

/// The nodes that do the work of the whole run.
fn steps(graph: &Graph, run: &[Branch]) -> Result<Vec<Step>, String> {
    let model = &run[run.len() - 1];
    let mut ops = vec![(pointwise(graph, run)?, model.pointwise)];
    ops.extend(model.between.map(|(id, activation)| (Op::Activation(activation), id)));
    if let Some((id, window)) = model.spatial {
        ops.push((segmented(graph, run, window)?, id));
    }
    ops.extend(model.last.map(|(id, activation)| (Op::Activation(activation), id)));
    let mut shape = graph.node(model.input).shape;
    let step = |(op, id): (Op, NodeId)| {
        shape = infer_shape(&op, &[shape])?;
        Ok(Step { op, shape, layer: graph.node(id).layer })
    };
    let steps: Vec<Step> = ops.into_iter().map(step).collect::<Result<_, String>>()?;
    check_growth(graph.node(model.input).shape, &steps)?;
    Ok(steps)
}

/// Refuses maps between the merged layers that are far larger than what goes in and comes out:
/// branches by themselves have theirs one after the other, in the same memory.
fn check_growth(input: Shape, steps: &[Step]) -> Result<(), String> {
    let largest = steps.iter().map(|step| step.shape.elements()).max().unwrap_or(0);
    let ends = input.elements().saturating_add(steps.last().map_or(0, |step| step.shape.elements()));
    if largest <= ends.saturating_mul(GROWTH) {
        return Ok(());
    }
    Err(format!(
        "the map between them would have {largest} values, more than {GROWTH} times the {ends} that go in and come out"
    ))
}

fn convs<'a>(
    graph: &'a Graph,
    ids: impl Iterator<Item = NodeId> + 'a,
) -> impl Iterator<Item = &'a Conv> + 'a {
    ids.filter_map(|id| match &graph.node(id).op {
        Op::Conv(conv) => Some(conv),
        _ => None,
    })
}

/// The large 1x1 convolution: one segment, the parts of all branches.
fn pointwise(graph: &Graph, run: &[Branch]) -> Result<Op, String> {
    let parts: Vec<LinearPart> =
        convs(graph, run.iter().map(|b| b.pointwise)).flat_map(|conv| conv.parts.clone()).collect();
    let outputs: u64 = parts.iter().map(|p| u64::from(p.outputs)).sum();
    let outputs = u32::try_from(outputs).map_err(|_| format!("together they have {outputs} channels"))?;
    let partition = Partition::whole(graph.node(run[0].input).shape.c(), outputs);
    Ok(Op::Conv(Conv { window: Window::POINT, partition, parts }))
}

/// The segmented convolution: the segments and parts of all branches.
fn segmented(graph: &Graph, run: &[Branch], window: Window) -> Result<Op, String> {
    let (mut inputs, mut outputs, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for conv in convs(graph, run.iter().filter_map(|b| b.spatial.map(|s| s.0))) {
        if conv.partition.segments() == 1 && conv.parts.len() > 1 {
            return Err(format!("a segment with {} parts would be one of several", conv.parts.len()));
        }
        inputs.extend(conv.partition.inputs());
        outputs.extend(conv.partition.outputs());
        parts.extend(conv.parts.clone());
    }
    Ok(Op::Conv(Conv { window, partition: Partition::new(inputs, outputs), parts }))
}

fn description(run: &[Branch], steps: &[Step]) -> String {
    let branches: Vec<String> = run.iter().map(|b| b.pointwise.to_string()).collect();
    let mut text =
        format!("branches of {}: one 1x1 convolution to {}", branches.join(", "), steps[0].shape.c());
    for step in &steps[1..] {
        match &step.op {
            Op::Conv(Conv { window, partition, .. }) => {
                text += &format!(", a convolution ({window} segments {partition})");
            }
            Op::Activation(activation) => text += &format!(", {activation}"),
            _ => {}
        }
    }
    text
}

/// Puts the steps in the place of the run. Where the run is all that is concatenated, the last
/// step takes the id of the concatenation; the other values are new, and get new ids.
fn replace(graph: &mut Graph, concat: NodeId, run: &[Branch], mut steps: Vec<Step>) {
    let operands: Vec<NodeId> = run.iter().filter_map(|b| b.nodes().last()).collect();
    let whole = graph.node(concat).inputs == operands;
    let last = if whole { steps.pop() } else { None };
    let mut value = run[0].input;
    for step in steps {
        value = graph.insert(concat, step.op, vec![value], step.shape, step.layer);
    }
    let node = graph.node_mut(concat);
    match last {
        Some(step) => (node.op, node.inputs) = (step.op, vec![value]),
        None => {
            let first = node.inputs.iter().position(|input| *input == operands[0]);
            let start = first.unwrap_or(node.inputs.len());
            node.inputs.splice(start..start + operands.len(), [value]);
        }
    }
    run.iter().flat_map(Branch::nodes).for_each(|id| graph.remove(id));
}
