//! Keras' order of layers, which is the order of every file that Keras writes.

use std::collections::HashSet;

use xcc_compiler::graph::{Graph, LayerId};

/// The layers of `graph` in the order of Keras' `model.layers`.
///
/// Keras sorts by depth, the longest distance to the output, decreasing; layers of equal depth
/// come in the order in which a depth-first walk from the output over each layer's inputs meets
/// them first (`map_graph` of Keras' functional models). `graph` is one that was elaborated:
/// passes merge layers. Layers that do not lead to the first output come last, in the order of the
/// source.
pub fn keras_order(graph: &Graph) -> Vec<LayerId> {
    order_with(graph, &layer_inputs(graph))
}

fn order_with(graph: &Graph, inputs: &[Vec<LayerId>]) -> Vec<LayerId> {
    let Some(&output) = graph.outputs.first() else { return Vec::new() };
    let walk = Walk::from(graph.node(output).layer, inputs);
    let depths = depths(&walk, inputs);
    let mut order = walk.met.clone();
    // The sort is stable, so layers of equal depth stay in the order of the walk.
    order.sort_by_key(|layer| std::cmp::Reverse(depths[layer.index()]));
    let reached: HashSet<LayerId> = order.iter().copied().collect();
    let layers = (0..graph.layers.len()).map(LayerId::new);
    order.extend(layers.filter(|layer| !reached.contains(layer)));
    order
}

/// The longest distance of each layer to the first output, and the layers that lead there.
pub(super) fn layer_depths(graph: &Graph, inputs: &[Vec<LayerId>]) -> (Vec<usize>, HashSet<LayerId>) {
    let Some(&output) = graph.outputs.first() else { return Default::default() };
    let walk = Walk::from(graph.node(output).layer, inputs);
    let depths = depths(&walk, inputs);
    (depths, walk.met.into_iter().collect())
}

/// For each layer the layers whose values it reads, in order of the operands of its nodes.
pub(super) fn layer_inputs(graph: &Graph) -> Vec<Vec<LayerId>> {
    let mut inputs = vec![Vec::new(); graph.layers.len()];
    for &id in graph.order() {
        let node = graph.node(id);
        let read = node.inputs.iter().map(|&input| graph.node(input).layer);
        inputs[node.layer.index()].extend(read.filter(|&layer| layer != node.layer));
    }
    inputs
}

/// A depth-first walk against the flow of data.
struct Walk {
    /// Layers in the order in which they were met first.
    met: Vec<LayerId>,
    /// Layers in the order in which they were left: inputs before users.
    left: Vec<LayerId>,
}

impl Walk {
    /// Walks from `output`. Keeps its own stack: a network may be thousands of layers deep.
    fn from(output: LayerId, inputs: &[Vec<LayerId>]) -> Self {
        let mut walk = Walk { met: vec![output], left: Vec::new() };
        let mut seen = HashSet::from([output]);
        let mut stack = vec![(output, 0)];
        while let Some((layer, next)) = stack.pop() {
            let Some(&input) = inputs[layer.index()].get(next) else {
                walk.left.push(layer);
                continue;
            };
            stack.push((layer, next + 1));
            if seen.insert(input) {
                walk.met.push(input);
                stack.push((input, 0));
            }
        }
        walk
    }
}

/// The longest distance of each layer to the output; zero for layers that do not lead there.
fn depths(walk: &Walk, inputs: &[Vec<LayerId>]) -> Vec<usize> {
    let mut depths = vec![0; inputs.len()];
    for layer in walk.left.iter().rev() {
        for input in &inputs[layer.index()] {
            depths[input.index()] = depths[input.index()].max(depths[layer.index()] + 1);
        }
    }
    depths
}
