//! Loads a file for a spec, and compares what was bound with what the drawing says.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::Path;

use xcc_compiler::elaborate;
use xcc_compiler::graph::{Graph, WeightError, WeightId, WeightSource};
use xcc_runtime::reference::evaluate_keeping;
use xcc_runtime::weights::{self, Weights};

use super::Dice;
use super::drawing::{Drawing, Part};
use super::files::Format;
use super::model::{Era, Model};
use super::spec::Spec;

/// Results of equal networks differ by less, relative to the largest element: sums are in `f64`.
const SAME: f64 = 1e-9;
/// Images that networks are compared on.
const IMAGES: usize = 2;

/// What became of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The network computes what the model does.
    Right,
    /// An error.
    Refused(String),
    /// The network computes something else: which layers have other layers' numbers.
    Wrong(Vec<String>),
}

/// The numbers that a spec's network should have.
pub struct Intended(Vec<Vec<f32>>);

impl WeightSource for Intended {
    fn tensor(&self, id: WeightId) -> Result<Cow<'_, [f32]>, WeightError> {
        Ok(Cow::Borrowed(&self.0[id.index()]))
    }

    fn length(&self, id: WeightId) -> u64 {
        self.0[id.index()].len() as u64
    }
}

/// A drawn network, ready to be judged.
pub struct Case {
    /// The drawing.
    pub drawing: Drawing,
    /// Its spec.
    pub spec: Spec,
    /// The spec's network.
    pub graph: Graph,
    /// The numbers that it should have.
    pub intended: Intended,
    /// Its model in each generation of Keras.
    models: BTreeMap<Era, Model>,
}

impl Case {
    /// Elaborates the spec of a drawing.
    pub fn of(drawing: Drawing) -> Self {
        let spec = Spec::of(&drawing);
        let elaborated = elaborate::read(&spec.text, &[]);
        let graph = elaborated.graph.unwrap_or_else(|| panic!("{}\n{:?}", spec.text, elaborated.diagnostics));
        let models: BTreeMap<Era, Model> =
            [Era::Two, Era::Three].into_iter().map(|era| (era, Model::of(&drawing, era))).collect();
        let intended = intended(&spec, &graph, &models[&Era::Three]);
        Case { drawing, spec, graph, intended, models }
    }

    /// Writes the model in a format and loads it for the spec.
    pub fn judge(&self, format: Format) -> Verdict {
        let folder = tempfile::tempdir().unwrap();
        let path = format.write(&self.models[&format.era()], folder.path());
        self.judge_file(&path)
    }

    /// Loads a file for the spec.
    pub fn judge_file(&self, path: &Path) -> Verdict {
        match weights::load(&self.graph, path, None) {
            Err(error) => Verdict::Refused(error.to_string()),
            Ok(found) if self.computes_the_same(&found) => Verdict::Right,
            Ok(found) => Verdict::Wrong(self.exchanged(&found)),
        }
    }

    fn computes_the_same(&self, found: &Weights) -> bool {
        let ids = || (0..self.graph.weights.len()).map(WeightId::new);
        if ids().all(|id| found.tensor(id).unwrap() == self.intended.tensor(id).unwrap()) {
            return true;
        }
        let expected = self.run(&self.intended);
        let found = self.run(found);
        let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        expected.iter().zip(&found).all(|(expected, found)| (expected - found).abs() <= SAME * largest)
    }

    fn run(&self, weights: &dyn WeightSource) -> Vec<f64> {
        let output = self.graph.outputs[0];
        let elements = self.graph.node(self.graph.input).shape.elements() as usize;
        let mut dice = Dice::new(1);
        let input: Vec<f64> = (0..IMAGES * elements).map(|_| f64::from(dice.signed())).collect();
        let mut values = evaluate_keeping(&self.graph, weights, &input, IMAGES, &[output]).unwrap();
        values.take(output).unwrap()
    }

