//! Words for windows, the same on both sides of a match.

use xcc_compiler::graph::{Pads, PoolKind, Window};

use super::{Attribute, Vertex};

/// States the window of a layer with weights. Dilation means nothing where a kernel has one tap.
pub(super) fn state(vertex: &mut Vertex, window: &Window) {
    let Window { kernel, strides, dilation, pads } = window;
    let dilation = [0, 1].map(|axis| if kernel[axis] == 1 { 1 } else { dilation[axis] });
    vertex.attributes.extend([
        (Attribute::Strides, format!("{}x{}", strides[0], strides[1])),
        (Attribute::Dilation, format!("{}x{}", dilation[0], dilation[1])),
        (Attribute::Padding, zeros(*pads)),
    ]);
}

/// Zeros around a map, as messages and comparisons have them.
pub(super) fn zeros(pads: Pads) -> String {
    format!("{},{},{},{}", pads.top, pads.bottom, pads.left, pads.right)
}

/// A pool over windows.
pub(super) fn pool(kind: PoolKind, window: &Window) -> String {
    format!("{kind} {window}")
}

/// A pool over whole maps.
pub(super) fn global_pool(kind: PoolKind) -> String {
    format!("global {kind}")
}
