//! Files of random networks: what is loaded computes what the model did, or is refused; files that
//! describe their model are not refused.
//!
//! Each network is drawn once, as a spec and as a model of Keras with other names, another order
//! of creation and of the operands of sums, and is written in every format. `XCC_KERAS_GRAPHS` is
//! the number of networks, `XCC_KERAS_SEED` the seed of the first one:
//!
//!     XCC_KERAS_GRAPHS=20000 cargo test -p xcc-runtime --test keras_graphs -- --nocapture

#[path = "common/keras/mod.rs"]
mod keras;

use std::collections::BTreeMap;

use keras::drawing::{Drawing, Naming};
use keras::files::Format;
use keras::judge::{Case, Verdict, shrunk};
use keras::model::{Era, Model};
use rayon::prelude::*;

/// Networks that are drawn by default.
const GRAPHS: u64 = 200;
/// Seeds of networks that were loaded wrong once, beyond the first ones.
const LOADED_WRONG_ONCE: [u64; 3] = [11563, 12039, 17304];
/// Blocks between stem and head.
const BLOCKS: usize = 4;
/// Failures of a kind that are told whole.
const TOLD: usize = 3;

/// Numbers of files that were loaded right, refused, and loaded wrong.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    right: usize,
    refused: usize,
    wrong: usize,
}

impl Counts {
    fn add(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Right => self.right += 1,
            Verdict::Refused(_) => self.refused += 1,
            Verdict::Wrong(_) => self.wrong += 1,
        }
    }
}

/// A file that was loaded wrong, or refused though it describes its model.
struct Failure {
    seed: u64,
    format: Format,
    verdict: Verdict,
}

fn number(variable: &str, default: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

#[test]
fn files_of_random_networks_are_loaded_right_or_refused() {
    let first = number("XCC_KERAS_SEED", 0);
    let seeds = first..first + number("XCC_KERAS_GRAPHS", GRAPHS);
    let judged: Vec<(u64, Naming, Vec<Verdict>)> = seeds
        .into_par_iter()
        .chain(LOADED_WRONG_ONCE)
        .map(|seed| {
            let case = Case::of(Drawing::new(seed, BLOCKS));
            let verdicts = Format::ALL.iter().map(|&format| case.judge(format)).collect();
            (seed, case.drawing.style.naming, verdicts)
        })
        .collect();
    let mut counts: BTreeMap<(Format, Naming), Counts> = BTreeMap::new();
    let mut failures = Vec::new();
    for (seed, naming, verdicts) in judged {
        for (format, verdict) in Format::ALL.into_iter().zip(verdicts) {
            counts.entry((format, naming)).or_default().add(&verdict);
            if is_failure(format, &verdict) {
                failures.push(Failure { seed, format, verdict });
            }
        }
    }
    print_counts(&counts);
    let (wrong, refused): (Vec<Failure>, Vec<Failure>) =
        failures.into_iter().partition(|failure| is_wrong(&failure.verdict));
    tell_some(&wrong);
    tell_some(&refused);
    assert_eq!((wrong.len(), refused.len()), (0, 0), "files loaded wrong, described files refused");
}

/// Writes models and their files into the folder `XCC_KERAS_DUMP`, for `tests/keras/compare.py`.
#[test]
#[ignore = "writes files that are compared with those of Keras"]
fn dump() {
    let folder = std::env::var("XCC_KERAS_DUMP").expect("XCC_KERAS_DUMP is a folder");
    let folder = std::path::Path::new(&folder);
    std::fs::create_dir_all(folder).unwrap();
    let first = number("XCC_KERAS_SEED", 0);
    for seed in first..first + number("XCC_KERAS_GRAPHS", GRAPHS) {
        let drawing = Drawing::new(seed, BLOCKS);
        for (era, word, formats) in [
            (Era::Two, "2", [Format::WholeTwo, Format::WeightsTwo, Format::ArchiveTwo]),
            (Era::Three, "3", [Format::WholeThree, Format::WeightsThree, Format::ArchiveThree]),
        ] {
            let model = Model::of(&drawing, era);
            let mut described = model.dump();
            described["made_before"] = drawing.style.made_before.into();
            std::fs::write(folder.join(format!("{seed}-{word}.json")), described.to_string()).unwrap();
            for format in formats {
                let written = format.write(&model, folder);
                let name = written.file_name().unwrap().to_str().unwrap();
                std::fs::rename(&written, folder.join(format!("{seed}-{word}-{name}"))).unwrap();
            }
        }
    }
}

fn is_wrong(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Wrong(_))
}

fn is_failure(format: Format, verdict: &Verdict) -> bool {
    is_wrong(verdict) || matches!(verdict, Verdict::Refused(_)) && format.is_described()
}

fn print_counts(counts: &BTreeMap<(Format, Naming), Counts>) {
    println!("{:26}{:14}{:>8}{:>8}{:>8}", "format", "names", "right", "refused", "wrong");
    for ((format, naming), Counts { right, refused, wrong }) in counts {
        println!("{format:26}{:14}{right:8}{refused:8}{wrong:8}", format!("{naming:?}"));
    }
}

/// Tells the first failures of different networks.
fn tell_some(failures: &[Failure]) {
    let networks = failures.chunk_by(|a, b| a.seed == b.seed).map(|alike| &alike[0]);
    networks.take(TOLD).for_each(tell);
}

/// Prints the smallest network that fails alike.
fn tell(failure: &Failure) {
    let Failure { seed, format, verdict } = failure;
    let fails = |drawing: &Drawing| {
        let found = Case::of(drawing.clone()).judge(*format);
        is_failure(*format, &found) && is_wrong(&found) == is_wrong(verdict)
    };
    let case = Case::of(shrunk(&Drawing::new(*seed, BLOCKS), &fails));
    println!("seed {seed}, {format}, {:?}:\n{}", case.drawing.style.naming, case.told(*format));
    match case.judge(*format) {
        Verdict::Wrong(exchanged) => println!("WRONG: {}", exchanged.join("\n       ")),
        Verdict::Refused(reason) => println!("REFUSED: {reason}"),
        Verdict::Right => println!("right when it is loaded once more"),
    }
}
