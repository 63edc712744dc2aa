//! Keys nobody knows: where they belong, or what was meant.

use toml::{Table, Value};

use super::Error;
use super::schema;

/// Every key of a table is one of the schema's.
pub(super) fn check(table: &Table, origin: &str) -> Result<(), Error> {
    walk(table, "", origin)
}

fn walk(table: &Table, prefix: &str, origin: &str) -> Result<(), Error> {
    for (name, value) in table {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if schema::find(&path).is_some() {
            continue;
        }
        match value {
            Value::Table(inside) if has_below(&path) => walk(inside, &path, origin)?,
            Value::Array(items) if has_below(&format!("{path}.0")) => {
                for (i, item) in items.iter().enumerate() {
                    match item {
                        Value::Table(inside) => walk(inside, &format!("{path}.{i}"), origin)?,
                        _ => return Err(not_a_table(&format!("{path}.{i}"), item, origin)),
                    }
                }
            }
            _ if has_below(&path) => return Err(not_a_table(&path, value, origin)),
            _ => return Err(unknown(&path, value.is_table() && prefix.is_empty(), origin)),
        }
    }
    Ok(())
}

/// Whether the schema has keys under this path.
fn has_below(path: &str) -> bool {
    let start = format!("{}.", schema::pattern(path));
    schema::keys().any(|key| key.path.starts_with(&start))
}

fn not_a_table(path: &str, value: &Value, origin: &str) -> Error {
    let array = has_below(&format!("{path}.0"));
    let example = if array { format!("[[{path}]]") } else { format!("[{path}]") };
    Error::BadValue {
        origin: origin.into(),
        key: path.into(),
        expected: if array { "an array of tables" } else { "a table" }.into(),
        got: super::resolve::shown(value),
        example,
    }
}

/// The error for a path that the schema does not have.
pub(super) fn unknown(path: &str, is_section: bool, origin: &str) -> Error {
    let suggestion = if is_section { section_like(path) } else { key_like(path) };
    let what = if is_section { "section" } else { "key" };
    Error::UnknownKey { origin: origin.into(), what, key: path.into(), suggestion }
}

fn section_like(name: &str) -> String {
    if places().any(|place| split(place).1 == name) {
        return key_like(name);
    }
    let sections = schema::sections();
    nearest(name, sections.iter().copied()).map_or_else(
        || format!("the sections are {}", sections.join(", ")),
        |section| format!("did you mean [{section}]?"),
    )
}

fn key_like(path: &str) -> String {
    let leaf = split(path).1;
    let homes = homes(leaf);
    if !homes.is_empty() {
        return format!("`{leaf}` belongs in {}", either(&homes));
    }
    let pattern = schema::pattern(path);
    let here = split(&pattern).0;
    let siblings = || places().filter(|place| split(place).0 == here).map(|place| split(place).1);
    if let Some(name) = nearest(leaf, siblings()) {
        return format!("did you mean `{name}`?");
    }
    if let Some(name) = nearest(leaf, places().map(|place| split(place).1)) {
        return format!("did you mean `{name}` in {}?", either(&self::homes(name)));
    }
    let known: Vec<&str> = siblings().collect();
    if known.is_empty() {
        return format!("the sections are {}", schema::sections().join(", "));
    }
    format!("{} has {}", header(here), known.join(", "))
}

/// Keys, and the tables within sections.
fn places() -> impl Iterator<Item = &'static str> {
    let tables = ["views.*.jitter", "views.*.blur", "views.*.solarize"];
    schema::keys().map(|key| key.path).chain(tables)
}

/// Section and last name.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// The headers of all sections that have a key of this name.
fn homes(leaf: &str) -> Vec<String> {
    let having = places().map(split).filter(|(_, name)| *name == leaf);
    let mut homes: Vec<String> = having.map(|(home, _)| header(home)).collect();
    // Several methods may have a key of this name.
    homes.dedup();
    homes
}

fn header(section: &str) -> String {
    if section == "views.*" {
        "[[views]]".into()
    } else {
        format!("[{}]", section.replace(".*", ""))
    }
}

fn either(items: &[String]) -> String {
    match items {
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
        [] => String::new(),
    }
}

/// The candidate within a third of the name's length, in edits with transpositions.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let name = name.to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&name, &c.replace('-', "_")), c))
        .filter(|(distance, c)| *distance <= c.len().max(name.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}
