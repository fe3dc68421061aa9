//! Damaged files of weights: whatever is flipped, cut or overwritten, loading ends soon, in an
//! error or with weights of the right sizes, without a panic and without memory out of proportion.

mod listing;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use listing::{fixture, graph, lines};
use proptest::prelude::*;
use xcc_compiler::graph::{Graph, WeightId, WeightSource};
use xcc_runtime::weights::{self, NameMap, Weights};

/// The largest allocation so far.
static LARGEST: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, watched.
struct Watched;

// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// One change to the bytes of a file. Places count among the bytes that are not zero.
#[derive(Clone, Debug)]
enum Damage {
    Flip { at: prop::sample::Index, bit: u8 },
    Set { at: prop::sample::Index, value: u8 },
    Length { at: prop::sample::Index, value: u64 },
    Truncate { at: prop::sample::Index },
    Zero { at: prop::sample::Index, count: usize },
    Repeat { from: prop::sample::Index, to: prop::sample::Index, count: usize },
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    let lengths = prop_oneof![
        Just(u64::MAX),
        Just(u64::MAX - 7),
        Just(1 << 63),
        Just(1 << 40),
        Just(1 << 32),
        Just(u64::from(u32::MAX)),
        0..200_000u64,
    ];
    prop_oneof![
        4 => (at(), 0..8u8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        4 => (at(), any::<u8>()).prop_map(|(at, value)| Damage::Set { at, value }),
        4 => (at(), lengths).prop_map(|(at, value)| Damage::Length { at, value }),
        1 => at().prop_map(|at| Damage::Truncate { at }),
        1 => (at(), 1..512usize).prop_map(|(at, count)| Damage::Zero { at, count }),
        2 => (at(), at(), 1..64usize).prop_map(|(from, to, count)| Damage::Repeat { from, to, count }),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let set: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != 0).collect();
        if set.is_empty() {
            return;
        }
        let end = bytes.len();
        match self {
            Damage::Flip { at, bit } => bytes[*at.get(&set)] ^= 1 << bit,
            Damage::Set { at, value } => bytes[*at.get(&set)] = *value,
            Damage::Length { at, value } => {
                let start = at.get(&set) & !7;
                let room = (end - start).min(8);
                bytes[start..start + room].copy_from_slice(&value.to_le_bytes()[..room]);
            }
            Damage::Truncate { at } => bytes.truncate(at.index(end)),
            Damage::Zero { at, count } => {
                let start = *at.get(&set);
                bytes[start..(start + count).min(end)].fill(0);
            }
            Damage::Repeat { from, to, count } => {
                let (from, to) = (*from.get(&set), *to.get(&set));
                let count = (*count).min(end - from.max(to));
                bytes.copy_within(from..from + count, to);
            }
        }
    }
}

/// Loads a damaged copy of `bytes`; what loads must have the sizes that the network needs.
fn load_damaged(graph: &Graph, bytes: &[u8], damages: &[Damage], map: Option<&NameMap>) {
    let mut bytes = bytes.to_vec();
    damages.iter().for_each(|damage| damage.apply(&mut bytes));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged");
    std::fs::write(&path, &bytes).unwrap();
    let start = Instant::now();
    if let Ok(weights) = weights::load(graph, &path, map) {
        for (id, weight) in graph.weights.iter().enumerate() {
            assert_eq!(weights.tensor(WeightId::new(id)).unwrap().len() as u64, weight.elements());
        }
    }
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest < 64 << 20, "{largest} bytes at once for a file of {}", bytes.len());
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn bytes_of(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

macro_rules! survives {
    ($name:ident, $file:literal) => {
        #[test]
        fn $name() {
            let graph = graph(&lines("tiny.layers"));
            let bytes = bytes_of(&fixture($file));
            let map = NameMap::from_yaml("ignore: ['*/gamma']").unwrap();
            let strategy = (prop::collection::vec(damage(), 1..5), any::<bool>());
            proptest!(cases(400), |((damages, mapped) in strategy)| {
                load_damaged(&graph, &bytes, &damages, mapped.then_some(&map));
            });
        }
    };
}

survives!(keras1_weights, "keras1_weights.h5");
survives!(keras2_whole_model, "keras2_model.h5");
survives!(keras3_weights, "keras3.weights.h5");
survives!(keras3_archive, "keras3.keras");
survives!(every_storage_of_hdf5, "exact_v200.h5");
survives!(numbers_of_16_bits, "sixteen.h5");

#[test]
fn safetensors() {
    let graph = graph(&lines("tiny.layers"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.safetensors");
    weights::save_safetensors(&graph, &Weights::random(&graph, 1), &path).unwrap();
    let bytes = bytes_of(&path);
    proptest!(cases(1000), |(damages in prop::collection::vec(damage(), 1..5))| {
        load_damaged(&graph, &bytes, &damages, None);
    });
}

/// A member that unpacks to far more than the file's size, as a stream of zeros does.
#[test]
fn an_archive_that_unpacks_without_end_is_refused() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.keras");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    let deflated =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    archive.start_file("model.weights.h5", deflated).unwrap();
    for _ in 0..300 {
        archive.write_all(&[0; 1 << 20]).unwrap();
    }
    archive.finish().unwrap();
    let graph = graph(&lines("tiny.layers"));
    let text = weights::load(&graph, &path, None).unwrap_err().to_string();
    assert!(text.contains("model.weights.h5 is larger than"), "{text}");
}
