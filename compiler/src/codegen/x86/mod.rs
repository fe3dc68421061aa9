//! Vector kernels as x86-64 machine code with eight lanes (AVX2) or sixteen (AVX-512).
//!
//! A slot is the vector register of the same number, so nothing is allocated and nothing can
//! spill. The code is position-independent and refers to nothing outside; its constants lie behind
//! it.

mod assembler;
mod check;
mod forms;
mod known;
mod tiles;

pub use tiles::{configure_tiles, release_tiles};

use iced_x86::{Code, IcedError, Instruction, MemoryOperand, Register};

use self::assembler::Assembler;
use self::forms::Forms;
use self::known::{Known, Value};
use crate::target::{Isa, Target};
use crate::vector::{self, Address, CacheLevel, Inst, Kernel, Pointer, Slot, Times};

/// The bytes of `kernel`, which has passed the verifier and has the lanes of `target`.
///
/// The bytes are decoded again before they are given out: every instruction must be one that the
/// target has, and `vzeroupper` must come before each return. The error says what could not be
/// written, or which rule is broken. With `configure` set, a kernel that uses tile registers
/// configures and releases them itself.
pub fn assemble(kernel: &Kernel, target: Target, configure: bool) -> Result<Vec<u8>, String> {
    let configure = configure && vector::uses_tiles(kernel);
    let (bytes, code) = translate(kernel, target.isa, configure)?.map_err(|e| e.to_string())?;
    check::check(&bytes[..code], target.isa)?;
    Ok(bytes)
}

/// Bytes, and how many of them are instructions; or why there are too few registers.
fn translate(
    kernel: &Kernel,
    isa: Isa,
    configure: bool,
) -> Result<Result<(Vec<u8>, usize), IcedError>, String> {
    let parameters = kernel.pointers.len() + usize::from(kernel.counted);
    let (mut assembler, mut registers) = Assembler::new(parameters);
    let rows = if kernel.counted { registers.pop() } else { None };
    while registers.len() < vector::pointer_count(kernel) {
        registers.push(assembler.take().ok_or("there are not enough registers for its pointers")?);
    }
    let forms = if isa == Isa::Avx2 { &forms::YMM } else { &forms::ZMM };
    let known = Known::nothing(vector::slot_count(kernel));
    let (lanes, pointers) = (kernel.lanes, registers);
    let mut translator =
        Translator { assembler, forms, lanes, pointers, rows, known, mask: None, steps: Vec::new() };
    let written = translator.kernel(kernel, configure);
    match written {
        Err(Failure::Registers) => Err("there are not enough registers for its loops".to_owned()),
        Err(Failure::Encoding(error)) => Ok(Err(error)),
        Ok(()) => Ok(translator.assembler.finish(true)),
    }
}

enum Failure {
    Registers,
    Encoding(IcedError),
}

impl From<IcedError> for Failure {
    fn from(error: IcedError) -> Self {
        Failure::Encoding(error)
    }
}

struct Translator {
    assembler: Assembler,
    forms: &'static Forms,
    lanes: u32,
    /// The register of each pointer.
    pointers: Vec<Register>,
    /// The register of the count.
    rows: Option<Register>,
    known: Known,
    /// How many lanes the mask register K1 admits, where it is known.
    mask: Option<u32>,
    /// Registers that hold distances between rows of tiles.
    steps: Vec<(i32, Register)>,
}

type Done = Result<(), Failure>;

impl Translator {
    fn kernel(&mut self, kernel: &Kernel, configure: bool) -> Done {
        if configure {
            tiles::configure(&mut self.assembler)?;
        }
        self.take_steps(&vector::tile_steps(kernel))?;
        self.body(&kernel.body)?;
        if configure {
            tiles::release(&mut self.assembler)?;
        }
        Ok(())
    }

    fn body(&mut self, body: &[Inst]) -> Done {
        body.iter().try_for_each(|inst| self.inst(inst))
    }

