//! How batches are divided, when inputs are activated by themselves, what Winograd's method saves,
//! and what is refused because no kernel could reach it.

mod common;

use std::collections::HashSet;

use common::{Builder, cut, shipped, window, with_fast_pairs};
use xcc_compiler::graph::{Activation, Graph, NodeId, Partition, Shape, Window};
use xcc_compiler::kernels::Descriptor;
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::pack::Pack;
use xcc_compiler::plan::{Part, PlanError, PlanOptions, Precision, Program, plan};
use xcc_compiler::processor::Microarchitecture;
use xcc_compiler::schedule::segments::{Panels, PlaneProducts, SegmentAlgorithm};
use xcc_compiler::target::{Isa, Target};

/// A pointwise layer from 8 to some channels over a row of pixels.
fn planned((pixels, channels): (u32, u32), options: PlanOptions) -> Result<Program, PlanError> {
    let mut builder = Builder::new(Shape::map(1, pixels, 8));
    let layer = builder.pointwise(builder.input(), channels);
    plan(&builder.finish(&[layer]), Target::of(Isa::Avx512), options)
}

#[test]
fn images_are_portions_where_every_thread_has_as_many() {
    for (batch, threads, expected) in
        [(1, 1, 1), (8, 1, 8), (1, 2, 1), (3, 2, 1), (2, 2, 2), (8, 2, 8), (6, 3, 6)]
    {
        let options = PlanOptions { batch, threads, ..PlanOptions::default() };
        let program = planned((40, 32), options).unwrap();
        assert_eq!(program.shards, expected, "{batch} images, {threads} threads");
        assert_eq!((program.images() * expected, program.options), (batch, options));
        assert_eq!(program.worker_groups(), if expected == 1 { 1 } else { threads });
        let kept = planned((40, 32), PlanOptions { keep_all: true, ..options }).unwrap();
        assert_eq!(kept.shards, 1);
    }
}

#[test]
fn weights_that_images_use_once_are_read_once_for_all() {
    let dense = |outputs| {
        let mut builder = Builder::new(Shape::map(1, 1, 64));
        let layer = builder.pointwise(builder.input(), outputs);
        plan(
            &builder.finish(&[layer]),
            Target::of(Isa::Avx512),
            PlanOptions { batch: 8, ..PlanOptions::default() },
        )
    };
    // Weights are 64 for an output; values are 64, and one for an output.
    assert_eq!([1, 2].map(|outputs| dense(outputs).unwrap().shards), [8, 1]);
}

#[test]
fn pixels_too_far_apart_for_a_tile_are_refused() {
    let found = |pixels, channels| planned((pixels, channels), PlanOptions::default());
    let message = found(40, 10_000_000).unwrap_err().to_string();
    assert!(message.contains("a tile's row of pixels is 25"), "{message}");
    found(40, 8_000_000).unwrap();
    found(1, 10_000_000).unwrap();
}

#[test]
fn inputs_that_panels_would_activate_often_are_activated_before() {
    let parts = |channels: u32, window: Window, segments: usize, activation| {
        let mut builder = Builder::new(Shape::map(12, 12, channels));
        let input = builder.activation(builder.input(), activation);
        let each = channels / segments as u32;
        let partition = Partition::new(vec![each; segments], vec![each; segments]);
        let layer = builder.conv(input, window, partition, false);
        let mut graph = builder.finish(&[layer]);
        optimize(&mut graph, &PassOptions::default());
        let program = plan(&graph, Target::of(Isa::Avx512), PlanOptions::default()).unwrap();
        program.steps.iter().map(|step| step.part).collect::<Vec<_>>()
    };
    let taps = Window { kernel: [3, 3], ..Window::POINT };
    let strided = Window { strides: [2, 2], ..Window::POINT };
    let apart = vec![Part::Activation, Part::Products];
    let together = vec![Part::Whole];
    assert_eq!(parts(256, Window::POINT, 1, Activation::Relu), apart);
    assert_eq!(parts(128, Window::POINT, 1, Activation::Relu), together);
    assert_eq!(parts(256, strided, 1, Activation::Relu), together);
    assert_eq!(parts(256, Window::POINT, 1, Activation::Linear), together);
    assert_eq!(parts(64, taps, 1, Activation::Relu6), apart);
    assert_eq!(parts(64, taps, 64, Activation::Relu6), together);
}

