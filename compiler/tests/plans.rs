//! How batches are divided, and what is refused because no kernel could reach it.

mod common;

use common::Builder;
use xcc_compiler::graph::Shape;
use xcc_compiler::plan::{PlanError, PlanOptions, Program, plan};
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
