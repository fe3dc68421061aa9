//! Checks a program, as graphs and kernels are checked:
//!
//! 1. Steps name drivers that exist, and calls name kernels that exist.
//! 2. A call has an argument for each pointer of its kernel, and a count if the kernel takes one.
//! 3. Every operand of a call is one that the step has.
//! 4. Every byte that a call reads or writes, for all values of the loop variables, lies in its operand.
//! 5. No call writes constants.
//! 6. Operands lie in their regions: the arena, the constants and scratch memory are as large as the program says.
//! 7. A step divides its work once, and its units are numbered without gaps.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::ops::Range;

use super::nest::{Argument, KernelId, Nest, Operand, Var, variable_count};
use super::{Place, Program, Region, Step};
use crate::vector::Kernel;
use crate::vector::extent::{Extent, Touched, touched};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {step}: {what}")]
pub struct Violation {
    /// The position of the step.
    pub step: usize,
    /// What is wrong, with the numbers.
    pub what: String,
}

/// A program and what is wrong with it: prints as the program's text with the error behind its
/// step.
pub struct Annotated<'a> {
    /// The program.
    pub program: &'a Program,
    /// The first broken invariant.
    pub violation: &'a Violation,
}

impl fmt::Display for Annotated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.program.to_string();
        // Steps are the last lines of the text.
        let first = text.lines().count() - self.program.steps.len();
        for (number, line) in text.lines().enumerate() {
            writeln!(f, "{line}")?;
            if number == first + self.violation.step {
                writeln!(f, "^ error: {}", self.violation.what)?;
            }
        }
        Ok(())
    }
}

/// Checks all invariants; the error is the first that is broken.
pub fn verify(program: &Program) -> Result<(), Violation> {
    let kernels: Vec<Kernel> = program.kernels.iter().map(|descriptor| descriptor.generate()).collect();
    let mut checker = Checker { program, kernels, touched: HashMap::new() };
    for (step, of_step) in program.steps.iter().enumerate() {
        checker.step(of_step).map_err(|what| Violation { step, what })?;
    }
    Ok(())
}

struct Checker<'p> {
    program: &'p Program,
    kernels: Vec<Kernel>,
    /// What kernels touch, by kernel and count.
    touched: HashMap<(KernelId, u32), Vec<Touched>>,
}

/// The values of each loop variable that is in scope.
type Ranges = Vec<Range<u32>>;

impl Checker<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        step.operands.iter().flatten().try_for_each(|place| self.place(place))?;
        let driver = self.program.drivers.get(step.driver.index());
        let nest = &driver.ok_or_else(|| format!("there is no driver {}", step.driver))?.nest;
        let [Nest::Divide { images, units, body }] = &nest[..] else {
            return Err(format!("{} divides its work {} times", step.driver, nest.len()));
        };
        check_units(*units, body)?;
        let mut ranges = vec![0..1; variable_count(nest)];
        if let Some((var, count)) = images {
            ranges[var.index()] = 0..*count;
        }
        self.nests(step, body, &mut ranges)
    }

    /// Checks that an operand lies in its region.
    fn place(&self, place: &Place) -> Result<(), String> {
        let size = match place.region {
            Region::Arena => self.program.arena_bytes,
            Region::Constants => self.program.constant_bytes,
            Region::Scratch => self.program.scratch_bytes,
        };
        match place.offset.checked_add(place.bytes) {
            Some(end) if end <= size => Ok(()),
            _ => Err(format!("{place} ends behind its region of {size} bytes")),
        }
    }

    fn nests(&mut self, step: &Step, nests: &[Nest], ranges: &mut Ranges) -> Result<(), String> {
        for nest in nests {
            match nest {
                Nest::Divide { .. } => return Err("work is divided within a unit".to_owned()),
                Nest::Unit { units, block, part, body } => {
                    let parts = part.map_or(1, |(_, parts)| parts);
                    bind(ranges, block.map(|(var, first)| (var, first..first + units.len() as u32 / parts)));
                    bind(ranges, part.map(|(var, parts)| (var, 0..parts)));
                    self.nests(step, body, ranges)?;
                }
                Nest::Loop { var, range, body } => {
                    bind(ranges, Some((*var, range.clone())));
                    self.nests(step, body, ranges)?;
                }
                Nest::Call { kernel, arguments, rows } => {
                    self.call(step, *kernel, (arguments, *rows), ranges)?;
                }
            }
        }
        Ok(())
    }

    fn call(
        &mut self,
        step: &Step,
        id: KernelId,
        (arguments, rows): (&[Argument], Option<u32>),
        ranges: &Ranges,
    ) -> Result<(), String> {
        let kernel = self.kernels.get(id.index()).ok_or_else(|| format!("there is no kernel {id}"))?;
        if arguments.len() != kernel.pointers.len() {
            return Err(format!("{id} has {} pointers, not {}", kernel.pointers.len(), arguments.len()));
        }
        if rows.is_some() != kernel.counted {
            let takes = if kernel.counted { "takes" } else { "takes no" };
            return Err(format!("{id} {takes} count of rows"));
        }
        let key = (id, rows.unwrap_or(0));
        let of_call = match self.touched.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let found = touched(kernel, key.1).ok_or_else(|| format!("{id} mixes its pointers"))?;
                unknown.insert(found)
            }
        };
        for ((argument, touched), name) in arguments.iter().zip(&*of_call).zip(&kernel.pointers) {
            let place = step.operands[argument.operand.index()];
            check_access(argument, touched, place, ranges)
                .map_err(|what| format!("{id}, pointer {name}: {what}"))?;
        }
        Ok(())
    }
}

