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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_three() {
        assert_eq!([count(0), count(999), count(1000)], ["0", "999", "1,000"]);
        assert_eq!([count(1_234_567), count(100_000)], ["1,234,567", "100,000"]);
        assert_eq!([thousands("-1234.5678"), thousands("-12")], ["−1,234.5678", "−12"]);
    }
}
