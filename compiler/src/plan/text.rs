//! The text form of a program.

use std::fmt::{self, Display, Formatter};

use super::nest::{Operand, write_nest};
use super::{Part, Place, Precision, Program, Region};
use crate::schedule::precisions::MoreExact;

impl Display for Region {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Region::Arena => "arena",
            Region::Constants => "constants",
            Region::Scratch => "scratch",
        })
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}..{}]", self.region, self.offset, self.offset + self.bytes)
    }
}

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "program for {} batch {} threads {}",
            self.target, self.options.batch, self.options.threads
        )?;
        if self.shards > 1 {
            write!(f, " in {} shards", self.shards)?;
        }
        match self.options.precision {
            Precision::F32 => {}
            precision => write!(f, " precision {precision}")?,
        }
        if let Some(MoreExact { layers, of, .. }) = self.schedule.more_exact() {
            write!(f, ", f32 in {layers} of {of} layers")?;
        }
        f.write_str("\n")?;
        writeln!(
            f,
            "arena {} bytes, constants {} bytes, scratch {} bytes a thread",
            self.arena_bytes, self.constant_bytes, self.scratch_bytes
        )?;
        for (number, kernel) in self.kernels.iter().enumerate() {
            writeln!(f, "k{number} = {kernel}")?;
        }
        for (number, driver) in self.drivers.iter().enumerate() {
            writeln!(f, "d{number} = {{")?;
            write_nest(f, &driver.nest, 1)?;
            f.write_str("}\n")?;
        }
        for step in &self.steps {
            step.before.iter().try_for_each(|node| write!(f, "{node}, "))?;
            write!(f, "{} = {}", step.node, step.driver)?;
            let mut separator = "(";
            for (operand, place) in Operand::ALL.iter().zip(&step.operands) {
                if let Some(place) = place {
                    write!(f, "{separator}{operand} {place}")?;
                    separator = ", ";
                }
            }
            write!(f, ")  ; {}", step.layer)?;
            match step.part {
                Part::Whole => writeln!(f)?,
                part => writeln!(f, ", {part}")?,
            }
        }
        Ok(())
    }
}
