//! Which kernels a step calls, how often, and how much of its work each of them does.

use std::collections::BTreeMap;

use serde::Serialize;
use xcc_compiler::plan::nest::{KernelId, Nest};
use xcc_compiler::plan::{Driver, Program};
use xcc_compiler::vector::{Inst, Kernel, Times};

/// A kernel that a step calls.
#[derive(Clone, Debug, Serialize)]
pub struct Called {
    /// Its number in the plan.
    pub kernel: String,
    /// Its descriptor's name.
    pub name: String,
    /// Calls in a run, those of all threads together.
    pub calls: u64,
    /// Share of the vector instructions that the step executes.
    pub instructions: f64,
}

/// The kernels of every driver of a program, the one that executes most instructions first.
pub fn of_drivers(program: &Program) -> Vec<Vec<Called>> {
    let kernels: Vec<Kernel> = program.kernels.iter().map(|descriptor| descriptor.generate()).collect();
    program.drivers.iter().map(|driver| of_driver(&kernels, driver)).collect()
}

fn of_driver(kernels: &[Kernel], driver: &Driver) -> Vec<Called> {
    let mut work: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
    for_each_call(&driver.nest, 1, &mut |kernel, rows, calls| {
        let (all_calls, all_instructions) = work.entry(kernel.index()).or_default();
        *all_calls += calls;
        *all_instructions += calls * instructions(&kernels[kernel.index()].body, rows);
    });
    let total: u64 = work.values().map(|(_, instructions)| instructions).sum();
    let called = |(kernel, (calls, instructions)): (usize, (u64, u64))| Called {
        kernel: KernelId::new(kernel).to_string(),
        name: kernels[kernel].name.clone(),
        calls,
        instructions: instructions as f64 / total.max(1) as f64,
    };
    let mut called: Vec<Called> = work.into_iter().map(called).collect();
    called.sort_by(|a, b| b.instructions.total_cmp(&a.instructions));
    called
}

/// Visits every call of a nest that is run `times` times, with the rows that the kernel is given and how often it is
/// called by all threads together.
fn for_each_call(nests: &[Nest], times: u64, visit: &mut impl FnMut(KernelId, u64, u64)) {
    for nest in nests {
        match nest {
            Nest::Call { kernel, rows, .. } => visit(*kernel, rows.map_or(0, u64::from), times),
            Nest::Loop { range, body, .. } => for_each_call(body, times * range.len() as u64, visit),
        }
    }
}

/// Vector instructions that a call executes.
fn instructions(body: &[Inst], rows: u64) -> u64 {
    let executed = |inst: &Inst| match inst {
        Inst::Loop { times: Times::Exactly(times), body } => u64::from(*times) * instructions(body, rows),
        Inst::Loop { times: Times::Rows, body } => rows * instructions(body, rows),
        Inst::Point { .. } => 0,
        _ => 1,
    };
    body.iter().map(executed).sum()
}

/// A kernel's name without its sizes: what kind it is.
pub fn kind(name: &str) -> &str {
    let is_size =
        |part: &str| part.starts_with(['c', 'v']) && part[1..].starts_with(|c: char| c.is_ascii_digit());
    let mut end = 0;
    for part in name.split('_').take_while(|part| !is_size(part)) {
        end += part.len() + 1;
    }
    &name[..end.saturating_sub(1)]
}

#[cfg(test)]
mod tests {
    use xcc_compiler::plan::nest::NestBuilder;
    use xcc_compiler::vector::Builder;

    use super::*;

    /// A kernel of so many instructions, once and in every row.
    fn kernel(name: &str, once: usize, in_row: usize) -> Kernel {
        let mut builder = Builder::new(4, &["p"], true);
        let slot = builder.slot();
        (0..once).for_each(|_| builder.constant(slot, 0.0));
        builder.repeat(Times::Rows, |builder| {
            (0..in_row).for_each(|_| builder.fma(slot, slot, slot));
            let pointer = builder.parameter("p");
            builder.advance(pointer, 4);
        });
        builder.finish(name.to_owned())
    }

    #[test]
    fn work_is_counted_through_loops() {
        let kernels = [kernel("few", 1, 0), kernel("many", 2, 3)];
        let mut nest = NestBuilder::new();
        nest.share(0..4, 8, |nest, _| {
            nest.call(KernelId::new(0), Vec::new(), Some(1));
            nest.repeat(0..5, |nest, _| nest.call(KernelId::new(1), Vec::new(), Some(10)));
        });
        nest.share(4..8, 8, |nest, _| nest.call(KernelId::new(0), Vec::new(), Some(1)));
        let called = of_driver(&kernels, &Driver { nest: nest.finish() });
        let found: Vec<(&str, u64)> = called.iter().map(|c| (c.name.as_str(), c.calls)).collect();
        assert_eq!(found, [("many", 20), ("few", 8)]);
        let all = (20 * (2 + 3 * 10) + 8) as f64;
        assert_eq!(called.iter().map(|c| c.instructions * all).collect::<Vec<_>>(), [640.0, 8.0]);
    }

    #[test]
    fn a_kind_is_a_name_without_sizes() {
        for (name, expected) in [
            ("conv_1x1_c728_v16_6x4_i2944.0.0_o2944_ahead91_relu", "conv_1x1"),
            ("depthwise_3x3_v16x4_12_i256.256.37632_o256", "depthwise_3x3"),
            ("global_averagepool_v16x8_100_i8256", "global_averagepool"),
            ("softmax_c1000_v16", "softmax"),
            ("copy", "copy"),
        ] {
            assert_eq!(kind(name), expected);
        }
    }
}
