//! Commands that get less memory than they need end with a sentence and status 2, never by a
//! signal.

/// Runs with so many kilobytes of addresses.
#[cfg(target_os = "linux")]
fn limited(kilobytes: u32, arguments: &[&str]) -> (Option<i32>, String) {
    let command = snapbox::cmd::cargo_bin!("xcc");
    let output = std::process::Command::new("sh")
        .args(["-c", &format!("ulimit -v {kilobytes}; exec \"$0\" \"$@\"")])
        .arg(command)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[cfg(target_os = "linux")]
#[test]
fn no_limit_of_memory_ends_a_command_by_a_signal() {
    const XCEPTION: &str = "specs/xception.xc";
    let commands: [&[&str]; 6] = [
        &["summary", XCEPTION],
        &["bench", XCEPTION, "--seed", "0", "--threads", "2", "--iters", "1", "--warmup", "0"],
        &[
            "bench",
            XCEPTION,
            "--seed",
            "0",
            "--threads",
            "64",
            "--batch",
            "64",
            "--iters",
            "1",
            "--warmup",
            "0",
        ],
        &["profile", "specs/mini_xception.xc", "--seed", "0", "--iters", "1", "--warmup", "0"],
        &["verify", "specs/mini_xception.xc", "--seed", "0"],
        &["run", "specs/digits.xc", "examples/digits/0_006.png"],
    ];
    for kilobytes in [40_000, 60_000, 90_000, 150_000, 220_000, 320_000, 400_000, 520_000] {
        for arguments in commands {
            let (status, stderr) = limited(kilobytes, arguments);
            let place = format!("{kilobytes} kB, {arguments:?}: {status:?}, {stderr}");
            match status {
                Some(0) => assert!(!stderr.contains("error"), "{place}"),
                Some(2) => assert!(stderr.lines().any(|line| line.starts_with("error: ")), "{place}"),
                // The system's loader, before the command begins.
                Some(127) => assert!(stderr.contains("shared libraries"), "{place}"),
                _ => panic!("{place}"),
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_network_that_cannot_fit_is_refused_with_the_numbers() {
    let arguments = ["bench", "specs/xception.xc", "--seed", "0", "--threads", "1", "--iters", "1"];
    let (status, stderr) = limited(120_000, &arguments);
    assert_eq!(status, Some(2), "{stderr}");
    for part in [
        "error: the network needs ",
        " MB of memory (weights ",
        ", packed constants ",
        ", activations ",
        " MB can be had under the limit of addresses (`ulimit -v`); a smaller input takes less",
    ] {
        assert!(stderr.contains(part), "{stderr}");
    }
}

#[cfg(not(target_os = "linux"))]
#[test]
fn limits_of_memory_are_not_tested_here() {
    eprintln!("skipped: only Linux limits the addresses of a process as these tests do");
}
