//! How batches are divided, when inputs are activated by themselves, and what is refused because no kernel could reach it.

mod common;

use common::Builder;
use xcc_compiler::graph::{Activation, Partition, Shape, Window};
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::{Part, PlanError, PlanOptions, Program, plan};
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
        [(1, 1, 1), (8, 1, 1), (1, 2, 1), (3, 2, 1), (2, 2, 2), (8, 2, 8), (6, 3, 6)]
    {
        let options = PlanOptions { batch, threads, ..PlanOptions::default() };
        let program = planned((40, 32), options).unwrap();
        assert_eq!(program.portions, expected, "{batch} images, {threads} threads");
        assert_eq!((program.images() * expected, program.options), (batch, options));
        let kept = planned((40, 32), PlanOptions { keep_all: true, ..options }).unwrap();
        assert_eq!(kept.portions, 1);
    }
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