fn bind(ranges: &mut Ranges, values: Option<(Var, Range<u32>)>) {
    if let Some((var, range)) = values {
        ranges[var.index()] = range;
    }
}

/// Checks that the units of a step are `0..units`, without gaps.
fn check_units(units: u32, body: &[Nest]) -> Result<(), String> {
    let mut next = 0;
    for nest in body {
        let Nest::Unit { units: range, part, .. } = nest else {
            return Err("work stands beside units".to_owned());
        };
        let parts = part.map_or(1, |(_, parts)| parts);
        if range.start != next || !(range.len() as u32).is_multiple_of(parts.max(1)) {
            return Err(format!("units {}..{} in parts of {parts} follow {next}", range.start, range.end));
        }
        next = range.end;
    }
    if next == units { Ok(()) } else { Err(format!("{next} units are numbered, {units} are divided")) }
}

/// Checks that what a call touches lies in its operand.
fn check_access(
    argument: &Argument,
    touched: &Touched,
    place: Option<Place>,
    ranges: &Ranges,
) -> Result<(), String> {
    let Touched { read, written } = touched;
    if read.is_none() && written.is_none() {
        return Ok(());
    }
    let place = place.ok_or_else(|| format!("the step has no operand {}", argument.operand))?;
    if written.is_some() && place.region == Region::Constants {
        return Err(format!("{} are written", place.region));
    }
    let offsets = offsets(argument, ranges);
    let inside = |extent: &Extent| match extent {
        None => Ok(()),
        Some(bytes) if offsets.start + bytes.start >= 0 && offsets.end + bytes.end <= place.bytes as i64 => {
            Ok(())
        }
        Some(bytes) => Err(format!(
            "bytes {}..{} of {} exceed its {}",
            offsets.start + bytes.start,
            offsets.end + bytes.end,
            name(argument.operand),
            place.bytes
        )),
    };
    inside(read)?;
    inside(written)
}

fn name(operand: Operand) -> String {
    operand.to_string()
}

/// The least and the greatest offset of an argument, for all values of the variables.
fn offsets(argument: &Argument, ranges: &Ranges) -> Range<i64> {
    let mut all = argument.offset.bytes..argument.offset.bytes;
    for (var, stride) in &argument.offset.terms {
        let Range { start, end } = ranges[var.index()];
        let [first, last] = [start, end.max(1) - 1].map(|value| i64::from(value) * stride);
        all = all.start + first.min(last)..all.end + first.max(last);
    }
    all
}
