//! Matches layers where a file does not describe its network: by names that a person gave, by
//! shapes, and by order where no other order is possible.
//!
//! A file lists a layer before all layers that read its value. So order is certain among layers
//! that read each other's values, one after the other. The order of layers side by side follows
//! from that of a sum's operands, which means nothing: there [`orders`](super::orders) finds the
//! assignments that are possible.

use std::collections::{HashMap, HashSet};

use xcc_compiler::graph::LayerId;

use super::Listing;
use super::order::{layer_depths, layer_inputs};
use super::orders::{self, Found};
use super::pair::{Pairs, Sides};
use crate::weights::Matching;
use crate::weights::bind::Outcome;
use crate::weights::error::Mismatch;

/// Binds what is certain; the outcome says what is not.
pub(super) fn bind<'a>(sides: &Sides<'_, 'a>) -> (Outcome<'a>, Matching) {
    let pins = sides.same_names();
    if pins.len() == sides.ours.len() {
        return (sides.bind(&pins), Matching::Names);
    }
    let matching = Matching::Order { confirmed: pins.len(), layers: sides.ours.len() };
    match decide(sides, &pins) {
        Ok(pairs) => (sides.bind(&pairs), matching),
        Err(Undecided { reasons, shapes_fit: true }) => {
            (Outcome { mismatches: reasons, ..Outcome::default() }, matching)
        }
        Err(Undecided { reasons, shapes_fit: false }) => {
            let mut outcome = sides.bind(&sides.aligned());
            if outcome.mismatches.is_empty() {
                outcome.mismatches = reasons;
            }
            (outcome, matching)
        }
    }
}

/// What keeps pairs from being certain.
struct Undecided {
    reasons: Vec<Mismatch>,
    /// True if both sides have as many layers of each class and shape.
    shapes_fit: bool,
}

/// All pairs, or what keeps them from being certain.
fn decide(sides: &Sides, pins: &Pairs) -> Result<Pairs, Undecided> {
    let may_be_part = sides.ignores_surplus && sides.ours.len() < sides.theirs.len();
    if sides.ours.len() != sides.theirs.len() && !may_be_part {
        let reasons = vec![Mismatch::Layers { ours: sides.ours.len(), theirs: sides.theirs.len() }];
        return Err(Undecided { reasons, shapes_fit: false });
    }
    let flow = Flow::of(sides);
    let groups = groups(sides, pins);
    let shapes_fit = groups.iter().all(|group| group.ours.len() == group.theirs.len());
    let undecided = |reasons| Undecided { reasons, shapes_fit };
    let mut pairs = pins.clone();
    let mut open = None;
    for group in &groups {
        match group.pairs(sides, &flow) {
            Some(decided) => pairs.extend(decided),
            None => open = open.or(Some(group)),
        }
    }
    let Some(group) = open else {
        return match flow.agrees(sides, &pairs) {
            true => Ok(pairs),
            false => {
                let named = contradictions(sides, pins);
                Err(undecided(if named.is_empty() { vec![Mismatch::Disorder] } else { named }))
            }
        };
    };
    match orders::find(sides, pins) {
        Found::One(pairs) => Ok(pairs),
        Found::Several(ambiguity) => Err(undecided(vec![ambiguity])),
        Found::None => {
            let contradictions = contradictions(sides, pins);
            let is_clear = !contradictions.is_empty() && !shapes_fit;
            Err(undecided(if is_clear { contradictions } else { vec![group.ambiguity(sides, &flow)] }))
        }
    }
}

/// Where the order of a file says another layer than names do.
fn contradictions(sides: &Sides, pins: &Pairs) -> Vec<Mismatch> {
    let pinned: HashMap<usize, usize> = pins.iter().map(|&(i, j)| (j, i)).collect();
    let aligned = sides.aligned();
    let wrong = aligned.iter().filter(|(i, j)| pinned.get(j).is_some_and(|other| other != i));
    let mismatch = |&(i, j): &(usize, usize)| Mismatch::Order {
        position: i + 1,
        stored: sides.theirs[j].label.clone(),
        layer: sides.ours[i].name().to_owned(),
    };
    wrong.map(mismatch).collect()
}

/// Layers of the network without a pair, which have the same class and shapes, and the file's
/// layers that they may be.
struct Group {
    ours: Vec<usize>,
    theirs: Vec<usize>,
}

