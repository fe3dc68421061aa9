//! Tree to graph: parameters get their values, loops are unrolled, blocks are put in, shapes are
//! computed.
//!
//! After a mistake as much as is certain of the shape of its statement's value is kept
//! (`outline.rs`); what reads the value is checked against that, but never reported for what
//! follows from the first mistake. At the end every statement runs once more without values
//! (`unreached.rs`), so that those are checked, too, that no turn of a loop, call or condition
//! reached. So one run reports every mistake of a spec.
//!
//! All work and sizes are bounded ([`limits`]), whatever the spec says.

mod attributes;
mod declare;
mod eval;
mod flow;
mod foreign;
mod invoke;
mod join;
mod labels;
mod layers;
pub mod limits;
mod linear;
mod names;
mod outline;
mod params;
mod report;
mod schema;
mod scope;
mod segments;
mod suggest;
mod unreached;
mod value;
mod windows;

use std::collections::{HashMap, HashSet};

pub use labels::LabelFile;
pub use params::Param;
pub use value::Value;

use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{Graph, Labels, Layer, NodeId};
use crate::syntax::ast::{Block, File, Parameter, Statement, StatementKind};
use crate::syntax::visit;
use outline::Outline;
use report::{Reported, Reports};
use scope::Scopes;

/// What a spec says: as much of it as could be understood.
#[derive(Debug)]
pub struct Elaborated {
    /// The network; absent when there are errors.
    pub graph: Option<Graph>,
    /// The parameters, in the order in which they are declared.
    pub params: Vec<Param>,
    /// Errors and warnings, in the order of their places.
    pub diagnostics: Vec<Diagnostic>,
    /// The file of labels that the spec names; whoever can read files checks it.
    pub label_file: Option<LabelFile>,
    /// Work that it took.
    pub work: Work,
}

/// Work that a spec took. Each figure is bounded, whatever the spec says: see [`Work::MOST`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Turns of loops, statements and parts of expressions, of both runs through the statements.
    pub steps: u64,
    /// Errors met, repeated ones included, of both runs.
    pub mistakes: u64,
    /// Comparisons of letters for suggestions.
    pub comparisons: u64,
}

impl Work {
    /// The most that a spec can take: the limits of each of two runs, and what a last statement
    /// takes.
    pub const MOST: Work = Work {
        steps: 2 * (limits::STEPS + limits::STATEMENT),
        mistakes: 2 * (limits::MISTAKES + limits::STATEMENT),
        comparisons: suggest::BUDGET,
    };
}

/// The network of a spec with some parameters set, or every mistake in it.
///
/// `settings` are names of parameters and the text of their values, as in `--set segments=28`.
/// Warnings are dropped; [`analyze`] gives them, too.
pub fn elaborate(file: &File, settings: &[(String, String)]) -> Result<Graph, Vec<Diagnostic>> {
    let Elaborated { graph, diagnostics, .. } = analyze(file, settings);
    graph.ok_or(diagnostics)
}

/// Everything a spec says: its network, its parameters, its mistakes.
pub fn analyze(file: &File, settings: &[(String, String)]) -> Elaborated {
    let mut elaborator = Elaborator::new(file, settings);
    elaborator.run_file(file);
    elaborator.check_unreached(file);
    elaborator.finish()
}

/// Reads a spec from text. The diagnostics hold its syntax errors, too.
pub fn read(source: &str, settings: &[(String, String)]) -> Elaborated {
    let (file, mut errors) = crate::syntax::parse(source);
    let mut elaborated = analyze(&file, settings);
    if !errors.is_empty() {
        elaborated.graph = None;
        errors.append(&mut elaborated.diagnostics);
        errors.sort_by_key(Diagnostic::position);
        errors.truncate(report::MOST);
        elaborated.diagnostics = errors;
    }
    elaborated
}

/// A value that layers read, or what is known of it.
#[derive(Clone, Copy, Debug)]
struct Operand {
    /// The node that yields it, unless a mistake kept it from being made.
    node: Result<NodeId, Reported>,
    /// Its shape, as far as it is known; that of the node if there is one.
    outline: Outline,
    /// The statement that yields it, if there is one.
    span: Option<Span>,
}

