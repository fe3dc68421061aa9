//! What is proved of every wide kernel, from the bytes that were written.

use iced_x86::{CpuidFeature, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};

use crate::target::Isa;

/// Features of every processor that runs 64-bit code with AVX: what general instructions report.
const GENERAL: [CpuidFeature; 7] = [
    CpuidFeature::INTEL8086,
    CpuidFeature::INTEL186,
    CpuidFeature::INTEL386,
    CpuidFeature::INTEL486,
    CpuidFeature::X64,
    CpuidFeature::SSE,
    CpuidFeature::AVX,
];

/// Whether code for `isa` may use a feature.
fn admits(isa: Isa, feature: CpuidFeature) -> bool {
    let first = match feature {
        CpuidFeature::AVX2 | CpuidFeature::FMA => Isa::Avx2,
        CpuidFeature::AVX512F | CpuidFeature::AVX512BW | CpuidFeature::AVX512DQ | CpuidFeature::AVX512VL => {
            Isa::Avx512
        }
        CpuidFeature::AVX512_BF16 => Isa::Avx512Bf16,
        CpuidFeature::AMX_TILE | CpuidFeature::AMX_BF16 => Isa::Amx,
        feature => return isa > Isa::Baseline && GENERAL.contains(&feature),
    };
    isa >= first
}

/// Checks that every instruction of `code` is one that machines with `isa` have, that control
/// leaves only by `ret`, and that `vzeroupper` comes before each. The error names the offending
/// instruction.
pub fn check(code: &[u8], isa: Isa) -> Result<(), String> {
    let mut previous = Mnemonic::INVALID;
    let mut returns = 0;
    for instruction in &mut Decoder::new(64, code, DecoderOptions::NONE) {
        check_features(&instruction, isa)?;
        check_flow(&instruction, code.len())?;
        if instruction.mnemonic() == Mnemonic::Ret {
            returns += 1;
            if previous != Mnemonic::Vzeroupper {
                return Err(format!("no vzeroupper before the return at {:#x}", instruction.ip()));
            }
        }
        previous = instruction.mnemonic();
    }
    if returns == 0 || previous != Mnemonic::Ret {
        return Err("the code does not end with a return".to_owned());
    }
    Ok(())
}

fn check_features(instruction: &Instruction, isa: Isa) -> Result<(), String> {
    if instruction.is_invalid() {
        return Err(format!("the bytes at {:#x} are no instruction", instruction.ip()));
    }
    let foreign = instruction.cpuid_features().iter().find(|feature| !admits(isa, **feature));
    let name = instruction.mnemonic();
    foreign.map_or(Ok(()), |feature| Err(format!("{name:?} at {:#x} needs {feature:?}", instruction.ip())))
}

fn check_flow(instruction: &Instruction, end: usize) -> Result<(), String> {
    let inside = match instruction.flow_control() {
        FlowControl::Next | FlowControl::Return => true,
        FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
            instruction.near_branch_target() < end as u64
        }
        _ => false,
    };
    if inside { Ok(()) } else { Err(format!("control leaves the kernel at {:#x}", instruction.ip())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_a_rule_is_refused() {
        // ret; vzeroupper, ret; vaddps zmm0, zmm0, zmm0; vaddps ymm0, ymm0, ymm0; vpaddd ymm0,
        // ymm0, ymm0
        let (ret, clean) = ([0xc3], [0xc5, 0xf8, 0x77, 0xc3]);
        let zmm = [0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc0];
        let join = |parts: &[&[u8]]| parts.concat();
        assert_eq!(check(&ret, Isa::Avx2).unwrap_err(), "no vzeroupper before the return at 0x0");
        assert_eq!(check(&clean, Isa::Avx2), Ok(()));
        assert_eq!(check(&join(&[&zmm, &clean]), Isa::Avx512), Ok(()));
        assert_eq!(check(&join(&[&zmm, &clean]), Isa::Avx2).unwrap_err(), "Vaddps at 0x0 needs AVX512F");
        assert_eq!(check(&zmm, Isa::Avx512).unwrap_err(), "the code does not end with a return");
        // tilezero tmm0
        let tile = join(&[&[0xc4, 0xe2, 0x7b, 0x49, 0xc0], &clean]);
        assert_eq!(check(&tile, Isa::Amx), Ok(()));
        assert_eq!(check(&tile, Isa::Avx512Bf16).unwrap_err(), "Tilezero at 0x0 needs AMX_TILE");
        // vdpbf16ps zmm0, zmm0, zmm0
        let pairs = join(&[&[0x62, 0xf2, 0x7e, 0x48, 0x52, 0xc0], &clean]);
        assert_eq!(check(&pairs, Isa::Avx512Bf16), Ok(()));
        assert_eq!(check(&pairs, Isa::Avx512).unwrap_err(), "Vdpbf16ps at 0x0 needs AVX512_BF16");
        // jmp 0x7f beyond the end
        let jump = join(&[&[0xeb, 0x7f], &clean]);
        assert_eq!(check(&jump, Isa::Avx2).unwrap_err(), "control leaves the kernel at 0x0");
    }
}