/// A layer of 3x3 taps from some channels to as many, in segments, on a square map.
fn layer_of_taps(size: u32, channels: u32, segments: u32) -> Graph {
    let mut builder = Builder::new(Shape::map(size, size, channels));
    let layer = builder.conv(builder.input(), window(3, 1, 1), cut(channels, channels, segments), false);
    builder.finish(&[layer])
}

/// What is said to be saved is not executed: 192 and 64 channels are whole chunks of vectors, and
/// nothing is done for padding.
#[test]
fn winograds_method_saves_products() {
    let of_vectors = [Isa::Baseline, Isa::Avx2, Isa::Avx512].map(|isa| (isa, Precision::F32, 1));
    let of_pairs = (Isa::Avx512Bf16, Precision::Bf16, 2);
    for ((isa, precision, products_of_lane), segments) in
        of_vectors.into_iter().chain([of_pairs]).flat_map(|of_target| [(of_target, 1), (of_target, 3)])
    {
        let graph = layer_of_taps(19, 192, segments);
        let options = PlanOptions { precision, ..PlanOptions::default() };
        let program = plan(&graph, with_fast_pairs(Target::of(isa)), options).unwrap();
        let products = 192 * 192 / u64::from(segments);
        let all = 19 * 19 * 9 * products;
        let saved: u64 = program.saved_macs.values().flatten().sum();
        assert_eq!(all - saved, 10 * 10 * 16 * products, "{isa}, {segments} segments");
        let counts = program.counts();
        let in_vectors = counts.multiply_add + counts.multiply_add_memory + counts.pair;
        let executed = in_vectors * u64::from(program.target.lanes) * products_of_lane;
        assert_eq!(executed, all - saved, "{isa}, {segments} segments");
    }
}

/// Of three vectors of inputs two are crossed, a product for each pair; so are the products of
/// planes.
#[test]
fn fast_inner_products_are_saved() {
    let target = Target::tuned(Microarchitecture::Zen5, Isa::Avx512);
    let of = |layer: &dyn Fn(&mut Builder) -> NodeId, macs: u64, fast_inner: u64| {
        let mut builder = Builder::new(Shape::map(18, 18, 208));
        let result = layer(&mut builder);
        let graph = builder.finish(&[result]);
        for threads in [1, 2] {
            let program = plan(&graph, target, PlanOptions { threads, ..PlanOptions::default() }).unwrap();
            let saved: u64 = program.saved_macs.values().flatten().sum();
            assert_eq!(macs - saved, fast_inner);
            assert_eq!(program.counts().multiply_add * 16, fast_inner, "{threads} threads");
        }
    };
    // Four groups of 48 inputs, and 16 that are not crossed.
    let products = 192 * (4 * 32 + 16);
    of(&|b| b.pointwise(b.input(), 192), 324 * 192 * 208, 324 * products);
    let planes = |b: &mut Builder| b.conv(b.input(), window(3, 1, 1), Partition::whole(208, 192), true);
    of(&planes, 324 * 9 * 192 * 208, 81 * 16 * products);
    of(&|b| b.pointwise(b.input(), 112), 324 * 112 * 208, 324 * 112 * 208);
}

#[test]
fn layers_that_winograds_method_does_not_suit_save_nothing() {
    let saved = |graph: &Graph| {
        let program = plan(graph, Target::of(Isa::Avx512), PlanOptions::default()).unwrap();
        program.saved_macs.values().flatten().sum::<u64>()
    };
    let strided = |strides, kernel: u32| {
        let mut builder = Builder::new(Shape::map(20, 20, 64));
        let layer = builder.conv(builder.input(), window(kernel, strides, 1), cut(64, 64, 1), false);
        builder.finish(&[layer])
    };
    assert!(saved(&strided(1, 3)) > 0);
    assert_eq!([saved(&strided(2, 3)), saved(&strided(1, 5))], [0, 0]);
    assert_eq!(saved(&layer_of_taps(20, 64, 8)), 0, "segments of half a vector");
    assert_eq!(saved(&layer_of_taps(7, 512, 1)), 0, "more weights than a cache holds for few patches");
}

