//! The header of an array file: a Python dictionary with the keys `descr`, `fortran_order` and
//! `shape`.

use std::io::{self, Read};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Real headers have about 120 bytes; NumPy itself reads none of more than 10,000 characters.
const LONGEST: usize = 10_000;
/// As many axes as NumPy's arrays can have.
const MOST_AXES: usize = 64;

/// What a header says.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    /// The type of the elements.
    pub element: Element,
    /// Whether the most significant byte of an element comes first.
    pub big_endian: bool,
    /// Extents.
    pub shape: Vec<u64>,
    /// Bytes of the file before the elements.
    pub length: u64,
}

/// Types of elements that are read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Element {
    F32,
    F64,
    U8,
}

impl Element {
    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        match self {
            Element::F32 => 4,
            Element::F64 => 8,
            Element::U8 => 1,
        }
    }

    /// Appends the elements that `data` holds.
    pub fn decode(self, data: &[u8], big_endian: bool, to: &mut Vec<f32>) {
        let single = if big_endian { f32::from_be_bytes } else { f32::from_le_bytes };
        let double = if big_endian { f64::from_be_bytes } else { f64::from_le_bytes };
        match self {
            Element::F32 => to.extend(data.as_chunks().0.iter().map(|bytes| single(*bytes))),
            Element::F64 => to.extend(data.as_chunks().0.iter().map(|bytes| double(*bytes) as f32)),
            Element::U8 => to.extend(data.iter().map(|&byte| f32::from(byte))),
        }
    }
}

/// Why there is no header.
pub(super) enum HeaderError {
    Io(io::Error),
    Format(String),
}

impl From<io::Error> for HeaderError {
    fn from(source: io::Error) -> Self {
        HeaderError::Io(source)
    }
}

impl From<String> for HeaderError {
    fn from(reason: String) -> Self {
        HeaderError::Format(reason)
    }
}

impl Header {
    /// Reads up to the first element.
    pub fn read(file: &mut impl Read) -> Result<Self, HeaderError> {
        let mut start = Vec::new();
        file.take(8).read_to_end(&mut start)?;
        if !start.starts_with(MAGIC) || start.len() < 8 {
            return Err("not an array file: .npy files start with \\x93NUMPY".to_owned().into());
        }
        let (prefix, length) = match start[6] {
            1 => (10, u32::from(u16::from_le_bytes(read_bytes(file)?))),
            2 | 3 => (12, u32::from_le_bytes(read_bytes(file)?)),
            version => {
                return Err(format!("version {version} of the format is unknown; 1 to 3 are read").into());
            }
        };
        if length as usize > LONGEST {
            return Err(format!("a header of {length} bytes; at most {LONGEST} are read").into());
        }
        let mut text = vec![0; length as usize];
        file.read_exact(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        let header =
            Dictionary::parse(&text).and_then(|dictionary| dictionary.header(prefix + u64::from(length)));
        header.map_err(|reason| HeaderError::Format(format!("the header is damaged or unusual: {reason}")))
    }
}

fn read_bytes<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The values of the three keys.
#[derive(Default)]
struct Dictionary {
    descr: Option<String>,
    fortran_order: Option<bool>,
    shape: Option<Vec<u64>>,
}

impl Dictionary {
    fn parse(text: &str) -> Result<Self, String> {
        let mut scanner = Scanner { rest: text.trim() };
        let mut dictionary = Dictionary::default();
        scanner.expect("{")?;
        while !scanner.accept("}") {
            let key = scanner.string()?;
            scanner.expect(":")?;
            let twice = match key {
                "descr" => dictionary.descr.replace(scanner.string()?.to_owned()).is_some(),
                "fortran_order" => dictionary.fortran_order.replace(scanner.boolean()?).is_some(),
                "shape" => dictionary.shape.replace(scanner.tuple()?).is_some(),
                other => return Err(format!("unknown key '{other}'")),
            };
            if twice {
                return Err(format!("the key '{key}' is there twice"));
            }
            if !scanner.accept(",") {
                scanner.expect("}")?;
                break;
            }
        }
        match scanner.rest {
            "" => Ok(dictionary),
            rest => Err(format!("{} after the dictionary", excerpt(rest))),
        }
    }

