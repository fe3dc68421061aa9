//! Where paths part and meet: residuals, concatenations, sums.

use super::names::Site;
use super::report::Reported;
use super::{Current, Elaborator, Place};
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{LayerKind, NodeId, Op, Shape};
use crate::syntax::ast::*;

/// A join whose branches are being elaborated.
pub struct OpenJoin {
    /// What each branch reads.
    start: Current,
    /// What the branches so far yield, and where they were written.
    ends: Vec<(Current, Span)>,
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
    /// The sum of the main path and the shortcut; the main path alone when the condition does not hold.
    pub fn run_residual(
        &mut self,
        condition: Option<&'a Expression>,
        paths: Residual<'a>,
        label: Option<&'a Reference>,
    ) -> Result<(), Reported> {
        let _ = self.current_node(paths.span);
        let start = self.current;
        let joined = condition.map_or(Ok(true), |c| self.condition(c));
        self.run_block(paths.body, Place::Body);
        let main = self.current;
        if joined == Ok(false) {
            return Ok(());
        }
        self.current = start;
        if let Some(shortcut) = paths.shortcut {
            self.run_block(shortcut, Place::Body);
        }
        let other = self.current;
        let site = self.site("add", paths.span, label)?;
        let sum = self.residual_sum(&paths, &site, [start, main, other]).and_then(|nodes| {
            joined?;
            self.join_nodes(&site, JoinKind::Add, nodes.to_vec())
        });
        self.finish_layer(site, sum)
    }

    /// The ends of both paths, if they can be added.
    fn residual_sum(
        &mut self,
        paths: &Residual<'a>,
        site: &Site<'a>,
        [start, main, other]: [Current; 3],
    ) -> Result<[NodeId; 2], Reported> {
        let (Current::Node(start), Current::Node(main), Current::Node(other)) = (start, main, other) else {
            return Err(self.reports.reported());
        };
        if main == other {
            let error = Diagnostic::error("E0411", "both paths of this residual yield the same value")
                .at(site.span, "adds a value to itself")
                .suggest("put the layers of the main path into the braces");
            return Err(self.reports.report(error));
        }
        let [from, a, b] = [self.shape(start)?, self.shape(main)?, self.shape(other)?];
        if a == b {
            return Ok([main, other]);
        }
        let mut error = Diagnostic::error(
            "E0503",
            format!("the paths of this residual end with different shapes: {a} and {b}"),
        )
        .at(site.span, "cannot be added");
        error = self.point_at(error, main, format!("the main path ends here with {a}"));
        error = match paths.shortcut {
            Some(_) => self.point_at(error, other, format!("the shortcut ends here with {b}")),
            None => self.point_at(error, other, format!("the residual starts here with {b}")),
        };
        error = match paths.shortcut {
            None => error.suggest(projection(from, a)),
            Some(_) => error.suggest(format!("make the shortcut, which starts with {from}, end with {a}")),
        };
        Err(self.reports.report(error))
    }

    /// Points at the layer that yields `node`.
    fn point_at(&self, error: Diagnostic, node: NodeId, text: String) -> Diagnostic {
        match self.layer_of(node) {
            Some(layer) => error.also(layer.span, text),
            None => error,
        }
    }

    /// The shape of a value.
    pub fn shape(&mut self, node: NodeId) -> Result<Shape, Reported> {
        Ok(self.graph()?.node(node).shape)
    }

    /// The sum or concatenation of branches or named values.
    pub fn run_join(
        &mut self,
        kind: JoinKind,
        operands: &'a Operands,
        label: Option<&'a Reference>,
        span: Span,
    ) -> Result<(), Reported> {
        let site = self.site(kind.word(), span, label)?;
        let ends = match operands {
            Operands::Branches(body) => self.run_branches(body, span),
            Operands::Values(values) => {
                let ends: Vec<_> = values.iter().map(|v| (self.named_value(v), v.at.0)).collect();
                ends.into_iter().map(|(end, at)| Ok((end?, at))).collect::<Result<Vec<_>, Reported>>()?
            }
        };
        if ends.len() < 2 {
            let found = if ends.len() == 1 { "there is 1".to_owned() } else { "there are none".to_owned() };
            let error = Diagnostic::error("E0408", format!("`{}` needs two branches or more", kind.word()))
                .at(span, found)
                .suggest(format!("write `{} {{ branch {{ ... }} branch {{ ... }} }}`", kind.word()));
            return Err(self.reports.report(error));
        }
        let nodes = self.joinable(kind, &ends, span);
        let joined = nodes.and_then(|nodes| self.join_nodes(&site, kind, nodes));
        self.finish_layer(site, joined)
    }

