//! What passes did and refused, as data and as text.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::diagnostic::Span;
use crate::graph::{Graph, NodeId};

/// The rows of all passes, in the order in which they happened.
///
/// As JSON: `rows` is a list of objects with `pass`, `node` (such as `"v7"`), `layer` (its name),
/// `span` (first byte and end of the layer in the source), `outcome` (`"applied"` or `"refused"`)
/// and `what` or `reason`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// One for each rewrite made or refused.
    pub rows: Vec<Row>,
    /// Each pass that ran and the time that it took, verification left out. Not in JSON, which is
    /// the same for every run.
    #[serde(skip)]
    pub times: Vec<(&'static str, Duration)>,
    #[serde(skip)]
    pass: &'static str,
    #[serde(skip)]
    limit: Option<usize>,
}

/// One rewrite, made or refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Name of the pass.
    pub pass: &'static str,
    /// The node that was to be rewritten. If it was, that is the id of the result where there is
    /// one.
    #[serde(serialize_with = "as_text")]
    pub node: NodeId,
    /// Name of the node's layer.
    pub layer: String,
    /// Where the layer was written.
    #[serde(serialize_with = "as_pair")]
    pub span: Span,
    /// How it went.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How an attempt went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The graph was rewritten.
    Applied {
        /// What was done.
        what: String,
    },
    /// The graph was left as it was.
    Refused {
        /// Why.
        reason: String,
    },
}

fn as_text<S: Serializer>(id: &NodeId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn as_pair<S: Serializer>(span: &Span, serializer: S) -> Result<S::Ok, S::Error> {
    [span.start, span.end].serialize(serializer)
}

impl Report {
    /// An empty report that allows `limit` rewrites, or any number.
    pub fn new(limit: Option<usize>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Number of rewrites made.
    pub fn applied(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row.outcome, Outcome::Applied { .. })).count()
    }

    /// Says that the rows from now on are made by `pass`.
    pub(super) fn begin(&mut self, pass: &'static str) {
        self.pass = pass;
    }

    /// Notes the time of the pass that makes rows now.
    pub(super) fn end(&mut self, time: Duration) {
        self.times.push((self.pass, time));
    }

    /// Rewrites `graph` at `node` and notes what was done, unless no more rewrites are allowed.
    pub(super) fn apply(
        &mut self,
        graph: &mut Graph,
        node: NodeId,
        what: String,
        rewrite: impl FnOnce(&mut Graph),
    ) {
        if self.limit.is_none_or(|limit| self.applied() < limit) {
            self.push(graph, node, Outcome::Applied { what });
            rewrite(graph);
        }
    }

    /// Notes why `node` stays as it is.
    pub(super) fn refuse(&mut self, graph: &Graph, node: NodeId, reason: String) {
        self.push(graph, node, Outcome::Refused { reason });
    }

    fn push(&mut self, graph: &Graph, node: NodeId, outcome: Outcome) {
        let layer = graph.layer(graph.node(node).layer);
        self.rows.push(Row { pass: self.pass, node, layer: layer.name.clone(), span: layer.span, outcome });
    }
}

/// One line a row: pass, node, layer, outcome and why, in columns.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = |width: fn(&Row) -> usize| self.rows.iter().map(width).max().unwrap_or(0);
        let pass = widest(|row| row.pass.len());
        let node = widest(|row| row.node.to_string().len());
        let layer = widest(|row| row.layer.chars().count());
        for row in &self.rows {
            let (outcome, text) = match &row.outcome {
                Outcome::Applied { what } => ("applied", what),
                Outcome::Refused { reason } => ("refused", reason),
            };
            let id = row.node.to_string();
            writeln!(f, "{:pass$}  {id:node$}  {:layer$}  {outcome}  {text}", row.pass, row.layer)?;
        }
        Ok(())
    }
}
