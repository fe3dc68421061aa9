//! Loop nests: which kernels a step calls, with which addresses.
//!
//! All bounds and strides are constants but one thing: a loop over a step's units of work runs over the share
//! of the thread that executes it. Addresses are affine in the loop variables, so every access of a step can
//! be bounded before it runs.

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
    /// Packed weights of the second convolution of a chain.
    NextWeights,
    /// Packed biases of the second convolution of a chain.
    NextBias,
    /// Packed weights of the pointwise part of a chain's second convolution.
    NextPointwiseWeights,
    /// Packed biases of the pointwise part of a chain's second convolution.
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
    /// Runs the body for each value of a variable.
    Loop {
        /// The variable.
        var: Var,
        /// Its values.
        range: Range<u32>,
        /// When this is a loop over units of work, how many units the step has: only those of the executing
        /// thread's share of `0..units` are run.
        units: Option<u32>,
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

/// The units of work of thread `thread` of `threads`: an even, contiguous share of `0..units`.
pub fn share(units: u32, thread: u32, threads: u32) -> Range<u32> {
    let cut = |t: u32| (u64::from(units) * u64::from(t) / u64::from(threads)) as u32;
    cut(thread)..cut(thread + 1)
}

/// Builds nests and hands out loop variables.
#[derive(Debug, Default)]
pub struct NestBuilder {
    variables: usize,
    /// The bodies under construction, the innermost loop's last.
    bodies: Vec<Vec<Nest>>,
}

impl NestBuilder {
    /// An empty nest.
    pub fn new() -> Self {
        Self { variables: 0, bodies: vec![Vec::new()] }
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
            _ => self.nested(range, None, body),
        }
    }

    /// A loop over some of a step's `units` of work.
    pub fn share(&mut self, range: Range<u32>, units: u32, body: impl FnOnce(&mut Self, Index)) {
        if !range.is_empty() {
            self.nested(range, Some(units), body);
        }
    }

    fn nested(&mut self, range: Range<u32>, units: Option<u32>, body: impl FnOnce(&mut Self, Index)) {
        let var = Var::new(self.variables);
        self.variables += 1;
        self.bodies.push(Vec::new());
        body(self, Index::Variable(var));
        let body = self.bodies.pop().unwrap_or_default();
        self.push(Nest::Loop { var, range, units, body });
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
    let bound = |nest: &Nest| match nest {
        Nest::Loop { var, body, .. } => variable_count(body).max(var.index() + 1),
        Nest::Call { .. } => 0,
    };
    nests.iter().map(bound).max().unwrap_or(0)
}

/// Visits every kernel call that `thread` of `threads` makes, in order, with the values of the loop
/// variables.
pub fn for_each_call<E>(
    nests: &[Nest],
    (thread, threads): (u32, u32),
    visit: &mut impl FnMut(KernelId, &[Argument], Option<u32>, &[u32]) -> Result<(), E>,
) -> Result<(), E> {
    let mut values = vec![0; variable_count(nests)];
    walk(nests, (thread, threads), &mut values, visit)
}

/// Visits every call with how often all threads together make it, when the nests are run `times` times.
pub fn for_each_count(nests: &[Nest], times: u64, visit: &mut impl FnMut(KernelId, Option<u32>, u64)) {
    for nest in nests {
        match nest {
            Nest::Call { kernel, rows, .. } => visit(*kernel, *rows, times),
            Nest::Loop { range, body, .. } => for_each_count(body, times * range.len() as u64, visit),
        }
    }
}

fn walk<E>(
    nests: &[Nest],
    threads: (u32, u32),
    values: &mut Vec<u32>,
    visit: &mut impl FnMut(KernelId, &[Argument], Option<u32>, &[u32]) -> Result<(), E>,
) -> Result<(), E> {
    for nest in nests {
        match nest {
            Nest::Call { kernel, arguments, rows } => visit(*kernel, arguments, *rows, values)?,
            Nest::Loop { var, range, units, body } => {
                let own = units.map_or(range.clone(), |units| share(units, threads.0, threads.1));
                for value in range.start.max(own.start)..range.end.min(own.end) {
                    values[var.index()] = value;
                    walk(body, threads, values, visit)?;
                }
            }
        }
    }
    Ok(())
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
        match nest {
            Nest::Loop { var, range, units, body } => {
                write!(f, "{:indent$}for {var} in {}..{}", "", range.start, range.end)?;
                if let Some(units) = units {
                    write!(f, " of {units} shared")?;
                }
                f.write_str(" {\n")?;
                write_nest(f, body, depth + 1)?;
                writeln!(f, "{:indent$}}}", "")?;
            }
            Nest::Call { kernel, arguments, rows } => {
                let mut arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
                arguments.extend(rows.map(|rows| format!("rows {rows}")));
                writeln!(f, "{:indent$}{kernel}({})", "", arguments.join(", "))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_all_units_once_and_evenly() {
        for units in 0..40 {
            for threads in 1..9 {
                let shares: Vec<_> = (0..threads).map(|t| share(units, t, threads)).collect();
                assert_eq!(shares[0].start, 0);
                assert_eq!(shares[threads as usize - 1].end, units);
                assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start));
                let sizes = shares.iter().map(|s| s.len());
                assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
            }
        }
    }

    #[test]
    fn a_nest_prints_and_walks() {
        let mut b = NestBuilder::new();
        b.share(0..4, 4, |b, row| {
            b.repeat(0..2, |b, tile| {
                b.repeat(5..6, |b, only| {
                    let offset = Offset::bytes(-8).along(row, 100).along(tile, 10).along(only, 1);
                    b.call(KernelId::new(3), vec![Argument { operand: Operand::In, offset }], Some(2));
                });
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
for i0 in 0..4 of 4 shared {
  for i1 in 0..2 {
    k3(in - 3 + 100*i0 + 10*i1, rows 2)
  }
}

"#]]
        );
        let mut offsets = Vec::new();
        let visit = &mut |_: KernelId, arguments: &[Argument], _: Option<u32>, values: &[u32]| {
            offsets.push(arguments[0].offset.at(values));
            Ok::<(), ()>(())
        };
        for_each_call(&nest, (1, 2), visit).unwrap();
        assert_eq!(offsets, [197, 207, 297, 307]);
    }
}
