//! Names of layers and values.

use std::collections::HashMap;

use super::report::{Reported, nearest};
use super::{Current, Elaborator, Named, limits};
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{Layer, LayerId, LayerKind, NodeId};
use crate::syntax::ast::Reference;

/// How layers without `as` are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Flow, turn of the loop, word and number: `middle.3.sepconv_2`.
    #[default]
    Path,
    /// As Keras does: the class and how many of it came before, `conv2d_1`.
    Keras,
}

/// What is needed to name layers.
#[derive(Default)]
pub struct Naming {
    /// The style.
    pub style: Style,
    /// Flows and turns of loops around the current statement, outermost first.
    pub path: Vec<String>,
    counters: HashMap<String, usize>,
}

impl Naming {
    /// The next name for a layer of that word and kind.
    fn next(&mut self, word: &str, kind: LayerKind) -> String {
        match self.style {
            Style::Path => {
                let mut stem = self.path.join(".");
                if !stem.is_empty() {
                    stem.push('.');
                }
                stem.push_str(word);
                format!("{stem}_{}", self.count(stem.clone()) + 1)
            }
            Style::Keras => {
                let class = keras_stem(kind);
                match self.count(class.to_owned()) {
                    0 => class.to_owned(),
                    n => format!("{class}_{n}"),
                }
            }
        }
    }

    /// How often a stem was counted before.
    fn count(&mut self, stem: String) -> usize {
        let counter = self.counters.entry(stem).or_default();
        *counter += 1;
        *counter - 1
    }
}

/// Where a layer was written, and how it is called.
pub struct Site<'a> {
    /// Its word.
    pub word: &'a str,
    /// Its statement.
    pub span: Span,
    /// Its name, if it was given one.
    pub name: Option<(String, Span)>,
}

impl<'a> Elaborator<'a> {
    /// The text of a reference.
    pub fn reference(&mut self, reference: &'a Reference) -> Result<(String, Span), Reported> {
        let span = reference.at.0;
        let name = self.text(&reference.pieces, span)?;
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let problem = match name.chars().find(|c| !legal(*c)) {
            Some(c) => format!("it holds {c:?}"),
            None if name.is_empty() => "it is empty".to_owned(),
            None if name.len() > 200 => format!("it has {} characters; at most 200 are allowed", name.len()),
            None => return Ok((name, span)),
        };
        let error = Diagnostic::error("E0211", format!("a layer cannot have this name: {problem}"))
            .at(span, "not a name")
            .note("names consist of letters, digits, `_`, `.` and `-`");
        Err(self.reports.report(error))
    }

    /// The site of a statement, its name evaluated.
    pub fn site(
        &mut self,
        word: &'a str,
        span: Span,
        label: Option<&'a Reference>,
    ) -> Result<Site<'a>, Reported> {
        let name = label.map(|label| self.reference(label)).transpose()?;
        Ok(Site { word, span, name })
    }

    /// Adds a layer to the graph.
    pub fn layer(&mut self, site: &Site<'a>, kind: LayerKind) -> Result<LayerId, Reported> {
        let name = match &site.name {
            Some((name, span)) => self.fresh(name, *span)?,
            None => self.automatic_name(site.word, kind),
        };
        let path = self.naming.path.clone();
        let graph = self.graph()?;
        if graph.layers.len() >= limits::LAYERS {
            self.stopped = true;
            let message = format!("the model has more than {} layers", limits::LAYERS);
            return Err(self
                .reports
                .report(Diagnostic::error("E0601", message).at(site.span, "one too many")));
        }
        Ok(graph.push_layer(Layer { name, kind, path, span: site.span }))
    }

    fn fresh(&mut self, name: &str, span: Span) -> Result<String, Reported> {
        let Some(old) = self.values.get(name) else { return Ok(name.to_owned()) };
        let same = old.span == span;
        let mut error =
            Diagnostic::error("E0206", format!("two layers are called `{name}`")).at(span, "again here");
        error = match (self.scopes.find(name), same) {
            (Some(_), _) => error.suggest(format!("write `\"{{{name}}}\"` for the value of the variable")),
            (None, true) => {
                error.suggest("make the name depend on the loop or the call, as in `\"conv{i}\"`")
            }
            (None, false) => error.also(old.span, "first here"),
        };
        Err(self.reports.report(error))
    }

    fn automatic_name(&mut self, word: &str, kind: LayerKind) -> String {
        loop {
            let name = self.naming.next(word, kind);
            if !self.values.contains_key(&name) {
                return name;
            }
        }
    }

    /// Ends a statement that makes a layer: its result becomes the current value and can be named.
    pub fn finish_layer(&mut self, site: Site<'a>, result: Result<NodeId, Reported>) -> Result<(), Reported> {
        let current = result.map_or(Current::Unknown, Current::Node);
        let automatic = result.ok().and_then(|node| self.layer_of(node)).map(|l| (l.name.clone(), site.span));
        if let Some((name, span)) = site.name.or(automatic) {
            self.values.entry(name).or_insert(Named { current, span });
        }
        self.current = current;
        result.map(|_| ())
    }

    /// The value of that name.
    pub fn named_value(&mut self, reference: &'a Reference) -> Result<Current, Reported> {
        let (name, span) = self.reference(reference)?;
        if let Some(named) = self.values.get(&name) {
            return Ok(named.current);
        }
        if self.incomplete {
            return Err(self.reports.reported());
        }
        let near =
            nearest(&name, self.values.keys().map(String::as_str)).map(|n| format!("did you mean `{n}`?"));
        let error = Diagnostic::error("E0205", format!("no layer before this line is called `{name}`"))
            .at(span, "unknown value")
            .suggest_if(near);
        Err(self.reports.report(error))
    }
}

/// The stem of the names that Keras gives to layers of a kind.
fn keras_stem(kind: LayerKind) -> &'static str {
    match kind {
        LayerKind::Input => "input_layer",
        LayerKind::Conv => "conv2d",
        LayerKind::DepthwiseConv => "depthwise_conv2d",
        LayerKind::SepConv => "separable_conv2d",
        LayerKind::BatchNorm => "batch_normalization",
        LayerKind::Activation => "activation",
        LayerKind::Softmax => "softmax",
        LayerKind::MaxPool => "max_pooling2d",
        LayerKind::AveragePool => "average_pooling2d",
        LayerKind::GlobalAveragePool => "global_average_pooling2d",
        LayerKind::GlobalMaxPool => "global_max_pooling2d",
        LayerKind::Dense => "dense",
        LayerKind::Dropout => "dropout",
        LayerKind::Flatten => "flatten",
        LayerKind::Add => "add",
        LayerKind::Concat => "concatenate",
    }
}
