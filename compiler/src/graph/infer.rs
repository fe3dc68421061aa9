//! Shapes of results from shapes of operands.

use super::{Conv, Op, Partition, Shape, Window};

/// The shape of what `op` yields for operands of the given shapes (those of the epilogue left out).
///
/// Fails with a sentence that holds the numbers when the operands do not fit, their count
/// included. The shape of [`Op::Input`] is declared and cannot be inferred.
pub fn infer_shape(op: &Op, operands: &[Shape]) -> Result<Shape, String> {
    match op {
        Op::Input => Err("the shape of the input is declared, not inferred".to_owned()),
        Op::Add => added(operands),
        Op::Concat => concatenated(operands),
        Op::Conv(_)
        | Op::Separable(_)
        | Op::BatchNorm(_)
        | Op::Activation(_)
        | Op::Pool(_)
        | Op::GlobalPool(_)
        | Op::Dense(_)
        | Op::Softmax
        | Op::Dropout { .. }
        | Op::Flatten => match operands {
            [operand] => unary(op, *operand),
            _ => Err(format!("takes 1 operand, but has {}", operands.len())),
        },
    }
}

/// The shape of what an operation of one operand yields. The others pass theirs on.
fn unary(op: &Op, operand: Shape) -> Result<Shape, String> {
    match op {
        Op::Conv(conv) => convolved(conv, operand),
        Op::Separable(parts) => convolved(&parts.pointwise, convolved(&parts.spatial, operand)?),
        Op::Pool(pool) => {
            let [h, w] = window_output(&pool.window, operand)?;
            Ok(Shape::map(h, w, operand.c()))
        }
        Op::GlobalPool(_) => match operand {
            Shape::Map { c, .. } => Ok(Shape::vector(c)),
            Shape::Vector { n } => Err(format!("pools a map, but reads a vector of {n} elements")),
        },
        Op::Dense(part) => Ok(Shape::vector(part.outputs)),
        Op::Flatten => match operand.elements_checked().and_then(|n| u32::try_from(n).ok()) {
            Some(n) => Ok(Shape::vector(n)),
            None => Err(format!("{operand} has too many elements for one vector")),
        },
        Op::Input
        | Op::BatchNorm(_)
        | Op::Activation(_)
        | Op::Softmax
        | Op::Add
        | Op::Concat
        | Op::Dropout { .. } => Ok(operand),
    }
}

fn added(operands: &[Shape]) -> Result<Shape, String> {
    let Some(first) = operands.first() else { return Err("adds no operands".to_owned()) };
    match operands.iter().find(|o| *o != first) {
        Some(other) => Err(format!("adds {first} and {other}")),
        None => Ok(*first),
    }
}

fn concatenated(operands: &[Shape]) -> Result<Shape, String> {
    let Some(first) = operands.first() else { return Err("concatenates no operands".to_owned()) };
    if let Some(other) = operands.iter().find(|o| o.with_channels(0) != first.with_channels(0)) {
        return Err(format!("concatenates {first} and {other}, which differ in more than channels"));
    }
    let channels: u64 = operands.iter().map(|o| u64::from(o.c())).sum();
    match u32::try_from(channels) {
        Ok(c) => Ok(first.with_channels(c)),
        Err(_) => Err(format!("concatenates to {channels} channels, more than {}", u32::MAX)),
    }
}

fn convolved(conv: &Conv, operand: Shape) -> Result<Shape, String> {
    let [h, w] = window_output(&conv.window, operand)?;
    check_partition(&conv.partition)?;
    match conv.partition.ic() {
        ic if ic == operand.c() => Ok(Shape::map(h, w, conv.partition.oc())),
        ic => Err(format!("the segments read {ic} channels, but the operand has {}", operand.c())),
    }
}

fn window_output(window: &Window, operand: Shape) -> Result<[u32; 2], String> {
    let Shape::Map { h, w, .. } = operand else {
        return Err(format!("moves a window over a map, but reads a vector of {} elements", operand.c()));
    };
    check_window(window)?;
    match (window.output(0, h), window.output(1, w)) {
        (Some(oh), Some(ow)) => Ok([oh, ow]),
        _ => Err(format!("a window of extent {:?} is larger than the padded {h}x{w} map", window.extent())),
    }
}

/// Whether the numbers of a window make sense by themselves.
pub(super) fn check_window(window: &Window) -> Result<(), String> {
    let Window { kernel, strides, dilation, .. } = window;
    if [kernel, strides, dilation].into_iter().flatten().any(|&n| n == 0) {
        return Err(format!(
            "kernel {kernel:?}, strides {strides:?} and dilation {dilation:?} must be at least 1"
        ));
    }
    for axis in [0, 1] {
        let extent = u64::from(kernel[axis] - 1) * u64::from(dilation[axis]) + 1;
        if extent > u64::from(u32::MAX) {
            return Err(format!("a window of {extent} rows or columns is too large"));
        }
        let (before, after) = window.pads_of(axis);
        let pad = u64::from(before.max(after));
        if pad >= extent {
            return Err(format!("padding {pad} is not smaller than the window's extent {extent}"));
        }
    }
    Ok(())
}

/// Whether there are segments, none empty, whose sums can be counted.
pub(super) fn check_partition(partition: &Partition) -> Result<(), String> {
    if partition.segments() == 0 {
        return Err("the partition has no segments".to_owned());
    }
    let sizes = [partition.inputs(), partition.outputs()];
    if let Some(at) = sizes.iter().find_map(|s| s.iter().position(|&n| n == 0)) {
        return Err(format!("segment {at} of the partition has no channels"));
    }
    let largest = sizes.map(|s| s.iter().map(|&n| u64::from(n)).sum::<u64>()).into_iter().max();
    match largest {
        Some(sum) if sum > u64::from(u32::MAX) => Err(format!("the segments sum up to {sum} channels")),
        _ => Ok(()),
    }
}
