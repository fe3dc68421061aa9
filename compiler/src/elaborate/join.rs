//! Where paths part and meet: residuals, concatenations, sums.

use super::names::Site;
use super::outline::{Extent, Outline};
use super::report::Reported;
use super::{Elaborator, Operand, Place};
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{LayerKind, NodeId, Op};
use crate::syntax::ast::*;

/// A join whose branches are being elaborated.
pub struct OpenJoin {
    /// What each branch reads.
    start: Operand,
    /// What the branches so far yield, and where they were written.
    ends: Vec<(Operand, Span)>,
    /// Whether a mistake leaves open how many branches there are.
    is_doubtful: bool,
}

/// The paths of a residual.
pub struct Residual<'a> {
    /// The main path.
    pub body: &'a [Statement],
    /// The other path; the identity when absent.
    pub shortcut: Option<&'a [Statement]>,
    /// The statement.
    pub span: Span,
}

impl<'a> Elaborator<'a> {
    /// The sum of the main path and the shortcut; the main path alone when the condition does not
    /// hold.
    pub fn run_residual(
        &mut self,
        condition: Option<&'a Expression>,
        paths: Residual<'a>,
        label: Option<&'a Reference>,
    ) {
        let start = self.operand(paths.span);
        // The name may speak of the value that both paths read.
        let site = self.site("add", paths.span, label);
        let joined = condition.map_or(Ok(true), |c| self.condition(c));
        self.run_block(paths.body, Place::Body);
        let main = self.operand(paths.span);
        if joined == Ok(false) && !self.hypothetical {
            return;
        }
        self.current = Some(start);
        if let Some(shortcut) = paths.shortcut {
            self.run_block(shortcut, Place::Body);
        }
        let other = self.operand(paths.span);
        let ends = [start, main, other];
        let (outline, fits) = match joined {
            Ok(_) if condition.is_none() || !self.hypothetical => self.residual_sum(&paths, ends),
            // Perhaps the main path stands alone.
            _ => (main.outline.or(&other.outline), Err(self.reports.reported())),
        };
        let made = self.attempt(&site, outline, |this| {
            fits?;
            this.join_nodes(&site, JoinKind::Add, vec![main.node?, other.node?], outline)
        });
        self.finish_layer(site, made);
    }

    /// The outline of the sum of both paths, and whether they can be added.
    fn residual_sum(
        &mut self,
        paths: &Residual<'a>,
        [start, main, other]: [Operand; 3],
    ) -> (Outline, Result<(), Reported>) {
        let is_empty = paths.body.is_empty() && paths.shortcut.is_none_or(<[_]>::is_empty);
        if is_empty || main.node.is_ok() && main.node == other.node {
            let error = Diagnostic::error("E0411", "both paths of this residual yield the same value")
                .at(paths.span, "adds a value to itself")
                .suggest("put the layers of the main path into the braces");
            return (main.outline, Err(self.reports.report(error)));
        }
        let [from, a, b] = [start.outline, main.outline, other.outline];
        if !a.differs(&b) {
            return (a.and(&b), Ok(()));
        }
        let mut error = Diagnostic::error(
            "E0503",
            format!("the paths of this residual end with different shapes: {a} and {b}"),
        )
        .at(paths.span, "cannot be added");
        error = point_at(error, main, format!("the main path ends here with {a}"));
        error = match paths.shortcut {
            Some(_) => point_at(error, other, format!("the shortcut ends here with {b}")),
            None => point_at(error, other, format!("the residual starts here with {b}")),
        };
        error = match paths.shortcut {
            None => error.suggest(projection(&from, &a)),
            Some(_) => error.suggest(format!("make the shortcut, which starts with {from}, end with {a}")),
        };
        (a.or(&b), Err(self.reports.report(error)))
    }

    /// The sum or concatenation of branches or named values.
    pub fn run_join(
        &mut self,
        kind: JoinKind,
        operands: &'a Operands,
        label: Option<&'a Reference>,
        span: Span,
    ) {
        let site = self.site(kind.word(), span, label);
        let (ends, is_doubtful) = match operands {
            Operands::Branches(body) => self.run_branches(body, span),
            Operands::Values(values) => {
                (values.iter().map(|v| (self.named_value(v), v.at.0)).collect(), false)
            }
        };
        if ends.len() < 2 && !is_doubtful {
            let found = if ends.len() == 1 { "there is 1".to_owned() } else { "there are none".to_owned() };
            let error = Diagnostic::error("E0408", format!("`{}` needs two branches or more", kind.word()))
                .at(span, found)
                .suggest(format!("write `{} {{ branch {{ ... }} branch {{ ... }} }}`", kind.word()));
            self.reports.report(error);
        }
        let (mut outline, mut fits) = self.joined(kind, &ends, span);
        if is_doubtful || ends.len() < 2 {
            (outline, fits) = (open_ended(kind, outline), Err(self.reports.reported()));
        }
        let made = self.attempt(&site, outline, |this| {
            fits?;
            let nodes = ends.iter().map(|(end, _)| end.node).collect::<Result<_, _>>()?;
            this.join_nodes(&site, kind, nodes, outline)
        });
        self.finish_layer(site, made);
    }

    /// What the branches yield, and whether there may be others.
    fn run_branches(&mut self, body: &'a Block, span: Span) -> (Vec<(Operand, Span)>, bool) {
        let start = self.operand(span);
        self.joins.push(OpenJoin { start, ends: Vec::new(), is_doubtful: false });
        self.run_block(body, Place::Branches);
        let join = self.joins.pop();
        join.map(|join| (join.ends, join.is_doubtful)).unwrap_or_default()
    }

