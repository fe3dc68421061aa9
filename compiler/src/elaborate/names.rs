//! Names of layers and values.

use std::collections::{HashMap, HashSet};

use super::eval::CURRENT;
use super::outline::Outline;
use super::report::Reported;
use super::suggest::is_alike;
use super::{Elaborator, Named, Operand, schema};
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{Layer, LayerId, LayerKind, NodeId};
use crate::syntax::ast::{Piece, Reference, Statement};
use crate::syntax::visit;

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

/// Names that mistakes kept from being given: nobody can say that no layer has them.
#[derive(Default)]
pub struct LostNames<'a> {
    /// Words of statements that could not be read, and layers that there are not.
    words: HashSet<&'a str>,
    /// Whether any statement could not be read.
    pub is_incomplete: bool,
    /// Whether one of those may have been meant to name the model.
    pub may_be_model: bool,
    /// Whether one of those may have been meant to declare the input.
    pub may_be_input: bool,
    /// Whether such a statement holds a name with holes.
    has_template: bool,
    /// Names in statements that did not run, or whose holes could not be filled.
    references: Vec<&'a Reference>,
}

impl<'a> LostNames<'a> {
    /// The names in statements that could not be read.
    pub fn of(statements: &'a [Statement]) -> Self {
        let mut lost = Self::default();
        visit::broken(statements, &mut |text| {
            lost.is_incomplete = true;
            lost.may_be_model |= is_like(text, "model");
            lost.may_be_input |= is_like(text, "input") || text.contains(" x ");
            lost.has_template |= text.contains('"') && text.contains('{');
            let is_sign = |c: char| !c.is_ascii_alphanumeric() && c != '_';
            lost.words.extend(text.split(is_sign));
            lost.words.extend(text.split(|c: char| is_sign(c) && c != '.' && c != '-'));
        });
        lost
    }

    /// Whether a statement that could not be read holds a word.
    pub fn mention(&self, word: &str) -> bool {
        self.words.contains(word)
    }

    /// Notes a layer that the language does not have, after which layers without `as` are called.
    pub fn add_word(&mut self, word: &'a str) {
        self.words.insert(word);
    }

    /// Notes the names in statements that do not run.
    pub fn add(&mut self, statements: &'a [Statement]) {
        visit::labels(statements, &mut |label| self.references.push(label));
    }

    /// Whether a layer could have this name but for the mistakes.
    fn may_hold(&self, name: &str) -> bool {
        let stem = |part| stem_of(part).unwrap_or(part);
        self.has_template
            || self.mention(name)
            || name.split('.').any(|part| self.mention(stem(part)))
            || self.references.iter().any(|reference| fits(reference, name))
    }
}

/// Whether a statement that could not be read may have been meant to start with `keyword`.
fn is_like(text: &str, keyword: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    text.contains(keyword) || is_alike(first, keyword)
}

/// Whether the holes of a name could be filled so that it becomes `name`.
fn fits(reference: &Reference, name: &str) -> bool {
    match &reference.pieces[..] {
        [] => name.is_empty(),
        [Piece::Text(text)] => text == name,
        [first, .., last] => {
            let starts = matches!(first, Piece::Text(text) if !name.starts_with(&**text));
            let ends = matches!(last, Piece::Text(text) if !name.ends_with(&**text));
            !starts && !ends
        }
        [Piece::Hole(_)] => true,
    }
}

/// `sepconv` for `sepconv_12`.
fn stem_of(part: &str) -> Option<&str> {
    let (stem, number) = part.rsplit_once('_')?;
    (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then_some(stem)
}

/// Whether layers without `as` have names like this one; a mistake changes how they are counted.
fn is_automatic(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_word = |stem| schema::find(stem).is_some() || ["add", "concat"].contains(&stem);
    let is_stem = |stem| LayerKind::ALL.iter().any(|kind| keras_stem(*kind) == stem);
    stem_of(last).is_some_and(is_word) || is_stem(stem_of(last).unwrap_or(last))
}

/// Where a layer was written, and how it is called.
pub struct Site<'a> {
    /// Its word.
    pub word: &'a str,
    /// Its statement.
    pub span: Span,
    /// Its name as written, if it was given one.
    label: Option<&'a Reference>,
    /// Its name, unless there is a mistake in it.
    name: Option<Result<(String, Span), Reported>>,
}

/// The node of a layer, or what is known of its shape after a mistake.
pub type Made = Result<NodeId, Outline>;

impl<'a> Elaborator<'a> {
    /// The text of a reference.
    pub fn reference(&mut self, reference: &'a Reference) -> Result<(String, Span), Reported> {
        let span = reference.at.0;
        self.check_bare(reference)?;
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

    /// Reports a name without quotation marks that is a variable's, too: it reads as the
    /// variable's value, and stands for itself.
    fn check_bare(&mut self, reference: &Reference) -> Result<(), Reported> {
        let (Some(Piece::Text(name)), false) = (reference.pieces.first(), reference.is_quoted) else {
            return Ok(());
        };
        let variable = self.scopes.find(name).filter(|variable| !variable.is_guess);
        let what = match variable {
            Some(_) => "a variable",
            None if CURRENT.contains(&name.as_str()) => "a size of the tensor at hand",
            None => return Ok(()),
        };
        let message = format!("`{name}` is {what} and the name of a layer");
        let mut error = Diagnostic::error("E0212", message).at(reference.at.0, "which of them?");
        if let Some(variable) = variable {
            error = error.also(variable.span, "the variable");
        }
        let way_out = format!("write `\"{{{name}}}\"` for its value, or `\"{name}\"` for the word itself");
        Err(self.reports.report(error.suggest(way_out)))
    }

    /// The site of a statement, its name evaluated.
    pub fn site(&mut self, word: &'a str, span: Span, label: Option<&'a Reference>) -> Site<'a> {
        Site { word, span, label, name: label.map(|label| self.reference(label)) }
    }

