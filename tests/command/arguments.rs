//! Specs and arguments, good and bad: `xcc check`, exit statuses, help.

use std::process::Stdio;

use crate::harness::{Ran, TINY, assert_text, output, run, run_with_input, transcript};

#[test]
fn check_shows_every_mistake_and_goes_on() {
    let specs = ["check", "tests/command/mistakes.xc", "specs/xception.xc", "specs/mini_xception.xc"];
    assert_text("command/check.out", &transcript(&specs));
}

#[test]
fn specs_are_read_from_standard_input() {
    let source = std::fs::read_to_string(TINY).unwrap();
    let checked = run_with_input(&["check", "-"], &source);
    assert_eq!((checked.status, checked.stdout.as_str()), (0, "<stdin>: ok, 16 layers, 385 parameters\n"));
    let graph = run_with_input(&["emit", "--stage", "graph", "-"], &source);
    assert_eq!(graph.stdout, output(&["emit", "--stage", "graph", TINY]));
}

#[test]
fn bad_arguments_are_one_line_and_status_2() {
    let cases: [&[&str]; 17] = [
        &["sumary", TINY],
        &["summary"],
        &["summary", TINY, "--jsn"],
        &["summary", TINY, "--set", "segments"],
        &["summary", TINY, "--set", "=3"],
        &["summary", TINY, "--width", "-3"],
        &["summary", TINY, TINY],
        &["check"],
        &["check", "tests/command/tyni.xc"],
        &["check", "tests/command"],
        &["emit", TINY],
        &["emit", "--stage", "clfi", TINY],
        &["emit", "--stage", "graph", "--kernel", "conv", TINY],
        &["emit", "--stage", "fused", "--threads", "2", TINY],
        &["emit", "--stage", "plan", "--threads", "0", TINY],
        &["emit", "--stage", "plan", "--batch", "4294967295", TINY],
        &["emit", "--stage", "ast", "--set", "segments=2", TINY],
    ];
    let transcripts: Vec<String> = cases.iter().map(|arguments| transcript(arguments)).collect();
    for arguments in cases {
        let Ran { status, stdout, stderr } = run(arguments);
        assert_eq!((status, stdout.as_str(), stderr.lines().count()), (2, "", 1), "{arguments:?}: {stderr}");
    }
    assert_text("command/arguments.out", &transcripts.join("\n"));
}

#[test]
fn bad_settings_name_the_parameters() {
    let cases: [&[&str]; 3] = [
        &["summary", TINY, "--set", "segmnets=2"],
        &["summary", TINY, "--set", "segments=0"],
        &["check", TINY, "--set", "segments=many", "--set", "segments=2"],
    ];
    let transcripts: Vec<String> = cases.iter().map(|arguments| transcript(arguments)).collect();
    assert_text("command/settings.out", &transcripts.join("\n"));
}

#[test]
fn specs_that_are_no_text_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let binary = run(&["check", &file("binary.xc", b"model \xff\xfe")]);
    assert_eq!(binary.status, 2);
    assert!(binary.stderr.ends_with("is not text: byte 6 is not UTF-8\n"), "{}", binary.stderr);
    let large = run(&["check", &file("large.xc", &vec![b' '; (1 << 20) + 1])]);
    assert_eq!(large.status, 2);
    assert!(large.stderr.contains("more than 1048576 bytes"), "{}", large.stderr);
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(snapbox::cmd::cargo_bin!("xcc"));
    command.args(["summary", "specs/xception.xc"]).stdout(writer).stderr(Stdio::piped());
    let output = command.output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}

#[test]
fn a_verdict_does_not_depend_on_who_reads() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(snapbox::cmd::cargo_bin!("xcc"));
    command.args(["check", "specs/digits.xc", "tests/command/mistakes.xc"]).stdout(writer);
    let output = command.stderr(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn no_output_takes_the_place_of_what_is_read_or_written_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (spec, array, labels, absent) = (path("a.xc"), path("x.npy"), path("labels.txt"), path("absent"));
    std::fs::write(&labels, "names").unwrap();
    let sweep = ["sweep", "specs/mini_xception.xc", "--over", "segments=1,2"];
    let other = "is the name of another file here";
    std::fs::copy("specs/digits.xc", &spec).unwrap();
    output(&["run", "specs/digits.xc", "--output", &array, "--seed", "1", "examples/digits/0_006.png"]);
    for (arguments, reason) in [
        (&["graph", &spec, "--format", "svg", "-o", &spec][..], other),
        (&["run", &spec, "--seed", "1", "--input", &array, "--output", &array], other),
        (&["run", &spec, "--seed", "1", "--input", &array, "--output", "-"], "name a file for the array"),
        (&["run", &spec, "--seed", "1", "--input", &array, "--labels", &labels, "--output", &labels], other),
        (&["convert", &array, &absent, "--spec", &spec, "--map", &path("./absent")], other),
        (&[&sweep[..], &["--json", &array, "--csv", &array]].concat(), other),
        (&[&sweep[..], &["--csv", &absent, "--html", &path("./absent")]].concat(), other),
        (&[&sweep[..], &["--csv", "mini_xception-segments.sweep.json"]].concat(), other),
        (&[&sweep[..], &["--html", "specs/../specs/mini_xception.xc"]].concat(), other),
        (&[&sweep[..], &["--csv", &path("")]].concat(), "is a folder"),
        (&["report", &array, "-o", &array], other),
        (&["calibrate", "--output", &path("")], "is a folder"),
    ] {
        let ran = run(arguments);
        assert_eq!(ran.status, 2, "{arguments:?}");
        assert!(ran.stderr.contains(reason), "{arguments:?}: {}", ran.stderr);
    }
    assert_eq!(std::fs::read(&spec).unwrap(), std::fs::read("specs/digits.xc").unwrap());
}

#[test]
fn every_subcommand_has_help() {
    let help = output(&["--help"]);
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> = listed.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(
        ["check", "summary", "explain", "emit", "convert"].iter().all(|name| names.contains(name)),
        "{help}"
    );
    for name in names {
        let text = output(&["help", name]);
        assert!(text.contains("Usage: "), "{name}: {text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{name}: {text}");
        assert!(name == "help" || text.contains("Examples:"), "{name} has examples");
    }
}
