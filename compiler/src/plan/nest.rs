//! Loop nests: which kernels a step calls, with which addresses.
//!
//! All bounds and strides are constants but one thing: which of a step's units of work a thread
//! does. It takes those of its own share one by one, and then those that other threads have not
//! begun, so that no thread waits while another one, on a busier core, still has units ahead of
//! it. Every unit is done once, by whichever thread, and writes what no other unit reads or
//! writes. Addresses are affine in the loop variables, so every access of a step can be bounded
//! before it runs.

use std::fmt::{self, Display, Formatter};
use std::ops::Range;

use crate::graph::entity;

entity!(
    /// A kernel of the program; prints as `k7`.
    KernelId, "k"
);
entity!(
    /// A loop variable; prints as `i7`.
    Var, "i"
);

/// The operands of a driver: memory that a step gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// The first input.
    In,
    /// Another input.
    Add,
    /// The result.
    Out,
    /// Packed weights, or scales.
    Weights,
    /// Packed biases, or shifts.
    Bias,
    /// Packed weights of the pointwise part of a fused separable convolution.
    PointwiseWeights,
    /// Packed biases of the pointwise part of a fused separable convolution.
    PointwiseBias,
    /// Packed weights of the second convolution of a fused group.
    NextWeights,
    /// Packed biases of the second convolution of a fused group.
    NextBias,
    /// Packed weights of the pointwise part of a fused group's second convolution.
    NextPointwiseWeights,
    /// Packed biases of the pointwise part of a fused group's second convolution.
    NextPointwiseBias,
    /// Memory of the executing thread, for intermediate results.
    Scratch,
}

impl Operand {
    /// Every operand, in the order in which drivers take them.
    pub const ALL: [Operand; 12] = [
        Operand::In,
        Operand::Add,
        Operand::Out,
        Operand::Weights,
        Operand::Bias,
        Operand::PointwiseWeights,
        Operand::PointwiseBias,
        Operand::NextWeights,
        Operand::NextBias,
        Operand::NextPointwiseWeights,
        Operand::NextPointwiseBias,
        Operand::Scratch,
    ];

    /// Position in [`Operand::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operand::In => "in",
            Operand::Add => "add",
            Operand::Out => "out",
            Operand::Weights => "weights",
            Operand::Bias => "bias",
            Operand::PointwiseWeights => "pointwise_weights",
            Operand::PointwiseBias => "pointwise_bias",
            Operand::NextWeights => "next_weights",
            Operand::NextBias => "next_bias",
            Operand::NextPointwiseWeights => "next_pointwise_weights",
            Operand::NextPointwiseBias => "next_pointwise_bias",
            Operand::Scratch => "scratch",
        })
    }
}

/// A byte offset that is affine in loop variables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Offset {
    /// The constant part.
    pub bytes: i64,
    /// Bytes for each step of a variable.
    pub terms: Vec<(Var, i64)>,
}

impl Offset {
    /// A constant offset.
    pub fn bytes(bytes: i64) -> Self {
        Self { bytes, terms: Vec::new() }
    }

    /// This offset and `bytes` more.
    pub fn plus(mut self, bytes: i64) -> Self {
        self.bytes += bytes;
        self
    }

    /// This offset and `stride` bytes more for each step of `index`.
    pub fn along(mut self, index: Index, stride: i64) -> Self {
        match index {
            Index::Constant(value) => self.bytes += i64::from(value) * stride,
            Index::Variable(var) if stride != 0 => self.terms.push((var, stride)),
            Index::Variable(_) => {}
        }
        self
    }

    /// The offset for given values of the variables, indexed by variable.
    pub fn at(&self, values: &[u32]) -> i64 {
        self.bytes
            + self.terms.iter().map(|&(var, stride)| i64::from(values[var.index()]) * stride).sum::<i64>()
    }
}

/// Where a loop stands: at a variable, or, where no loop is needed, at a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// The only value.
    Constant(u32),
    /// The variable of a loop.
    Variable(Var),
}

/// A pointer argument of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Argument {
    /// The memory.
    pub operand: Operand,
    /// Where in it.
    pub offset: Offset,
}

