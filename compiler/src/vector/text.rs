//! The text form of a kernel.

use std::fmt::{self, Display, Formatter, Write};

use super::{Address, BinaryOp, CacheLevel, Inst, Kernel, Pointer, Times};

impl Display for Kernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut parameters: Vec<String> = self.pointers.iter().map(ToString::to_string).collect();
        if self.counted {
            parameters.push("rows: count".into());
        }
        writeln!(f, "kernel {}({}) lanes {} {{", self.name, parameters.join(", "), self.lanes)?;
        write_body(f, self, &self.body, 1)?;
        f.write_str("}\n")
    }
}

fn write_body(f: &mut Formatter<'_>, kernel: &Kernel, body: &[Inst], depth: usize) -> fmt::Result {
    for inst in body {
        write!(f, "{:1$}", "", depth * 2)?;
        if let Inst::Loop { times, body } = inst {
            match times {
                Times::Exactly(n) => writeln!(f, "loop {n} {{")?,
                Times::Rows => f.write_str("loop rows {\n")?,
            }
            write_body(f, kernel, body, depth + 1)?;
            writeln!(f, "{:1$}}}", "", depth * 2)?;
        } else {
            writeln!(f, "{}", InstText { kernel, inst })?;
        }
    }
    Ok(())
}

/// An instruction that is not a loop, with parameters printed by name.
struct InstText<'a> {
    kernel: &'a Kernel,
    inst: &'a Inst,
}

impl InstText<'_> {
    fn pointer(&self, pointer: Pointer) -> String {
        match self.kernel.pointers.get(pointer.index()) {
            Some(name) => (*name).to_owned(),
            None => pointer.to_string(),
        }
    }

    fn address(&self, address: Address) -> String {
        let mut text = format!("[{}", self.pointer(address.base));
        if address.offset != 0 {
            let sign = if address.offset < 0 { '-' } else { '+' };
            let _ = write!(text, " {sign} {}", address.offset.unsigned_abs());
        }
        text + "]"
    }

    fn lanes(&self, lanes: u32) -> String {
        if lanes == self.kernel.lanes { String::new() } else { format!(" lanes {lanes}") }
    }
}

impl Display for InstText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self.inst {
            Inst::Load { dst, from, lanes } => {
                write!(f, "{dst} = load {}{}", self.address(from), self.lanes(lanes))
            }
            Inst::Broadcast { dst, from, values } => {
                let values = if values == 1 { String::new() } else { format!("{values} of ") };
                write!(f, "{dst} = broadcast {values}{}", self.address(from))
            }
            Inst::Constant { dst, value } => write!(f, "{dst} = {value:?}"),
            Inst::Store { src, to, lanes } => {
                write!(f, "store {} = {src}{}", self.address(to), self.lanes(lanes))
            }
            Inst::Fma { acc, a, b } => write!(f, "{acc} += {a} * {b}"),
            Inst::FmaBroadcast { acc, a, from } => {
                write!(f, "{acc} += {a} * broadcast {}", self.address(from))
            }
            Inst::Dot { acc, a, b } => write!(f, "{acc} += pairs {a} * {b}"),
            Inst::DotBroadcast { acc, a, from } => {
                write!(f, "{acc} += pairs {a} * broadcast {}", self.address(from))
            }
            Inst::Binary { op, dst, a, b } => match op {
                BinaryOp::Add => write!(f, "{dst} = {a} + {b}"),
                BinaryOp::Sub => write!(f, "{dst} = {a} - {b}"),
                BinaryOp::Mul => write!(f, "{dst} = {a} * {b}"),
                BinaryOp::Div => write!(f, "{dst} = {a} / {b}"),
                BinaryOp::Max => write!(f, "{dst} = max {a}, {b}"),
                BinaryOp::Min => write!(f, "{dst} = min {a}, {b}"),
            },
            Inst::Pattern { dst, ref lanes } => write!(f, "{dst} = lanes {lanes:?}"),
            Inst::Permute { dst, src, pattern } => write!(f, "{dst} = permute {src} by {pattern}"),
            Inst::ShiftLeft { dst, src, bits } => write!(f, "{dst} = {src} << {bits}"),
            Inst::RoundBf16 { dst, src } => write!(f, "{dst} = bf16 {src}"),
            Inst::StoreBf16 { src, to } => write!(f, "store bf16 {} = {src}", self.address(to)),
            Inst::TileZero { dst } => write!(f, "{dst} = 0"),
            Inst::TileLoad { dst, from, step } => {
                write!(f, "{dst} = load {} step {step}", self.address(from))
            }
            Inst::TileStore { src, to, step } => write!(f, "store {} = {src} step {step}", self.address(to)),
            Inst::TileDot { acc, a, b } => write!(f, "{acc} += {a} * {b}"),
            Inst::Point { dst, base, offset } if dst == base => {
                let sign = if offset < 0 { '-' } else { '+' };
                write!(f, "{} {sign}= {}", self.pointer(dst), offset.unsigned_abs())
            }
            Inst::Point { dst, base, offset } => {
                write!(f, "{} = {} + {offset}", self.pointer(dst), self.pointer(base))
            }
            Inst::Prefetch { at, level } => {
                let level = if level == CacheLevel::First { 1 } else { 2 };
                write!(f, "prefetch level {level} {}", self.address(at))
            }
            Inst::Loop { .. } => Ok(()),
        }
    }
}
