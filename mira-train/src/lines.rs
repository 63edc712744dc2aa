//! Lines of logs, which may hold anything: one at a time, and none that fills memory.

use std::io::{self, BufRead, Read as _};

/// Bytes of a line beyond which it is no record.
const MAX_LINE: u64 = 1 << 20;

/// A line that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// With its end.
    Whole,
    /// Longer than a record can be: it begins as it was read, the rest was passed over.
    TooLong,
    /// The last one, without its end: torn, where whoever wrote it was killed.
    Torn,
}

/// Reads the next line into `line`, in place of what that held; `None` at the end.
pub(crate) fn next_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<Line>> {
    line.clear();
    if file.by_ref().take(MAX_LINE).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.ends_with(b"\n") {
        return Ok(Some(Line::Whole));
    }
    if (line.len() as u64) < MAX_LINE {
        return Ok(Some(Line::Torn));
    }
    file.skip_until(b'\n')?;
    Ok(Some(Line::TooLong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_they_end_however_long() {
        let long = vec![b'x'; 3 << 20];
        let file = [b"a\n\n", &long[..], b"\nb\nc"].concat();
        let (mut rest, mut line, mut found) = (&file[..], Vec::new(), Vec::new());
        while let Some(kind) = next_line(&mut rest, &mut line).unwrap() {
            assert!(line.len() as u64 <= MAX_LINE);
            found.push((kind, line.first().copied()));
        }
        let expected = [
            (Line::Whole, Some(b'a')),
            (Line::Whole, Some(b'\n')),
            (Line::TooLong, Some(b'x')),
            (Line::Whole, Some(b'b')),
            (Line::Torn, Some(b'c')),
        ];
        assert_eq!(found, expected);
    }
}
