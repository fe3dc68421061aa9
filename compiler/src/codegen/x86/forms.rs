//! The encodings of vector instructions by width.

use iced_x86::{Code, Register};

use crate::vector::BinaryOp;

/// The encodings for one width.
pub struct Forms {
    /// The register of slot 0.
    pub first: Register,
    pub load: Code,
    pub store: Code,
    /// destination = source 1 * source 2 + destination
    pub fma: Code,
    pub xor: Code,
    /// destination lanes = lanes of source 2 that source 1 says
    pub permute: Code,
    pub shift_left: Code,
    /// Of one value, two and four; of eight where they are not all lanes.
    broadcasts: [Code; 4],
    add: Code,
    sub: Code,
    mul: Code,
    div: Code,
    max: Code,
    min: Code,
}

impl Forms {
    /// The encoding of a broadcast of so many values, a power of two up to eight.
    pub fn broadcast(&self, values: u32) -> Code {
        self.broadcasts[values.ilog2() as usize]
    }

    /// The encoding of an operation with two operands.
    pub fn binary(&self, op: BinaryOp) -> Code {
        match op {
            BinaryOp::Add => self.add,
            BinaryOp::Sub => self.sub,
            BinaryOp::Mul => self.mul,
            BinaryOp::Div => self.div,
            BinaryOp::Max => self.max,
            BinaryOp::Min => self.min,
        }
    }
}

/// Eight lanes, AVX2 and FMA.
pub static YMM: Forms = Forms {
    first: Register::YMM0,
    load: Code::VEX_Vmovups_ymm_ymmm256,
    store: Code::VEX_Vmovups_ymmm256_ymm,
    fma: Code::VEX_Vfmadd231ps_ymm_ymm_ymmm256,
    permute: Code::VEX_Vpermps_ymm_ymm_ymmm256,
    xor: Code::VEX_Vxorps_ymm_ymm_ymmm256,
    shift_left: Code::VEX_Vpslld_ymm_ymm_imm8,
    broadcasts: [
        Code::VEX_Vbroadcastss_ymm_m32,
        Code::VEX_Vbroadcastsd_ymm_m64,
        Code::VEX_Vbroadcastf128_ymm_m128,
        Code::VEX_Vmovups_ymm_ymmm256,
    ],
    add: Code::VEX_Vaddps_ymm_ymm_ymmm256,
    sub: Code::VEX_Vsubps_ymm_ymm_ymmm256,
    mul: Code::VEX_Vmulps_ymm_ymm_ymmm256,
    div: Code::VEX_Vdivps_ymm_ymm_ymmm256,
    max: Code::VEX_Vmaxps_ymm_ymm_ymmm256,
    min: Code::VEX_Vminps_ymm_ymm_ymmm256,
};

/// Sixteen lanes, AVX-512.
pub static ZMM: Forms = Forms {
    first: Register::ZMM0,
    load: Code::EVEX_Vmovups_zmm_k1z_zmmm512,
    store: Code::EVEX_Vmovups_zmmm512_k1z_zmm,
    fma: Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
    permute: Code::EVEX_Vpermps_zmm_k1z_zmm_zmmm512b32,
    xor: Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32,
    shift_left: Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8,
    broadcasts: [
        Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32,
        Code::EVEX_Vbroadcastsd_zmm_k1z_xmmm64,
        Code::EVEX_Vbroadcastf32x4_zmm_k1z_m128,
        Code::EVEX_Vbroadcastf32x8_zmm_k1z_m256,
    ],
    add: Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er,
    sub: Code::EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er,
    mul: Code::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er,
    div: Code::EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er,
    max: Code::EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae,
    min: Code::EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae,
};
