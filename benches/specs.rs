//! Reading specs of growing length, good and bad ones: the time a byte stays level, since every
//! stage is linear.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use xcc_compiler::diagnostic::render;
use xcc_compiler::elaborate::read;
use xcc_compiler::syntax::MAX_SOURCE;

const HEAD: &str = "model m\ninput image 8 x 8 x 3\n";

/// What specs consist of besides their declarations.
const PIECES: [(&str, &str); 7] = [
    ("layers", "conv 4, 1x1, padding: same; bn; relu\n"),
    ("variables", "repeat 1 { let a = 2 * (3 + 4); let b = min(a, 7) }\n"),
    ("misspelt layers", "conw 8, 3x3; bnn; rellu\n"),
    ("unknown values", "from nowhere\n"),
    ("unreadable statements", "conv 8,, 3x3 = [1, 2\n"),
    ("brackets", "(((((((((((((((((((((((((((((((\n))))))))))))))))))))))))))))))))\n"),
    ("strings", "let a = \"{1}{2}x{{y}}\"\n"),
];

fn specs(criterion: &mut Criterion) {
    for (name, piece) in PIECES {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for length in [MAX_SOURCE / 64, MAX_SOURCE / 16, MAX_SOURCE / 4, MAX_SOURCE - HEAD.len()] {
            let source = format!("{HEAD}{}", piece.repeat(length / piece.len()));
            group.throughput(Throughput::Bytes(source.len() as u64));
            group.bench_function(BenchmarkId::from_parameter(source.len()), |bench| {
                bench.iter(|| render("spec", &source, &read(&source, &[]).diagnostics, false).len());
            });
        }
        group.finish();
    }
}

criterion_group!(benches, specs);
criterion_main!(benches);
