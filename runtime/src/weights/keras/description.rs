//! Matches layers by the graph of the model that a file describes.
//!
//! Both sides become topologies, and weights follow from a match of these. Attributes lead the
//! match as far as both sides agree on them; where they do not, each difference is told, and a
//! match that depends on it is refused.

use std::collections::HashMap;

use super::isomorphism::{self, Match, Problem};
use super::pair::{Pairs, Sides};
use super::topology::{Attribute, Edge, Kind, Topology, Vertex, described, of_graph};
use crate::weights::Matching;
use crate::weights::bind::Outcome;
use crate::weights::error::{Contradiction, Mismatch};

/// Binds the layers of a file that describes its network; nothing if it does not.
pub(super) fn bind<'a>(sides: &Sides<'_, 'a>) -> Option<(Outcome<'a>, Matching)> {
    let matcher = Matcher::of(sides)?;
    let matching = Matching::Description { layers: sides.ours.len() };
    let pins = sides.same_names();
    match matcher.find(&matcher.vertices(&pins)) {
        Ok(found) => {
            let mut outcome = sides.bind(&matcher.pairs(&found));
            outcome.contradictions = matcher.contradictions(&found);
            Some((outcome, matching))
        }
        Err(Refusal::Ambiguous(mismatch)) => Some((refused(*mismatch), matching)),
        Err(Refusal::Other(mismatch)) if pins.len() == sides.ours.len() => {
            let mut outcome = sides.bind(&pins);
            outcome.contradictions.extend(Contradiction::of_structure(&mismatch));
            Some((outcome, Matching::Names))
        }
        Err(Refusal::Other(mismatch)) => {
            let mut outcome = sides.bind(&sides.aligned());
            if outcome.mismatches.is_empty() {
                outcome = refused(*mismatch);
            }
            Some((outcome, matching))
        }
    }
}

/// An outcome with one mismatch.
fn refused<'a>(mismatch: Mismatch) -> Outcome<'a> {
    Outcome { mismatches: vec![mismatch], ..Outcome::default() }
}

/// Why there is no match to use.
enum Refusal {
    /// Several matches, which are different networks.
    Ambiguous(Box<Mismatch>),
    /// No match at all.
    Other(Box<Mismatch>),
}

struct Matcher<'s, 'g, 'a> {
    sides: &'s Sides<'g, 'a>,
    ours: Topology,
    theirs: Topology,
    /// The position among the network's layers with weights of each vertex of `ours`.
    our_layers: HashMap<usize, usize>,
    /// The position among the file's layers of each layer of the description, by id.
    their_layers: HashMap<usize, usize>,
}

impl<'s, 'g, 'a> Matcher<'s, 'g, 'a> {
    /// Nothing if the file does not describe all its layers with weights, or in a way that is not
    /// understood.
    fn of(sides: &'s Sides<'g, 'a>) -> Option<Self> {
        let file = sides.file;
        let mut tensors: HashMap<usize, Vec<Vec<u64>>> = HashMap::new();
        let mut their_layers = HashMap::new();
        for (j, layer) in file.layers.iter().enumerate() {
            let extents = layer.tensors.iter().map(|&tensor| file.tensors[tensor].shape.clone()).collect();
            let id = layer.id?;
            if tensors.insert(id, extents).is_some() {
                return None;
            }
            their_layers.insert(id, j);
        }
        let input = sides.graph.node(sides.graph.input).shape;
        let theirs = described(&file.config, &tensors, [input.h(), input.w()])?;
        let ours = of_graph(sides.graph)?;
        let places: HashMap<usize, usize> =
            sides.ours.iter().enumerate().map(|(i, layer)| (layer.id.index(), i)).collect();
        let our_layers =
            ours.by_layer().into_iter().filter_map(|(layer, vertex)| Some((vertex, *places.get(&layer)?)));
        let our_layers = our_layers.collect();
        Some(Self { sides, ours, theirs, our_layers, their_layers })
    }

    /// Pairs of layers as pairs of vertices.
    fn vertices(&self, pairs: &Pairs) -> Pairs {
        let ours: HashMap<usize, usize> = self.our_layers.iter().map(|(&vertex, &i)| (i, vertex)).collect();
        let theirs = self.theirs.by_layer();
        let vertex =
            |&(i, j): &(usize, usize)| Some((*ours.get(&i)?, *theirs.get(&self.sides.theirs[j].id?)?));
        pairs.iter().filter_map(vertex).collect()
    }

    /// The layers of a match.
    fn pairs(&self, found: &Found) -> Pairs {
        let mut pairs: Pairs = Vec::new();
        for (&vertex, &i) in &self.our_layers {
            let partner = &found.theirs(&self.theirs).vertices[found.partners[vertex]];
            pairs.extend(self.their_layers.get(&partner.layer).map(|&j| (i, j)));
        }
        pairs.sort_unstable();
        pairs
    }

