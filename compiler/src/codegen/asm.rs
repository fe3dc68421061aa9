//! Machine code as text: x86-64 instructions in Intel's notation, calls with the names of what
//! they call.
//!
//! The functions are placed behind each other as in one image and their references resolved there,
//! so addresses agree between functions. They start at a made-up base address: where the code
//! really runs changes from one process to the next.

use std::collections::HashMap;
use std::fmt::Write;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Formatter, Instruction, IntelFormatter, OpKind,
    SymbolResolver, SymbolResult,
};

use super::{CodegenError, CompiledFunction, Form, Reference};

/// Address of the first function.
const BASE: u64 = 0x1000;
/// Alignment of functions.
const ALIGNMENT: u64 = 64;
/// Bytes of constants on a line.
const CONSTANTS_A_LINE: usize = 16;

/// The text of the functions whose names `admits`.
///
/// Fails on machines other than x86-64.
pub fn disassemble(
    functions: &[CompiledFunction],
    admits: impl Fn(&str) -> bool,
) -> Result<String, CodegenError> {
    if !cfg!(target_arch = "x86_64") {
        return Err(CodegenError::Disassembler { architecture: std::env::consts::ARCH });
    }
    let image = Image::new(functions);
    let mut formatter = formatter(&image);
    let mut text = String::new();
    for (function, &start) in functions.iter().zip(&image.starts) {
        if admits(&function.name) {
            text.push_str(if text.is_empty() { "" } else { "\n" });
            write_function(&mut text, function, start, &image, &mut formatter);
        }
    }
    Ok(text)
}

/// Where functions are.
struct Image {
    /// Address of each function.
    starts: Vec<u64>,
    /// Addresses of names. What is referred to but not listed comes behind all functions.
    addresses: HashMap<String, u64>,
}

impl Image {
    fn new(functions: &[CompiledFunction]) -> Self {
        let mut next = BASE;
        let mut place = |bytes: usize| {
            let start = next;
            next = (start + bytes as u64).next_multiple_of(ALIGNMENT);
            start
        };
        let starts: Vec<u64> = functions.iter().map(|function| place(function.code.len())).collect();
        let names = functions.iter().map(|function| function.name.clone());
        let mut addresses: HashMap<String, u64> = names.zip(starts.iter().copied()).collect();
        for reference in functions.iter().flat_map(|function| &function.references) {
            addresses.entry(reference.name.clone()).or_insert_with(|| place(1));
        }
        Self { starts, addresses }
    }

    /// The bytes of a function at `start` with its references filled in.
    fn linked(&self, function: &CompiledFunction, start: u64) -> Vec<u8> {
        let mut code = function.code.clone();
        for Reference { offset, form, name, addend } in &function.references {
            let Some(&address) = self.addresses.get(name) else { continue };
            let at = *offset as usize;
            let value = address.wrapping_add_signed(*addend);
            let relative = value.wrapping_sub(start + u64::from(*offset));
            let bytes = match form {
                Form::Relative4 => relative.to_le_bytes()[..4].to_vec(),
                Form::Absolute8 => value.to_le_bytes().to_vec(),
                Form::Other => continue,
            };
            if let Some(field) = code.get_mut(at..at + bytes.len()) {
                field.copy_from_slice(&bytes);
            }
        }
        code
    }
}

/// Finds names of addresses that instructions hold.
struct Names(HashMap<u64, String>);

impl SymbolResolver for Names {
    fn symbol(
        &mut self,
        instruction: &Instruction,
        _operand: u32,
        _instruction_operand: Option<u32>,
        address: u64,
        _address_size: u32,
    ) -> Option<SymbolResult<'_>> {
        // Only these are sure to hold an address; other numbers may equal one by chance.
        let is_address =
            instruction.op0_kind() == OpKind::NearBranch64 || instruction.code() == Code::Mov_r64_imm64;
        let name = self.0.get(&address).filter(|_| is_address)?;
        Some(SymbolResult::with_str(address, name))
    }
}

fn formatter(image: &Image) -> IntelFormatter {
    let names = image.addresses.iter().map(|(name, &address)| (address, name.clone())).collect();
    let mut formatter = IntelFormatter::with_options(Some(Box::new(Names(names))), None);
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_branch_leading_zeros(false);
    options.set_space_after_operand_separator(true);
    formatter
}

