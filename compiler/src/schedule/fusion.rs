//! Which layers are computed strip by strip, so that the maps between them never lie in memory
//! whole.
//!
//! A layer and the only one that reads its result may be a fused group. Whether it pays depends on
//! what the map between them costs to write and to read again, and on what strips cost: rows that
//! two threads both compute, and weights that are read for every strip.

use std::collections::HashMap;
use std::ops::Range;

use super::options::PlanOptions;
use super::precisions::LayerPrecisions;
use super::rules::Rules;
use super::strips::{self, LayerRows};
use crate::cost::macs;
use crate::graph::{Conv, Graph, NodeId, Op, Pool, Post, Separable, Window};
use crate::target::Target;

/// Layers that are computed strip by strip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FusedGroup {
    /// The layers; each but the last is read by the next one only.
    pub nodes: Vec<NodeId>,
    /// The rows of the last layer's result, by the section that computes them.
    pub sections: Vec<Range<u32>>,
    /// Rows of a strip.
    pub height: u32,
}

/// An operation that moves a window over a map.
#[derive(Clone, Copy, Debug)]
pub enum Windowed<'a> {
    /// A convolution.
    Conv(&'a Conv),
    /// A spatial convolution and a pointwise one.
    Separable(&'a Separable),
    /// A pool.
    Pool(&'a Pool),
}

impl<'a> Windowed<'a> {
    /// The operation, if it is one.
    pub fn of(op: &'a Op) -> Option<Self> {
        match op {
            Op::Conv(conv) => Some(Self::Conv(conv)),
            Op::Separable(parts) => Some(Self::Separable(parts)),
            Op::Pool(pool) => Some(Self::Pool(pool)),
            _ => None,
        }
    }

    /// Its window.
    pub fn window(self) -> &'a Window {
        match self {
            Self::Conv(conv) => &conv.window,
            Self::Separable(parts) => &parts.spatial.window,
            Self::Pool(pool) => &pool.window,
        }
    }

    /// Bytes of its weights.
    fn weight_bytes(self) -> u64 {
        let bytes =
            |conv: &Conv| conv.window.taps().saturating_mul(conv.partition.products()).saturating_mul(4);
        match self {
            Self::Conv(conv) => bytes(conv),
            Self::Separable(parts) => bytes(&parts.spatial).saturating_add(bytes(&parts.pointwise)),
            Self::Pool(_) => 0,
        }
    }
}

/// Layers that could be a fused group, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsideredGroup {
    /// The layers.
    pub nodes: Vec<NodeId>,
    /// What strips save a thread, for an image: as much time as so many multiply-adds take.
    pub saved: u64,
    /// What they cost it, in the same unit.
    pub cost: u64,
    /// What came of it.
    pub verdict: Verdict,
}

/// Whether layers are a fused group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are, in strips of some rows of the last one's result.
    Chosen {
        /// Rows of a strip.
        height: u32,
    },
    /// Strips would cost at least what they save.
    Costly,
    /// What a strip of one row must keep near is more than any cache holds.
    TooLarge {
        /// Bytes of it.
        bytes: u64,
    },
}

/// All fused groups of a graph.
#[derive(Clone, Debug, Default)]
pub struct FusedGroups {
    /// What there was to choose from: the fused groups, and where layers begin none although the
    /// maps between them are larger than a cache, what came closest.
    pub considered: Vec<ConsideredGroup>,
    /// By the last layer.
    by_last: HashMap<NodeId, FusedGroup>,
    /// The last layer of the fused group that a layer belongs to, unless it is itself the last.
    last_of: HashMap<NodeId, NodeId>,
}

impl FusedGroups {
    /// The fused group that ends with `node`.
    pub fn ending_with(&self, node: NodeId) -> Option<&FusedGroup> {
        self.by_last.get(&node)
    }