/// A piece of a loop nest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Nest {
    /// Units of work, which the threads divide between them: the body runs once for each. It is
    /// the only piece of a driver, and in no other.
    Divide {
        /// The variable that tells the image, and how many images there are; none where there is
        /// only one.
        images: Option<(Var, u32)>,
        /// Units of each image.
        units: u32,
        /// The body.
        body: Vec<Nest>,
    },
    /// Runs the body if the unit at hand is one of these.
    Unit {
        /// The units, counted within their image.
        units: Range<u32>,
        /// The variable that tells the block of the unit, and the first block; none where there is
        /// only one.
        block: Option<(Var, u32)>,
        /// The variable that tells which part of its block the unit is, and how many parts each
        /// block has; none where there is only one.
        part: Option<(Var, u32)>,
        /// The body.
        body: Vec<Nest>,
    },
    /// Runs the body for each value of a variable.
    Loop {
        /// The variable.
        var: Var,
        /// Its values.
        range: Range<u32>,
        /// The body.
        body: Vec<Nest>,
    },
    /// Calls a kernel.
    Call {
        /// The kernel.
        kernel: KernelId,
        /// Its pointers.
        arguments: Vec<Argument>,
        /// Its count, if it takes one.
        rows: Option<u32>,
    },
}

/// The units that thread `thread` of `threads` takes first: an even, contiguous share of
/// `0..units`.
pub fn share(units: u64, thread: u32, threads: u32) -> Range<u64> {
    let cut = |t: u32| (u128::from(units) * u128::from(t) / u128::from(threads)) as u64;
    cut(thread)..cut(thread + 1)
}

/// Builds nests and hands out loop variables.
#[derive(Debug, Default)]
pub struct NestBuilder {
    variables: usize,
    /// Units of the image so far.
    units: u32,
    /// The bodies under construction, the innermost loop's last.
    bodies: Vec<Vec<Nest>>,
}

impl NestBuilder {
    /// An empty nest.
    pub fn new() -> Self {
        Self { variables: 0, units: 0, bodies: vec![Vec::new()] }
    }

    fn push(&mut self, nest: Nest) {
        if let Some(body) = self.bodies.last_mut() {
            body.push(nest);
        }
    }

    /// A loop that every thread runs whole; without a loop where there is one iteration.
    pub fn repeat(&mut self, range: Range<u32>, body: impl FnOnce(&mut Self, Index)) {
        match range.len() {
            0 => {}
            1 => body(self, Index::Constant(range.start)),
            _ => self.nested(range, body),
        }
    }

    /// Work on some images, of which each has the units that `body` adds.
    pub fn divide(&mut self, images: u32, body: impl FnOnce(&mut Self, Index)) {
        let (image, index) = self.variable(images, 0);
        let body = self.collect(|b| body(b, index));
        self.push(Nest::Divide { images: image.map(|var| (var, images)), units: self.units, body });
    }

    /// Work on some blocks of an image, of which each is cut into so many parts: a unit each.
    pub fn units(&mut self, blocks: Range<u32>, parts: u32, body: impl FnOnce(&mut Self, [Index; 2])) {
        let first = self.units;
        self.units += blocks.len() as u32 * parts;
        if first == self.units {
            return;
        }
        let (block, block_index) = self.variable(blocks.len() as u32, blocks.start);
        let (part, part_index) = self.variable(parts, 0);
        let body = self.collect(|b| body(b, [block_index, part_index]));
        let (block, part) = (block.map(|var| (var, blocks.start)), part.map(|var| (var, parts)));
        self.push(Nest::Unit { units: first..self.units, block, part, body });
    }

    fn nested(&mut self, range: Range<u32>, body: impl FnOnce(&mut Self, Index)) {
        let var = self.fresh();
        let body = self.collect(|b| body(b, Index::Variable(var)));
        self.push(Nest::Loop { var, range, body });
    }

    /// A variable with so many values from `first` on, unless there is only one.
    fn variable(&mut self, values: u32, first: u32) -> (Option<Var>, Index) {
        if values == 1 {
            return (None, Index::Constant(first));
        }
        let var = self.fresh();
        (Some(var), Index::Variable(var))
    }

    fn fresh(&mut self) -> Var {
        self.variables += 1;
        Var::new(self.variables - 1)
    }

    /// What `body` pushes.
    fn collect(&mut self, body: impl FnOnce(&mut Self)) -> Vec<Nest> {
        self.bodies.push(Vec::new());
        body(self);
        self.bodies.pop().unwrap_or_default()
    }