    /// Makes the layer of a statement, whose result is within `outline`. When there is a mistake,
    /// the outline is what remains known of it.
    pub fn attempt(
        &mut self,
        site: &Site<'a>,
        outline: Outline,
        make: impl FnOnce(&mut Self) -> Result<NodeId, Reported>,
    ) -> Made {
        let counted = self.count_layer(site.span);
        if let Some(Ok((name, span))) = &site.name {
            // Reported here since the layer may not be made for other reasons.
            let _ = self.fresh(name, *span);
        }
        if self.check_size(&outline, site.span).is_err() {
            return Err(Outline { is_vector: outline.is_vector, ..Outline::UNKNOWN });
        }
        if self.hypothetical {
            return Err(outline);
        }
        counted.and_then(|()| make(self)).map_err(|_| outline)
    }

    /// Adds a layer to the graph.
    pub fn layer(&mut self, site: &Site<'a>, kind: LayerKind) -> Result<LayerId, Reported> {
        let name = match &site.name {
            Some(Ok((name, span))) => self.fresh(name, *span)?,
            Some(Err(reported)) => return Err(*reported),
            None => self.automatic_name(site.word, kind),
        };
        let path = self.naming.path.clone();
        Ok(self.graph()?.push_layer(Layer { name, kind, path, span: site.span }))
    }

    fn fresh(&mut self, name: &str, span: Span) -> Result<String, Reported> {
        let old = self.values.get(name).filter(|_| !self.hypothetical);
        let Some(old) = old else { return Ok(name.to_owned()) };
        let same = old.span == span;
        let mut error = Diagnostic::error("E0206", format!("two layers or values are called `{name}`"))
            .at(span, "again here");
        error = match same {
            true => error.suggest("make the name depend on the loop or the call, as in `\"conv{i}\"`"),
            false => error.also(old.span, "first here"),
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
    pub fn finish_layer(&mut self, site: Site<'a>, made: Made) {
        let operand = match made {
            Ok(node) => self.node_operand(node, site.span),
            Err(outline) => self.outlined(outline, Some(site.span)),
        };
        self.current = Some(operand);
        let automatic = || {
            let layer = self.layer_of(operand.node.ok()?)?;
            Some((layer.name.clone(), site.span))
        };
        match site.name {
            Some(name) => self.name_value(name, site.label, operand),
            None => {
                if let Some(name) = automatic() {
                    self.name_value(Ok(name), None, operand);
                }
            }
        }
    }

    /// The value of a node.
    pub fn node_operand(&self, node: NodeId, span: Span) -> Operand {
        let shape = self.graph.as_ref().map(|graph| graph.node(node).shape);
        Operand { node: Ok(node), outline: shape.map_or(Outline::UNKNOWN, Outline::from), span: Some(span) }
    }

    /// Names what a call of a block yields; an error when a layer or value has the name.
    pub fn name_result(&mut self, name: Result<(String, Span), Reported>, label: &'a Reference) {
        let Some(operand) = self.current else { return };
        let name = name.and_then(|(name, span)| self.fresh(&name, span).map(|name| (name, span)));
        self.name_value(name, Some(label), operand);
    }

    /// Gives a value its name, or notes that the name is lost.
    pub fn name_value(
        &mut self,
        name: Result<(String, Span), Reported>,
        label: Option<&'a Reference>,
        operand: Operand,
    ) {
        match name {
            _ if self.hypothetical => {}
            Ok((name, span)) => {
                // A layer's name is checked before the layer is made.
                self.values.entry(name).or_insert(Named { operand, span });
            }
            Err(_) => self.lost.references.extend(label),
        }
    }

    /// The value of that name.
    pub fn named_value(&mut self, reference: &'a Reference) -> Operand {
        let Ok((name, span)) = self.reference(reference) else { return self.unknown() };
        if self.hypothetical {
            return self.unknown();
        }
        if let Some(named) = self.values.get(&name) {
            return named.operand;
        }
        if self.is_lost(&name, span) {
            return self.unknown();
        }
        let near = self.reports.nearest(&name, self.values.keys().map(String::as_str));
        let near = near.map(|n| format!("did you mean `{n}`?"));
        let error = Diagnostic::error("E0205", format!("no layer before this line is called `{name}`"))
            .at(span, "unknown value")
            .suggest_if(near);
        self.reports.report(error);
        self.unknown()
    }

    /// Whether a layer could be called `name` but for mistakes elsewhere.
    fn is_lost(&mut self, name: &str, span: Span) -> bool {
        if self.spend(self.lost.references.len() as u64, span).is_err() {
            return true;
        }
        let faulty = self.lost.is_incomplete || self.reports.has_errors();
        self.lost.may_hold(name) || faulty && is_automatic(name)
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