fn write_function(
    text: &mut String,
    function: &CompiledFunction,
    start: u64,
    image: &Image,
    formatter: &mut IntelFormatter,
) {
    let code = image.linked(function, start);
    let (instructions, constants) = decode(&code, start);
    let mut line = String::new();
    let _ = writeln!(text, "{}:  ; {} bytes", function.name, code.len());
    for instruction in &instructions {
        line.clear();
        formatter.format(instruction, &mut line);
        let _ = writeln!(text, "  {:6x}  {line}", instruction.ip());
    }
    for (number, bytes) in code[constants..].chunks(CONSTANTS_A_LINE).enumerate() {
        let words: Vec<String> = bytes.chunks(4).map(hexadecimal).collect();
        let address = start + (constants + number * CONSTANTS_A_LINE) as u64;
        let _ = writeln!(text, "  {address:6x}  .long {}", words.join(", "));
    }
}

/// A little-endian word.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().rev().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// The instructions of a function, and the offset of the constants behind them.
///
/// Nothing marks where code ends. Constants are what instructions refer to behind themselves, and
/// bytes between the last instruction that does not go on to the next one and the first constant
/// are padding.
fn decode(code: &[u8], start: u64) -> (Vec<Instruction>, usize) {
    let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
    let mut instructions = Vec::new();
    let mut constants = code.len();
    while decoder.can_decode() && decoder.position() < constants {
        let instruction = decoder.decode();
        if instruction.is_ip_rel_memory_operand() {
            let target = instruction.ip_rel_memory_address().wrapping_sub(start);
            let target = usize::try_from(target).unwrap_or(usize::MAX);
            if target >= decoder.position() {
                constants = constants.min(target);
            }
        }
        instructions.push(instruction);
    }
    let ends = |instruction: &Instruction| {
        matches!(
            instruction.flow_control(),
            FlowControl::Return
                | FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch
                | FlowControl::Exception
        )
    };
    let length = instructions.iter().rposition(ends).map_or(instructions.len(), |last| last + 1);
    instructions.truncate(length);
    (instructions, constants)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    fn function(name: &str, code: &[u8], references: Vec<Reference>) -> CompiledFunction {
        CompiledFunction { name: name.to_owned(), clif: None, code: code.to_vec(), references }
    }

    fn call(offset: u32, name: &str) -> Reference {
        Reference { offset, form: Form::Relative4, name: name.to_owned(), addend: -4 }
    }

    #[test]
    fn calls_name_what_they_call() {
        let caller = [0xe8, 0, 0, 0, 0, 0xe8, 0, 0, 0, 0, 0xc3];
        let functions = [
            function("run", &caller, vec![call(1, "leaf"), call(6, "outside")]),
            function("leaf", &[0xc3], vec![]),
        ];
        let expected = "\
run:  ; 11 bytes
    1000  call leaf
    1005  call outside
    100a  ret

leaf:  ; 1 bytes
    1040  ret
";
        assert_eq!(disassemble(&functions, |_| true).unwrap(), expected);
        let chosen = disassemble(&functions, |name| name == "leaf").unwrap();
        assert_eq!(chosen, "leaf:  ; 1 bytes\n    1040  ret\n");
    }

    #[test]
    fn constants_are_not_taken_for_instructions() {
        // movups xmm0, [rip + 8]; ret; zeros up to the constant at 16.
        let mut code = vec![0x0f, 0x10, 0x05, 9, 0, 0, 0, 0xc3];
        code.resize(16, 0);
        code.extend(1.0f32.to_le_bytes().repeat(4));
        let text = disassemble(&[function("k", &code, vec![])], |_| true).unwrap();
        let expected = "\
k:  ; 32 bytes
    1000  movups xmm0, [0x1010]
    1007  ret
    1010  .long 0x3f800000, 0x3f800000, 0x3f800000, 0x3f800000
";
        assert_eq!(text, expected);
    }

    #[test]
    fn addresses_of_absolute_references_are_names() {
        let mut code = vec![0x48, 0xb8];
        code.extend([0; 8]);
        code.push(0xc3);
        let reference = Reference { offset: 2, form: Form::Absolute8, name: "leaf".to_owned(), addend: 0 };
        let text = disassemble(&[function("k", &code, vec![reference])], |_| true).unwrap();
        assert!(text.contains("leaf\n"), "{text}");
    }
}
