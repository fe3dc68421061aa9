//! Single kernels on warm data: a pointwise tile, a direct 3x3 tile, a depthwise tile.
//!
//! Throughput is in multiply-adds a second, to be compared with the peak that `xcc bench` prints.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use xcc_compiler::codegen::jit::NativeKernel;
use xcc_compiler::graph::Activation;
use xcc_compiler::kernels::conv::ConvTile;
use xcc_compiler::kernels::depthwise::DepthwiseTile;
use xcc_compiler::kernels::epilogue::Format;
use xcc_compiler::kernels::{Clip, Descriptor, TileSteps};
use xcc_compiler::target::Target;

/// Bytes of each operand of a benched kernel: enough for every tile below.
const OPERAND: usize = 1 << 20;

/// A kernel's descriptor, the rows of taps it runs, and its multiply-adds.
type Case = (Descriptor, u64, u64);

fn conv(target: Target, ic: u32, kw: u32, rows: u64) -> Case {
    let pixels = match target.registers {
        32 => 14,
        _ => 6,
    };
    let pixel = (ic * 4) as i32;
    let tile = ConvTile {
        lanes: target.lanes,
        vectors: 2,
        last_lanes: target.lanes,
        ic,
        kw,
        tall: rows > 1,
        steps: TileSteps { pixel, tap: pixel, row: 32 * pixel, out: 512, add: 0 },
        clip: Clip::none(pixels, kw),
        load: Activation::Linear,
        post: Vec::new(),
        at_once: 8,
        direct: 0,
        ahead: 0,
        far: false,
    };
    let macs = u64::from(ic * kw * pixels * 2 * target.lanes) * rows;
    (Descriptor::Conv(tile), rows, macs)
}

fn depthwise(target: Target, channels: u32, pixels: u32) -> Case {
    let pixel = (channels * 4) as i32;
    let tile = DepthwiseTile {
        lanes: target.lanes,
        vectors: channels / target.lanes,
        kh: 3,
        kw: 3,
        resident: true,
        steps: TileSteps { pixel, tap: pixel, row: 32 * pixel, out: pixel, add: 0 },
        clip: Clip::none(pixels, 3),
        load: Activation::Relu,
        post: Vec::new(),
        format: Format::F32,
        last_lanes: target.lanes,
    };
    (Descriptor::Depthwise(tile), 3, u64::from(channels * 9 * pixels))
}

fn kernels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernels");
    // Shapes of Xception: the pointwise part of the middle flow, block1_conv2, the spatial part of
    // the middle flow.
    let cases = |target| [conv(target, 736, 1, 1), conv(target, 32, 3, 3), depthwise(target, 736, 10)];
    let cases = Target::available().into_iter().flat_map(|target| cases(target).map(|case| (target, case)));
    for (target, (descriptor, rows, macs)) in cases {
        let kernel = descriptor.generate();
        let native = NativeKernel::compile(&kernel, target).expect("the tile fits the target");
        let mut operands = vec![vec![0.5f32; OPERAND / 4]; kernel.pointers.len()];
        let pointers: Vec<*mut u8> = operands.iter_mut().map(|o| o.as_mut_ptr().cast()).collect();
        group.throughput(Throughput::Elements(macs));
        group.bench_function(format!("{target} {descriptor}"), |bench| {
            // SAFETY: the tiles reach less than 300 kB beyond each pointer, and every operand has
            // a megabyte.
            bench.iter(|| unsafe { native.call(&pointers, rows) });
        });
    }
    group.finish();
}

criterion_group!(benches, kernels);
criterion_main!(benches);
