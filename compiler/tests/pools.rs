//! The kernels of pools grow with the columns of a window, not with its area: tiles at the top and
//! bottom of a map share theirs.

use std::collections::HashSet;

use xcc_compiler::elaborate;
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::{PlanOptions, plan};
use xcc_compiler::target::{Isa, Target};

/// Kernels of a pool over windows of some rows and columns, which hang over all borders, and their
/// instructions.
fn kernels(layer: &str, [rows, columns]: [u32; 2], isa: Isa) -> (usize, usize) {
    let source =
        format!("model m\ninput x 128 x 128 x 16\n{layer} [{rows}, {columns}], strides: 1, padding: same");
    let mut graph = elaborate::read(&source, &[]).graph.unwrap();
    optimize(&mut graph, &PassOptions::default());
    let program = plan(&graph, Target::of(isa), PlanOptions::default()).unwrap();
    let names: HashSet<String> = program.kernels.iter().map(ToString::to_string).collect();
    assert_eq!(names.len(), program.kernels.len());
    let instructions = |name: &xcc_compiler::kernels::Descriptor| name.generate().to_string().lines().count();
    (program.kernels.len(), program.kernels.iter().map(instructions).sum())
}

#[test]
fn kernels_of_means_are_as_many_as_kernels_of_maxima() {
    for isa in [Isa::Baseline, Isa::Avx2, Isa::Avx512] {
        for window in [[3, 3], [31, 7], [7, 31], [127, 127], [128, 128]] {
            let [(maxima, _), (means, of_means)] =
                ["maxpool", "avgpool"].map(|layer| kernels(layer, window, isa));
            assert_eq!(means, maxima, "{isa}: {window:?}");
            let (_, of_few_rows) = kernels("avgpool", [3, window[1]], isa);
            assert_eq!(of_means, of_few_rows, "{isa}: {window:?}");
        }
    }
}
