//! The layers of a network as people draw them: flows of layers in a row, and paths that part and
//! meet.
//!
//! Paths are found by dominators: those that meet in a layer parted at the last one that all ways
//! to it pass.

use std::cell::Cell;
use std::collections::HashSet;

use xcc_compiler::graph::{Graph, LayerId, LayerKind, Shape};

use crate::layers::{Description, describe, nodes_of_layers};

/// Paths within paths deeper than this are listed, not drawn.
const DEEPEST: usize = 32;
/// Layers that may be looked at, for each one there is: more are only needed where many layers
/// read many others.
const LOOKS: usize = 50;

/// Something in a row of a drawing.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A layer, and whether a normalisation that follows it is drawn with it.
    Layer {
        /// The layer.
        layer: LayerId,
        /// Whether a normalisation follows.
        is_normalised: bool,
    },
    /// Paths that part and meet.
    Fork(Fork),
    /// Layers whose connections are no such paths, each with the layers it reads.
    Listing(Vec<(LayerId, Vec<LayerId>)>),
    /// Rows that are alike up to names, drawn once.
    Repeat {
        /// How many there are.
        times: usize,
        /// The first.
        body: Vec<Item>,
    },
}

/// Paths that part and meet.
#[derive(Clone, Debug, PartialEq)]
pub struct Fork {
    /// The paths; an empty one passes a value on.
    pub paths: Vec<Vec<Item>>,
    /// The sum or concatenation in which they meet.
    pub join: LayerId,
}

/// Neighbouring rows of one flow.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its name; `None` outside flows.
    pub name: Option<String>,
    /// What it reads.
    pub reads: Shape,
    /// What it yields.
    pub yields: Shape,
    /// Its layers.
    pub items: Vec<Item>,
}

/// A network as it is drawn.
pub struct Tree {
    /// Its flows in order.
    pub flows: Vec<Flow>,
    layers: Layers,
}

impl Tree {
    /// The tree of a graph as it was elaborated.
    pub fn new(graph: &Graph) -> Self {
        let layers = Layers::new(graph);
        let flows = flows(graph, &layers);
        Self { flows, layers }
    }

    /// The description of a layer that the tree has.
    pub fn describe(&self, layer: LayerId) -> Option<&Description> {
        self.layers.descriptions[layer.index()].as_ref()
    }
}

/// Layers and what they read. Ids are in topological order, since layers are made after what they
/// read.
struct Layers {
    descriptions: Vec<Option<Description>>,
    kinds: Vec<LayerKind>,
    /// The layers that each one reads, once for each operand.
    reads: Vec<Vec<usize>>,
    /// The last layer that all ways to each one pass; the input for itself.
    parting: Vec<usize>,
    /// How many layers may still be looked at.
    looks: Cell<usize>,
}

impl Layers {
    fn new(graph: &Graph) -> Self {
        let nodes = nodes_of_layers(graph);
        let count = graph.layers.len();
        let describe = |layer: usize| describe(graph, LayerId::new(layer), &nodes[layer]);
        let reads: Vec<Vec<usize>> = (0..count)
            .map(|layer| {
                let operands = nodes[layer].iter().flat_map(|&id| &graph.node(id).inputs);
                let others = operands.map(|&operand| graph.node(operand).layer.index());
                others.filter(|&other| other != layer).collect()
            })
            .collect();
        let parting = partings(&reads);
        let kinds = graph.layers.iter().map(|layer| layer.kind).collect();
        let looks = Cell::new(LOOKS * (count + 1));
        Self { descriptions: (0..count).map(describe).collect(), kinds, reads, parting, looks }
    }

    /// Counts layers that are looked at; `None` when there were too many.
    fn look(&self, layers: usize) -> Option<()> {
        self.looks.set(self.looks.get().checked_sub(layers)?);
        Some(())
    }

    /// The row of layers behind `start` up to `end`; `start` is passed by all ways to `end`.
    /// `None` where paths are no rows.
    fn row(&self, start: usize, end: usize, depth: usize) -> Option<Vec<Item>> {
        let (mut backwards, mut at) = (Vec::new(), end);
        while at != start {
            self.look(1)?;
            at = match self.reads[at][..] {
                [] => return None,
                [before] => {
                    backwards.push(Item::Layer { layer: LayerId::new(at), is_normalised: false });
                    before
                }
                _ => {
                    let start = self.parting[at];
                    let fork = self.fork(start, at, depth + 1).map(Item::Fork);
                    backwards.push(fork.or_else(|| self.listing(start, at, depth))?);
                    start
                }
            };
        }
        Some(self.with_norms(backwards.into_iter().rev()))
    }

