//! The header of a `.npy` file: magic, version, length, and a Python dictionary of three keys.

use std::io::{self, Read};

use super::{DType, Problem};

const MAGIC: [u8; 6] = *b"\x93NUMPY";

/// Longer than any header of a 2-D array; `NumPy`'s own limit is 10 000.
const MAX_LENGTH: u32 = 1 << 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) dtype: DType,
    pub(super) big_endian: bool,
    pub(super) fortran_order: bool,
    pub(super) shape: [u64; 2],
    /// Bytes before the data.
    pub(super) length: u64,
}

impl Header {
    /// The outer error is the reader's, the inner the header's.
    pub(super) fn read(reader: &mut impl Read) -> io::Result<Result<Self, Problem>> {
        let mut prefix = [0; 8];
        let got = read_up_to(reader, &mut prefix)?;
        if prefix[..6] != MAGIC || got < prefix.len() {
            return Ok(Err(Problem::NotNpy));
        }
        let mut length = [0; 4];
        let length_bytes = match prefix[6] {
            1 => 2,
            2 | 3 => 4,
            version => return Ok(Err(Problem::Version(version))),
        };
        let got = read_up_to(reader, &mut length[..length_bytes])?;
        let text_length = u32::from_le_bytes(length);
        if text_length > MAX_LENGTH {
            let problem = format!("it claims {text_length} bytes, a 2-D array needs 128");
            return Ok(Err(Problem::Header(problem)));
        }
        let mut text = vec![0; text_length as usize];
        if got < length_bytes || read_up_to(reader, &mut text)? < text.len() {
            return Ok(Err(Problem::Header("it ends early".into())));
        }
        let length = (prefix.len() + length_bytes + text.len()) as u64;
        Ok(parse(&text).map(|header| Self { length, ..header }))
    }
}

/// Fills `buffer` as far as there are bytes; their number.
fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

fn damaged(problem: impl Into<String>) -> Problem {
    Problem::Header(problem.into())
}

fn parse(text: &[u8]) -> Result<Header, Problem> {
    let text = std::str::from_utf8(text).map_err(|_| damaged("it is not text"))?;
    let mut cursor = Cursor { rest: text };
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    cursor.expect('{')?;
    while !cursor.accept('}') {
        let key = cursor.string()?;
        cursor.expect(':')?;
        let is_new = match key {
            "descr" => descr.replace(cursor.descr()?).is_none(),
            "fortran_order" => fortran_order.replace(cursor.boolean()?).is_none(),
            "shape" => shape.replace(cursor.tuple()?).is_none(),
            _ => return Err(damaged(format!("key '{key}' is unknown"))),
        };
        if !is_new {
            return Err(damaged(format!("key '{key}' comes twice")));
        }
        if !cursor.accept(',') {
            cursor.expect('}')?;
            break;
        }
    }
    if !cursor.rest.trim().is_empty() {
        return Err(damaged("something follows its dictionary"));
    }
    let missing = |key: &str| damaged(format!("key '{key}' is missing"));
    let descr = descr.ok_or_else(|| missing("descr"))?;
    let fortran_order = fortran_order.ok_or_else(|| missing("fortran_order"))?;
    let shape = shape.ok_or_else(|| missing("shape"))?;
    let (big_endian, name) = match descr.split_at_checked(1) {
        Some(("<", name)) => (false, name),
        Some((">", name)) => (true, name),
        Some(("=", name)) => (cfg!(target_endian = "big"), name),
        _ => (cfg!(target_endian = "big"), descr),
    };
    let dtype = [DType::F2, DType::F4, DType::F8]
        .into_iter()
        .find(|d| d.name() == name)
        .ok_or_else(|| Problem::DType(descr.into()))?;
    let shape = <[u64; 2]>::try_from(shape).map_err(Problem::Rank)?;
    Ok(Header { dtype, big_endian, fortran_order, shape, length: 0 })
}

