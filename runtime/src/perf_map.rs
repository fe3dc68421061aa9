//! Names of generated functions for profilers: the map that Linux perf and others look for.
//!
//! A line is an address and a size, both hexadecimal, and a name, as `jit-interface.txt` in the
//! documentation of perf has it.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use xcc_compiler::codegen::jit::Symbol;

use crate::Model;
use crate::replace::replace;

/// Writes the map of `model` for this process and returns its path, which profilers prescribe. It
/// takes the place of an earlier one, and stays when the process ends.
pub fn write(model: &Model) -> io::Result<PathBuf> {
    let path = PathBuf::from(format!("/tmp/perf-{}.map", std::process::id()));
    let text = text(model.symbols());
    replace(&path, |file| file.write_all(text.as_bytes()))?;
    Ok(path)
}

fn text(symbols: &[Symbol]) -> String {
    let mut text = String::new();
    for Symbol { name, address, bytes } in symbols {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{address:x} {bytes:x} {name}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_address_a_size_and_a_name() {
        let symbol = |name: &str, address, bytes| Symbol { name: name.to_owned(), address, bytes };
        let symbols = [symbol("conv_1x1", 0x7f00_0000_1000, 300), symbol("run", 0x7f00_0000_1140, 16)];
        assert_eq!(text(&symbols), "7f0000001000 12c conv_1x1\n7f0000001140 10 run\n");
    }
}