    /// The row with normalisations as parts of the linear layers before them.
    fn with_norms(&self, items: impl Iterator<Item = Item>) -> Vec<Item> {
        use LayerKind::{BatchNorm, Conv, Dense, DepthwiseConv, SepConv};
        let kind = |layer: LayerId| self.kinds[layer.index()];
        let mut row: Vec<Item> = Vec::new();
        for item in items {
            match (&item, row.last_mut()) {
                (Item::Layer { layer: norm, .. }, Some(Item::Layer { layer, is_normalised }))
                    if kind(*norm) == BatchNorm
                        && matches!(kind(*layer), Conv | DepthwiseConv | SepConv | Dense)
                        && !*is_normalised =>
                {
                    *is_normalised = true;
                }
                _ => row.push(item),
            }
        }
        row
    }

    /// The paths from `start` that meet in `join`; `None` where they share layers.
    fn fork(&self, start: usize, join: usize, depth: usize) -> Option<Fork> {
        if depth > DEEPEST {
            return None;
        }
        let path = |&end: &usize| self.row(start, end, depth);
        let paths: Vec<Vec<Item>> = self.reads[join].iter().map(path).collect::<Option<_>>()?;
        let mut seen = HashSet::new();
        let mut is_shared = false;
        for path in &paths {
            visit(path, &mut |layer| is_shared |= !seen.insert(layer));
        }
        self.look(seen.len())?;
        (!is_shared).then(|| Fork { paths, join: LayerId::new(join) })
    }

    /// All layers behind `start` up to `join`, in order. Within paths there is none: layers may
    /// belong to several.
    fn listing(&self, start: usize, join: usize, depth: usize) -> Option<Item> {
        if depth > 0 {
            return None;
        }
        let mut is_needed = vec![false; join + 1];
        is_needed[join] = true;
        let mut listed = Vec::new();
        for layer in (start + 1..=join).rev() {
            if is_needed[layer] {
                self.reads[layer].iter().for_each(|&operand| is_needed[operand] = true);
                let reads = self.reads[layer].iter().copied().map(LayerId::new).collect();
                listed.push((LayerId::new(layer), reads));
            }
        }
        listed.reverse();
        Some(Item::Listing(listed))
    }
}

/// Calls `see` with each layer of a row, but for normalisations that are parts of others.
pub fn visit(items: &[Item], see: &mut impl FnMut(LayerId)) {
    for item in items {
        match item {
            Item::Layer { layer, .. } => see(*layer),
            Item::Fork(fork) => {
                fork.paths.iter().for_each(|path| visit(path, see));
                see(fork.join);
            }
            Item::Listing(listed) => listed.iter().for_each(|(layer, _)| see(*layer)),
            Item::Repeat { body, .. } => visit(body, see),
        }
    }
}

/// The immediate dominator of each layer; operands come before their users (Cooper, Harvey and
/// Kennedy, *A Simple, Fast Dominance Algorithm*, 2001).
fn partings(reads: &[Vec<usize>]) -> Vec<usize> {
    let mut parting: Vec<usize> = (0..reads.len()).collect();
    for layer in 0..reads.len() {
        let common = |a: usize, b: usize| {
            let (mut a, mut b) = (a, b);
            while a != b {
                let later = if a > b { &mut a } else { &mut b };
                *later = parting[*later];
            }
            a
        };
        parting[layer] = reads[layer].iter().copied().reduce(common).unwrap_or(layer);
    }
    parting
}

/// Cuts the row of all layers where flows change. The input is not part of it.
fn flows(graph: &Graph, layers: &Layers) -> Vec<Flow> {
    let input = graph.node(graph.input).layer.index();
    let result = graph.outputs.first().map_or(input, |&output| graph.node(output).layer.index());
    let items = layers.row(input, result, 0).or_else(|| Some(vec![layers.listing(input, result, 0)?]));
    let items = items.unwrap_or_default();
    let mut flows: Vec<Flow> = Vec::new();
    let mut reads = graph.node(graph.input).shape;
    for item in items {
        let last = last_layer(&item).unwrap_or(graph.node(graph.input).layer);
        let name = graph.layer(last).path.first().cloned();
        let yields = layers.descriptions[last.index()].as_ref().map_or(reads, |layer| layer.shape);
        match flows.last_mut().filter(|flow| flow.name == name) {
            Some(flow) => flow.items.push(item),
            None => flows.push(Flow { name, reads, yields, items: vec![item] }),
        }
        if let Some(flow) = flows.last_mut() {
            flow.yields = yields;
        }
        reads = yields;
    }
    flows
}