    fn add(&mut self, group: FusedGroup, considered: ConsideredGroup) {
        let Some((&last, before)) = group.nodes.split_last() else { return };
        self.last_of.extend(before.iter().map(|&node| (node, last)));
        self.by_last.insert(last, group);
        self.considered.push(considered);
    }

    /// The last layer of the fused group in which `node` stands before others: its value is never
    /// in memory whole.
    pub fn after(&self, node: NodeId) -> Option<NodeId> {
        self.last_of.get(&node).copied()
    }
}

/// Multiply-adds that a thread computes while it writes or reads a byte of a map that is not in
/// its cache: some 50 in a nanosecond, and 10 bytes.
const MACS_OF_BYTE: u64 = 5;

/// Most bytes of a strip of one row: what a single layer takes for a row of its own is far less.
const STRIP_LIMIT: u64 = 1 << 24;

/// Multiply-adds that a thread computes while it copies a byte within its cache.
const MACS_OF_COPIED_BYTE: u64 = 2;

/// Most convolutions of a fused group: drivers take the constants of as many.
const MOST_CONVOLUTIONS: usize = 2;

/// Finds the fused groups of `graph` that pay. Where a layer could begin a fused group or leave
/// the ones behind it to another that saves more, it leaves them.
pub fn find(
    graph: &Graph,
    target: Target,
    options: &PlanOptions,
    precisions: &LayerPrecisions,
) -> FusedGroups {
    let rules = |id: NodeId| Rules::new(precisions.of(id), target);
    let weigh = |id: NodeId| -> Vec<(ConsideredGroup, Option<FusedGroup>)> {
        // A layer of two products by tiles is two steps, Winograd's method needs whole maps, and
        // the input by the fast inner product is made ready in a step.
        let is_by_rows = |id: &NodeId| {
            let (node, rules) = (graph.node(*id), rules(*id));
            !rules.takes_matmul_twice(node)
                && !rules.may_take_winograd(node)
                && !rules.fast_inner_stages(node)[0]
        };
        let possible = possible(graph, id).into_iter().filter(|nodes| nodes.iter().all(is_by_rows));
        let trials = possible.map(|nodes| Trial { graph, target, options, precisions, nodes });
        trials.filter_map(|trial| trial.weigh()).collect()
    };
    let balance = |considered: &ConsideredGroup| i128::from(considered.saved) - i128::from(considered.cost);
    let best =
        |id| weigh(id).into_iter().max_by_key(|(considered, group)| (group.is_some(), balance(considered)));
    let mut fused_groups = FusedGroups::default();
    for &id in graph.order() {
        if fused_groups.last_of.contains_key(&id) || fused_groups.by_last.contains_key(&id) {
            continue;
        }
        let Some((considered, group)) = best(id) else { continue };
        let later = || {
            let next = considered.nodes.get(1).and_then(|&next| best(next));
            next.filter(|(_, group)| group.is_some()).map(|(later, _)| balance(&later))
        };
        match group {
            Some(_) if later().is_some_and(|later| later > balance(&considered)) => {}
            Some(group) => fused_groups.add(group, considered),
            None if considered.saved > 0 => fused_groups.considered.push(considered),
            None => {}
        }
    }
    fused_groups
}

/// The fused groups that begin with the convolution `id`, without regard to what they cost.
fn possible(graph: &Graph, id: NodeId) -> Vec<Vec<NodeId>> {
    let is_conv = |id: &NodeId| matches!(graph.node(*id).op, Op::Conv(_) | Op::Separable(_));
    let mut nodes: Vec<NodeId> = [id].into_iter().filter(is_conv).collect();
    let mut found = Vec::new();
    while let Some(next) = nodes.last().and_then(|&last| next_in_group(graph, last)) {
        nodes.push(next);
        if nodes.iter().filter(|id| is_conv(id)).count() > MOST_CONVOLUTIONS {
            break;
        }
        found.push(nodes.clone());
    }
    found
}

