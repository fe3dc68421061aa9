//! One separable layer of Xception's middle flow at several points between regular and depthwise
//! convolution.
//!
//! Throughput is in multiply-adds a second: a fast implementation keeps it level over the whole
//! spectrum.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use xcc_compiler::cost::total_macs;
use xcc_compiler::elaborate::read;
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::PlanOptions;
use xcc_compiler::target::Target;
use xcc_runtime::Model;
use xcc_runtime::weights::Weights;

const LAYER: &str = "
    model layer
    param segments = full in 1..full
    input image 19 x 19 x 728
    sepconv 728, 3x3, padding: same, bias: no, segments: min(segments, channels)
";

fn spectrum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("middle flow layer");
    group.sample_size(20);
    for segments in [1, 4, 14, 28, 52, 91, 182, 364, 728] {
        let settings = [("segments".to_owned(), segments.to_string())];
        let mut graph = read(LAYER, &settings).graph.expect("the spec above has no mistakes");
        group.throughput(Throughput::Elements(total_macs(&graph).total()));
        optimize(&mut graph, &PassOptions::default());
        let weights = Weights::random(&graph, 0);
        let options = PlanOptions::default();
        let model = Model::compile(&graph, &weights, Target::native(), options).expect("the layer is small");
        let input = vec![0.5; 19 * 19 * 728];
        group.bench_function(BenchmarkId::from_parameter(segments), |bench| {
            bench.iter(|| model.run(&input).expect("the input fits"));
        });
    }
    group.finish();
}

criterion_group!(benches, spectrum);
criterion_main!(benches);
