//! The forms that are chosen for segments of every width, as text, for each target that there is.
//!
//! `SNAPSHOTS=overwrite` blesses.

mod common;

use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;

use common::{Builder, cut, window};
use snapbox::data::DataFormat;
use snapbox::{Assert, Data};
use xcc_compiler::graph::{Graph, Shape};
use xcc_compiler::instruction_times::InstructionTimes;
use xcc_compiler::plan::{PlanOptions, plan, plan_with};
use xcc_compiler::schedule::segments::{Candidate, Choice, SegmentAlgorithm, cheapest};
use xcc_compiler::target::{Isa, Target};

/// A 3x3 layer of 728 channels in so many segments.
fn layer(segments: u32) -> Graph {
    let mut builder = Builder::new(Shape::map(19, 19, 728));
    let result = builder.conv(builder.input(), window(3, 1, 1), cut(728, 728, segments), false);
    builder.finish(&[result])
}

/// A 3x3 layer from so many channels to 2.
fn layer_of_few_outputs(channels: u32) -> Graph {
    let mut builder = Builder::new(Shape::map(19, 19, channels));
    let result = builder.conv(builder.input(), window(3, 1, 1), cut(channels, 2, 1), false);
    builder.finish(&[result])
}

fn choices(graph: &Graph, target: Target) -> Vec<Choice> {
    plan(graph, target, PlanOptions::default()).unwrap().schedule.choices
}

#[test]
fn algorithms_of_all_widths() {
    let mut text = String::new();
    for isa in [Isa::Baseline, Isa::Avx2, Isa::Avx512] {
        let _ = writeln!(text, "{isa}");
        for segments in [1, 2, 3, 4, 7, 8, 13, 14, 26, 28, 52, 56, 91, 104, 182, 364] {
            for choice in choices(&layer(segments), Target::of(isa)) {
                let Choice { segments, ic, oc, .. } = choice;
                let _ = writeln!(text, "  {segments:3} x {ic:3} -> {oc:3}  {}", choice.algorithm());
            }
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/segments.out");
    let expected = Data::read_from(&path, Some(DataFormat::Text)).raw();
    Assert::new().action_env("SNAPSHOTS").eq(text, expected);
}

/// Where permutations take long, no segments are spread by them.
#[test]
fn the_choice_follows_the_times() {
    for isa in [Isa::Baseline, Isa::Avx2, Isa::Avx512] {
        let target = Target::of(isa);
        let times = InstructionTimes { permute: 1_000_000, ..target.times };
        let algorithms =
            |target| choices(&layer(364), target).iter().map(Choice::algorithm).collect::<Vec<_>>();
        let is_spread =
            |algorithm: &SegmentAlgorithm| matches!(algorithm, SegmentAlgorithm::SideBySide { .. });
        assert!(algorithms(target).iter().all(is_spread), "{isa}");
        assert!(!algorithms(Target { times, ..target }).iter().any(is_spread), "{isa}");
    }
}

/// Differential tests pick forms by number: every one must be among them at every target.
#[test]
fn all_forms_are_candidates_at_every_target() {
    for isa in [Isa::Baseline, Isa::Avx2, Isa::Avx512] {
        let seen = std::cell::RefCell::new(HashSet::new());
        let note = |candidates: &[Candidate]| {
            let kind = |candidate: &Candidate| match candidate.algorithm {
                SegmentAlgorithm::SideBySide { .. } => "side by side".to_owned(),
                SegmentAlgorithm::InputsSideBySide { .. } => "inputs side by side".to_owned(),
                SegmentAlgorithm::PixelsSideBySide { .. } => "pixels side by side".to_owned(),
                SegmentAlgorithm::Winograd(_) => "winograd".to_owned(),
                SegmentAlgorithm::Panels(panels) => {
                    format!("{:?}, merged {}", panels.taps, panels.merged > 1)
                }
            };
            seen.borrow_mut().extend(candidates.iter().map(kind));
            cheapest(candidates)
        };
        for graph in [layer(4), layer(364), layer_of_few_outputs(4), layer_of_few_outputs(1)] {
            plan_with(&graph, Target::of(isa), PlanOptions::default(), &note).unwrap();
        }
        let kinds = if isa == Isa::Baseline { 6 } else { 8 };
        assert_eq!(seen.borrow().len(), kinds, "{isa}: {:?}", seen.borrow());
    }
}

/// The same network has the same plan, whatever was planned before, and equal layers take equal
/// forms.
#[test]
fn plans_are_the_same_each_time() {
    let graph = layer(28);
    let text = || plan(&graph, Target::of(Isa::Avx512), PlanOptions::default()).unwrap().to_string();
    assert_eq!(text(), text());
}
