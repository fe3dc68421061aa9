//! Tree to graph: parameters get their values, loops are unrolled, blocks are put in, shapes are computed.
//!
//! A mistake makes the value of its statement unknown; what reads an unknown value is still checked as far as
//! that goes, but never reported for what follows from the first mistake. So one run reports every mistake of
//! a spec.
//!
//! All work and sizes are bounded ([`limits`]), whatever the spec says.

mod attributes;
mod declare;
mod eval;
mod flow;
mod invoke;
mod join;
mod layers;
pub mod limits;
mod linear;
mod names;
mod params;
mod report;
mod schema;
mod scope;
mod value;

use std::collections::{HashMap, HashSet};

pub use params::Param;
pub use value::Value;

use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{Graph, Layer, NodeId, Shape};
use crate::syntax::ast::{Block, File, Parameter, Statement, StatementKind};
use crate::syntax::visit;
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
}

/// The network of a spec with some parameters set, or every mistake in it.
///
/// `settings` are names of parameters and the text of their values, as in `--set segments=28`. Warnings are
/// dropped; [`analyze`] gives them, too.
pub fn elaborate(file: &File, settings: &[(String, String)]) -> Result<Graph, Vec<Diagnostic>> {
    let Elaborated { graph, diagnostics, .. } = analyze(file, settings);
    graph.ok_or(diagnostics)
}

/// Everything a spec says: its network, its parameters, its mistakes.
pub fn analyze(file: &File, settings: &[(String, String)]) -> Elaborated {
    let mut elaborator = Elaborator::new(file, settings);
    elaborator.run_file(file);
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

/// The value that the next layer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Current {
    /// There was no input yet.
    Nothing,
    /// A mistake was reported, so its shape is not known.
    Unknown,
    /// The value of a node.
    Node(NodeId),
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
    current: Current,
    span: Span,
}

/// What is known while a spec is elaborated.
struct Elaborator<'a> {
    settings: &'a [(String, String)],
    reports: Reports,
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
    /// Where the labels are written.
    labels_span: Option<Span>,
    current: Current,
    values: HashMap<String, Named>,
    /// Branches of the joins that are being elaborated: where each starts, and the ends so far.
    joins: Vec<join::OpenJoin>,
    /// Blocks that are being called, outermost first.
    active: Vec<&'a str>,
    depth: usize,
    steps: u64,
    stopped: bool,
    /// Whether the tree lacks statements that could not be read.
    incomplete: bool,
    weight_elements: u64,
    segments: u64,
    /// Names of parameters and blocks that the spec uses anywhere, whether or not it came to that.
    used: HashSet<&'a str>,
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
            labels_span: None,
            current: Current::Nothing,
            values: HashMap::new(),
            joins: Vec::new(),
            active: Vec::new(),
            depth: 0,
            steps: 0,
            stopped: false,
            incomplete: false,
            weight_elements: 0,
            segments: 0,
            used: HashSet::new(),
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
                    self.choices.extend(domain.iter().flat_map(params::words));
                }
                _ => {}
            }
        }
        self.check_settings();
    }

    /// Counts work; an error when there is too much of it.
    fn spend(&mut self, steps: u64, span: Span) -> Result<(), Reported> {
        if self.stopped {
            return Err(self.reports.reported());
        }
        self.steps = self.steps.saturating_add(steps);
        if self.steps <= limits::STEPS {
            return Ok(());
        }
        self.stopped = true;
        let message = format!("the spec takes more than {} steps to elaborate", limits::STEPS);
        let error = Diagnostic::error("E0604", message)
            .at(span, "reached here")
            .note("each turn of a loop counts, and so does each part of an expression");
        Err(self.reports.report(error))
    }

    /// The graph, once the input was declared.
    fn graph(&mut self) -> Result<&mut Graph, Reported> {
        let reported = self.reports.reported();
        self.graph.as_mut().ok_or(reported)
    }

    /// The value that a statement at `span` reads.
    fn current_node(&mut self, span: Span) -> Result<NodeId, Reported> {
        match self.current {
            Current::Node(node) => Ok(node),
            Current::Unknown => Err(self.reports.reported()),
            Current::Nothing => {
                let error = Diagnostic::error("E0402", "there is no input yet")
                    .at(span, "needs a value to read")
                    .suggest("declare one before: `input image 299 x 299 x 3`");
                self.current = Current::Unknown;
                Err(self.reports.report(error))
            }
        }
    }

    fn current_shape(&mut self, span: Span) -> Result<Shape, Reported> {
        let node = self.current_node(span)?;
        Ok(self.graph()?.node(node).shape)
    }

    /// The layer that yields a value.
    fn layer_of(&self, node: NodeId) -> Option<&Layer> {
        self.graph.as_ref().map(|graph| graph.layer(graph.node(node).layer))
    }
}