    /// The match; in part of the description if tensors may be left over. Where both sides agree
    /// in every attribute, any match computes what the file's model computes, whatever layers are
    /// called. Otherwise names are certain pairs.
    fn find(&self, pins: &Pairs) -> Result<Found, Refusal> {
        let exactly = Problem { sides: [&self.ours, &self.theirs], pins: &[], kept: &Attribute::ALL };
        if let Some(found) = isomorphism::find(&exactly) {
            return Ok(Found { partners: found.partners, part: None });
        }
        if let Some(found) = self.matched(&self.theirs, pins)? {
            return Ok(Found { partners: found.partners, part: None });
        }
        let part = if self.sides.ignores_surplus { self.find_part(pins)? } else { None };
        if let Some(found) = part {
            return Ok(found);
        }
        let without_names = if pins.is_empty() { None } else { self.matched(&self.theirs, &Vec::new())? };
        Err(Refusal::Other(Box::new(match without_names {
            Some(found) => self.misnamed(&found, pins),
            None => self.difference(),
        })))
    }

    /// A match with the part of the description that computes one of its values.
    fn find_part(&self, pins: &Pairs) -> Result<Option<Found>, Refusal> {
        let mut found: Option<Found> = None;
        for value in isomorphism::values_like_the_result([&self.ours, &self.theirs]) {
            let part = self.theirs.up_to(value);
            let places = part.by_layer();
            let moved = |&(i, j): &(usize, usize)| Some((i, *places.get(&self.theirs.vertices[j].layer)?));
            let pins: Pairs = pins.iter().filter_map(moved).collect();
            if let Some(matched) = self.matched(&part, &pins)? {
                if let Some(first) = &found {
                    return Err(Refusal::Ambiguous(Box::new(self.two_parts(first, &matched, &part))));
                }
                found = Some(Found { partners: matched.partners, part: Some(part) });
            }
        }
        Ok(found)
    }

    fn two_parts(&self, first: &Found, second: &Match, part: &Topology) -> Mismatch {
        let last = self.ours.vertices.iter().rposition(|vertex| vertex.has_weights()).unwrap_or(0);
        let name = self.ours.vertices[last].name.clone();
        let stored = [
            first.theirs(&self.theirs).vertices[first.partners[last]].name.clone(),
            part.vertices[second.partners[last]].name.clone(),
        ];
        Mismatch::Ambiguous { layers: [name.clone(), name], stored }
    }

    /// A match with `theirs` in as many attributes as possible; an error if it depends on others.
    fn matched(&self, theirs: &Topology, pins: &Pairs) -> Result<Option<Match>, Refusal> {
        let sides = [&self.ours, theirs];
        let find = |kept: &[Attribute]| isomorphism::find(&Problem { sides, pins, kept });
        if let Some(found) = find(&Attribute::ALL) {
            return Ok(Some(found));
        }
        let Some(mut found) = find(&[]) else { return Ok(None) };
        let mut kept = Vec::new();
        for attribute in Attribute::ALL {
            kept.push(attribute);
            match find(&kept) {
                Some(better) => found = better,
                None => _ = kept.pop(),
            }
        }
        match self.told_apart_by_others(&found) {
            Some(layers) => Err(Refusal::Ambiguous(Box::new(self.ambiguity(layers, &found, theirs)))),
            None => Ok(Some(found)),
        }
    }

    /// Two vertices that a match may exchange although they differ in an attribute that it leaves
    /// out.
    fn told_apart_by_others(&self, found: &Match) -> Option<[usize; 2]> {
        let mut known: HashMap<usize, usize> = HashMap::new();
        (0..self.ours.vertices.len()).find_map(|place| {
            let first = *known.entry(found.colors[place]).or_insert(place);
            let vertices = [first, place].map(|place| &self.ours.vertices[place]);
            let operations = vertices.map(|vertex| {
                let mut operations: Vec<_> = vertex.operands.iter().map(|edge| &edge.operations).collect();
                if vertex.kind == Kind::Sum {
                    operations.sort_unstable_by_key(|operations| {
                        operations.iter().map(|operation| &operation.text).collect::<Vec<_>>()
                    });
                }
                operations
            });
            let is_same = vertices[0].attributes == vertices[1].attributes && operations[0] == operations[1];
            (!is_same).then_some([first, place])
        })
    }

    /// The mismatch of two vertices; of layers with weights of one colour, if these have none.
    fn ambiguity(&self, vertices: [usize; 2], found: &Match, theirs: &Topology) -> Mismatch {
        let layers = vertices.map(|place| self.ours.vertices[place].name.clone());
        let stored = vertices.map(|place| theirs.vertices[found.partners[place]].name.clone());
        Mismatch::Ambiguous { layers, stored }
    }

