//! The times of instructions that are built in are those that fit the measurements in the repository.

use xcc_compiler::instruction_times::{errors, fit};
use xcc_compiler::processor::Maker;
use xcc_compiler::target::Isa;
use xcc_runtime::calibration::Calibration;

#[test]
fn times_fit_their_measurements() {
    let measurements = [
        (Maker::Intel, include_str!("../../compiler/src/instruction_times_intel.json")),
        (Maker::Amd, include_str!("../../compiler/src/instruction_times_amd.json")),
    ];
    for (maker, text) in measurements {
        let measured: Calibration = serde_json::from_str(text).unwrap();
        let targets: Vec<&String> = measured.targets.keys().collect();
        assert_eq!(targets, ["avx2", "avx512", "baseline"]);
        for isa in [Isa::Baseline, Isa::Avx2, Isa::Avx512] {
            let fitted = &measured.targets[&isa.to_string()];
            assert_eq!(fitted.times, fit(&fitted.samples), "{maker:?} {isa}");
            assert_eq!(fitted.times, maker.times(isa), "{maker:?} {isa}: the table in processor.rs");
            let [mean, worst] = errors(&fitted.times, &fitted.samples);
            let are_errors =
                (mean - fitted.mean_error).abs() < 1e-9 && (worst - fitted.worst_error).abs() < 1e-9;
            assert!(are_errors, "{maker:?} {isa}");
        }
    }
}
