//! Tar headers: pure functions on bytes, which are not trusted.
//!
//! Read are the formats that writers of shards use: ustar, GNU's long names, and POSIX's extended headers (pax), with sizes in octal
//! digits or in base 256. A library was not used because those at hand read a long name or an extended header of any size into memory;
//! here the caller decides what to read, and nothing is taken from a header without its checksum.

/// Headers and data take whole blocks.
pub(super) const BLOCK: usize = 512;

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Bytes of data behind the header.
    pub(super) size: u64,
}

/// What is behind a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    /// GNU: the name of the next member, which its own header has no room for.
    LongName,
    /// GNU: where the next member, a link, points to.
    LongLink,
    /// POSIX: records about the next member.
    Extended,
    /// POSIX: records about all members from here on.
    Global,
    /// GNU: a file of which parts are left out.
    Sparse,
    /// A folder, link or device: nothing is behind its header.
    Nothing,
}

/// Reads a header; `None` for a block of zeros, which ends an archive.
///
/// # Errors
/// What is wrong with it.
pub(super) fn header(block: &[u8; BLOCK]) -> Result<Option<Header>, String> {
    if block.iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    // The field of the checksum counts as spaces.
    let sum = |from: &[u8]| from.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    let computed = sum(&block[..148]) + 8 * u64::from(b' ') + sum(&block[156..]);
    match number(&block[148..156]) {
        Some(checksum) if checksum == computed => {}
        _ => return Err("there is no tar header (wrong checksum)".into()),
    }
    let kind = match block[156] {
        b'1'..=b'6' => Kind::Nothing,
        b'L' => Kind::LongName,
        b'K' => Kind::LongLink,
        b'x' => Kind::Extended,
        b'g' => Kind::Global,
        b'S' => Kind::Sparse,
        // Plain files, and whatever else has data that is to be passed over.
        _ => Kind::File,
    };
    let Some(size) = number(&block[124..136]) else {
        return Err("the header's size is no number".into());
    };
    let mut name = text(&block[..100]);
    // GNU's own format has something else where POSIX's has the first part of a long name.
    if block[257..263] == *b"ustar\0" && block[345] != 0 {
        name = format!("{}/{name}", text(&block[345..500]));
    }
    let size = if kind == Kind::Nothing { 0 } else { size };
    Ok(Some(Header { kind, name, size }))
}

/// Octal digits between spaces and zeros, or a number in base 256 after a first byte of 0x80.
fn number(field: &[u8]) -> Option<u64> {
    if let [0x80, bytes @ ..] = field {
        let add = |n: u64, &byte: &u8| n.checked_mul(256)?.checked_add(byte.into());
        return bytes.iter().try_fold(0, add);
    }
    let digits = field.split(|&byte| byte == 0).next()?.trim_ascii();
    let add = |n: u64, &digit: &u8| match digit {
        b'0'..=b'7' => n.checked_mul(8)?.checked_add((digit - b'0').into()),
        _ => None,
    };
    digits.iter().try_fold(0, add)
}

/// Up to the first zero.
pub(super) fn text(field: &[u8]) -> String {
    let bytes = field.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

/// What an extended header says that matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<String>,
    pub(super) size: Option<u64>,
    pub(super) is_sparse: bool,
}

/// Reads the records of an extended header, each `LENGTH KEY=VALUE` and a line's end.
///
/// # Errors
/// What is wrong with them.
pub(super) fn records(mut bytes: &[u8]) -> Result<Records, String> {
    let mut found = Records::default();
    // Some writers fill up with zeros.
    while bytes.first().is_some_and(|&byte| byte != 0) {
        let Some((key, value, rest)) = record(bytes) else {
            return Err("the extended header has a damaged record".into());
        };
        match key {
            b"path" => found.path = Some(text(value)),
            b"size" => {
                let size = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
                found.size = Some(size.ok_or("the extended header's size is no number")?);
            }
            _ if key.starts_with(b"GNU.sparse") => found.is_sparse = true,
            _ => {}
        }
        bytes = rest;
    }
    Ok(found)
}

/// Key, value and what comes after.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let digits = bytes.iter().position(|&byte| byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let record = record.get(digits + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}