    /// A kernel call.
    pub fn call(&mut self, kernel: KernelId, arguments: Vec<Argument>, rows: Option<u32>) {
        self.push(Nest::Call { kernel, arguments, rows });
    }

    /// The finished nest.
    pub fn finish(mut self) -> Vec<Nest> {
        self.bodies.pop().unwrap_or_default()
    }
}

/// One more than the highest loop variable.
pub fn variable_count(nests: &[Nest]) -> usize {
    let behind = |var: Option<(Var, u32)>| var.map_or(0, |(var, _)| var.index() + 1);
    let bound = |nest: &Nest| match nest {
        Nest::Divide { images, body, .. } => variable_count(body).max(behind(*images)),
        Nest::Unit { block, part, body, .. } => variable_count(body).max(behind(*block)).max(behind(*part)),
        Nest::Loop { var, body, .. } => variable_count(body).max(var.index() + 1),
        Nest::Call { .. } => 0,
    };
    nests.iter().map(bound).max().unwrap_or(0)
}

/// Visits every kernel call of the share of `thread` of `threads`, in order, with the values of
/// the loop variables.
pub fn for_each_call<E>(
    nests: &[Nest],
    (thread, threads): (u32, u32),
    visit: &mut impl FnMut(KernelId, &[Argument], Option<u32>, &[u32]) -> Result<(), E>,
) -> Result<(), E> {
    let values = vec![0; variable_count(nests)];
    Walk { thread, threads, unit: 0, values, visit }.nests(nests)
}

/// Visits every call with how often all threads together make it, when the nests are run `times`
/// times.
pub fn for_each_count(nests: &[Nest], times: u64, visit: &mut impl FnMut(KernelId, Option<u32>, u64)) {
    for nest in nests {
        match nest {
            Nest::Call { kernel, rows, .. } => visit(*kernel, *rows, times),
            Nest::Divide { images, body, .. } => {
                for_each_count(body, times * images.map_or(1, |(_, count)| u64::from(count)), visit);
            }
            Nest::Unit { units: range, body, .. } | Nest::Loop { range, body, .. } => {
                for_each_count(body, times * range.len() as u64, visit);
            }
        }
    }
}

struct Walk<'a, F> {
    thread: u32,
    threads: u32,
    /// The unit at hand.
    unit: u32,
    /// By variable.
    values: Vec<u32>,
    visit: &'a mut F,
}

impl<F> Walk<'_, F> {
    fn set(&mut self, value: Option<(Var, u32)>) {
        if let Some((var, value)) = value {
            self.values[var.index()] = value;
        }
    }

    fn nests<E>(&mut self, nests: &[Nest]) -> Result<(), E>
    where
        F: FnMut(KernelId, &[Argument], Option<u32>, &[u32]) -> Result<(), E>,
    {
        for nest in nests {
            match nest {
                Nest::Call { kernel, arguments, rows } => {
                    (self.visit)(*kernel, arguments, *rows, &self.values)?;
                }
                Nest::Unit { units, .. } if !units.contains(&self.unit) => {}
                Nest::Unit { units, block, part, body } => {
                    let (within, parts) = (self.unit - units.start, part.map_or(1, |(_, parts)| parts));
                    self.set(block.map(|(var, first)| (var, first + within / parts)));
                    self.set(part.map(|(var, _)| (var, within % parts)));
                    self.nests(body)?;
                }
                Nest::Loop { var, range, body } => {
                    for value in range.clone() {
                        self.values[var.index()] = value;
                        self.nests(body)?;
                    }
                }
                Nest::Divide { images, units, body } => self.divide(*images, *units, body)?,
            }
        }
        Ok(())
    }

    fn divide<E>(&mut self, images: Option<(Var, u32)>, units: u32, body: &[Nest]) -> Result<(), E>
    where
        F: FnMut(KernelId, &[Argument], Option<u32>, &[u32]) -> Result<(), E>,
    {
        let count = images.map_or(1, |(_, count)| count);
        for unit in share(u64::from(count) * u64::from(units), self.thread, self.threads) {
            self.set(images.map(|(var, _)| (var, (unit / u64::from(units)) as u32)));
            self.unit = (unit % u64::from(units)) as u32;
            self.nests(body)?;
        }
        Ok(())
    }
}

