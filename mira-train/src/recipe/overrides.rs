//! `--set key=value`.

use toml::{Table, Value};

use super::Error;
use super::defaults::insert;
use super::names;
use super::resolve::at;
use super::schema;
use crate::objective::{self, METHODS};

/// The table with the settings put in, and without those that no longer apply.
pub(super) fn apply(mut table: Table, overrides: &[String]) -> Result<Table, Error> {
    let (mut set, method) = (Vec::with_capacity(overrides.len()), method_of(&table).to_owned());
    for (text, key, value) in settings(overrides)? {
        if schema::find(&key).is_none() {
            let Some(inside) = inside(&key) else {
                return Err(names::unknown(&key, false, "--set"));
            };
            let example = format!("{key}.{inside}").replace('*', "0");
            let problem = format!("`{key}` is a section; set one of its keys, such as `{example}`");
            return Err(refuse(text, problem));
        }
        let Some((position, rest)) = key.strip_prefix("views.").and_then(|k| k.split_once('.'))
        else {
            insert(&mut table, &key, value);
            set.push(key);
            continue;
        };
        let count = table.get("views").and_then(Value::as_array).map_or(0, Vec::len);
        let positions = match position.parse::<usize>() {
            Ok(i) if i < count => i..i + 1,
            Ok(_) => {
                let problem = format!(
                    "there is no views.{position}, expected 0 to {}",
                    count.saturating_sub(1)
                );
                return Err(refuse(text, problem));
            }
            // A star: all of them.
            Err(_) => 0..count,
        };
        for i in positions {
            let key = format!("views.{i}.{rest}");
            insert(&mut table, &key, value.clone());
            set.push(key);
        }
    }
    drop_what_no_longer_applies(&mut table, &method, &set);
    Ok(table)
}

/// What is to be set, with the text that says so; a table sets each of its keys.
fn settings(overrides: &[String]) -> Result<Vec<(&str, String, Value)>, Error> {
    let mut settings = Vec::with_capacity(overrides.len());
    for text in overrides {
        let (key, value) = parse(text)?;
        spread(text, key, value, &mut settings);
    }
    Ok(settings)
}

fn spread<'a>(text: &'a str, key: String, value: Value, into: &mut Vec<(&'a str, String, Value)>) {
    match value {
        Value::Table(table) if inside(&key).is_some() && !table.is_empty() => {
            for (name, value) in table {
                spread(text, format!("{key}.{name}"), value, into);
            }
        }
        value => into.push((text, key, value)),
    }
}

/// A key of a section, as one writes it after the section's name; `None` for what is no section.
fn inside(section: &str) -> Option<&'static str> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> =
        section.split('.').map(|part| if is_number(part) { "*" } else { part }).collect();
    let start = parts.join(".") + ".";
    schema::keys().find_map(|key| key.path.strip_prefix(&start))
}

fn parse(text: &str) -> Result<(String, Value), Error> {
    let refuse =
        |problem: String| refuse(text, format!("{problem}; write it as --set train.seed=3"));
    let Some((key, value)) = text.split_once('=') else {
        return Err(refuse("expected key=value, got no `=`".into()));
    };
    let (key, value) = (key.trim(), value.trim());
    if key.is_empty() || value.is_empty() {
        let part = if key.is_empty() { "key" } else { "value" };
        return Err(refuse(format!("expected key=value, got an empty {part}")));
    }
    if let Ok(mut table) = toml::from_str::<Table>(&format!("v = {value}"))
        && let (1, Some(value)) = (table.len(), table.remove("v"))
    {
        return Ok((key.into(), value));
    }
    // What opens like a quoted string, an array or a table is meant as one.
    if value.starts_with(['"', '\'', '[', '{']) || value.chars().any(char::is_control) {
        return Err(refuse(format!("the value {value} is no TOML")));
    }
    Ok((key.into(), Value::String(value.into())))
}

fn refuse(text: &str, problem: String) -> Error {
    Error::Override { text: text.into(), problem }
}

/// The objective's name.
pub(super) fn method_of(table: &Table) -> &str {
    at(table, "objective.name").and_then(Value::as_str).unwrap_or(METHODS[0].name)
}

/// Takes out what the settings `set` have made meaningless and what they replace; before, `method` was the objective.
pub(super) fn drop_what_no_longer_applies(table: &mut Table, method: &str, set: &[String]) {
    let was_set = |path: &str| set.iter().any(|key| key == path);
    if method_of(table) != method {
        drop_what_is_not_the_methods(table, set);
    }
    for key in schema::keys() {
        let Some((selector, values)) = key.only else { continue };
        // Other methods' settings are gone already; keys of several methods have the same path.
        if selector == "objective.name" || !was_set(selector) || was_set(key.path) {
            continue;
        }
        let chosen = at(table, selector);
        let name = chosen.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
        if name.is_some_and(|name| !values.contains(&name.as_str())) {
            remove(table, key.path);
        }
    }
    for (one, other) in [
        ("assignment.iterations", "assignment.tolerance"),
        ("data.label_list", "data.label_fraction"),
    ] {
        match (was_set(one), was_set(other)) {
            (true, false) => remove(table, other),
            (false, true) => remove(table, one),
            _ => {}
        }
    }
}

/// Takes out settings and sections of other methods.
fn drop_what_is_not_the_methods(table: &mut Table, set: &[String]) {
    let Some(method) = objective::find(method_of(table)) else { return };
    let was_set = |path: &str| set.iter().any(|key| key == path);
    for section in schema::OF_METHODS.iter().filter(|s| !method.sections.contains(s)) {
        let Some(inside) = table.get_mut(*section).and_then(Value::as_table_mut) else { continue };
        inside.retain(|key, _| was_set(&format!("{section}.{key}")));
        if inside.is_empty() {
            table.remove(*section);
        }
    }
    if let Some(inside) = table.get_mut("objective").and_then(Value::as_table_mut) {
        inside.retain(|key, _| key == "name" || was_set(&format!("objective.{key}")));
    }
}

fn remove(table: &mut Table, path: &str) {
    if let Some((section, leaf)) = path.split_once('.')
        && let Some(section) = table.get_mut(section).and_then(Value::as_table_mut)
    {
        section.remove(leaf);
    }
}
