//! The frame of every page: one file, no script, nothing from elsewhere.

use super::theme;

/// Text that is safe between tags and in quoted attributes; characters a page must not hold become spaces.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A whole page; `body` is HTML, `title` is text.
pub(super) fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
         <title>{}</title>\n<style>{}{}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title),
        STYLE,
        theme::style()
    )
}

/// A table; the cells are HTML, those of the first column name their rows, those of the `emphasised` one are large.
pub(super) fn table(head: &[String], rows: &[Vec<String>], emphasised: Option<usize>) -> String {
    let head: String = head.iter().map(|h| format!("<th scope=\"col\">{h}</th>")).collect();
    let mut body = String::new();
    for row in rows {
        body.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            body += &if i == 0 {
                format!("<th scope=\"row\">{cell}</th>")
            } else if emphasised == Some(i) {
                format!("<td class=\"big\">{cell}</td>")
            } else {
                format!("<td>{cell}</td>")
            };
        }
        body.push_str("</tr>\n");
    }
    format!(
        "<div class=\"scroll\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n"
    )
}

/// A part of a page with a heading; `body` is HTML.
pub(super) fn section(heading: &str, body: &str) -> String {
    format!("<section>\n<h2>{}</h2>\n{body}</section>\n", escape(heading))
}

const STYLE: &str = include_str!("html/style.css");

/// What the tests of pages look for.
#[cfg(test)]
pub(super) mod check {
    /// Panics unless every tag is closed in its order and nothing is loaded from elsewhere or run.
    pub(in crate::pages) fn well_formed(html: &str) {
        const VOID: [&str; 4] = ["meta", "img", "br", "hr"];
        const REFUSED: [&str; 6] = ["script", "link", "iframe", "object", "embed", "base"];
        let mut open: Vec<&str> = Vec::new();
        let mut rest = html;
        while let Some(start) = rest.find('<') {
            let tag = &rest[start + 1..];
            let end = tag.find('>').expect("a tag ends");
            let inside = &tag[..end];
            assert!(!inside.contains('<'), "< inside of a tag: {inside}");
            let name = inside.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap();
            assert!(!REFUSED.contains(&name), "{inside}");
            if inside.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "closed out of order");
            } else if !inside.ends_with('/') && !inside.starts_with('!') && !VOID.contains(&name) {
                open.push(name);
            }
            attributes(inside);
            rest = &tag[end + 1..];
            if name == "style" && !inside.starts_with('/') {
                let rules = &rest[..rest.find('<').expect("style is closed")];
                for sign in ["url(", "@import", "//"] {
                    assert!(!rules.contains(sign), "{sign} in style");
                }
            }
        }
        assert!(open.is_empty(), "left open: {open:?}");
    }

    /// Looks at the names and quoted values inside of a tag.
    fn attributes(inside: &str) {
        let pieces: Vec<&str> = inside.split('"').collect();
        assert_eq!(pieces.len() % 2, 1, "open quotes: {inside}");
        for pair in pieces.chunks_exact(2) {
            let (name, value) =
                (pair[0].trim_end_matches('=').split([' ', '\n']).next_back().unwrap(), pair[1]);
            assert!(!name.starts_with("on"), "{inside}");
            if name != "xmlns"
                && ["src", "href", "srcset", "data", "poster", "action", "style"].contains(&name)
            {
                assert!(value.starts_with("data:image/png;base64,"), "{name}: {value}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_could_be_markup_is_escaped() {
        let text = "<script>alert(\"1\" & '2')</script>\u{0}\u{7f}\n";
        assert_eq!(
            escape(text),
            "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;  \n"
        );
    }

    #[test]
    fn pages_are_well_formed() {
        let rows = [vec!["a".into(), "1".into()]];
        let body = section("A & B", &table(&["x".into(), "y".into()], &rows, None));
        let page = page("</title><script>", &body);
        check::well_formed(&page);
        assert!(page.contains("<title>&lt;/title&gt;&lt;script&gt;</title>"));
    }

    #[test]
    fn the_check_itself_finds_faults() {
        for bad in [
            "<p><b></p></b>",
            "<p>",
            "<a href=\"https://x\">y</a>",
            "<script></script>",
            "<img onload=\"x\">",
            "<p class=\"x>",
        ] {
            assert!(std::panic::catch_unwind(|| check::well_formed(bad)).is_err(), "{bad}");
        }
        check::well_formed("<p>see https://example.org on foot</p>");
    }
}