    fn inst(&mut self, inst: &Inst) -> Done {
        let known = self.known.change(inst);
        match *inst {
            Inst::Load { dst, from, lanes } if lanes == self.lanes => self.load_whole(dst, from, known),
            Inst::Load { dst, from, lanes } => self.load_some(dst, from, lanes),
            Inst::Broadcast { dst, from, values } => {
                let (code, from) = (self.forms.broadcast(values), self.memory(from, 0));
                self.push(Instruction::with2(code, self.vector(dst), from))
            }
            Inst::Constant { dst, value } => self.constant(dst, value.to_bits(), known),
            Inst::Store { src, to, lanes } => self.store(src, to, lanes),
            Inst::Fma { acc, a, b } => self.three(self.forms.fma, acc, a, b),
            Inst::FmaBroadcast { acc, a, from } => self.three_of_memory(self.forms.fma, acc, a, from),
            Inst::Dot { acc, a, b } => self.three(tiles::DOT, acc, a, b),
            Inst::DotBroadcast { acc, a, from } => self.three_of_memory(tiles::DOT, acc, a, from),
            Inst::Binary { op, dst, a, b } => self.three(self.forms.binary(op), dst, a, b),
            Inst::Pattern { dst, ref lanes } => {
                let pattern = self.assembler.constant(lanes.clone());
                self.push(Instruction::with2(self.forms.load, self.vector(dst), pattern))
            }
            Inst::Permute { dst, src, pattern } => self.three(self.forms.permute, dst, pattern, src),
            Inst::ShiftLeft { dst, src, bits } => {
                let [dst, src] = [dst, src].map(|slot| self.vector(slot));
                self.push(Instruction::with3(self.forms.shift_left, dst, src, bits))
            }
            Inst::RoundBf16 { dst, src } => self.round_bf16(dst, src),
            Inst::StoreBf16 { src, to } => self.store_bf16(src, to),
            Inst::TileZero { .. } | Inst::TileLoad { .. } | Inst::TileStore { .. } | Inst::TileDot { .. } => {
                self.tile(inst)
            }
            Inst::Point { dst, base, offset } => self.point(dst, base, offset),
            Inst::Prefetch { at, level } => {
                let at = self.memory(at, 0);
                let code = match level {
                    CacheLevel::First => Code::Prefetcht0_m8,
                    CacheLevel::Second => Code::Prefetcht1_m8,
                };
                self.push(Instruction::with1(code, at))
            }
            Inst::Loop { times, ref body } => self.repeat(times, body),
        }
    }

    fn push(&mut self, instruction: Result<Instruction, IcedError>) -> Done {
        Ok(self.assembler.push(instruction)?)
    }

    fn three(&mut self, code: Code, dst: Slot, a: Slot, b: Slot) -> Done {
        let [dst, a, b] = [dst, a, b].map(|slot| self.vector(slot));
        self.push(Instruction::with3(code, dst, a, b))
    }

    /// An instruction whose third operand is a value of memory, in every lane.
    fn three_of_memory(&mut self, code: Code, dst: Slot, a: Slot, from: Address) -> Done {
        let from = MemoryOperand { is_broadcast: true, ..self.memory(from, 0) };
        let [dst, a] = [dst, a].map(|slot| self.vector(slot));
        self.push(Instruction::with3(code, dst, a, from))
    }

    /// The whole register of a slot.
    fn vector(&self, slot: Slot) -> Register {
        self.forms.first + slot.index() as u32
    }

    /// The lowest four lanes of a slot that is one of the first sixteen.
    fn quarter(&self, slot: Slot) -> Register {
        Register::XMM0 + slot.index() as u32
    }

    /// A memory operand some lanes behind an address.
    fn memory(&self, address: Address, lanes: u32) -> MemoryOperand {
        let offset = i64::from(address.offset) + i64::from(lanes) * i64::from(vector::F32);
        MemoryOperand::with_base_displ(self.pointers[address.base.index()], offset)
    }

