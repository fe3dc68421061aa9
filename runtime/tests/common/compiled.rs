//! What tests of compiled networks share: packed constants, inputs in the arena, values out of it.

use std::collections::HashMap;

use xcc_compiler::graph::{NodeId, WeightSource};
use xcc_compiler::instruction_times::InstructionTimes;
use xcc_compiler::plan::{Precision, Program, View};
use xcc_compiler::processor::Microarchitecture;
use xcc_compiler::target::{ExactTiles, FastInnerProducts, Isa, Target};
use xcc_runtime::machine::permit_tiles;

/// The targets that this machine can run; those that it cannot are named.
pub fn targets() -> Vec<Target> {
    for isa in Isa::ALL {
        let missing = isa.missing();
        if !missing.is_empty() {
            eprintln!("skipped: {isa} code, since this machine has no {}", missing.join(", "));
        }
    }
    Target::available()
}

/// The targets that this machine cannot run: plans for them can be interpreted, and code for them
/// written.
pub fn other_targets() -> impl Iterator<Item = Target> {
    Isa::ALL.into_iter().filter(|isa| !isa.missing().is_empty()).map(Target::of)
}

/// The precisions of a target that this machine can run.
pub fn precisions(target: Target) -> impl Iterator<Item = Precision> {
    if target.isa == Isa::Amx {
        permit_tiles().expect("a machine with amx permits its use");
    }
    Precision::ALL.into_iter().filter(move |precision| precision.is_for(target))
}

/// The target as it is, or, for three of four seeds, with a level-2 cache so small that the maps
/// of tests do not fit: layers then run in blocks, and chains of them in bands. In f32, layers run
/// by tiles, or only those with some outputs. Wide tiles are those of any processor. For two of
/// three seeds products of bf16 pairs are taken wherever they fit. For two of three seeds
/// pointwise products are fast inner products, in all vectors.
pub fn with_some_cache(target: Target, seed: u64) -> Target {
    let cache_bytes = [target.cache_bytes, 1 << 10, 4 << 10, 16 << 10][seed as usize % 4];
    let unit_macs = [target.unit_macs, 16, 1000][(seed / 4) as usize % 3];
    let fewest_outputs = [1, 1, 24, 48][(seed / 12) as usize % 4];
    let exact_tiles = ExactTiles {
        fewest_outputs,
        fewest_inputs: 1,
        most_inputs: u64::MAX,
        most_inputs_by_rows: u64::MAX,
        fewest_pixels: 1,
    };
    let wide_tiles = Microarchitecture::MEASURED[(seed / 3) as usize % 2].wide_tiles();
    let fast_inner_products =
        [None, Some(fast_inner(target, 3)), Some(fast_inner(target, 9))][(seed / 2) as usize % 3];
    // Where products of pairs take no time, all layers that could have them do.
    let pair = [target.times.pair, 0, 0][(seed / 5) as usize % 3];
    let times = InstructionTimes { pair, ..target.times };
    Target { cache_bytes, unit_macs, times, exact_tiles, wide_tiles, fast_inner_products, ..target }
}

/// All pointwise products, in tiles of so many pixels. Tiles of several vectors need more than 16
/// registers.
pub fn fast_inner(target: Target, pixels: u32) -> FastInnerProducts {
    let vectors = if target.registers > 16 { 2 } else { 1 };
    FastInnerProducts {
        fewest_channels: 1,
        fewest_products: 1,
        fewest_pixels: 1,
        most_bytes: u64::MAX,
        vectors,
        pixels,
    }
}

/// The packed constants, in f32 values.
pub fn constants(program: &Program, weights: &dyn WeightSource) -> Vec<f32> {
    let mut constants = vec![0.0; program.constant_bytes as usize / 4];
    for packed in &program.constants {
        let (weight_count, bias_count) = packed.pack.sizes();
        let (mut to_weights, mut to_bias) =
            (vec![0.0; weight_count as usize], vec![0.0; bias_count as usize]);
        packed.pack.write(weights, &mut to_weights, &mut to_bias).unwrap();
        constants[packed.weights as usize / 4..][..to_weights.len()].copy_from_slice(&to_weights);
        constants[packed.bias as usize / 4..][..to_bias.len()].copy_from_slice(&to_bias);
    }
    constants
}

/// Puts compact inputs where the program wants them.
pub fn write_input(program: &Program, input: &[f32], arena: &mut [f32]) {
    let channels = program.input.shape.c() as usize;
    let pixels = program.input.shape.pixels();
    for (number, pixel) in input.chunks_exact(channels).enumerate() {
        let at = program.input.index(number as u64 / pixels, number as u64 % pixels);
        arena[at..at + channels].copy_from_slice(pixel);
    }
}

/// Every value of a run that kept all of them; values within chains are never whole.
pub fn read_values(program: &Program, arena: &[f32]) -> HashMap<NodeId, Vec<f32>> {
    program.values.iter().map(|(node, view)| (*node, read(program, view, arena))).collect()
}

fn read(program: &Program, view: &View, arena: &[f32]) -> Vec<f32> {
    let images = 0..u64::from(program.options.batch);
    let places = images.flat_map(|image| (0..view.shape.pixels()).map(move |pixel| (image, pixel)));
    let channels = view.shape.c() as usize;
    places.flat_map(|(image, pixel)| arena[view.index(image, pixel)..][..channels].to_vec()).collect()
}

/// Bit patterns, to compare values that may be NaN.
pub fn bits(value: &[f32]) -> Vec<u32> {
    value.iter().map(|v| v.to_bits()).collect()
}
