//! Makes a schedule: node by node, each decision with its limits checked, so that lowering cannot
//! fail.

mod division;
mod layers;
mod limits;
mod matmul;
mod segments;
mod separable;
mod strips;

use std::collections::{BTreeMap, HashMap};

use crate::graph::{Graph, Node, NodeId, Op};
use crate::layout::{Layout, View};
use crate::schedule::candidates::{CostModel, Question};
use crate::schedule::fusion::FusedGroups;
use crate::schedule::options::{PlanError, PlanOptions, Precision};
use crate::schedule::precisions::LayerPrecisions;
use crate::schedule::reasons::Reason;
use crate::schedule::rules::Rules;
use crate::schedule::segments::Candidate;
use crate::schedule::{NodeSchedule, Schedule};
use crate::target::{Isa, Target};

pub use matmul::BEHIND;
pub use separable::{between, bytes_between, pixel_between};

/// What a schedule is made from.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The network.
    pub graph: &'a Graph,
    /// What it is for.
    pub target: Target,
    /// What was asked for.
    pub options: PlanOptions,
    /// Where values lie.
    pub layout: &'a Layout,
}

/// Whether kernels should ask for cache lines of results before they write them: a network's
/// values are more than a cache holds. Kernels of four lanes cannot.
pub fn prefetches_results(Facts { target, layout, .. }: Facts<'_>) -> bool {
    target.isa != Isa::Baseline && layout.arena_bytes > u64::from(target.cache_bytes)
}

/// Makes the decisions for all nodes that `is_wanted`; `choose` picks one of several algorithms of
/// segments.
///
/// Fails at the first node that is too large; [`build_what_fits`] leaves such nodes out.
pub fn build(
    facts: Facts<'_>,
    precisions: LayerPrecisions,
    fused_groups: FusedGroups,
    costs: &dyn CostModel,
    choose: &dyn Fn(&[Candidate]) -> usize,
) -> Result<Schedule, PlanError> {
    let mut scheduler = Scheduler::new(facts, precisions, fused_groups, costs, choose);
    for &id in facts.graph.order() {
        scheduler.add(id)?;
    }
    Ok(scheduler.schedule)
}

/// The decisions for the nodes that are not too large, each by itself.
pub fn build_what_fits(
    facts: Facts<'_>,
    precisions: LayerPrecisions,
    costs: &dyn CostModel,
    choose: &dyn Fn(&[Candidate]) -> usize,
) -> Schedule {
    let mut scheduler = Scheduler::new(facts, precisions, FusedGroups::default(), costs, choose);
    for &id in facts.graph.order() {
        // What the error says is said when the network is planned.
        _ = scheduler.add(id);
    }
    scheduler.schedule
}

/// A schedule under construction.
struct Scheduler<'a> {
    graph: &'a Graph,
    target: Target,
    options: PlanOptions,
    layout: &'a Layout,
    costs: &'a dyn CostModel,
    choose: &'a dyn Fn(&[Candidate]) -> usize,
    /// Candidates whose costs are known.
    known: HashMap<Question, Vec<Candidate>>,
    /// Multiply-adds, or values, of all images that the node at hand has to compute.
    work: u64,
    schedule: Schedule,
}

/// The maps of a layer: views of input and result.
#[derive(Clone, Copy)]
struct Maps {
    input: View,
    out: View,
    add: View,
}

impl Maps {
    /// Whether the pixels of all images lie behind each other in every map.
    fn is_one_run(&self) -> bool {
        [self.input, self.out, self.add].iter().all(View::is_one_run)
    }

    /// Rows and columns of the result.
    fn extents(&self) -> [u32; 2] {
        [self.out.shape.h(), self.out.shape.w()]
    }
}

impl<'a> Scheduler<'a> {
    fn new(
        facts: Facts<'a>,
        precisions: LayerPrecisions,
        fused_groups: FusedGroups,
        costs: &'a dyn CostModel,
        choose: &'a dyn Fn(&[Candidate]) -> usize,
    ) -> Self {
        let Facts { graph, target, options, layout } = facts;
        let schedule = Schedule {
            target,
            options,
            precisions,
            fused_groups,
            prefetches_results: prefetches_results(facts),
            choices: Vec::new(),
            reasons: BTreeMap::new(),
            nodes: BTreeMap::new(),
            planes_ms: BTreeMap::new(),
        };
        let known = HashMap::new();
        Self { graph, target, options, layout, costs, choose, known, work: 0, schedule }
    }

    /// Decides about a node; about the layers of a fused group when its last one comes.
    fn add(&mut self, id: NodeId) -> Result<(), PlanError> {
        self.check_steps(id)?;
        self.work = self.work(id);
        if self.schedule.fused_groups.after(id).is_some() {
            return Ok(());
        }
        if let Some(group) = self.schedule.fused_groups.ending_with(id).cloned() {
            return self.chain(&group);
        }
        let graph = self.graph;
        let schedule = match &graph.node(id).op {
            Op::Conv(conv) => NodeSchedule::Conv(self.conv(id, conv)?),
            Op::Dense(part) => NodeSchedule::Conv(self.dense(id, part)?),
            Op::Separable(parts) => NodeSchedule::Separable(self.separable(id, parts)?),
            Op::Pool(pool) => NodeSchedule::Pool(self.pool(id, pool)),
            Op::Input
            | Op::BatchNorm(_)
            | Op::Activation(_)
            | Op::GlobalPool(_)
            | Op::Softmax
            | Op::Add
            | Op::Concat
            | Op::Dropout { .. }
            | Op::Flatten => NodeSchedule::Other,
        };
        self.schedule.nodes.insert(id, schedule);
        Ok(())
    }

    fn view(&self, node: NodeId) -> View {
        self.layout.views[&node]
    }

    fn maps(&self, id: NodeId) -> Maps {
        let out = self.view(id);
        let add = self.graph.node(id).added().map_or(out, |added| self.view(added));
        Maps { input: self.layout.input_of(self.graph, id), out, add }
    }

    fn rules(&self, id: NodeId) -> Rules {
        Rules::new(self.precision(id), self.target)
    }

    fn precision(&self, id: NodeId) -> Precision {
        self.schedule.precisions.of(id)
    }

    fn node(&self, id: NodeId) -> &'a Node {
        self.graph.node(id)
    }

    /// Notes why the node is computed as it is.
    fn note(&mut self, id: NodeId, reason: Reason) {
        self.schedule.reasons.entry(id).or_default().push(reason);
    }
}
