//! A list of instructions on its way to bytes: labels, registers for addresses, and a pool of
//! constants behind the code.

use iced_x86::{Code, Encoder, IcedError, Instruction, MemoryOperand, OpKind, Register};

/// Where the integer parameters of a function arrive (System V).
const PARAMETERS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

/// Other registers for addresses and counters, those that need not be preserved first. RAX stays
/// free for intermediate values.
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
    /// A function of `parameters` integer parameters, at most six, and the registers that they
    /// arrive in.
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

    /// Places a label before the next instruction; two labels at one place take a `nop` between
    /// them.
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

    /// The bytes of the function, and how many of them are instructions. Registers that must be
    /// preserved are saved; the code must have run into its end rather than returned.
    pub fn finish(mut self, wide: bool) -> Result<(Vec<u8>, usize), IcedError> {
        let saves = self.preserved.iter().map(|&register| Instruction::with1(Code::Push_r64, register));
        let saves = saves.collect::<Result<Vec<_>, _>>()?;
        for register in self.preserved.clone().into_iter().rev() {
            self.push(Instruction::with1(Code::Pop_r64, register))?;
        }
        if wide {
            // 128-bit code of other functions would pay for dirty upper halves at every
            // instruction.
            self.push(Ok(Instruction::with(Code::VEX_Vzeroupper)))?;
        }
        self.push(Ok(Instruction::with(Code::Retnq)))?;
        let mut encoding = Encoding::new(self.labels);
        for instruction in saves.iter().chain(&self.instructions) {
            encoding.add(instruction)?;
        }
        let (mut encoding, code) = encoding.end_of_code();
        for (label, words) in &self.constants {
            encoding.constant(*label, words);
        }
        Ok((encoding.finish(), code))
    }
}

/// Bytes of instructions that are encoded one after the other, at address 0.
struct Encoding {
    encoder: Encoder,
    bytes: Vec<u8>,
    /// Bytes so far.
    length: usize,
    /// Where labels are, by number; [`usize::MAX`] as long as they are nowhere.
    places: Vec<usize>,
    /// Distances of 32 bits that are not known yet: where they are, where they count from, and
    /// where to.
    distances: Vec<(usize, usize, Label)>,
}

impl Encoding {
    fn new(labels: u64) -> Self {
        Self {
            encoder: Encoder::new(64),
            bytes: Vec::new(),
            length: 0,
            places: vec![usize::MAX; labels as usize + 1],
            distances: Vec::new(),
        }
    }

    /// The next instruction; its own address is its label, or 0, which is none.
    fn add(&mut self, instruction: &Instruction) -> Result<(), IcedError> {
        self.place(Label(instruction.ip()));
        let start = self.length;
        self.length += self.encoder.encode(instruction, start as u64)?;
        let offsets = self.encoder.get_constant_offsets();
        if instruction.op0_kind() == OpKind::NearBranch64 {
            let label = Label(instruction.near_branch64());
            self.distances.push((start + offsets.immediate_offset(), self.length, label));
        } else if instruction.is_ip_rel_memory_operand() {
            let label = Label(instruction.ip_rel_memory_address());
            self.distances.push((start + offsets.displacement_offset(), self.length, label));
        }
        Ok(())
    }

    /// Ends the instructions, and tells how many bytes they are.
    fn end_of_code(mut self) -> (Self, usize) {
        self.bytes = self.encoder.take_buffer();
        let code = self.length;
        (self, code)
    }

    /// Appends a constant.
    fn constant(&mut self, label: Label, words: &[u32]) {
        self.place(label);
        self.bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        self.length = self.bytes.len();
    }

    fn place(&mut self, Label(label): Label) {
        self.places[label as usize] = self.length;
    }

    /// The bytes, with all distances written.
    fn finish(mut self) -> Vec<u8> {
        for (at, from, Label(to)) in self.distances {
            let distance = self.places[to as usize] as i64 - from as i64;
            self.bytes[at..at + 4].copy_from_slice(&(distance as i32).to_le_bytes());
        }
        self.bytes
    }
}