impl Operand {
    /// Points at the statement that yields the value which an erroneous layer reads.
    fn blame(&self, error: Diagnostic) -> Diagnostic {
        match self.span {
            Some(span) => error.also(span, "yielded here"),
            None => error,
        }
    }
}

/// Where statements stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Outside of all braces.
    Top,
    /// In braces that hold layers.
    Body,
    /// In the braces of `concat` or `add`, which hold branches.
    Branches,
}

/// A block of the spec.
#[derive(Clone, Copy)]
struct BlockDefinition<'a> {
    parameters: &'a [Parameter],
    body: &'a Block,
    span: Span,
}

/// A named value.
struct Named {
    operand: Operand,
    span: Span,
}

/// What is known while a spec is elaborated.
struct Elaborator<'a> {
    settings: &'a [(String, String)],
    reports: Reports<'a>,
    scopes: Scopes<'a>,
    blocks: HashMap<&'a str, BlockDefinition<'a>>,
    /// Words that parameters declare as choices.
    choices: HashSet<&'a str>,
    /// Parameters that are still to be declared.
    later_params: HashMap<&'a str, Span>,
    params: Vec<Param>,
    model: Option<(String, Span)>,
    naming: names::Naming,
    graph: Option<Graph>,
    /// Where the input is declared.
    input: Option<Span>,
    /// The labels and where they are written, if there is no mistake in them.
    labels: Option<(Labels, Span)>,
    /// The value that the next layer reads; absent before the input.
    current: Option<Operand>,
    values: HashMap<String, Named>,
    lost: names::LostNames<'a>,
    /// Branches of the joins that are being elaborated: where each starts, and the ends so far.
    joins: Vec<join::OpenJoin>,
    /// Blocks that are being called, outermost first.
    active: Vec<&'a str>,
    /// Loops that are running, outermost first: where each is, and how many turns it takes.
    loops: Vec<(Span, u64)>,
    depth: usize,
    steps: u64,
    /// Work of the first run, once the second began.
    before: Work,
    stopped: bool,
    /// Whether statements run that may never be reached: no variable has a value, and nothing is
    /// recorded.
    hypothetical: bool,
    /// Whether the value of an attribute is evaluated that takes fractions.
    is_fractional: bool,
    /// Blocks that ran while `hypothetical` was set.
    visited: HashSet<&'a str>,
    layers: usize,
    weight_elements: u64,
    segments: u64,
    /// Names that the spec uses anywhere, whether or not it came to that.
    used: HashSet<&'a str>,
    /// Parameters whose value nothing has read.
    unused: HashSet<&'a str>,
    /// Bodies of loops and conditions whose names are lost, by their addresses.
    lost_bodies: HashSet<*const Block>,
    /// Where parameters are declared.
    param_spans: Vec<(&'a str, Span)>,
}

impl<'a> Elaborator<'a> {
    fn new(file: &'a File, settings: &'a [(String, String)]) -> Self {
        let mut elaborator = Self {
            settings,
            reports: Reports::default(),
            scopes: Scopes::new(),
            blocks: HashMap::new(),
            choices: HashSet::new(),
            later_params: HashMap::new(),
            params: Vec::new(),
            model: None,
            naming: names::Naming::default(),
            graph: None,
            input: None,
            labels: None,
            current: None,
            values: HashMap::new(),
            lost: names::LostNames::of(&file.statements),
            joins: Vec::new(),
            active: Vec::new(),
            loops: Vec::new(),
            depth: 0,
            steps: 0,
            before: Work::default(),
            stopped: false,
            hypothetical: false,
            is_fractional: false,
            visited: HashSet::new(),
            // The input is one, too.
            layers: 1,
            weight_elements: 0,
            segments: 0,
            used: HashSet::new(),
            unused: HashSet::new(),
            lost_bodies: HashSet::new(),
            param_spans: Vec::new(),
        };
        elaborator.survey(&file.statements);
        visit::names(&file.statements, &mut |name| {
            elaborator.used.insert(name);
        });
        elaborator
    }