    fn run_branches(&mut self, body: &'a Block, span: Span) -> Vec<(Current, Span)> {
        let _ = self.current_node(span);
        self.joins.push(OpenJoin { start: self.current, ends: Vec::new() });
        self.run_block(body, Place::Branches);
        let join = self.joins.pop();
        join.map(|join| join.ends).unwrap_or_default()
    }

    /// One branch of the innermost join.
    pub fn run_branch(&mut self, body: &'a Block, span: Span) -> Result<(), Reported> {
        let Some(join) = self.joins.last() else { return Err(self.stray_branch(span)) };
        let level = self.joins.len();
        self.current = join.start;
        self.run_block(body, Place::Body);
        let end = self.current;
        if let Some(join) = self.joins.get_mut(level - 1) {
            join.ends.push((end, span));
        }
        Ok(())
    }

    fn stray_branch(&mut self, span: Span) -> Reported {
        let error = Diagnostic::error("E0406", "`branch` outside of a join")
            .at(span, "belongs directly into the braces of `concat` or `add`");
        self.reports.report(error)
    }

    /// The nodes of the ends, if they can be joined.
    fn joinable(
        &mut self,
        kind: JoinKind,
        ends: &[(Current, Span)],
        span: Span,
    ) -> Result<Vec<NodeId>, Reported> {
        let mut nodes = Vec::with_capacity(ends.len());
        for (end, _) in ends {
            match end {
                Current::Node(node) => nodes.push((*node, self.shape(*node)?)),
                _ => return Err(self.reports.reported()),
            }
        }
        let fits = |a: Shape, b: Shape| match (kind, a, b) {
            (JoinKind::Add, a, b) => a == b,
            (_, Shape::Map { h, w, .. }, Shape::Map { h: h2, w: w2, .. }) => (h, w) == (h2, w2),
            (_, Shape::Vector { .. }, Shape::Vector { .. }) => true,
            _ => false,
        };
        let first = nodes[0].1;
        let Some(odd) = nodes.iter().position(|(_, shape)| !fits(first, *shape)) else {
            return Ok(nodes.into_iter().map(|(node, _)| node).collect());
        };
        let other = nodes[odd].1;
        let (code, need) = match kind {
            JoinKind::Concat => ("E0504", "the same rows and columns"),
            JoinKind::Add => ("E0505", "the same shape"),
        };
        let error = Diagnostic::error(code, format!("`{}` of {first} and {other}", kind.word()))
            .at(span, format!("needs values of {need}"))
            .also(ends[0].1, format!("ends with {first}"))
            .also(ends[odd].1, format!("ends with {other}"));
        Err(self.reports.report(error))
    }

    fn join_nodes(
        &mut self,
        site: &Site<'a>,
        kind: JoinKind,
        nodes: Vec<NodeId>,
    ) -> Result<NodeId, Reported> {
        let shapes = nodes.iter().map(|n| self.shape(*n)).collect::<Result<Vec<_>, _>>()?;
        let (op, layer_kind) = match kind {
            JoinKind::Add => (Op::Add, LayerKind::Add),
            JoinKind::Concat => (Op::Concat, LayerKind::Concat),
        };
        let shape = match kind {
            JoinKind::Add => shapes[0],
            JoinKind::Concat => self.concatenated(&shapes, site.span)?,
        };
        let layer = self.layer(site, layer_kind)?;
        self.push(op, nodes, shape, layer, site.span)
    }

    fn concatenated(&mut self, shapes: &[Shape], span: Span) -> Result<Shape, Reported> {
        let channels: u64 = shapes.iter().map(|s| u64::from(s.c())).sum();
        let Ok(c) = u32::try_from(channels) else {
            let error = Diagnostic::error("E0602", format!("`concat` of {channels} channels"));
            return Err(self.reports.report(self.size_limit(error, span)));
        };
        Ok(match shapes[0] {
            Shape::Map { h, w, .. } => Shape::map(h, w, c),
            Shape::Vector { .. } => Shape::vector(c),
        })
    }
}

/// A shortcut that takes a map of shape `from` to shape `to`.
fn projection(from: Shape, to: Shape) -> String {
    let stride = |from: u32, to: u32| (1..=8_u32).find(|s| from.div_ceil(*s) == to);
    let strides = stride(from.h(), to.h()).zip(stride(from.w(), to.w()));
    let attributes = match strides {
        Some((1, 1)) => String::new(),
        Some((v, h)) if v == h => format!(", strides: {v}, padding: same"),
        Some((v, h)) => format!(", strides: [{v}, {h}], padding: same"),
        None => return format!("add a shortcut that ends with {to}"),
    };
    format!("add a shortcut: `shortcut {{ conv {}, 1x1{attributes}; bn }}`", to.c())
}