impl Display for Offset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sign = if self.bytes < 0 { '-' } else { '+' };
        if self.bytes != 0 {
            write!(f, " {sign} {}", self.bytes.unsigned_abs())?;
        }
        for (var, stride) in &self.terms {
            let sign = if *stride < 0 { '-' } else { '+' };
            write!(f, " {sign} {}*{var}", stride.unsigned_abs())?;
        }
        Ok(())
    }
}

impl Display for Argument {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.operand, self.offset)
    }
}

/// Writes a nest, two spaces a level.
pub fn write_nest(f: &mut Formatter<'_>, nests: &[Nest], depth: usize) -> fmt::Result {
    let indent = depth * 2;
    for nest in nests {
        write!(f, "{:indent$}", "")?;
        let body = match nest {
            Nest::Call { kernel, arguments, rows } => {
                let mut arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
                arguments.extend(rows.map(|rows| format!("rows {rows}")));
                writeln!(f, "{kernel}({})", arguments.join(", "))?;
                continue;
            }
            Nest::Divide { images: None, units, body } => {
                write!(f, "divide {units} units")?;
                body
            }
            Nest::Divide { images: Some((var, count)), units, body } => {
                write!(f, "divide {units} units of each {var} in 0..{count}")?;
                body
            }
            Nest::Unit { units, block, part, body } => {
                write!(f, "units {}..{}", units.start, units.end)?;
                let parts = part.map_or(1, |(_, parts)| parts);
                if let Some((var, first)) = block {
                    write!(f, " for {var} in {first}..{}", first + units.len() as u32 / parts)?;
                }
                if let Some((var, parts)) = part {
                    write!(f, " for {var} in 0..{parts}")?;
                }
                body
            }
            Nest::Loop { var, range, body } => {
                write!(f, "for {var} in {}..{}", range.start, range.end)?;
                body
            }
        };
        f.write_str(" {\n")?;
        write_nest(f, body, depth + 1)?;
        writeln!(f, "{:indent$}}}", "")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_all_units_once_and_evenly() {
        for units in 0..40u64 {
            for threads in 1..9 {
                let shares: Vec<_> = (0..threads).map(|t| share(units, t, threads)).collect();
                assert_eq!(shares[0].start, 0);
                assert_eq!(shares[threads as usize - 1].end, units);
                assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start));
                let sizes = shares.iter().map(|s| s.end - s.start);
                assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
            }
        }
    }

    #[test]
    fn a_nest_prints_and_walks() {
        let mut b = NestBuilder::new();
        b.divide(2, |b, image| {
            b.units(4..6, 3, |b, [block, part]| {
                b.repeat(0..2, |b, tile| {
                    b.repeat(5..6, |b, only| {
                        let offset =
                            Offset::bytes(-8).along(image, 10_000).along(block, 1000).along(part, 100);
                        let offset = offset.along(tile, 10).along(only, 1);
                        b.call(KernelId::new(3), vec![Argument { operand: Operand::In, offset }], Some(2));
                    });
                });
            });
            b.units(6..7, 1, |b, [block, _]| {
                let offset = Offset::bytes(7).along(image, 10_000).along(block, 1000);
                b.call(KernelId::new(4), vec![Argument { operand: Operand::In, offset }], None);
            });
        });
        let nest = b.finish();
        struct Text(Vec<Nest>);
        impl Display for Text {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                write_nest(f, &self.0, 0)
            }
        }
        snapbox::assert_data_eq!(
            Text(nest.clone()).to_string(),
            snapbox::str![[r#"
divide 7 units of each i0 in 0..2 {
  units 0..6 for i1 in 4..6 for i2 in 0..3 {
    for i3 in 0..2 {
      k3(in - 3 + 10000*i0 + 1000*i1 + 100*i2 + 10*i3, rows 2)
    }
  }
  units 6..7 {
    k4(in + 6007 + 10000*i0)
  }
}

"#]]
        );
        let mut offsets = Vec::new();
        let visit = &mut |_: KernelId, arguments: &[Argument], _: Option<u32>, values: &[u32]| {
            offsets.push(arguments[0].offset.at(values));
            Ok::<(), ()>(())
        };
        for_each_call(&nest, (1, 4), visit).unwrap();
        assert_eq!(offsets, [4997, 5007, 5097, 5107, 5197, 5207, 6007]);
    }
}
