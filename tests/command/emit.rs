//! `xcc emit`: text where it is the same on every machine, names and counts where it is not.

use xcc_compiler::passes::PASSES;

use crate::harness::{Ran, TINY, assert_text, output, run};

#[test]
fn stages_that_are_the_same_on_every_machine() {
    for stage in ["ast", "graph", "fused"] {
        assert_text(&format!("command/emit_{stage}.out"), &output(&["emit", "--stage", stage, TINY]));
    }
}

/// Names of the kernels of tests/command/tiny.xc on this machine, from its plan.
fn kernels() -> Vec<String> {
    let plan = output(&["emit", "--stage", "plan", TINY]);
    assert!(plan.starts_with("program for "), "{plan}");
    let definitions = plan.lines().filter(|line| line.starts_with('k'));
    definitions.filter_map(|line| line.split(" = ").nth(1)).map(str::to_owned).collect()
}

#[test]
fn later_stages_have_every_kernel_of_the_plan() {
    let kernels = kernels();
    assert!(!kernels.is_empty());
    let vir = output(&["emit", "--stage", "vir", TINY]);
    let clif = output(&["emit", "--stage", "clif", TINY]);
    for kernel in &kernels {
        assert!(vir.contains(&format!("kernel {kernel}(")), "{kernel}");
        let is_wide = clif.contains(&format!("; {kernel}\n; machine code from the start"));
        assert!(is_wide || clif.contains(&format!("; {kernel}\nfunction ")), "{kernel}");
    }
    assert!(clif.contains("; run\n"), "the entry point");
}

#[test]
fn one_kernel_can_be_picked() {
    let vir = output(&["emit", "--stage", "vir", "--kernel", "softmax", TINY]);
    assert_eq!(vir.matches("kernel ").count(), 1, "{vir}");
    let Ran { status, stderr, .. } = run(&["emit", "--stage", "vir", "--kernel", "sotfmax", TINY]);
    assert_eq!(status, 2);
    assert!(stderr.starts_with("error: no kernel has `sotfmax` in its name; there are:\n"), "{stderr}");
    assert!(kernels().iter().all(|kernel| stderr.contains(kernel.as_str())), "{stderr}");
}

#[test]
fn plans_are_for_the_batch_and_threads_asked_for() {
    let plan = output(&["emit", "--stage", "plan", TINY, "--threads", "3", "--batch", "2"]);
    assert!(plan.lines().next().unwrap().ends_with("batch 2 threads 3"), "{plan}");
    let schedule = output(&["emit", "--stage", "schedule", TINY, "--threads", "3", "--batch", "2"]);
    assert!(schedule.lines().next().unwrap().contains("batch 2 threads 3"), "{schedule}");
}

/// A batch in shards says so, and shows the schedule of each.
#[test]
fn schedules_of_shards_name_the_whole_batch() {
    let schedule = output(&["emit", "--stage", "schedule", TINY, "--threads", "2", "--batch", "4"]);
    let lines: Vec<&str> = schedule.lines().take(2).collect();
    assert_eq!(lines[0], "batch 4 threads 2 in 4 shards, each:");
    assert!(lines[1].contains("batch 1 threads 1"), "{schedule}");
}

/// The first column of the table of times.
fn timed(stage: &str) -> Vec<String> {
    let Ran { status, stdout, stderr } = run(&["emit", "--stage", stage, TINY, "-T"]);
    assert_eq!(status, 0, "{stderr}");
    assert_eq!(stdout, output(&["emit", "--stage", stage, TINY]));
    stderr.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn times_have_each_stage_that_ran_and_each_pass() {
    assert_eq!(timed("ast"), ["stage", "parse", "total"]);
    assert_eq!(timed("graph"), ["stage", "parse", "elaborate", "total"]);
    let passes = PASSES.map(|pass| pass.name);
    let fused = [&["stage", "parse", "elaborate", "passes"], &passes[..]].concat();
    assert_eq!(timed("fused"), [&fused[..], &["total"]].concat());
    assert_eq!(timed("plan"), [&fused[..], &["plan", "total"]].concat());
    assert_eq!(timed("vir"), [&fused[..], &["plan", "kernels", "total"]].concat());
    assert_eq!(timed("clif"), [&fused[..], &["plan", "kernels", "code", "total"]].concat());
}

/// The errors of syntax and of elaboration, as other commands tell them.
#[test]
fn errors_of_all_stages_are_told_together() {
    let errors = |command: &[&str]| {
        let Ran { status, stdout, stderr } = run(&[command, &["tests/command/mistakes.xc"]].concat());
        assert_eq!((status, stdout.as_str()), (2, ""));
        stderr
    };
    assert_eq!(errors(&["emit", "--times", "--stage", "plan"]), errors(&["summary"]));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn machine_code_names_what_it_calls() {
    let asm = output(&["emit", "--stage", "asm", TINY]);
    for kernel in kernels() {
        assert!(asm.contains(&format!("{kernel}:  ; ")), "{kernel} is listed");
        let uses = asm.lines().filter(|line| line.ends_with(kernel.as_str()) && !line.starts_with(&kernel));
        assert!(uses.count() > 0, "{kernel} is called by name");
    }
    assert!(!asm.contains("(bad)"), "constants are not decoded as instructions");
}

#[test]
#[cfg(not(target_arch = "x86_64"))]
fn machine_code_is_printed_for_x86_64_only() {
    let Ran { status, stderr, .. } = run(&["emit", "--stage", "asm", TINY]);
    assert_eq!(status, 2);
    assert!(stderr.contains("machine code can be printed for x86-64"), "{stderr}");
}
