//! The text form of a schedule: a line for each node with an algorithm, behind it what it was
//! chosen from, and why.

use std::fmt::{self, Display, Formatter};

use super::precisions::MoreExact;
use super::segments::{Candidate, Choice};
use super::{
    Algorithm, ConvSchedule, Division, InputActivation, NodeSchedule, Schedule, SeparableSchedule, Stages,
};
use crate::graph::{Graph, NodeId};

/// A schedule with the names of its graph's layers.
pub struct Listing<'a> {
    schedule: &'a Schedule,
    graph: &'a Graph,
}

impl Schedule {
    /// The schedule as text; `graph` is the one that it was made for.
    pub fn listing<'a>(&'a self, graph: &'a Graph) -> Listing<'a> {
        Listing { schedule: self, graph }
    }
}

impl Display for Listing<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.heading(f)?;
        for (&id, node) in &self.schedule.nodes {
            self.node(f, id, node)?;
        }
        Ok(())
    }
}

impl Listing<'_> {
    fn heading(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Schedule { target, options, .. } = self.schedule;
        write!(f, "schedule for {target} batch {} threads {}", options.batch, options.threads)?;
        writeln!(f, " precision {}", options.precision)?;
        if let Some(MoreExact { layers, of, reason, .. }) = self.schedule.more_exact() {
            writeln!(f, "f32 in {layers} of {of} layers: {reason}")?;
        }
        if self.schedule.prefetches_results {
            writeln!(f, "lines of results are prefetched: values are more than a cache holds")?;
        }
        Ok(())
    }

    fn node(&self, f: &mut Formatter<'_>, id: NodeId, node: &NodeSchedule) -> fmt::Result {
        if *node == NodeSchedule::Other {
            return Ok(());
        }
        let layer = &self.graph.layer(self.graph.node(id).layer).name;
        write!(f, "{id} = {node}  ; {layer}")?;
        if let Some(last) = self.schedule.fused_groups.after(id) {
            write!(f, ", with {last}")?;
        }
        if let Some(group) = self.schedule.fused_groups.ending_with(id) {
            write!(f, ", strips of {} rows", group.height)?;
        }
        f.write_str("\n")?;
        for choice in self.schedule.choices.iter().filter(|choice| choice.node == id) {
            write_choice(f, choice)?;
        }
        let reasons = self.schedule.reasons.get(&id).map_or(&[][..], Vec::as_slice);
        reasons.iter().try_for_each(|reason| writeln!(f, "    {reason}"))
    }
}

/// What was chosen for equal segments, and what it was chosen from.
fn write_choice(f: &mut Formatter<'_>, choice: &Choice) -> fmt::Result {
    let Choice { segments, ic, oc, candidates, chosen, .. } = choice;
    writeln!(f, "    {segments} x {ic}->{oc}:")?;
    for (number, Candidate { algorithm, ms }) in candidates.iter().enumerate() {
        let mark = if number == *chosen { '>' } else { ' ' };
        writeln!(f, "    {mark} {ms:.4} ms  {algorithm}")?;
    }
    Ok(())
}

impl Display for NodeSchedule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            NodeSchedule::Conv(conv) => conv.fmt(f),
            NodeSchedule::Separable(parts) => parts.fmt(f),
            NodeSchedule::Pool(division) => write!(f, "pool in {division}"),
            NodeSchedule::Other => f.write_str("by rows"),
        }
    }
}

impl Display for ConvSchedule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { algorithm, activation, division } = self;
        if *activation == InputActivation::Apart {
            f.write_str("activation, then ")?;
        }
        write!(f, "{algorithm} in {division}")
    }
}

impl Display for SeparableSchedule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { spatial, pointwise, stages } = self;
        match stages {
            Stages::Together(division) => write!(f, "{spatial} and {pointwise} in {division}"),
            Stages::Apart { spatial: first, pointwise: second } => {
                write!(f, "{spatial} in {first}, then {pointwise} in {second}")
            }
        }
    }
}

impl Display for Algorithm {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Algorithm::Depthwise => f.write_str("depthwise"),
            Algorithm::Matmul => f.write_str("matmul"),
            Algorithm::FastInnerProduct { vectors } => write!(f, "fast inner product[{vectors} vectors]"),
            Algorithm::Segments { algorithms, .. } => {
                f.write_str("direct[")?;
                for (number, algorithm) in algorithms.iter().enumerate() {
                    write!(f, "{}{algorithm}", if number > 0 { "; " } else { "" })?;
                }
                f.write_str("]")
            }
        }
    }
}

impl Display for Division {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let blocks =
            |blocks: u32| if blocks == 1 { "1 block".to_owned() } else { format!("{blocks} blocks") };
        match self {
            Division::Strips => f.write_str("strips"),
            Division::Rows { blocks: rows, patches } => {
                write!(f, "{} of rows", blocks(*rows))?;
                patches.iter().try_for_each(|&patches| write!(f, ", {} of patches", blocks(patches)))
            }
            Division::Pixels { blocks: pixels } => write!(f, "{} of pixels", blocks(*pixels)),
            Division::SharedPlanes { blocks: rows } => {
                write!(f, "shared planes, patches in {} of rows", blocks(*rows))
            }
            Division::SharedPanels { gathered, is_flat, blocks: pixels } => {
                let rows = if *is_flat { "pixels" } else { "rows" };
                write!(f, "shared panels by {} of pixels", blocks(*pixels))?;
                write!(f, ", gathered in {} of {rows}", blocks(*gathered))
            }
        }
    }
}