    /// Runs the block behind a statement that could not be read; perhaps that was a join.
    pub fn run_stray(&mut self, body: &'a Block) {
        if !body.iter().any(|statement| matches!(statement.kind, StatementKind::Branch { .. })) {
            return self.run_block(body, Place::Body);
        }
        let start = self.current.unwrap_or_else(|| self.unknown());
        self.joins.push(OpenJoin { start, ends: Vec::new(), is_doubtful: true });
        self.run_block(body, Place::Branches);
        self.joins.pop();
    }

    /// Notes that nobody knows how many branches the statements at `place` yield.
    pub fn doubt_branches_of(&mut self, place: Place) {
        if let Some(join) = self.joins.last_mut().filter(|_| place == Place::Branches) {
            join.is_doubtful = true;
        }
    }

    /// One branch of the innermost join.
    pub fn run_branch(&mut self, body: &'a Block, place: Place, span: Span) {
        let level = self.joins.len();
        match self.joins.last() {
            Some(join) if place == Place::Branches => self.current = Some(join.start),
            _ => {
                let error = Diagnostic::error("E0406", "`branch` outside of a join")
                    .at(span, "belongs directly into the braces of `concat` or `add`");
                self.reports.report(error);
                self.run_block(body, Place::Body);
                return self.forget();
            }
        }
        self.run_block(body, Place::Body);
        let end = self.operand(span);
        if let Some(join) = self.joins.get_mut(level - 1) {
            join.ends.push((end, span));
            // What stands between branches speaks of the value that all of them read.
            self.current = Some(join.start);
        }
    }

    /// The outline of what the ends are joined to, and whether they fit.
    fn joined(
        &mut self,
        kind: JoinKind,
        ends: &[(Operand, Span)],
        span: Span,
    ) -> (Outline, Result<(), Reported>) {
        // A shape that is known for certain is the better one to compare with.
        let first = ends.iter().position(|(end, _)| end.outline.shape().is_some()).unwrap_or(0);
        let Some((model, model_at)) = ends.get(first) else {
            return (Outline::UNKNOWN, Err(self.reports.reported()));
        };
        let model = model.outline;
        let differs = |end: &Outline| match kind {
            JoinKind::Concat => model.differs_in_extent(end),
            JoinKind::Add => model.differs(end),
        };
        let odd = ends.iter().find(|(end, _)| differs(&end.outline));
        let outline = joined_outline(kind, ends, odd.is_none());
        let Some((odd, odd_at)) = odd else { return (outline, Ok(())) };
        let (code, need) = match kind {
            JoinKind::Concat => ("E0504", "the same rows and columns"),
            JoinKind::Add => ("E0505", "the same shape"),
        };
        let error = Diagnostic::error(code, format!("`{}` of {model} and {}", kind.word(), odd.outline))
            .at(span, format!("needs values of {need}"))
            .also(*model_at, format!("ends with {model}"))
            .also(*odd_at, format!("ends with {}", odd.outline));
        (outline, Err(self.reports.report(error)))
    }

    fn join_nodes(
        &mut self,
        site: &Site<'a>,
        kind: JoinKind,
        nodes: Vec<NodeId>,
        outline: Outline,
    ) -> Result<NodeId, Reported> {
        let (op, layer_kind) = match kind {
            JoinKind::Add => (Op::Add, LayerKind::Add),
            JoinKind::Concat => (Op::Concat, LayerKind::Concat),
        };
        let shape = outline.shape().ok_or_else(|| self.reports.reported())?;
        let layer = self.layer(site, layer_kind)?;
        self.push(op, nodes, shape, layer, site.span)
    }
}

/// The outline of what ends are joined to; `fits` when no two of them differ.
fn joined_outline(kind: JoinKind, ends: &[(Operand, Span)], fits: bool) -> Outline {
    let outlines = ends.iter().map(|(end, _)| end.outline);
    let both = |a: Outline, b: Outline| if fits { a.and(&b) } else { a.or(&b) };
    match kind {
        JoinKind::Add => outlines.reduce(both),
        JoinKind::Concat => outlines.reduce(|a, b| {
            // As if the channels did not differ: they are added.
            let channels = a.channels.plus(b.channels);
            Outline { channels, ..both(Outline { channels, ..a }, Outline { channels, ..b }) }
        }),
    }
    .unwrap_or(Outline::UNKNOWN)
}

/// What remains of an outline when a join has operands that are not known.
fn open_ended(kind: JoinKind, outline: Outline) -> Outline {
    match kind {
        JoinKind::Add => outline,
        JoinKind::Concat => Outline { channels: Extent::UNKNOWN, ..outline },
    }
}

/// Points at the statement that yields a value.
fn point_at(error: Diagnostic, operand: Operand, text: String) -> Diagnostic {
    match operand.span {
        Some(span) => error.also(span, text),
        None => error.note(text.replace(" here", "")),
    }
}

/// A shortcut that takes a map of shape `from` to shape `to`.
fn projection(from: &Outline, to: &Outline) -> String {
    let strides = from.shape().zip(to.shape()).and_then(|(from, to)| {
        let stride = |from: u32, to: u32| (1..=8_u32).find(|s| from.div_ceil(*s) == to);
        stride(from.h(), to.h()).zip(stride(from.w(), to.w()))
    });
    let attributes = match strides {
        Some((1, 1)) => String::new(),
        Some((v, h)) if v == h => format!(", strides: {v}, padding: same"),
        Some((v, h)) => format!(", strides: [{v}, {h}], padding: same"),
        None => return format!("add a shortcut that ends with {to}"),
    };
    format!("add a shortcut: `shortcut {{ conv {}, 1x1{attributes}; bn }}`", to.channels)
}