/// The layer that yields the value of an item.
pub fn last_layer(item: &Item) -> Option<LayerId> {
    match item {
        Item::Layer { layer, .. } => Some(*layer),
        Item::Fork(fork) => Some(fork.join),
        Item::Listing(listed) => listed.last().map(|(layer, _)| *layer),
        Item::Repeat { body, .. } => last_layer(body.last()?),
    }
}

#[cfg(test)]
mod tests {
    use xcc_compiler::elaborate::read;

    use super::*;

    fn graph(statements: &str) -> Graph {
        let source = format!("model m\ninput image 32 x 32 x 8\n{statements}");
        let elaborated = read(&source, &[]);
        elaborated.graph.unwrap_or_else(|| panic!("{:?}", elaborated.diagnostics))
    }

    /// Rows in words: paths in brackets, a listing in angle brackets.
    fn text(tree: &Tree, items: &[Item]) -> String {
        let name = |layer: LayerId| tree.describe(layer).unwrap().name.clone();
        let item = |item: &Item| match item {
            Item::Layer { layer, is_normalised } => {
                format!("{}{}", name(*layer), if *is_normalised { "*" } else { "" })
            }
            Item::Fork(fork) => {
                let paths: Vec<String> = fork.paths.iter().map(|path| text(tree, path)).collect();
                format!("[{}]{}", paths.join(" | "), name(fork.join))
            }
            Item::Listing(listed) => {
                let names: Vec<String> = listed.iter().map(|(layer, _)| name(*layer)).collect();
                format!("<{}>", names.join(" "))
            }
            Item::Repeat { times, body } => format!("{times}({})", text(tree, body)),
        };
        items.iter().map(item).collect::<Vec<_>>().join(" ")
    }

    fn drawn(statements: &str) -> String {
        let tree = Tree::new(&graph(statements));
        let flow = |flow: &Flow| {
            let name = flow.name.as_deref().unwrap_or("-");
            format!("{name}: {}", text(&tree, &flow.items))
        };
        tree.flows.iter().map(flow).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn residuals_and_branches_become_paths() {
        let text = drawn(
            "conv 8, 3x3, padding: same as a; bn as n\n\
             flow f { residual { conv 8, 1x1 as b; relu as r } as s }\n\
             flow g { concat { branch { conv 4, 1x1 as c } branch {} branch { add { branch { relu as d } branch {} } as e } } as j }",
        );
        assert_eq!(text, "-: a*\nf: [b r | ]s\ng: [c |  | [d | ]e]j");
    }

    #[test]
    fn crossing_paths_are_listed_within_the_nearest_meeting() {
        let text = drawn(
            "conv 8, 1x1 as a\nconv 8, 1x1 as b\nfrom a\nconv 8, 1x1 as c\nadd b, c as d\nconcat b, d as e\nrelu as z",
        );
        assert_eq!(text, "-: a <b c d e> z");
    }

    #[test]
    fn paths_that_meet_only_outside_belong_to_the_outer_ones() {
        let text = drawn(
            "concat { branch { conv 8, 1x1 as a; concat { branch { relu as b } branch { elu as c } } as i } \
             branch { relu as d } } as o\nrelu as z",
        );
        assert_eq!(text, "-: [a [b | c]i | d]o z");
        let flat = drawn(
            "from image\nconv 8, 1x1 as a\nrelu as b\nfrom a\nelu as c\nfrom image\nrelu as d\nconcat b, c, d as o\nrelu as z",
        );
        assert_eq!(flat, "-: <a b c d o> z");
    }

    #[test]
    fn every_layer_of_every_network_is_drawn_once() {
        for entry in std::fs::read_dir("specs").unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "xc") {
                continue;
            }
            let graph = read(&std::fs::read_to_string(&path).unwrap(), &[]).graph.unwrap();
            let tree = Tree::new(&graph);
            let drawn: usize = tree.flows.iter().map(|flow| count(&flow.items)).sum();
            assert_eq!(drawn, graph.layers.len() - 1, "{}", path.display());
        }
    }

    fn count(items: &[Item]) -> usize {
        let item = |item: &Item| match item {
            Item::Layer { is_normalised, .. } => 1 + usize::from(*is_normalised),
            Item::Fork(fork) => 1 + fork.paths.iter().map(|path| count(path)).sum::<usize>(),
            Item::Listing(listed) => listed.len(),
            Item::Repeat { times, body } => times * count(body),
        };
        items.iter().map(item).sum()
    }
}