fn groups(sides: &Sides, pins: &Pairs) -> Vec<Group> {
    let (our_pins, their_pins): (HashSet<usize>, HashSet<usize>) = pins.iter().copied().unzip();
    let mut places: HashMap<_, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (i, layer) in sides.ours.iter().enumerate().filter(|(i, _)| !our_pins.contains(i)) {
        let shapes: Vec<&[u32]> =
            layer.weights.iter().map(|&weight| &sides.graph.weight(weight).shape[..]).collect();
        let place = *places.entry((layer.kind(), shapes)).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Group { ours: Vec::new(), theirs: Vec::new() });
        }
        groups[place].ours.push(i);
    }
    let free = sides.by_sizes((0..sides.theirs.len()).filter(|j| !their_pins.contains(j)));
    for group in &mut groups {
        group.theirs = sides.with_sizes_of(group.ours[0], &free);
    }
    groups
}

impl Group {
    /// The pairs, if shapes and the flow of data leave no choice.
    fn pairs(&self, sides: &Sides, flow: &Flow) -> Option<Pairs> {
        let is_ordered = sides.file.listing != Listing::Unordered;
        let leads = |pair: &[usize]| flow.leads(sides.ours[pair[0]].id, sides.ours[pair[1]].id);
        let is_certain = self.ours.len() == 1 || is_ordered && self.ours.windows(2).all(leads);
        let pairs = || self.ours.iter().copied().zip(self.theirs.iter().copied()).collect();
        (self.ours.len() == self.theirs.len() && is_certain).then(pairs)
    }

    /// Two layers that nothing tells apart, or one that several of the file's fit, or none.
    fn ambiguity(&self, sides: &Sides, flow: &Flow) -> Mismatch {
        if self.ours.len() != self.theirs.len() || self.ours.len() == 1 {
            let candidates = self.theirs.iter().map(|&j| sides.theirs[j].label.clone()).collect();
            return Mismatch::Candidates { layer: sides.ours[self.ours[0]].name().to_owned(), candidates };
        }
        let leads = |place: &usize| {
            flow.leads(sides.ours[self.ours[*place]].id, sides.ours[self.ours[*place + 1]].id)
        };
        let place = (0..self.ours.len() - 1).find(|place| !leads(place)).unwrap_or(0);
        let both = [place, place + 1];
        sides.ambiguity(both.map(|place| self.ours[place]), both.map(|place| self.theirs[place]))
    }
}

/// Which layers read which.
struct Flow {
    inputs: Vec<Vec<LayerId>>,
    depths: Vec<usize>,
}

impl Flow {
    fn of(sides: &Sides) -> Self {
        let inputs = layer_inputs(sides.graph);
        let (depths, _) = layer_depths(sides.graph, &inputs);
        Self { inputs, depths }
    }

    /// True if the value of `first` is needed for that of `second`.
    fn leads(&self, first: LayerId, second: LayerId) -> bool {
        let least = self.depths[first.index()];
        let mut seen = HashSet::new();
        let mut stack = vec![second];
        while let Some(layer) = stack.pop() {
            if layer == first {
                return true;
            }
            // Depth grows towards the input: what is deeper than `first` does not read it.
            let inputs = self.inputs[layer.index()].iter().copied();
            stack.extend(inputs.filter(|input| self.depths[input.index()] <= least && seen.insert(*input)));
        }
        false
    }

    /// True if the file lists layers in an order in which they can be computed.
    fn agrees(&self, sides: &Sides, pairs: &Pairs) -> bool {
        let counts_classes = match sides.file.listing {
            Listing::All => false,
            Listing::PerClass => true,
            Listing::Unordered => return true,
        };
        let positions: HashMap<LayerId, usize> = pairs.iter().map(|&(i, j)| (sides.ours[i].id, j)).collect();
        let class = |layer: LayerId| counts_classes.then(|| sides.graph.layer(layer).kind);
        // For each layer the last position in the file of the layers of each class that it needs.
        let mut last: Vec<HashMap<_, usize>> = vec![HashMap::new(); self.inputs.len()];
        sides.graph.order().iter().map(|&id| sides.graph.node(id).layer).all(|layer| {
            let mut needed = last[layer.index()].clone();
            for input in &self.inputs[layer.index()] {
                for (class, &position) in &last[input.index()] {
                    let known = needed.entry(*class).or_insert(position);
                    *known = position.max(*known);
                }
            }
            let Some(&position) = positions.get(&layer) else {
                last[layer.index()] = needed;
                return true;
            };
            let before = needed.insert(class(layer), position);
            last[layer.index()] = needed;
            before.is_none_or(|before| before <= position)
        })
    }
}