/// What is left of a Python literal. Nothing here recurses: the header of a plain array does not nest.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn accept(&mut self, token: char) -> bool {
        let rest = self.rest.trim_start();
        let accepted = rest.strip_prefix(token);
        self.rest = accepted.unwrap_or(rest);
        accepted.is_some()
    }

    fn expect(&mut self, token: char) -> Result<(), Problem> {
        if self.accept(token) {
            return Ok(());
        }
        let got = self.rest.chars().next().map_or("its end".into(), |c| format!("'{c}'"));
        Err(damaged(format!("expected '{token}', got {got}")))
    }

    fn string(&mut self) -> Result<&'a str, Problem> {
        let quote = if self.accept('"') { '"' } else { '\'' };
        if quote == '\'' {
            self.expect(quote)?;
        }
        let (string, rest) =
            self.rest.split_once(quote).ok_or_else(|| damaged("a string does not end"))?;
        self.rest = rest;
        Ok(string)
    }

    /// A type string; a list describes records, which no cursor needs to understand to refuse.
    fn descr(&mut self) -> Result<&'a str, Problem> {
        if self.accept('[') || self.accept('(') {
            return Err(Problem::DType("of records (a structured array)".into()));
        }
        self.string()
    }

    fn boolean(&mut self) -> Result<bool, Problem> {
        let rest = self.rest.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(damaged("'fortran_order' is neither True nor False"))
    }

    fn tuple(&mut self) -> Result<Vec<u64>, Problem> {
        self.expect('(')?;
        let mut numbers = Vec::new();
        while !self.accept(')') {
            let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = self.rest.split_at(digits);
            let number = number
                .parse()
                .map_err(|_| damaged("'shape' is not a tuple of numbers below 2^64"))?;
            numbers.push(number);
            self.rest = rest.strip_prefix('L').unwrap_or(rest); // Python 2 wrote 10L
            if !self.accept(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(numbers)
    }
}

/// `(2, 3)` as Python prints it, shortened if it is long.
pub(super) fn python_tuple(shape: &[u64]) -> String {
    if let [n] = shape {
        return format!("({n},)");
    }
    let shown: Vec<String> = shape.iter().take(8).map(u64::to_string).collect();
    let more = if shape.len() > shown.len() { ", …" } else { "" };
    format!("({}{more})", shown.join(", "))
}

/// Magic to newline, padded so that the data is aligned to 64 bytes; of one or two axes always 128 bytes.
pub(super) fn bytes(dtype: &str, shape: &[u64]) -> Vec<u8> {
    let shape = python_tuple(shape);
    let text = format!("{{'descr': '<{dtype}', 'fortran_order': False, 'shape': {shape}, }}");
    let total = (MAGIC.len() + 4 + text.len() + 1).next_multiple_of(64).max(128);
    let text_length = u16::try_from(total - MAGIC.len() - 4).expect("a few numbers are short");
    let mut bytes = Vec::with_capacity(total);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&text_length.to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(total - 1, b' ');
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_every_writer_are_understood() {
        for text in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }          \n",
            "{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"<f4\"}",
            "{ 'shape' : ( 2L , 3L ) , 'descr' : '<f4' , 'fortran_order' : False }",
        ] {
            let header = parse(text.as_bytes()).unwrap();
            assert_eq!((header.dtype, header.shape), (DType::F4, [2, 3]), "{text}");
            assert!(!header.big_endian && !header.fortran_order, "{text}");
        }
        let header = parse(b"{'descr': '>f8', 'fortran_order': True, 'shape': (2, 3)}").unwrap();
        assert!(header.big_endian && header.fortran_order);
    }

    #[test]
    fn damaged_headers_are_refused() {
        for text in [
            "",
            "{",
            "{'descr",
            "{'descr': '<f4'}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 99999999999999999999999)}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)} + 1",
            "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'x': 1}",
            "{'descr': '<f4' 'fortran_order': False, 'shape': (2, 3)}",
        ] {
            assert!(matches!(parse(text.as_bytes()), Err(Problem::Header(_))), "{text}");
        }
        let nested = "{'shape': ".to_string() + &"(".repeat(60_000);
        assert!(parse(nested.as_bytes()).is_err());
        for descr in ["'<i8'", "'|b1'", "'<c8'", "'|O'", "'|f4'", "'é'", "''", "[('a', '<f4')]"] {
            let text = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (2, 3)}}");
            assert!(matches!(parse(text.as_bytes()), Err(Problem::DType(_))), "{text}");
        }
    }
}
