//! Matches two topologies: which vertex of one is which of the other.
//!
//! Vertices get colours, by what they are first, which are refined by the colours of what they
//! read and of what reads them until no more vertices are told apart (B. Weisfeiler and A. Leman,
//! 1968). Where vertices still have the same colour, one is matched with each candidate in turn,
//! and colours are refined again. A match is verified edge by edge before it is used: colours only
//! lead the search.

use std::collections::HashMap;
use std::hash::Hash;

use super::topology::{Attribute, Edge, Kind, Topology};

/// Refinements before a search gives up. Each takes time proportional to edges.
const MOST_REFINEMENTS: usize = 1_000;

/// What a search is for.
pub(super) struct Problem<'a> {
    /// The two topologies.
    pub sides: [&'a Topology; 2],
    /// Pairs of vertices that are known to belong together.
    pub pins: &'a [(usize, usize)],
    /// Attributes that must be equal.
    pub kept: &'a [Attribute],
}

/// A match: for each vertex of the first side the vertex of the second.
pub(super) struct Match {
    /// The vertices.
    pub partners: Vec<usize>,
    /// The colours that refinement alone gave the vertices of the first side.
    pub colors: Vec<usize>,
}

/// One match of a problem, if there is any. Any two matches differ by a symmetry of either side.
pub(super) fn find(problem: &Problem) -> Option<Match> {
    let sides = problem.sides.map(Side::of);
    if sides[0].users.len() != sides[1].users.len() {
        return None;
    }
    let mut search = Search { problem, sides, refinements: 0 };
    let colors = search.refined(search.labels());
    let partners = search.complete(colors.clone())?;
    let [colors, _] = colors;
    Some(Match { partners, colors })
}

/// The first vertex of `sides[0]` that nothing in `sides[1]` is equal to, in what it is and in all
/// that it needs: where two networks begin to differ.
pub(super) fn first_difference(sides: [&Topology; 2]) -> Option<usize> {
    let problem = Problem { sides, pins: &[], kept: &[] };
    let mut search = Search { problem: &problem, sides: sides.map(Side::of), refinements: 0 };
    let colors = search.forward(search.labels());
    let mut left: HashMap<usize, usize> = HashMap::new();
    colors[1].iter().for_each(|&color| *left.entry(color).or_default() += 1);
    colors[0].iter().position(|color| match left.get_mut(color) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    })
}

/// The values of `sides[1]` that are computed as the result of `sides[0]` is, as far as vertices
/// and their wiring tell.
pub(super) fn values_like_the_result(sides: [&Topology; 2]) -> Vec<Edge> {
    let problem = Problem { sides, pins: &[], kept: &[] };
    let mut search = Search { problem: &problem, sides: sides.map(Side::of), refinements: 0 };
    let colors = search.forward(search.labels());
    let Some(result) = sides[0].vertices.last().and_then(|vertex| vertex.operands.first()) else {
        return Vec::new();
    };
    let alike = (0..colors[1].len()).filter(|&vertex| colors[1][vertex] == colors[0][result.from]);
    alike.map(|from| Edge { from, operations: result.operations.clone() }).collect()
}

/// Colours of the vertices of both sides.
type Colors = [Vec<usize>; 2];

/// What is needed of a topology besides itself.
struct Side<'a> {
    topology: &'a Topology,
    /// The vertices that read each vertex, each with the place of the operand, zero in sums.
    users: Vec<Vec<(usize, usize)>>,
}

impl<'a> Side<'a> {
    fn of(topology: &'a Topology) -> Self {
        let mut users = vec![Vec::new(); topology.vertices.len()];
        for (user, vertex) in topology.vertices.iter().enumerate() {
            let is_sum = vertex.kind == Kind::Sum;
            for (place, edge) in vertex.operands.iter().enumerate() {
                users[edge.from].push((if is_sum { 0 } else { place }, user));
            }
        }
        Self { topology, users }
    }
}

/// What an edge must be equal in: the kept operations, by kind.
type EdgeLabel<'a> = Vec<Vec<&'a str>>;
/// What a vertex must be equal in.
type VertexLabel<'a> = (&'a Kind, Vec<Option<&'a str>>, Vec<EdgeLabel<'a>>);

struct Search<'a> {
    problem: &'a Problem<'a>,
    sides: [Side<'a>; 2],
    refinements: usize,
}

impl<'a> Search<'a> {
    fn edge_label(&self, edge: &'a Edge) -> EdgeLabel<'a> {
        self.problem.kept.iter().map(|&attribute| edge.of(attribute)).collect()
    }

    fn vertex_label(&self, side: usize, place: usize) -> VertexLabel<'a> {
        let vertex = &self.sides[side].topology.vertices[place];
        let attributes = self.problem.kept.iter().map(|&attribute| vertex.attribute(attribute)).collect();
        let mut edges: Vec<EdgeLabel> = vertex.operands.iter().map(|edge| self.edge_label(edge)).collect();
        if vertex.kind == Kind::Sum {
            edges.sort_unstable();
        }
        (&vertex.kind, attributes, edges)
    }

