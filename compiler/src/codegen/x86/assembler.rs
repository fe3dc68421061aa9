//! A list of instructions on its way to bytes: labels, registers for addresses, and a pool of constants behind
//! the code.

use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, IcedError, Instruction, InstructionBlock, MemoryOperand,
    Register,
};

/// Where the integer parameters of a function arrive (System V).
const PARAMETERS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

/// Other registers for addresses and counters, those that need not be preserved first. RAX stays free for
/// intermediate values.
const OTHERS: [Register; 8] = [
    Register::R10,
    Register::R11,
    Register::RBX,
    Register::RBP,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

/// How many of [`OTHERS`] a function may change without preserving them.
const VOLATILE: usize = 2;

/// A place in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(u64);

/// Instructions of one leaf function.
pub struct Assembler {
    instructions: Vec<Instruction>,
    /// The label that the next instruction gets.
    pending: Option<Label>,
    labels: u64,
    /// Free registers, the one to be taken next last.
    free: Vec<Register>,
    preserved: Vec<Register>,
    constants: Vec<(Label, Vec<u32>)>,
}

impl Assembler {
    /// A function of `parameters` integer parameters, at most six, and the registers that they arrive in.
    pub fn new(parameters: usize) -> (Self, Vec<Register>) {
        let (taken, rest) = PARAMETERS.split_at(parameters);
        let mut free: Vec<Register> = rest.iter().chain(&OTHERS).copied().collect();
        free.reverse();
        let assembler = Self {
            instructions: Vec::new(),
            pending: None,
            labels: 0,
            free,
            preserved: Vec::new(),
            constants: Vec::new(),
        };
        (assembler, taken.to_vec())
    }

    /// A register for an address or a counter, or `None` when all are taken.
    pub fn take(&mut self) -> Option<Register> {
        let register = self.free.pop()?;
        if OTHERS[VOLATILE..].contains(&register) && !self.preserved.contains(&register) {
            self.preserved.push(register);
        }
        Some(register)
    }

    /// Gives a register back.
    pub fn give(&mut self, register: Register) {
        self.free.push(register);
    }

    /// Appends an instruction.
    pub fn push(&mut self, instruction: Result<Instruction, IcedError>) -> Result<(), IcedError> {
        let mut instruction = instruction?;
        if let Some(Label(label)) = self.pending.take() {
            instruction.set_ip(label);
        }
        self.instructions.push(instruction);
        Ok(())
    }

    /// A label that is not placed yet.
    pub fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels)
    }

    /// Places a label before the next instruction; two labels at one place take a `nop` between them.
    pub fn place(&mut self, label: Label) -> Result<(), IcedError> {
        if self.pending.is_some() {
            self.push(Ok(Instruction::with(Code::Nopd)))?;
        }
        self.pending = Some(label);
        Ok(())
    }

    /// A branch to a label.
    pub fn branch(&mut self, code: Code, Label(label): Label) -> Result<(), IcedError> {
        self.push(Instruction::with_branch(code, label))
    }

    /// The address of a constant vector, kept behind the code.
    pub fn constant(&mut self, words: Vec<u32>) -> MemoryOperand {
        let known = self.constants.iter().find(|(_, known)| *known == words).map(|(label, _)| *label);
        let label = known.unwrap_or_else(|| {
            let label = self.label();
            self.constants.push((label, words));
            label
        });
        MemoryOperand::with_base_displ(Register::RIP, label.0 as i64)
    }

    /// The bytes of the function, and how many of them are instructions. Registers that must be preserved are
    /// saved; the code must have run into its end rather than returned.
    pub fn finish(mut self, wide: bool) -> Result<(Vec<u8>, usize), IcedError> {
        let saves = self.preserved.iter().map(|&register| Instruction::with1(Code::Push_r64, register));
        let saves = saves.collect::<Result<Vec<_>, _>>()?;
        for register in self.preserved.clone().into_iter().rev() {
            self.push(Instruction::with1(Code::Pop_r64, register))?;
        }
        if wide {
            // 128-bit code of other functions would pay for dirty upper halves at every instruction.
            self.push(Ok(Instruction::with(Code::VEX_Vzeroupper)))?;
        }
        self.push(Ok(Instruction::with(Code::Retnq)))?;
        let mut all = saves;
        all.append(&mut self.instructions);
        let code = all.len();
        for (Label(label), words) in &self.constants {
            let mut first = true;
            for chunk in words.chunks(4) {
                let mut data = Instruction::with_declare_dword(chunk)?;
                if std::mem::take(&mut first) {
                    data.set_ip(*label);
                }
                all.push(data);
            }
        }
        encode(all, code)
    }
}

/// Encodes instructions at address 0, of which the first `code` are executed.
fn encode(instructions: Vec<Instruction>, code: usize) -> Result<(Vec<u8>, usize), IcedError> {
    let block = InstructionBlock::new(&instructions, 0);
    let options = BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
    let encoded = BlockEncoder::encode(64, block, options)?;
    let end =
        encoded.new_instruction_offsets.get(code).map_or(encoded.code_buffer.len(), |&end| end as usize);
    Ok((encoded.code_buffer, end))
}