/// The layer that `id` can be computed for strip by strip: the only one that reads its result.
/// Other convolutions than separable ones compute so long with each value that it does not matter
/// where they read it.
fn next_in_group(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let node = graph.node(id);
    let [next] = graph.users(id)[..] else { return None };
    let inputs = &graph.node(next).inputs;
    let is_read_once = inputs.first() == Some(&id) && !inputs[1..].contains(&id);
    let follows = matches!(graph.node(next).op, Op::Pool(_) | Op::Separable(_)) && is_read_once;
    (follows && !graph.is_output(id) && !node.fusion.post.contains(&Post::Add)).then_some(next)
}

/// Layers that could be a fused group.
struct Trial<'a> {
    graph: &'a Graph,
    target: Target,
    options: &'a PlanOptions,
    precisions: &'a LayerPrecisions,
    nodes: Vec<NodeId>,
}

impl Trial<'_> {
    /// What strips save and cost, and the fused group if that pays.
    fn weigh(&self) -> Option<(ConsideredGroup, Option<FusedGroup>)> {
        let layers = self.layers()?;
        let last = self.graph.node(*self.nodes.last()?);
        let sections = strips::cut_evenly(&layers, last.shape.h(), self.sections());
        let longest = sections.iter().map(|rows| rows.len() as u32).max()?;
        let height = self.height(&layers, longest);
        let (saved, cost) = (self.gain(), self.cost(&layers, &sections, height));
        let bytes = self.cached_bytes(&layers, 1);
        let (verdict, pays) = if bytes > STRIP_LIMIT {
            (Verdict::TooLarge { bytes }, false)
        } else if cost >= saved {
            (Verdict::Costly, false)
        } else {
            (Verdict::Chosen { height }, true)
        };
        let group = pays.then(|| FusedGroup { nodes: self.nodes.clone(), sections, height });
        Some((ConsideredGroup { nodes: self.nodes.clone(), saved, cost, verdict }, group))
    }

    /// How many sections each image is cut into: threads share images first.
    fn sections(&self) -> u32 {
        self.options.threads.div_ceil(self.options.batch)
    }

    fn layers(&self) -> Option<Vec<LayerRows>> {
        layer_rows(self.graph, &self.nodes)
    }

    /// Bytes of one image's map.
    fn map_bytes(&self, node: NodeId) -> u64 {
        let shape = self.graph.node(node).shape;
        shape.pixels().saturating_mul(self.target.pixel_bytes(shape.c()))
    }

    /// What a thread saves for an image, in multiply-adds. Maps that would stay in its cache cost
    /// nothing.
    fn gain(&self) -> u64 {
        let sections = u64::from(self.sections());
        let between = &self.nodes[..self.nodes.len() - 1];
        let shares = between.iter().map(|&node| self.map_bytes(node) / sections);
        let bytes = shares.filter(|&share| share > u64::from(self.target.cache_bytes)).sum::<u64>();
        bytes.saturating_mul(2 * MACS_OF_BYTE)
    }

    /// What strips cost a thread for an image, in multiply-adds: more work than its share of what
    /// all compute without, and weights that do not stay in the cache and are read more often.
    fn cost(&self, layers: &[LayerRows], sections: &[Range<u32>], height: u32) -> u64 {
        let whole = |&id: &NodeId| macs(self.graph, id).total();
        let share = self.nodes.iter().map(whole).fold(0, u64::saturating_add) / sections.len().max(1) as u64;
        let most = sections.iter().map(|rows| strips::section_macs(layers, rows)).max().unwrap_or(0);
        let layers_of = self.nodes.iter().filter_map(|&id| Windowed::of(&self.graph.node(id).op));
        let weights = layers_of.map(Windowed::weight_bytes).fold(0, u64::saturating_add);
        let longest = sections.iter().map(|rows| rows.len() as u64).max().unwrap_or(0);
        let strips = longest.div_ceil(u64::from(height));
        let read = if weights > u64::from(self.target.cache_bytes) / 2 { weights } else { 0 };
        let each = read
            .saturating_mul(MACS_OF_BYTE)
            .saturating_add(self.kept_bytes(layers).saturating_mul(MACS_OF_COPIED_BYTE));
        most.saturating_sub(share).saturating_add(strips.saturating_mul(each))
    }

    /// Bytes of the rows that most strips keep of the one before.
    fn kept_bytes(&self, layers: &[LayerRows]) -> u64 {
        let kept = |(&id, layer): (&NodeId, &LayerRows)| {
            let rows = layer.window.extent()[0].saturating_sub(layer.window.strides[0]);
            u64::from(rows).saturating_mul(self.row_bytes(self.graph.node(id).inputs[0]))
        };
        self.nodes.iter().zip(layers).skip(1).map(kept).fold(0, u64::saturating_add)
    }

    /// The most rows of a strip with which all that must stay in the cache fits into it; at least
    /// one.
    fn height(&self, layers: &[LayerRows], longest: u32) -> u32 {
        let fits = |&height: &u32| self.cached_bytes(layers, height) <= u64::from(self.target.cache_bytes);
        (1..=longest).take_while(fits).last().unwrap_or(1)
    }

    fn rules(&self, id: NodeId) -> Rules {
        Rules::new(self.precisions.of(id), self.target)
    }

    /// Bytes that a layer reads again and again while it computes a row of its result, besides
    /// weights: its matrix or intermediate map in scratch memory, or, where there is neither, rows
    /// of its input.
    fn own_row_bytes(&self, id: NodeId) -> u64 {
        let node = self.graph.node(id);
        let pixels = u64::from(node.shape.w());
        let values =
            |channels: u32, taps: u64| pixels.saturating_mul(u64::from(channels)).saturating_mul(taps * 4);
        match Windowed::of(&node.op) {
            Some(Windowed::Separable(parts)) => values(parts.pointwise.partition.ic(), 1),
            Some(Windowed::Conv(conv)) if !self.rules(id).takes_matmul(node, conv) => {
                self.row_bytes(node.inputs[0]).saturating_mul(u64::from(conv.window.strides[0]))
            }
            Some(Windowed::Conv(conv)) => values(conv.partition.ic(), conv.window.taps()),
            Some(Windowed::Pool(_)) | None => 0,
        }
    }

    /// Bytes of a row of a value.
    fn row_bytes(&self, node: NodeId) -> u64 {
        let shape = self.graph.node(node).shape;
        u64::from(shape.w()).saturating_mul(self.target.pixel_bytes(shape.c()))
    }

    /// About what must stay in the cache for strips of `height` rows: the buffers between layers,
    /// and what the layers read again and again one after the other.
    fn cached_bytes(&self, layers: &[LayerRows], height: u32) -> u64 {
        let mut rows = u64::from(height);
        let (mut buffers, mut own) = (0u64, 0);
        for (&id, layer) in self.nodes.iter().zip(layers).rev() {
            own = rows.saturating_mul(self.own_row_bytes(id)).max(own);
            let [stride, extent] = [layer.window.strides[0], layer.window.extent()[0]].map(u64::from);
            rows =
                (rows - 1).saturating_mul(stride).saturating_add(extent).min(u64::from(layer.input.max(1)));
            if id != self.nodes[0] {
                let bytes = self.row_bytes(self.graph.node(id).inputs[0]);
                buffers = buffers.saturating_add(rows.saturating_mul(bytes));
            }
        }
        own.saturating_add(buffers)
    }
}

/// The layers of a fused group as strips see them; none where one has no window.
pub fn layer_rows(graph: &Graph, nodes: &[NodeId]) -> Option<Vec<LayerRows>> {
    let layer = |&id: &NodeId| {
        let node = graph.node(id);
        let input = graph.node(*node.inputs.first()?).shape.h();
        let window = *Windowed::of(&node.op)?.window();
        Some(LayerRows { window, input, macs: macs(graph, id).total() / u64::from(node.shape.h()) })
    };
    nodes.iter().map(layer).collect()
}