    /// The first colours: by what vertices are, pins apart.
    fn labels(&self) -> Colors {
        let mut numbers: HashMap<(VertexLabel, Option<usize>), usize> = HashMap::new();
        let pins = [0, 1].map(|side| {
            let ends = self.problem.pins.iter().map(|&(ours, theirs)| if side == 0 { ours } else { theirs });
            ends.enumerate().map(|(number, place)| (place, number)).collect::<HashMap<usize, usize>>()
        });
        [0, 1].map(|side| {
            let label = |place: usize| (self.vertex_label(side, place), pins[side].get(&place).copied());
            (0..self.sides[side].users.len()).map(|place| number_of(&mut numbers, label(place))).collect()
        })
    }

    /// Colours that tell apart what any number of looks at neighbours tells apart.
    fn refined(&mut self, mut colors: Colors) -> Colors {
        let mut count = distinct(&colors);
        loop {
            self.refinements += 1;
            colors = self.forward(colors);
            colors = self.backward(&colors);
            let now = distinct(&colors);
            if now == count {
                return colors;
            }
            count = now;
        }
    }

    /// Colours by what vertices read, however far away: operands come first.
    fn forward(&mut self, colors: Colors) -> Colors {
        type Key<'a> = (usize, Vec<(EdgeLabel<'a>, usize)>);
        let mut numbers: HashMap<Key, usize> = HashMap::new();
        [0, 1].map(|side| {
            let mut new: Vec<usize> = Vec::with_capacity(colors[side].len());
            for (place, vertex) in self.sides[side].topology.vertices.iter().enumerate() {
                let mut read: Vec<(EdgeLabel, usize)> =
                    vertex.operands.iter().map(|edge| (self.edge_label(edge), new[edge.from])).collect();
                if vertex.kind == Kind::Sum {
                    read.sort_unstable();
                }
                new.push(number_of(&mut numbers, (colors[side][place], read)));
            }
            new
        })
    }

    /// Colours by what reads vertices, however far away.
    fn backward(&self, colors: &Colors) -> Colors {
        let mut numbers: HashMap<(usize, Vec<(usize, usize)>), usize> = HashMap::new();
        [0, 1].map(|side| {
            let mut new = colors[side].clone();
            for place in (0..new.len()).rev() {
                let users = &self.sides[side].users[place];
                let mut read: Vec<(usize, usize)> =
                    users.iter().map(|&(slot, user)| (slot, new[user])).collect();
                read.sort_unstable();
                new[place] = number_of(&mut numbers, (colors[side][place], read));
            }
            new
        })
    }

    /// Partners of all vertices, by choices where colours leave any.
    fn complete(&mut self, colors: Colors) -> Option<Vec<usize>> {
        let classes = classes(&colors)?;
        let Some(class) = classes.iter().find(|class| class.ours.len() > 1) else {
            let mut partners = vec![0; colors[0].len()];
            classes.iter().for_each(|class| partners[class.ours[0]] = class.theirs[0]);
            return self.is_match(&partners).then_some(partners);
        };
        let fresh = colors.iter().flatten().max().map_or(0, |most| most + 1);
        for &candidate in &class.theirs {
            if self.refinements >= MOST_REFINEMENTS {
                return None;
            }
            let mut chosen = colors.clone();
            chosen[0][class.ours[0]] = fresh;
            chosen[1][candidate] = fresh;
            let refined = self.refined(chosen);
            if let Some(partners) = self.complete(refined) {
                return Some(partners);
            }
        }
        None
    }

    /// True if partners are equal in all that must be, and read partners.
    fn is_match(&self, partners: &[usize]) -> bool {
        let [ours, theirs] = [self.sides[0].topology, self.sides[1].topology];
        (0..partners.len()).all(|place| {
            let (vertex, partner) = (&ours.vertices[place], &theirs.vertices[partners[place]]);
            let mut read: Vec<_> =
                vertex.operands.iter().map(|edge| (partners[edge.from], self.edge_label(edge))).collect();
            let mut expected: Vec<_> =
                partner.operands.iter().map(|edge| (edge.from, self.edge_label(edge))).collect();
            if vertex.kind == Kind::Sum {
                read.sort_unstable();
                expected.sort_unstable();
            }
            self.vertex_label(0, place) == self.vertex_label(1, partners[place]) && read == expected
        })
    }
}

/// Vertices of one colour.
#[derive(Default)]
struct Class {
    ours: Vec<usize>,
    theirs: Vec<usize>,
}

/// The vertices by colour, in the order of the first side; nothing if the sides differ in a
/// colour's number.
fn classes(colors: &Colors) -> Option<Vec<Class>> {
    let mut places: HashMap<usize, usize> = HashMap::new();
    let mut classes: Vec<Class> = Vec::new();
    for (place, &color) in colors[0].iter().enumerate() {
        let class = *places.entry(color).or_insert(classes.len());
        if class == classes.len() {
            classes.push(Class::default());
        }
        classes[class].ours.push(place);
    }
    for (place, color) in colors[1].iter().enumerate() {
        classes[*places.get(color)?].theirs.push(place);
    }
    classes.iter().all(|class| class.ours.len() == class.theirs.len()).then_some(classes)
}

/// How many colours there are on both sides together.
fn distinct(colors: &Colors) -> usize {
    colors.iter().flatten().collect::<std::collections::HashSet<_>>().len()
}

/// The number of a key, the next one for a new key.
fn number_of<K: Eq + Hash>(numbers: &mut HashMap<K, usize>, key: K) -> usize {
    let next = numbers.len();
    *numbers.entry(key).or_insert(next)
}
