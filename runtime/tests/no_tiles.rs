//! A system that refuses tile registers, as sandboxes do: there is no target with them then. The
//! system is asked once in a process, so this is a process of its own.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod common;

use common::RandomWeights;
use common::graphs::{Builder, cut, window};
use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, sock_filter, sock_fprog};
use xcc_compiler::graph::Shape;
use xcc_compiler::plan::{PlanOptions, Precision};
use xcc_compiler::target::{Isa, Target};
use xcc_runtime::Model;

/// Lets the system refuse this thread's requests for states of the processor, and no other call.
fn refuse_requests() {
    const REQUEST: u32 = 0x1023;
    let instruction = |code: u32, k: u32, jf: u8| sock_filter { code: code as u16, jt: 0, jf, k };
    let mut filter = [
        // The number of the call, then the lower half of its first argument.
        instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, libc::SYS_arch_prctl as u32, 3),
        instruction(BPF_LD | BPF_W | BPF_ABS, 16, 0),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, REQUEST, 1),
        instruction(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | libc::EPERM as u32, 0),
        instruction(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0),
    ];
    let program = sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the filter has as many instructions as the program says, and lives to the end of the
    // calls.
    let status = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program)
    };
    assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn tiles_that_the_system_refuses_are_not_used() {
    refuse_requests();
    assert!(!Isa::Amx.missing().is_empty());
    let native = Target::native();
    assert!(native.isa < Isa::Amx, "{native}");
    let error = "amx".parse::<Target>().unwrap_err().to_string();
    assert!(error.contains("amx"), "{error}");
    let precision = if Precision::Bf16.is_for(native) { Precision::Bf16 } else { Precision::F32 };
    let mut builder = Builder::new(Shape::map(9, 9, 40));
    let layer = builder.conv(builder.input(), window(3, 1, 1), cut(40, 48, 1), true);
    let graph = builder.finish(&[layer]);
    let options = PlanOptions { precision, ..PlanOptions::default() };
    let model = Model::compile(&graph, &RandomWeights::new(&graph, 1), native, options).unwrap();
    assert_eq!(model.run(&vec![0.5; 9 * 9 * 40]).unwrap()[0].len(), 9 * 9 * 48);
}