/// Threads share planes where each would otherwise read all weights of a map that is too small to
/// be cut.
#[test]
fn threads_share_planes_of_small_maps() {
    let parts = |graph: &Graph, threads| {
        let options = PlanOptions { threads, ..PlanOptions::default() };
        let program = plan(graph, Target::of(Isa::Avx512), options).unwrap();
        program.steps.iter().map(|step| step.part).collect::<Vec<_>>()
    };
    let small = layer_of_taps(14, 256, 1);
    assert_eq!(parts(&small, 1), [Part::Whole]);
    assert_eq!(parts(&small, 2), [Part::Patches, Part::Planes, Part::Results]);
    assert_eq!(parts(&layer_of_taps(56, 64, 1), 2), [Part::Whole]);
}

/// Of packed weights, what tells how sums are rounded: all but the number of outputs that are
/// summed at a time.
fn rounding(pack: &Pack) -> Pack {
    let vectors = 1;
    let of_form = |algorithm: &SegmentAlgorithm| match *algorithm {
        SegmentAlgorithm::Panels(panels) => SegmentAlgorithm::Panels(Panels { vectors, ..panels }),
        SegmentAlgorithm::Winograd(PlaneProducts::Vectors(_)) => {
            SegmentAlgorithm::Winograd(PlaneProducts::Vectors(vectors))
        }
        algorithm => algorithm,
    };
    match pack.clone() {
        Pack::Panels { conv, lanes, algorithms } => {
            Pack::Panels { conv, lanes, algorithms: algorithms.iter().map(of_form).collect() }
        }
        pack => pack,
    }
}

#[test]
fn an_image_is_rounded_alike_for_any_threads_and_in_any_batch() {
    let networks = [
        shipped("vgg16.xc", &[("size", "96")]),
        shipped("xception.xc", &[("size", "128"), ("segments", "4")]),
        shipped("inception_v3.xc", &[("size", "139")]),
        layer_of_taps(7, 48, 1),
        layer_of_taps(7, 128, 1),
        layer_of_taps(5, 32, 1),
        layer_of_taps(56, 26, 1),
    ];
    for mut graph in networks {
        optimize(&mut graph, &PassOptions::default());
        let of_target = |isa| Precision::ALL.map(|precision| (Target::of(isa), precision));
        let cases = Isa::ALL.into_iter().flat_map(of_target);
        for (target, precision) in cases.filter(|(target, precision)| precision.is_for(*target)) {
            let rounded = |threads, batch| -> HashSet<String> {
                let options = PlanOptions { threads, batch, precision, ..PlanOptions::default() };
                let program = plan(&graph, target, options).unwrap();
                program.constants.iter().map(|packed| format!("{:?}", rounding(&packed.pack))).collect()
            };
            let expected = rounded(1, 1);
            for (threads, batch) in [(2, 1), (3, 1), (8, 1), (40, 1), (1, 8), (2, 8), (3, 8)] {
                let difference: Vec<_> =
                    rounded(threads, batch).symmetric_difference(&expected).cloned().collect();
                let isa = target.isa;
                let case = format!("{}, {isa} {precision}, {threads} threads, {batch} images", graph.name);
                assert!(difference.is_empty(), "{case}: {difference:#?}");
            }
        }
    }
}