    /// Notes what statements may speak of before it is declared: blocks, words, parameters.
    fn survey(&mut self, statements: &'a [Statement]) {
        for statement in statements {
            match &statement.kind {
                StatementKind::Block { name, parameters, body } => {
                    self.survey_block(name, parameters, body);
                }
                StatementKind::Param { name, domain, .. } => {
                    self.later_params.entry(&name.text).or_insert(name.at.0);
                    self.param_spans.push((&name.text, name.at.0));
                    self.unused.insert(&name.text);
                    self.choices.extend(domain.iter().flat_map(params::words));
                }
                _ => {}
            }
        }
        self.check_settings();
    }

    /// Work so far.
    fn work(&self) -> Work {
        Work {
            steps: self.before.steps + self.steps,
            mistakes: self.before.mistakes + self.reports.mistakes,
            comparisons: self.reports.suggestions.spent(),
        }
    }

    /// Counts work; an error when there is too much of it.
    fn spend(&mut self, steps: u64, span: Span) -> Result<(), Reported> {
        if self.stopped {
            return Err(self.reports.reported());
        }
        self.steps = self.steps.saturating_add(steps);
        let is_hopeless = self.reports.is_full() || self.reports.mistakes > limits::MISTAKES;
        if self.steps <= limits::STEPS && !is_hopeless {
            return Ok(());
        }
        self.stopped = true;
        if self.hypothetical || is_hopeless {
            // In the first case there is a limit, but no mistake: the statements that a turn
            // reached were checked. In the second, mistakes were reported.
            return Err(self.reports.reported());
        }
        let message = format!("the spec takes more than {} steps to elaborate", limits::STEPS);
        let error = Diagnostic::error("E0604", message)
            .note("each turn of a loop counts, and so does each part of an expression");
        let error = match self.longest_loop() {
            Some((place, turns)) => error.at(place, turns_of(turns)).also(span, "reached here"),
            None => error.at(span, "reached here"),
        };
        Err(self.reports.report(error))
    }

    /// The running loop that takes the most turns, and how many it takes.
    fn longest_loop(&self) -> Option<(Span, u64)> {
        self.loops.iter().rev().max_by_key(|(_, turns)| *turns).copied()
    }

    /// Counts a layer; an error when there are too many.
    fn count_layer(&mut self, span: Span) -> Result<(), Reported> {
        if self.hypothetical {
            return Ok(());
        }
        self.layers += 1;
        if self.layers <= limits::LAYERS {
            return Ok(());
        }
        self.stopped = true;
        let message = format!("the model has more than {} layers", limits::LAYERS);
        let error = Diagnostic::error("E0601", message).at(span, "one too many");
        let error = match self.longest_loop() {
            Some((place, turns)) => error.also(place, turns_of(turns)),
            None => error,
        };
        Err(self.reports.report(error))
    }

    /// The graph, once the input was declared.
    fn graph(&mut self) -> Result<&mut Graph, Reported> {
        let reported = self.reports.reported();
        self.graph.as_mut().ok_or(reported)
    }

    /// A value of which nothing is known after a mistake.
    fn unknown(&self) -> Operand {
        self.outlined(Outline::UNKNOWN, None)
    }

    /// A value whose layer could not be made.
    fn outlined(&self, outline: Outline, span: Option<Span>) -> Operand {
        Operand { node: Err(self.reports.reported()), outline, span }
    }

    /// Notes that layers of a body may have their names although they were not made.
    fn lose_names(&mut self, body: &'a Block) {
        if self.lost_bodies.insert(std::ptr::from_ref(body)) {
            self.lost.add(body);
        }
    }

    /// The value that a statement at `span` reads.
    fn operand(&mut self, span: Span) -> Operand {
        if let Some(operand) = self.current {
            return operand;
        }
        let error = Diagnostic::error("E0402", "there is no input yet")
            .at(span, "needs a value to read")
            .suggest("declare one before: `input image 299 x 299 x 3`");
        self.reports.report(error);
        let unknown = self.unknown();
        self.current = Some(unknown);
        unknown
    }

    /// Makes the current value one of which nothing is known, if there is one.
    fn forget(&mut self) {
        self.current = self.current.map(|_| self.unknown());
    }

    /// The layer that yields a value.
    fn layer_of(&self, node: NodeId) -> Option<&Layer> {
        self.graph.as_ref().map(|graph| graph.layer(graph.node(node).layer))
    }
}

/// How many turns a loop takes, for a label.
fn turns_of(turns: u64) -> String {
    format!("this loop takes {turns} turns")
}