    /// Puts a constant into all lanes of a slot that known a value.
    fn constant(&mut self, dst: Slot, bits: u32, known: Option<Value>) -> Done {
        let value = Value::Constant(bits);
        if known != Some(value) {
            self.write_constant(dst, bits)?;
        }
        self.known.set(dst, value);
        Ok(())
    }

    fn write_constant(&mut self, dst: Slot, bits: u32) -> Done {
        if bits == 0 {
            return self.three(self.forms.xor, dst, dst, dst);
        }
        self.push(Instruction::with2(Code::Mov_r32_imm32, Register::EAX, bits))?;
        let vector = self.vector(dst);
        if self.lanes == 16 {
            return self.push(Instruction::with2(Code::EVEX_Vpbroadcastd_zmm_k1z_r32, vector, Register::EAX));
        }
        let quarter = self.quarter(dst);
        self.push(Instruction::with2(Code::VEX_Vmovd_xmm_rm32, quarter, Register::EAX))?;
        self.push(Instruction::with2(Code::VEX_Vpbroadcastd_ymm_xmmm32, vector, quarter))
    }

    /// Reads a whole vector into a slot that known a value. Moves between registers take no part
    /// of the processor that products take; loads do.
    fn load_whole(&mut self, dst: Slot, from: Address, known: Option<Value>) -> Done {
        let value = Value::Memory(from);
        if known != Some(value) {
            let to = self.vector(dst);
            self.push(match self.known.slot_with(value) {
                Some(same) => Instruction::with2(self.forms.load, to, self.vector(same)),
                None => Instruction::with2(self.forms.load, to, self.memory(from, 0)),
            })?;
        }
        self.known.set(dst, value);
        Ok(())
    }

    /// Reads some lanes; the others become zero.
    fn load_some(&mut self, dst: Slot, from: Address, lanes: u32) -> Done {
        if self.lanes == 8 {
            return self.load_part(dst, from, lanes);
        }
        self.admit(lanes)?;
        let load = Instruction::with2(self.forms.load, self.vector(dst), self.memory(from, 0));
        self.push(load.map(|mut load| {
            load.set_op_mask(Register::K1);
            load.set_zeroing_masking(true);
            load
        }))
    }

    fn store(&mut self, src: Slot, to: Address, lanes: u32) -> Done {
        if lanes < self.lanes && self.lanes == 8 {
            return self.store_part(src, to, lanes);
        }
        let store = Instruction::with2(self.forms.store, self.memory(to, 0), self.vector(src));
        if lanes == self.lanes {
            return self.push(store);
        }
        self.admit(lanes)?;
        self.push(store.map(|mut store| {
            store.set_op_mask(Register::K1);
            store
        }))
    }

    /// Lets the mask register K1 admit the first `lanes` lanes.
    fn admit(&mut self, lanes: u32) -> Done {
        if self.mask != Some(lanes) {
            self.mask = Some(lanes);
            self.push(Instruction::with2(Code::Mov_r32_imm32, Register::EAX, (1u32 << lanes) - 1))?;
            self.push(Instruction::with2(Code::VEX_Kmovw_kr_r32, Register::K1, Register::EAX))?;
        }
        Ok(())
    }

    /// Reads the first `lanes` of eight lanes, and zeros: masks of AVX2 would take a register.
    fn load_part(&mut self, dst: Slot, from: Address, lanes: u32) -> Done {
        let (vector, quarter) = (self.vector(dst), self.quarter(dst));
        if lanes <= 4 {
            return self.load_quarter(quarter, from, 0, lanes);
        }
        self.load_quarter(quarter, from, 4, lanes - 4)?;
        // The low half moves up and leaves zeros, then the other four lanes come in.
        self.push(Instruction::with4(
            Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8,
            vector,
            vector,
            vector,
            0x08,
        ))?;
        let low = self.memory(from, 0);
        self.push(Instruction::with4(Code::VEX_Vinsertf128_ymm_ymm_xmmm128_imm8, vector, vector, low, 0))
    }