    /// Which tensors have the numbers of others.
    fn exchanged(&self, found: &Weights) -> Vec<String> {
        let ids = || (0..self.graph.weights.len()).map(WeightId::new);
        let name = |id: WeightId| &self.graph.weight(id).name;
        let source = |id: WeightId| {
            let of = ids().find(|&other| self.intended.tensor(other).unwrap() == found.tensor(id).unwrap());
            of.map_or("no tensor", |of| name(of).as_str())
        };
        let wrong = ids().filter(|&id| found.tensor(id).unwrap() != self.intended.tensor(id).unwrap());
        wrong.map(|id| format!("{} has the numbers of {}", name(id), source(id))).collect()
    }

    /// The case as text: the spec, and the layers of the model with their names.
    pub fn told(&self, format: Format) -> String {
        let mut text = format!("{}model in the order of its layers:\n", self.spec.text);
        tell(&self.models[&format.era()], 1, &mut text);
        text
    }
}

fn tell(model: &Model, depth: usize, text: &mut String) {
    for layer in model.ordered() {
        let read: Vec<&str> = layer.inputs.iter().map(|&input| model.layers[input].name.as_str()).collect();
        let drawn =
            layer.tensors.first().map_or(String::new(), |tensor| format!(", drawn as {}", tensor.layer));
        let frozen = if layer.frozen { ", frozen" } else { "" };
        let _ = writeln!(
            text,
            "{:width$}{} {}({}){drawn}{frozen}",
            "",
            layer.class,
            layer.name,
            read.join(", "),
            width = 2 * depth
        );
        if let Some(inner) = &layer.model {
            tell(inner, depth + 1, text);
        }
    }
}

/// The numbers of each tensor of the network, by the drawn layer that it belongs to.
fn intended(spec: &Spec, graph: &Graph, model: &Model) -> Intended {
    let tensors = model.tensors();
    let numbers: HashMap<(usize, &str), &[f32]> =
        tensors.iter().map(|(_, tensor)| ((tensor.layer, tensor.role), &tensor.values[..])).collect();
    let mut drawn = spec.weighted.iter();
    let mut last = None;
    let mut layer = 0;
    let tensors = graph.weights.iter().map(|weight| {
        if last.replace(weight.layer) != Some(weight.layer) {
            layer = *drawn.next().expect("each layer with weights is drawn");
        }
        let values = numbers[&(layer, weight.role.to_string().as_str())].to_vec();
        assert_eq!(values.len() as u64, weight.elements(), "{}", weight.name);
        values
    });
    let intended = Intended(tensors.collect());
    assert_eq!(drawn.next(), None, "all drawn layers are in the network");
    intended
}

/// The smallest drawing found that `fails`, made by leaving out parts of one that does.
pub fn shrunk(drawing: &Drawing, fails: &dyn Fn(&Drawing) -> bool) -> Drawing {
    let mut smallest = drawing.clone();
    while let Some(smaller) = smaller(&smallest).into_iter().find(fails) {
        smallest = smaller;
    }
    smallest
}

/// Valid drawings with one part less.
fn smaller(drawing: &Drawing) -> Vec<Drawing> {
    let cut = cuts(&drawing.parts).into_iter().map(|parts| Drawing { parts, ..drawing.clone() });
    cut.filter(Drawing::is_valid).collect()
}

/// The parts without one of them, or with something simpler for one of them.
fn cuts(parts: &[Part]) -> Vec<Vec<Part>> {
    let mut all = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let with = |instead: &[Part]| [&parts[..at], instead, &parts[at + 1..]].concat();
        all.push(with(&[]));
        match part {
            Part::Layer(_) | Part::Mark(_) | Part::Recall(_) => {}
            Part::Nested(nested) => {
                all.push(with(&nested.parts));
                let simpler = cuts(&nested.parts).into_iter().map(|parts| {
                    let mut nested = nested.clone();
                    nested.parts = parts;
                    with(&[Part::Nested(nested)])
                });
                all.extend(simpler);
            }
            Part::Join(join) => {
                all.extend(join.paths.iter().map(|path| with(path)));
                for (number, path) in join.paths.iter().enumerate() {
                    for simpler in cuts(path) {
                        let mut join = join.clone();
                        join.paths[number] = simpler;
                        all.push(with(&[Part::Join(join)]));
                    }
                    if join.paths.len() > 2 {
                        let mut join = join.clone();
                        join.paths.remove(number);
                        all.push(with(&[Part::Join(join)]));
                    }
                }
            }
        }
    }
    all
}
