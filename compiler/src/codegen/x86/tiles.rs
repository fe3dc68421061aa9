//! Tile registers (AMX) and bf16 values (AVX512-BF16).
//!
//! All eight tiles are configured as 16 rows of 64 bytes, once for each thread of a run.

use iced_x86::{Code, IcedError, Instruction, MemoryOperand, Register};

use super::assembler::Assembler;
use super::{Done, Failure, Translator, check};
use crate::target::Target;
use crate::vector::{Address, Inst, Slot, TILE_BYTES, TILE_ROWS, TILES, Tile};

/// destination = products of pairs of sources 1 and 2 + destination
pub(super) const DOT: Code = Code::EVEX_Vdpbf16ps_zmm_k1z_zmm_zmmm512b32;

/// The operand of `ldtilecfg` in words: palette 1; from byte 16 on two bytes a tile, its bytes a
/// row; from byte 48 on one byte a tile, its rows; all others 0 (Intel, Software Developer's
/// Manual, volume 2, "LDTILECFG").
fn configuration() -> Vec<u32> {
    let mut bytes = [0u8; 64];
    bytes[0] = 1;
    for tile in 0..TILES {
        bytes[16 + 2 * tile] = TILE_BYTES as u8;
        bytes[48 + tile] = TILE_ROWS as u8;
    }
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
}

/// Configures the tiles of the executing thread.
pub(super) fn configure(assembler: &mut Assembler) -> Result<(), IcedError> {
    let configuration = assembler.constant(configuration());
    assembler.push(Instruction::with1(Code::VEX_Ldtilecfg_m512, configuration))
}

/// Empties the tiles of the executing thread, so that the system need not save them.
pub(super) fn release(assembler: &mut Assembler) -> Result<(), IcedError> {
    assembler.push(Ok(Instruction::with(Code::VEX_Tilerelease)))
}

/// A function without parameters that configures the tiles of the calling thread.
pub fn configure_tiles(target: Target) -> Result<Vec<u8>, String> {
    function(target, configure)
}

/// A function without parameters that empties the tiles of the calling thread.
pub fn release_tiles(target: Target) -> Result<Vec<u8>, String> {
    function(target, release)
}

fn function(
    target: Target,
    write: impl FnOnce(&mut Assembler) -> Result<(), IcedError>,
) -> Result<Vec<u8>, String> {
    let (mut assembler, _) = Assembler::new(0);
    let written = write(&mut assembler).and_then(|()| assembler.finish(true));
    let (bytes, code) = written.map_err(|e| e.to_string())?;
    check::check(&bytes[..code], target.isa)?;
    Ok(bytes)
}

fn register(tile: Tile) -> Register {
    Register::TMM0 + tile.index() as u32
}

impl Translator {
    /// Puts every distance between rows of tiles into a register of its own.
    pub(super) fn take_steps(&mut self, steps: &[i32]) -> Done {
        for &step in steps {
            let register = self.assembler.take().ok_or(Failure::Registers)?;
            self.push(Instruction::with2(Code::Mov_rm64_imm32, register, step))?;
            self.steps.push((step, register));
        }
        Ok(())
    }

    pub(super) fn tile(&mut self, inst: &Inst) -> Done {
        match *inst {
            Inst::TileZero { dst } => self.push(Instruction::with1(Code::VEX_Tilezero_tmm, register(dst))),
            Inst::TileLoad { dst, from, step } => {
                let from = self.rows(from, step);
                self.push(Instruction::with2(Code::VEX_Tileloadd_tmm_sibmem, register(dst), from))
            }
            Inst::TileStore { src, to, step } => {
                let to = self.rows(to, step);
                self.push(Instruction::with2(Code::VEX_Tilestored_sibmem_tmm, to, register(src)))
            }
            Inst::TileDot { acc, a, b } => {
                let [acc, a, b] = [acc, a, b].map(register);
                self.push(Instruction::with3(Code::VEX_Tdpbf16ps_tmm_tmm_tmm, acc, a, b))
            }
            _ => Ok(()),
        }
    }

    /// The memory operand of a tile: its index register is the distance between rows.
    fn rows(&self, address: Address, step: i32) -> MemoryOperand {
        let known = self.steps.iter().find(|(known, _)| *known == step);
        let (_, index) = known.expect("registers were taken for all steps of the kernel");
        let (base, offset) = (self.pointers[address.base.index()], i64::from(address.offset));
        MemoryOperand::with_base_index_scale_displ_size(base, *index, 1, offset, 1)
    }

    /// Rounds to bf16, and puts the 16 bits of each lane back above 16 zeros.
    pub(super) fn round_bf16(&mut self, dst: Slot, src: Slot) -> Done {
        let [dst, src] = [dst, src].map(|slot| self.vector(slot));
        let half = half(dst);
        self.push(Instruction::with2(Code::EVEX_Vcvtneps2bf16_ymm_k1z_zmmm512b32, half, src))?;
        self.push(Instruction::with2(Code::EVEX_Vpmovzxwd_zmm_k1z_ymmm256, dst, half))?;
        self.push(Instruction::with3(Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8, dst, dst, 16u32))
    }

    /// Rounds into a register that no slot takes, and writes its lower half.
    pub(super) fn store_bf16(&mut self, src: Slot, to: Address) -> Done {
        let spare = self.known.slots();
        if spare >= 32 {
            return Err(Failure::Registers);
        }
        let half = half(Register::ZMM0 + spare);
        let (src, to) = (self.vector(src), self.memory(to, 0));
        self.push(Instruction::with2(Code::EVEX_Vcvtneps2bf16_ymm_k1z_zmmm512b32, half, src))?;
        self.push(Instruction::with2(Code::EVEX_Vmovups_ymmm256_k1z_ymm, to, half))
    }
}

/// The lower half of a 512-bit register.
fn half(register: Register) -> Register {
    Register::YMM0 + (register as u32 - Register::ZMM0 as u32)
}