    /// Reads one to four lanes, `start` lanes behind an address; everything above becomes zero.
    fn load_quarter(&mut self, dst: Register, from: Address, start: u32, lanes: u32) -> Done {
        let at = |lane| self.memory(from, start + lane);
        let code = match lanes {
            1 => Code::VEX_Vmovss_xmm_m32,
            2 | 3 => Code::VEX_Vmovsd_xmm_m64,
            _ => Code::VEX_Vmovups_xmm_xmmm128,
        };
        let (first, third) = (at(0), at(2));
        self.push(Instruction::with2(code, dst, first))?;
        if lanes == 3 {
            // Source lane 0 goes to lane 2; no lane is zeroed.
            self.push(Instruction::with4(Code::VEX_Vinsertps_xmm_xmm_xmmm32_imm8, dst, dst, third, 0x20))?;
        }
        Ok(())
    }

    /// Writes the first `lanes` of eight lanes; the slot keeps its value.
    fn store_part(&mut self, src: Slot, to: Address, lanes: u32) -> Done {
        self.store_quarter(self.quarter(src), to, 0, lanes.min(4))?;
        if lanes <= 4 {
            return Ok(());
        }
        self.swap_halves(src)?;
        self.store_quarter(self.quarter(src), to, 4, lanes - 4)?;
        self.swap_halves(src)
    }

    fn swap_halves(&mut self, slot: Slot) -> Done {
        let vector = self.vector(slot);
        self.push(Instruction::with4(Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8, vector, vector, vector, 0x01))
    }

    fn store_quarter(&mut self, src: Register, to: Address, start: u32, lanes: u32) -> Done {
        let (first, third) = (self.memory(to, start), self.memory(to, start + 2));
        let code = match lanes {
            1 => Code::VEX_Vmovss_m32_xmm,
            2 | 3 => Code::VEX_Vmovlps_m64_xmm,
            _ => Code::VEX_Vmovups_xmmm128_xmm,
        };
        self.push(Instruction::with2(code, first, src))?;
        if lanes == 3 {
            self.push(Instruction::with3(Code::VEX_Vextractps_rm32_xmm_imm8, third, src, 2))?;
        }
        Ok(())
    }

    fn point(&mut self, dst: Pointer, base: Pointer, offset: i32) -> Done {
        let [to, from] = [dst, base].map(|pointer| self.pointers[pointer.index()]);
        if dst == base {
            return self.push(Instruction::with2(Code::Add_rm64_imm32, to, offset));
        }
        if offset == 0 {
            return self.push(Instruction::with2(Code::Mov_r64_rm64, to, from));
        }
        let address = MemoryOperand::with_base_displ(from, i64::from(offset));
        self.push(Instruction::with2(Code::Lea_r64_m, to, address))
    }

    fn repeat(&mut self, times: Times, body: &[Inst]) -> Done {
        let counter = self.assembler.take().ok_or(Failure::Registers)?;
        let (head, exit) = (self.assembler.label(), self.assembler.label());
        match times {
            Times::Exactly(count) => {
                self.push(Instruction::with2(Code::Mov_r32_imm32, counter.full_register32(), count))?;
            }
            Times::Rows => {
                let rows = self.rows.expect("the verifier admits loops over rows only with a count");
                self.push(Instruction::with2(Code::Mov_r64_rm64, counter, rows))?;
                self.push(Instruction::with2(Code::Test_rm64_r64, counter, counter))?;
                self.assembler.branch(Code::Je_rel32_64, exit)?;
            }
        }
        self.assembler.place(head)?;
        self.forget();
        self.body(body)?;
        self.push(Instruction::with2(Code::Sub_rm64_imm8, counter, 1))?;
        self.assembler.branch(Code::Jne_rel32_64, head)?;
        self.assembler.place(exit)?;
        self.forget();
        self.assembler.give(counter);
        Ok(())
    }

    /// Where control flow joins, nothing is known of registers.
    fn forget(&mut self) {
        self.known.forget();
        self.mask = None;
    }
}