    /// The mismatch of names that contradict the only match.
    fn misnamed(&self, found: &Match, pins: &Pairs) -> Mismatch {
        let wrong = pins.iter().find(|&&(i, j)| found.partners[i] != j).or(pins.first());
        let (i, j) = wrong.copied().unwrap_or_default();
        Mismatch::Name {
            layer: self.ours.vertices[i].name.clone(),
            stored: self.theirs.vertices[found.partners[i]].name.clone(),
            namesake: self.theirs.vertices[j].name.clone(),
        }
    }

    /// The mismatch of networks that differ.
    fn difference(&self) -> Mismatch {
        let ours = isomorphism::first_difference([&self.ours, &self.theirs]);
        let theirs = isomorphism::first_difference([&self.theirs, &self.ours]);
        Mismatch::Structure {
            ours: ours.map(|place| described_vertex(&self.ours, place)),
            theirs: theirs.map(|place| described_vertex(&self.theirs, place)),
        }
    }

    /// What both sides say, and say differently.
    fn contradictions(&self, found: &Found) -> Vec<Contradiction> {
        let theirs = found.theirs(&self.theirs);
        let mut all = Vec::new();
        for (place, vertex) in self.ours.vertices.iter().enumerate() {
            let partner = &theirs.vertices[found.partners[place]];
            all.extend(differing_attributes(vertex, partner));
            let edges = self.paired_edges(vertex, partner, &found.partners);
            for (edge, other) in edges {
                let names = [&self.ours.vertices[edge.from].name, &vertex.name];
                all.extend(differences(names, edge, other).filter(|one| !self.is_of_images(one)));
            }
        }
        all
    }

    /// The operands of a vertex with those of its partner: of several from one vertex, those with
    /// the same operations first.
    fn paired_edges<'e>(
        &self,
        vertex: &'e Vertex,
        partner: &'e Vertex,
        partners: &[usize],
    ) -> Vec<(&'e Edge, &'e Edge)> {
        let mut left: Vec<&Edge> = partner.operands.iter().collect();
        let mut pairs = Vec::new();
        for edge in &vertex.operands {
            let is_from = |other: &&Edge| other.from == partners[edge.from];
            let same = left.iter().position(|other| is_from(other) && other.operations == edge.operations);
            let at = same.or_else(|| left.iter().position(is_from));
            pairs.extend(at.map(|at| (edge, left.remove(at))));
        }
        pairs
    }

    /// True if the model itself scales the bytes of images to the range that the network's images
    /// have.
    fn is_of_images(&self, contradiction: &Contradiction) -> bool {
        let image = &self.sides.graph.image;
        let [low, high] = image.range;
        contradiction.ours == "none"
            && image.mean.is_empty()
            && contradiction.theirs == super::topology::rescaling(low, high)
    }
}

/// The attributes of a layer that its partner states differently.
fn differing_attributes(vertex: &Vertex, partner: &Vertex) -> Vec<Contradiction> {
    let contradiction = |attribute: Attribute, ours: &str, theirs: &str| Contradiction {
        attribute: attribute.word(),
        place: format!("of {}", vertex.name),
        ours: ours.to_owned(),
        theirs: theirs.to_owned(),
    };
    let stated = vertex.attributes.iter().filter_map(|(attribute, text)| {
        let other = partner.attribute(*attribute).filter(|other| other != text)?;
        Some(contradiction(*attribute, text, other))
    });
    // A network of ours has no other axis than that of the channels.
    let axis = partner.attribute(Attribute::Axis);
    stated.chain(axis.map(|axis| contradiction(Attribute::Axis, "that of the channels", axis))).collect()
}

/// A match with the whole description or a part of it.
struct Found {
    /// For each vertex of the network that of the description.
    partners: Vec<usize>,
    /// The part of the description that was matched, unless that is all of it.
    part: Option<Topology>,
}

impl Found {
    fn theirs<'t>(&'t self, whole: &'t Topology) -> &'t Topology {
        self.part.as_ref().unwrap_or(whole)
    }
}

/// A vertex and what it reads, in words.
fn described_vertex(topology: &Topology, place: usize) -> String {
    let vertex = &topology.vertices[place];
    let read: Vec<&str> =
        vertex.operands.iter().map(|edge| topology.vertices[edge.from].name.as_str()).collect();
    match read.is_empty() {
        true => vertex.name.clone(),
        false => format!("{} of {}", vertex.name, read.join(", ")),
    }
}

/// The differences of two edges between the layers `names`.
fn differences<'e>(
    names: [&'e String; 2],
    ours: &'e Edge,
    theirs: &'e Edge,
) -> impl Iterator<Item = Contradiction> + 'e {
    let words = |texts: Vec<&str>| if texts.is_empty() { "none".to_owned() } else { texts.join(", ") };
    Attribute::ALL.into_iter().filter(move |&attribute| ours.of(attribute) != theirs.of(attribute)).map(
        move |attribute| Contradiction {
            attribute: attribute.word(),
            place: format!("between {} and {}", names[0], names[1]),
            ours: words(ours.of(attribute)),
            theirs: words(theirs.of(attribute)),
        },
    )
}
