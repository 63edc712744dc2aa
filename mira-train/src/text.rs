//! Numbers as people read them.

use std::fmt::Display;

/// A count with commas: 1,234,567.
pub(crate) fn count(n: impl Display) -> String {
    thousands(&n.to_string())
}

/// Commas between groups of three digits of the whole part, and a proper minus.
pub(crate) fn thousands(number: &str) -> String {
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |rest| ("−", rest));
    let (whole, part) =
        digits.split_once('.').map_or((digits, String::new()), |(w, p)| (w, format!(".{p}")));
    let mut out = sign.to_owned();
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(c);
    }
    out + &part
}

/// A number of bytes in its unit: 512 B, 1.5 KiB, 3.0 GiB.
pub(crate) fn bytes(n: u64) -> String {
    scaled(n as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

/// A number in the largest of its units, each `base` of the one before, in which it is at least 1; the first has no decimals.
pub(crate) fn scaled(mut n: f64, base: f64, units: &[&str]) -> String {
    let (mut units, mut is_whole) = (units.iter(), true);
    let mut unit = units.next().copied().unwrap_or_default();
    for larger in units {
        // What would be written as 1000 is one of the larger unit.
        if n < base - 0.05 {
            break;
        }
        n /= base;
        (unit, is_whole) = (larger, false);
    }
    if is_whole { format!("{n:.0} {unit}") } else { format!("{n:.1} {unit}") }
}

/// Without what a terminal would obey: names of files and words of decoders may contain anything.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '�' } else { c }).collect()
}

/// A word of a command that is to be pasted into a shell.
pub(crate) fn in_shell(word: impl Display) -> String {
    let word = word.to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "-_./,=:+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The beginning of a name for a message, which need not be as long.
pub(crate) fn shortened(name: &str) -> String {
    const MAX: usize = 80;
    match name.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_three() {
        assert_eq!([count(0), count(999), count(1000)], ["0", "999", "1,000"]);
        assert_eq!([count(1_234_567), count(100_000)], ["1,234,567", "100,000"]);
        assert_eq!([thousands("-1234.5678"), thousands("-12")], ["−1,234.5678", "−12"]);
    }

    #[test]
    fn bytes_in_their_units() {
        assert_eq!([bytes(0), bytes(1023), bytes(1024)], ["0 B", "1023 B", "1.0 KiB"]);
        assert_eq!([bytes(3 << 30), bytes(u64::MAX)], ["3.0 GiB", "16.0 EiB"]);
    }
}
