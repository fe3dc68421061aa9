//! The times of instructions that are built in are those that fit the measurements in the
//! repository.

use xcc_compiler::instruction_times::InstructionTimes;
use xcc_compiler::instruction_times::{errors, fit};
use xcc_compiler::processor::Microarchitecture;
use xcc_compiler::target::Isa;
use xcc_runtime::calibration::Calibration;

#[test]
fn times_fit_their_measurements() {
    let measurements = [
        (Microarchitecture::GoldenCove, include_str!("../../compiler/src/instruction_times_intel.json")),
        (Microarchitecture::Zen5, include_str!("../../compiler/src/instruction_times_amd.json")),
    ];
    for (processor, text) in measurements {
        let measured: Calibration = serde_json::from_str(text).unwrap();
        let targets: Vec<&String> = measured.targets.keys().collect();
        assert_eq!(targets, ["avx2", "avx512", "baseline"]);
        for isa in [Isa::Baseline, Isa::Avx2, Isa::Avx512] {
            let fitted = &measured.targets[&isa.to_string()];
            // Samples have no products of bf16 values, whose times were measured by themselves.
            let InstructionTimes { pair, tile, tile_move, .. } = fitted.times;
            let of_vectors = fit(&fitted.samples);
            let expected = InstructionTimes { pair, tile, tile_move, ..of_vectors };
            assert_eq!(fitted.times, expected, "{processor:?} {isa}");
            assert_eq!(fitted.times, processor.times(isa), "{processor:?} {isa}: the table in processor.rs");
            let [mean, worst] = errors(&fitted.times, &fitted.samples);
            let are_errors =
                (mean - fitted.mean_error).abs() < 1e-9 && (worst - fitted.worst_error).abs() < 1e-9;
            assert!(are_errors, "{processor:?} {isa}");
        }
    }
}
