//! What the Parquet library is not to be given: it skips a list of booleans that it does not know without reading a byte, goes on behind the end
//! of a page's header, and reads a field that it knows as what it should be, whatever the file says it is. So a file of 1 kB can keep it busy for hours (parquet 60.1.0,
//! `skip_till_depth`).
//!
//! Footers and the headers of pages are structs of Thrift's compact protocol. Known fields must have their types here. No field of Parquet's
//! format that is in them is a collection of booleans, so one is refused; the elements of any other take a byte at least, and there are no more of them than bytes.

use super::format::{Field, Fields};

/// Structs within structs, at most.
const MAX_DEPTH: usize = 64;

/// A struct that was gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Struct {
    /// In bytes.
    pub(super) length: usize,
    /// Field 3, if it is a whole number.
    pub(super) third: Option<i64>,
}

/// Why one cannot be gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// It does not end where the bytes do, or before.
    Cut,
    /// It cannot be.
    Refused(&'static str),
}

const BOOLEANS: [u8; 2] = [1, 2];
const BYTE: u8 = 3;
const I16: u8 = 4;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;
const UUID: u8 = 13;

/// Goes through the struct that `bytes` begin with.
pub(super) fn walk(bytes: &[u8], fields: Fields) -> Result<Struct, Problem> {
    let mut rest = bytes;
    let third = walk_struct(&mut rest, fields, MAX_DEPTH)?;
    Ok(Struct { length: bytes.len() - rest.len(), third })
}

fn walk_struct(rest: &mut &[u8], fields: Fields, depth: usize) -> Result<Option<i64>, Problem> {
    let (mut id, mut third) = (0_i64, None);
    loop {
        let header = byte(rest)?;
        let kind = header & 15;
        if kind == 0 {
            return Ok(third);
        }
        let step = i64::from(header >> 4);
        id = if step == 0 { zigzag(varint(rest)?) } else { id + step };
        // The library would cut others to 16 bits, which may make known ones of them.
        if !(1..=i64::from(i16::MAX)).contains(&id) {
            return Err(Problem::Refused("a field has a number that none has"));
        }
        let known = fields.iter().find(|(known, _)| *known == id).map(|(_, field)| field);
        check(known, kind)?;
        if let I16..=I64 = kind {
            let value = zigzag(varint(rest)?);
            if id == 3 {
                third = Some(value);
            }
        } else if !BOOLEANS.contains(&kind) {
            // Of a field, a boolean is in its header.
            walk_value(rest, kind, known, depth)?;
        }
    }
}

/// Whether a known field has its type.
fn check(known: Option<&Field>, kind: u8) -> Result<(), Problem> {
    let is_right = match known {
        None => true,
        Some(Field::Boolean) => BOOLEANS.contains(&kind),
        Some(Field::Byte) => kind == BYTE,
        Some(Field::Number) => (I16..=I64).contains(&kind),
        Some(Field::Double) => kind == DOUBLE,
        Some(Field::Binary) => kind == BINARY,
        Some(Field::List(_)) => kind == LIST,
        Some(Field::Struct(_)) => kind == STRUCT,
    };
    if is_right {
        Ok(())
    } else {
        Err(Problem::Refused("a field has another type than the format's"))
    }
}

fn walk_value(
    rest: &mut &[u8],
    kind: u8,
    known: Option<&Field>,
    depth: usize,
) -> Result<(), Problem> {
    let depth = depth.checked_sub(1).ok_or(Problem::Refused("it has too many levels"))?;
    match kind {
        BYTE => pass(rest, 1),
        I16..=I64 => varint(rest).map(drop),
        DOUBLE => pass(rest, 8),
        BINARY => {
            let length = varint(rest)?;
            pass(rest, length)
        }
        LIST | SET => {
            let header = byte(rest)?;
            let count = if header >> 4 == 15 { varint(rest)? } else { u64::from(header >> 4) };
            let known = match known {
                Some(Field::List(element)) => Some(*element),
                _ => None,
            };
            (0..count).try_for_each(|_| walk_element(rest, header & 15, known, depth))
        }
        MAP => {
            let count = varint(rest)?;
            let kinds = if count > 0 { byte(rest)? } else { 0 };
            (0..count).try_for_each(|_| {
                walk_element(rest, kinds >> 4, None, depth)?;
                walk_element(rest, kinds & 15, None, depth)
            })
        }
        STRUCT => {
            let fields = match known {
                Some(Field::Struct(fields)) => *fields,
                _ => &[],
            };
            walk_struct(rest, fields, depth).map(drop)
        }
        UUID => pass(rest, 16),
        _ => Err(Problem::Refused("it has a field of no type")),
    }
}

fn walk_element(
    rest: &mut &[u8],
    kind: u8,
    known: Option<&Field>,
    depth: usize,
) -> Result<(), Problem> {
    check(known, kind)?;
    if BOOLEANS.contains(&kind) {
        return Err(Problem::Refused("it has a list of booleans, which the format does not"));
    }
    walk_value(rest, kind, known, depth)
}

