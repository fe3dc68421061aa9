//! The documents: their links lead somewhere, and each shipped sweep has its page.

use std::path::{Path, PathBuf};

/// The files of a folder with this ending, in order.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
    files.sort();
    files
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The targets of a document's links and pictures.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

/// What a heading is called in links.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn links_of_documents_lead_somewhere() {
    let mut documents = files(".", "md");
    documents.extend(["docs", "docs/sweeps", "benches"].iter().flat_map(|folder| files(folder, "md")));
    let mut checked = 0;
    for document in documents {
        let text = read(&document);
        for link in links(&text).into_iter().filter(|link| !link.starts_with("https://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{} links to {link}", document.display());
            let headings = || {
                read(&target)
                    .lines()
                    .filter_map(|line| Some(anchor(line.strip_prefix('#')?.trim_matches(['#', ' ']))))
                    .collect::<Vec<_>>()
            };
            assert!(
                heading.is_empty() || headings().iter().any(|found| found == heading),
                "{} links to {link}",
                document.display()
            );
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked} links were found");
}

#[test]
fn every_shipped_sweep_has_a_page_with_figures_that_its_commands_make() {
    let index = read(Path::new("docs/sweep.md"));
    for plan in files("specs/sweeps", "yaml") {
        let name = plan.file_stem().unwrap().to_str().unwrap();
        assert!(index.contains(&format!("(sweeps/{name}.md)")), "docs/sweep.md links to the page of {name}");
        let page = read(Path::new(&format!("docs/sweeps/{name}.md")));
        let question =
            read(&plan).lines().find_map(|line| line.strip_prefix("question: ").map(str::to_owned)).unwrap();
        assert!(page.contains(&question), "the page of {name} asks: {question}");
        for command in [
            format!("xcc sweep specs/sweeps/{name}.yaml --json {name}.json"),
            format!("xcc report {name}.json --figures {name}"),
        ] {
            assert!(page.contains(&command), "the page of {name} says: {command}");
        }
        let figures = links(&page).into_iter().filter(|link| link.ends_with(".svg"));
        assert!(figures.clone().count() > 0 && figures.clone().all(|link| link.starts_with(name)), "{name}");
    }
}

#[test]
fn figures_in_the_repository_are_shown_and_small() {
    for folder in files("specs/sweeps", "yaml").iter().map(|plan| plan.file_stem().unwrap().to_str().unwrap())
    {
        let page = read(Path::new(&format!("docs/sweeps/{folder}.md")));
        for figure in files(&format!("docs/sweeps/{folder}"), "svg") {
            let name = figure.file_name().unwrap().to_str().unwrap();
            assert!(page.contains(&format!("({folder}/{name})")), "{folder}.md shows {name}");
            let size = std::fs::metadata(&figure).unwrap().len();
            assert!(size < 100_000, "{}: {size} bytes", figure.display());
        }
    }
}