/// Without a limit, this plan has more than a million calls.
#[test]
fn windows_of_too_many_different_segments_are_refused() {
    let plan_of = |pairs: usize| {
        let (channels, segments) = (3 * pairs, vec!["1, 2"; pairs].join(", "));
        let source = format!(
            "model m\ninput image 64 x 64 x {channels}\nconv {channels}, 63x63, padding: same, segments: [{segments}] as a"
        );
        let mut graph = xcc_compiler::elaborate::read(&source, &[]).graph.unwrap();
        optimize(&mut graph, &PassOptions::default());
        plan(&graph, Target::of(Isa::Avx2), PlanOptions::default())
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(plan_of(4), Ok(()));
    let refused = plan_of(200).unwrap_err();
    assert!(
        refused.contains("a is too large to be compiled: the number of different tiles of all segments"),
        "{refused}"
    );
}

/// The most pixels of a tile of a depthwise layer of 3x3 taps, and the vectors of channels that
/// tiles have.
fn depthwise_tiles(size: u32, channels: u32) -> (usize, Vec<u32>) {
    let mut builder = Builder::new(Shape::map(size, size, channels));
    let layer = builder.conv(builder.input(), window(3, 1, 1), cut(channels, channels, channels), false);
    let program = plan(&builder.finish(&[layer]), Target::of(Isa::Avx512), PlanOptions::default()).unwrap();
    let tiles = program.kernels.iter().filter_map(|kernel| match kernel {
        Descriptor::Depthwise(tile) => Some((tile.clip.pixels(), tile.vectors)),
        _ => None,
    });
    let (pixels, mut vectors): (Vec<usize>, Vec<u32>) = tiles.unzip();
    vectors.dedup();
    (pixels.into_iter().max().unwrap(), vectors)
}

/// With 48 KB of it: for a vector of channels, 3 x (pixels + 2) inputs, as many outputs, 10
/// weights.
#[test]
fn depthwise_tiles_are_as_large_as_the_nearest_cache_holds() {
    for ((size, channels), expected) in [
        // Any number fits, so those that registers hold; as even as rows can be cut.
        ((60, 16), (20, vec![1])),
        ((112, 32), (19, vec![2])),
        // 4 x 18 + 16 vectors of 512 bytes fit, and two pixels more do not.
        ((56, 128), (14, vec![8])),
        // 4 x 14 + 16 vectors of 1024 bytes do not fit, but those of 9 and 8 vectors of channels.
        ((28, 256), (14, vec![8])),
        ((19, 728), (19, vec![7, 4])),
        ((10, 1024), (10, vec![11, 9])),
    ] {
        assert_eq!(depthwise_tiles(size, channels), expected, "{channels} channels, {size}x{size}");
    }
}

/// Bytes between pixels of the result of a pointwise layer that a depthwise one, or another
/// pointwise one, reads.
fn pixel_bytes(channels: u32, is_depthwise: bool) -> u64 {
    let mut builder = Builder::new(Shape::map(6, 6, 8));
    let stem = builder.pointwise(builder.input(), channels);
    let layer = match is_depthwise {
        true => builder.conv(stem, window(3, 1, 1), cut(channels, channels, channels), false),
        false => builder.pointwise(stem, 8),
    };
    let options = PlanOptions { keep_all: true, ..PlanOptions::default() };
    let program = plan(&builder.finish(&[layer]), Target::of(Isa::Avx512), options).unwrap();
    program.values[&stem].pixel
}

#[test]
fn pixels_of_depthwise_layers_do_not_share_few_sets_of_a_cache() {
    for (channels, depthwise, other) in [
        (64, 256, 256),
        (128, 512, 512),
        (256, 1024 + 64, 1024),
        (728, 2944, 2944),
        (768, 3072 + 64, 3072),
        (1024, 4096 + 64, 4096 + 64),
    ] {
        let found = [true, false].map(|is_depthwise| pixel_bytes(channels, is_depthwise));
        assert_eq!(found, [depthwise, other], "{channels} channels");
    }
}

#[test]
fn few_pointwise_weights_pass_over_few_rows_at_a_time() {
    let scratch = |size: u32, channels: u32| {
        let mut builder = Builder::new(Shape::map(size, size, channels));
        let input = builder.input();
        let layer = builder.separable(
            input,
            window(3, 1, 1),
            cut(channels, channels, channels),
            Activation::Linear,
            channels,
        );
        let mut graph = builder.finish(&[layer]);
        optimize(&mut graph, &PassOptions::default());
        plan(&graph, Target::of(Isa::Avx512), PlanOptions::default()).unwrap().scratch_bytes
    };
    // 16 weights for each of 16 channels: rows of at least 2 KB, or one. 256 for each of 256: all
    // of a small map.
    assert_eq!(
        [60, 10, 4].map(|size| scratch(size, 16)),
        [60 * 64, 3 * 10 * 64, 4 * 4 * 64].map(|bytes| bytes + 64)
    );
    assert_eq!(scratch(10, 256), 10 * 10 * 1088 + 64);
}