fn byte(rest: &mut &[u8]) -> Result<u8, Problem> {
    let (&first, others) = rest.split_first().ok_or(Problem::Cut)?;
    *rest = others;
    Ok(first)
}

fn pass(rest: &mut &[u8], length: u64) -> Result<(), Problem> {
    let length = usize::try_from(length).map_err(|_| Problem::Cut)?;
    *rest = rest.get(length..).ok_or(Problem::Cut)?;
    Ok(())
}

/// Seven bits a byte, the lowest first.
fn varint(rest: &mut &[u8]) -> Result<u64, Problem> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let next = byte(rest)?;
        value |= u64::from(next & 127) << shift;
        if next < 128 {
            return Ok(value);
        }
    }
    Err(Problem::Refused("it has a number of more than 64 bits"))
}

/// 0, −1, 1, −2, …
fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_are_gone_through_to_their_ends() {
        for (bytes, third) in [
            // Nothing; fields 1 and 3 with 5 and −2, the other way round, and by their numbers.
            (&[0][..], None),
            (&[0x15, 10, 0x25, 3, 0], Some(-2)),
            (&[0x05, 6, 3, 0x05, 2, 10, 0], Some(-2)),
            // A boolean, a byte, a double, a text, a UUID.
            (&[0x11, 0], None),
            (&[0x13, 9, 0x17, 1, 2, 3, 4, 5, 6, 7, 8, 0], None),
            (&[0x18, 2, 0xFF, 0xFF, 0], None),
            (&[0x1D, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0], None),
            // Two numbers; seventeen; none of no type; two structs of which the second has a field 3, which is not the outer one's.
            (&[0x19, 0x25, 1, 0x80, 1, 0], None),
            (&[0x19, 0xF3, 17, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 0], None),
            (&[0x19, 0, 0], None),
            (&[0x19, 0x2C, 0, 0x35, 8, 0, 0x25, 4, 0], Some(2)),
            // Maps: none; of a number to a text.
            (&[0x1B, 0, 0], None),
            (&[0x1B, 1, 0x58, 2, 1, 7, 0], None),
        ] {
            let followed = [bytes, &[1, 2]].concat();
            let expected = Ok(Struct { length: bytes.len(), third });
            assert_eq!(walk(&followed, &[]), expected, "{bytes:?}");
            for length in 0..bytes.len() {
                assert_eq!(
                    walk(&bytes[..length], &[]),
                    Err(Problem::Cut),
                    "{bytes:?} cut to {length}"
                );
            }
        }
    }

    #[test]
    fn what_keeps_the_library_busy_is_refused() {
        let many = [0xFF, 0xFF, 0xFF, 0xFF, 7];
        for (start, end) in [
            (&[0x19, 0xF1][..], &[0][..]),
            (&[0x19, 0xF2], &[0]),
            (&[0x1A, 0xF1], &[0]),
            (&[0x1B], &[0x12, 0]),
            // Within others.
            (&[0x1C, 0x19, 0xF1], &[0, 0]),
            (&[0x19, 0x19, 0xF1], &[0, 0]),
        ] {
            let refused = walk(&[start, &many, end].concat(), &[]);
            assert!(matches!(refused, Err(Problem::Refused(text)) if text.contains("booleans")));
        }
        // Structs, each in the one before; lists of what is not there; a number without an end.
        assert!(matches!(walk(&[0x1C; 100], &[]), Err(Problem::Refused(_))));
        assert_eq!(walk(&[&[0x19, 0xF3][..], &many].concat(), &[]), Err(Problem::Cut));
        assert!(matches!(
            walk(&[&[0x15][..], &[0xFF; 20]].concat(), &[]),
            Err(Problem::Refused(_))
        ));
    }

    /// Also within lists and structs.
    #[test]
    fn known_fields_have_their_types() {
        let fields: Fields = &[
            (1, Field::Number),
            (2, Field::Struct(&[(1, Field::Boolean)])),
            (3, Field::List(&Field::Struct(&[(1, Field::Binary)]))),
        ];
        for right in
            [&[0x14, 2, 0][..], &[0x2C, 0x11, 0, 0], &[0x39, 0x1C, 0x18, 0, 0, 0], &[0x39, 0, 0]]
        {
            assert!(walk(right, fields).is_ok(), "{right:?}");
        }
        for wrong in [
            &[0x18, 0, 0][..],
            &[0x25, 2, 0],
            &[0x2C, 0x15, 2, 0, 0],
            &[0x39, 0x15, 2, 0],
            &[0x39, 0x1C, 0x15, 2, 0, 0],
        ] {
            let refused = walk(wrong, fields);
            assert!(matches!(refused, Err(Problem::Refused(text)) if text.contains("type")));
        }
        // 2¹⁶ + 1, whose lower 16 bits are 1, and 0 and −1.
        for number in [&[0x82, 0x80, 0x08][..], &[0], &[1]] {
            let refused = walk(&[&[0x08][..], number, &[0, 0]].concat(), fields);
            assert!(matches!(refused, Err(Problem::Refused(text)) if text.contains("number")));
        }
    }
}
