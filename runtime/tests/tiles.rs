//! Tiles and bf16 values on the machine against the kernel interpreter, bit for bit.

mod common;

use common::Random;
use common::compiled::bits;
use xcc_compiler::codegen::jit::NativeKernel;
use xcc_compiler::target::{Isa, Target};
use xcc_compiler::vector::interpret::{Location, run};
use xcc_compiler::vector::{Builder, Kernel, TILE_BYTES, TILE_LANES, verify};
use xcc_runtime::machine::permit_tiles;

/// Whether this machine has an instruction set; says so if not.
fn has(isa: Isa) -> bool {
    let missing = isa.missing();
    if !missing.is_empty() {
        eprintln!("skipped: {isa} code, since this machine has no {}", missing.join(", "));
        return false;
    }
    if isa == Isa::Amx {
        permit_tiles().unwrap();
    }
    true
}

/// Runs a kernel on copies of `buffers` by the machine and by the interpreter, and compares the
/// last buffer.
fn assert_as_interpreted(isa: Isa, kernel: &Kernel, buffers: &[Vec<f32>]) -> Vec<f32> {
    let target = Target::of(isa);
    verify(kernel, target.registers).unwrap();
    let mut interpreted = buffers.to_vec();
    let arguments: Vec<Location> = (0..buffers.len()).map(Location::start_of).collect();
    run(kernel, &arguments, 0, true, &mut interpreted).unwrap();
    let mut native = buffers.to_vec();
    let compiled = NativeKernel::compile(kernel, target).unwrap();
    let pointers: Vec<*mut u8> = native.iter_mut().map(|buffer| buffer.as_mut_ptr().cast()).collect();
    // SAFETY: the interpreter has found the kernel's accesses inside buffers of these sizes.
    unsafe { compiled.call(&pointers, 0) };
    let [native, interpreted] = [native, interpreted].map(|buffers| buffers.last().unwrap().clone());
    assert_eq!(bits(&native), bits(&interpreted));
    native
}

/// c += a * b, all of them tiles whose rows lie `step` bytes apart.
fn dot(step: i32) -> Kernel {
    let mut b = Builder::new(TILE_LANES, &["a", "b", "c"], false);
    let tiles = b.tiles(3);
    for (&tile, name) in tiles.iter().zip(["a", "b", "c"]) {
        b.tile_load(tile, b.parameter(name), 0, step);
    }
    b.tile_dot(tiles[2], tiles[0], tiles[1]);
    b.tile_store(tiles[2], b.parameter("c"), 0, step);
    b.finish("dot".into())
}

/// Numbers between 2^-`range` and 2^`range`, and signed zeros.
fn spread(random: &mut Random, range: i32) -> f32 {
    let exponent = (random.next() * f64::from(range)) as i32;
    let zero = random.next() > 0.9;
    if zero { (random.next() as f32).signum() * 0.0 } else { (random.next() * 2f64.powi(exponent)) as f32 }
}

/// A matrix of pairs of bf16 values.
fn pairs(random: &mut Random, words: usize, range: i32) -> Vec<f32> {
    let mut half = || spread(random, range).to_bits() >> 16;
    (0..words).map(|_| f32::from_bits(half() | half() << 16)).collect()
}

#[test]
fn products_of_tiles_are_those_of_the_machine() {
    if !has(Isa::Amx) {
        return;
    }
    let mut random = Random::new(1);
    // The ranges take products among normal numbers, to the verge of denormal ones and beyond,
    // where they and their sums become zero.
    for round in 0..200 {
        let range = [4, 20, 64, 72][round % 4];
        let step = [TILE_BYTES, 192][round % 2];
        let words = step as usize / 4 * 16;
        let [a, b] = [0; 2].map(|_| pairs(&mut random, words, range));
        let c = (0..words).map(|_| spread(&mut random, 2 * range.min(60))).collect();
        assert_as_interpreted(Isa::Amx, &dot(step), &[a, b, c]);
    }
}

/// c += a * b, both by registers and with a pair of memory for all lanes, each from its own sum.
fn dot_of_pairs() -> Kernel {
    let mut b = Builder::new(TILE_LANES, &["a", "b", "c"], false);
    let (sum, x, y) = (b.slot(), b.slot(), b.slot());
    let [from, other, sums] = ["a", "b", "c"].map(|name| b.parameter(name));
    b.load(x, from, 0);
    b.load(y, other, 0);
    b.load(sum, sums, 0);
    b.dot(sum, x, y);
    b.store_lanes(sum, sums, 0, TILE_LANES);
    b.load(sum, sums, TILE_BYTES);
    b.dot_broadcast(sum, x, other, 12);
    b.store_lanes(sum, sums, TILE_BYTES, TILE_LANES);
    b.finish("dot_of_pairs".into())
}

#[test]
fn products_of_pairs_are_those_of_the_machine() {
    if !has(Isa::Avx512Bf16) {
        return;
    }
    let mut random = Random::new(3);
    for round in 0..400 {
        let range = [4, 20, 64, 72][round % 4];
        let [a, b] = [0; 2].map(|_| pairs(&mut random, 16, range));
        let c = (0..32).map(|_| spread(&mut random, 2 * range.min(60))).collect();
        assert_as_interpreted(Isa::Avx512Bf16, &dot_of_pairs(), &[a, b, c]);
    }
}

#[test]
fn rounding_to_bf16_is_that_of_the_machine() {
    if !has(Isa::Avx512Bf16) {
        return;
    }
    let mut b = Builder::new(TILE_LANES, &["in", "out"], false);
    let (value, rounded) = (b.slot(), b.slot());
    b.load(value, b.parameter("in"), 0);
    b.round_bf16(rounded, value);
    b.store_lanes(rounded, b.parameter("out"), 0, TILE_LANES);
    b.store_bf16(value, b.parameter("out"), TILE_BYTES);
    let kernel = b.finish("round".into());
    let mut random = Random::new(2);
    let special =
        [f32::NAN, f32::INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-40, -1e-45, -0.0, 1.0 + 1.0 / 256.0];
    for round in 0..200 {
        let mut input: Vec<f32> = (0..16).map(|_| spread(&mut random, 130)).collect();
        input[round % 16] = special[round % special.len()];
        // Halfway between two bf16 values, where the even one is the nearest.
        input[(round + 1) % 16] = f32::from_bits((input[(round + 1) % 16].to_bits() & !0xffff) | 0x8000);
        assert_as_interpreted(Isa::Avx512Bf16, &kernel, &[input, vec![0.0; 24]]);
    }
}