    fn header(self, length: u64) -> Result<Header, String> {
        let missing = |key: &str| format!("the key '{key}' is missing");
        let descr = self.descr.ok_or_else(|| missing("descr"))?;
        let fortran = self.fortran_order.ok_or_else(|| missing("fortran_order"))?;
        let shape = self.shape.ok_or_else(|| missing("shape"))?;
        let (big_endian, element) = element(&descr)?;
        // With at most one axis longer than 1, both orders are the same, and NumPy may call it
        // either.
        if fortran && shape.iter().filter(|&&extent| extent != 1).count() > 1 {
            return Err("the array is in Fortran order; save it with numpy.ascontiguousarray(x)".to_owned());
        }
        Ok(Header { element, big_endian, shape, length })
    }
}

/// Byte order (whether big-endian) and type of a NumPy type string such as `<f4`.
fn element(descr: &str) -> Result<(bool, Element), String> {
    let element = match descr.trim_start_matches(['<', '>', '|', '=']) {
        "f4" => Element::F32,
        "f8" => Element::F64,
        "u1" => Element::U8,
        _ => {
            return Err(format!(
                "elements of type '{}' are not read; f4, f8 and u1 are: save x.astype('float32')",
                excerpt(descr)
            ));
        }
    };
    Ok((descr.starts_with('>'), element))
}

/// Reads the few forms of Python's literals that headers use.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn accept(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start();
        self.rest = rest.strip_prefix(token).unwrap_or(rest);
        self.rest.len() < rest.len()
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        match self.accept(token) {
            true => Ok(()),
            false => Err(format!("{token} expected, found {}", excerpt(self.rest))),
        }
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let quote = if self.accept("'") { '\'' } else { '"' };
        if quote == '"' && !self.accept("\"") {
            return Err(format!("a string expected, found {}", excerpt(self.rest)));
        }
        let (string, rest) = self.rest.split_once(quote).ok_or("a string without end")?;
        self.rest = rest;
        Ok(string)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        match (self.accept("True"), self.accept("False")) {
            (true, false) => Ok(true),
            (false, true) => Ok(false),
            _ => Err(format!("True or False expected, found {}", excerpt(self.rest))),
        }
    }

    /// Numbers in parentheses, with a comma behind the last one or not.
    fn tuple(&mut self) -> Result<Vec<u64>, String> {
        let mut extents = Vec::new();
        self.expect("(")?;
        while !self.accept(")") {
            if extents.len() == MOST_AXES {
                return Err(format!("more than {MOST_AXES} axes"));
            }
            extents.push(self.number()?);
            if !self.accept(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(extents)
    }

    fn number(&mut self) -> Result<u64, String> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let number =
            digits.parse().map_err(|_| format!("a number expected, found {}", excerpt(self.rest)))?;
        self.rest = rest;
        Ok(number)
    }
}

/// The beginning of a text, fit to be shown.
fn excerpt(text: &str) -> String {
    match text.chars().take(20).collect::<String>() {
        start if start.is_empty() => "the end".to_owned(),
        start => start.escape_debug().to_string(),
    }
}

/// The header of an array of 32-bit floats, padded so that the elements start at a multiple of 64
/// bytes, as NumPy does it.
pub(super) fn bytes(shape: &[u64]) -> Vec<u8> {
    let mut tuple: String = shape.iter().map(|extent| format!("{extent}, ")).collect();
    if shape.len() > 1 {
        tuple.truncate(tuple.len() - 2);
    }
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", tuple.trim_end());
    let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
    text.extend(std::iter::repeat_n(' ', length - 1 - text.len()));
    text.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}
