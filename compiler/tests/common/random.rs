//! Random small networks in the manner of the family: chains, residuals, branches, separable
//! convolutions.

use xcc_compiler::graph::{Activation, Graph, NodeId, PoolKind, Shape, Window};

use super::builder::{Builder, cut, window};

/// A network that `genes` decide: every choice takes a byte, and when they run out, zeros. Shorter
/// strings and smaller bytes give simpler networks, so that a failing case shrinks.
pub fn random_graph(genes: &[u8]) -> Graph {
    let mut genes = Genes(genes);
    let (h, w, c) = (genes.range(3, 9), genes.range(3, 9), genes.range(1, 9));
    let mut drawing = Drawing { builder: Builder::new(Shape::map(h, w, c)), taps: Vec::new() };
    let mut x = drawing.builder.input();
    for _ in 0..genes.range(1, 7) {
        x = drawing.stage(&mut genes, x, 2);
    }
    let result = drawing.head(&mut genes, x);
    let mut outputs = vec![result];
    outputs.extend(drawing.taps.iter().filter(|&&t| t != result));
    drawing.builder.finish(&outputs)
}

struct Genes<'a>(&'a [u8]);

impl Genes<'_> {
    fn below(&mut self, bound: u32) -> u32 {
        let Some((&gene, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        u32::from(gene) % bound
    }

    fn range(&mut self, low: u32, end: u32) -> u32 {
        low + self.below(end - low)
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    fn activation(&mut self) -> Activation {
        // The simplest choice is a function, not the identity.
        let place = self.below(Activation::ALL.len() as u32) as usize;
        Activation::ALL[if place < 2 { 1 - place } else { place }]
    }

    fn window(&mut self, stride: u32) -> Window {
        let (kernel, dilation) = (self.range(2, 5), self.range(1, 3));
        window(kernel, stride, dilation)
    }
}

struct Drawing {
    builder: Builder,
    taps: Vec<NodeId>,
}

impl Drawing {
    fn channels(&self, x: NodeId) -> u32 {
        self.builder.shape(x).c()
    }

    fn stage(&mut self, genes: &mut Genes<'_>, x: NodeId, depth: u32) -> NodeId {
        let kinds = if depth > 0 { 13 } else { 9 };
        let y = match genes.below(kinds) {
            0 => self.builder.activation(x, genes.activation()),
            1 => self.builder.norm(x),
            2 => self.conv(genes, x),
            3 | 4 => self.separable(genes, x),
            5 => self.pool(genes, x),
            6 => self.builder.dropout(x, 0.25),
            7 => self.normed(genes, x),
            8 => {
                let y = self.builder.activation(x, genes.activation());
                self.builder.add(&[x, y])
            }
            9 | 10 => self.residual(genes, x, depth - 1),
            11 => self.inception(genes, x),
            _ => self.mixed_branches(genes, x, depth - 1),
        };
        if genes.below(9) == 8 {
            self.taps.push(y);
        }
        y
    }

    fn conv(&mut self, genes: &mut Genes<'_>, x: NodeId) -> NodeId {
        let (ic, oc) = (self.channels(x), genes.range(1, 10));
        let segments = 1 + genes.below(ic.min(oc));
        let stride = genes.range(1, 3);
        let window = if genes.coin() { genes.window(stride) } else { Window::POINT };
        self.builder.conv(x, window, cut(ic, oc, segments), genes.coin())
    }

    fn separable(&mut self, genes: &mut Genes<'_>, x: NodeId) -> NodeId {
        let ic = self.channels(x);
        let partition = cut(ic, ic * genes.range(1, 3), 1 + genes.below(ic));
        let (window, outputs) = (genes.window(1), genes.range(1, 10));
        let between = if genes.coin() { genes.activation() } else { Activation::Linear };
        self.builder.separable(x, window, partition, between, outputs)
    }

    fn normed(&mut self, genes: &mut Genes<'_>, x: NodeId) -> NodeId {
        let conv = if genes.coin() { self.conv(genes, x) } else { self.separable(genes, x) };
        let norm = self.builder.norm(conv);
        self.builder.activation(norm, genes.activation())
    }

    fn pool(&mut self, genes: &mut Genes<'_>, x: NodeId) -> NodeId {
        let kind = if genes.coin() { PoolKind::Average } else { PoolKind::Max };
        self.builder.pool(x, kind, window(genes.range(2, 4), genes.range(1, 3), 1))
    }

    /// A chain that keeps its extent and is added to its start, to a projection of it, or to both.
    fn residual(&mut self, genes: &mut Genes<'_>, x: NodeId, depth: u32) -> NodeId {
        let mut y = x;
        if genes.coin() {
            y = self.builder.activation(y, genes.activation());
        }
        y = self.separable(genes, y);
        if depth > 0 && genes.coin() {
            y = self.inception(genes, y);
        }
        let projected = genes.coin();
        let width = if projected { genes.range(1, 10) } else { self.channels(x) };
        y = self.builder.pointwise(y, width);
        if genes.coin() {
            y = self.builder.norm(y);
        }
        if !projected {
            return if genes.coin() { self.builder.add(&[y, x]) } else { self.builder.add(&[x, y]) };
        }
        let stride = genes.range(1, 3);
        if stride == 2 {
            y = self.builder.pool(y, PoolKind::Max, window(3, 2, 1));
        }
        let ic = self.channels(x);
        let point = Window { strides: [stride; 2], ..Window::POINT };
        let shortcut = self.builder.conv(x, point, cut(ic, width, 1), genes.coin());
        self.builder.add(&[y, shortcut])
    }

    /// Parallel branches of a 1x1 and, perhaps, a spatial convolution, that meet in a
    /// concatenation.
    fn inception(&mut self, genes: &mut Genes<'_>, x: NodeId) -> NodeId {
        let (spatial, normed, activation) = (genes.coin(), genes.coin(), genes.activation());
        let (shared, last) = (genes.window(1), genes.coin());
        let branches: Vec<NodeId> = (0..genes.range(2, 5))
            .map(|_| {
                let mut y = self.builder.pointwise(x, genes.range(1, 6));
                if normed {
                    y = self.builder.norm(y);
                }
                let between = if genes.below(6) == 5 { genes.activation() } else { activation };
                if between != Activation::Linear {
                    y = self.builder.activation(y, between);
                }
                if spatial {
                    let (ic, oc) = (self.channels(y), genes.range(1, 6));
                    let window = if genes.below(5) == 4 { genes.window(1) } else { shared };
                    y = self.builder.conv(y, window, cut(ic, oc, 1 + genes.below(ic.min(oc))), genes.coin());
                }
                if last != (genes.below(8) == 7) { self.builder.activation(y, Activation::Relu) } else { y }
            })
            .collect();
        self.builder.concat(&branches)
    }

    /// Branches of any kind, brought to one width and added, or to one extent and concatenated.
    fn mixed_branches(&mut self, genes: &mut Genes<'_>, x: NodeId, depth: u32) -> NodeId {
        let add = genes.coin();
        let width = genes.range(1, 8);
        let branches: Vec<NodeId> = (0..genes.range(2, 4))
            .map(|_| {
                let mut y = x;
                if depth > 0 && genes.coin() {
                    y = self.residual_with_extent(genes, y);
                }
                y = self.separable(genes, y);
                if add { self.builder.pointwise(y, width) } else { y }
            })
            .collect();
        if add { self.builder.add(&branches) } else { self.builder.concat(&branches) }
    }

    fn residual_with_extent(&mut self, genes: &mut Genes<'_>, x: NodeId) -> NodeId {
        let relu = self.builder.activation(x, Activation::Relu);
        let y = self.separable(genes, relu);
        let y = self.builder.pointwise(y, self.channels(x));
        self.builder.add(&[y, x])
    }

    fn head(&mut self, genes: &mut Genes<'_>, x: NodeId) -> NodeId {
        let vector = match genes.below(4) {
            0 => return x,
            1 => self.builder.flatten(x),
            2 => self.builder.global_pool(x, PoolKind::Max),
            _ => self.builder.global_pool(x, PoolKind::Average),
        };
        let dense = self.builder.dense(vector, genes.range(1, 12));
        match genes.below(4) {
            0 => dense,
            1 => self.builder.norm(dense),
            2 => self.builder.activation(dense, genes.activation()),
            _ => self.builder.softmax(dense),
        }
    }
}
