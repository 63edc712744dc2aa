//! Text in lines.

use crate::pages::chart::fitted;
use crate::pages::drawing::text_width;

/// Lines no wider than `width`, at most `max_lines`, the last of which says with an ellipsis that there was more.
///
/// A line ends at a blank or after one of `/ _ - .` where there is one in its second half, else anywhere.
pub(super) fn wrapped(text: &str, width: f32, size: f32, max_lines: usize) -> Vec<String> {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let (mut lines, mut rest) = (Vec::new(), clean.trim());
    while !rest.is_empty() {
        if lines.len() + 1 >= max_lines {
            lines.push(fitted(rest, width, size));
            break;
        }
        let (line, after) = rest.split_at(break_at(rest, width, size));
        lines.push(line.trim_end().to_owned());
        rest = after.trim_start();
    }
    lines
}

/// Where the first line ends, in bytes: at least one character.
fn break_at(text: &str, width: f32, size: f32) -> usize {
    let mut fits = 0;
    for (i, c) in text.char_indices() {
        let end = i + c.len_utf8();
        if i > 0 && text_width(&text[..end], size, false) > width {
            break;
        }
        fits = end;
    }
    if fits == text.len() {
        return fits;
    }
    let after = |signs: &[char]| text[..fits].rfind(signs).map(|i| i + 1);
    // A blank just beyond the line ends it, too.
    let blank = if text[fits..].starts_with(' ') { Some(fits) } else { after(&[' ']) };
    blank.or_else(|| after(&['/', '_', '-', '.']).filter(|&end| 2 * end >= fits)).unwrap_or(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_no_wider_than_their_room_and_lose_nothing() {
        let long = "w".repeat(300);
        for text in ["", "flip", "crop 4000×3000 at (1200, 1400)", "n01/n01_a-b.c.JPEG", &long] {
            let lines = wrapped(text, 70.0, 10.0, usize::MAX);
            assert!(lines.iter().all(|line| text_width(line, 10.0, false) <= 70.0), "{lines:?}");
            assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
            let first = wrapped(text, 70.0, 10.0, 2);
            assert!(first.len() <= 2 && first.iter().all(|l| text_width(l, 10.0, false) <= 70.0));
            assert_eq!(first.last().is_some_and(|l| l.ends_with('…')), lines.len() > 2);
        }
    }

    #[test]
    fn lines_end_where_words_do() {
        assert_eq!(wrapped("one two three", 45.0, 10.0, 9), ["one two", "three"]);
        assert_eq!(wrapped("train/n0144", 45.0, 10.0, 9), ["train/", "n0144"]);
        assert_eq!(wrapped("one\ntwo", 90.0, 10.0, 9), ["one two"]);
    }
}
