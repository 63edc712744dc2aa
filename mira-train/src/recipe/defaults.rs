//! Settings that a recipe leaves out, and settings that do not apply.

use toml::{Table, Value};

use super::Error;
use super::names;
use super::resolve::{at, example, shown};
use super::schema::{self, Fallback, Key};
use crate::objective::{self, METHODS, Method};

/// Writes the defaults into a table whose keys are known.
pub(super) fn fill(table: &mut Table, origin: &str) -> Result<(), Error> {
    table.entry("views").or_insert_with(|| Value::Array(Vec::new()));
    let method = method(table, origin)?;
    for key in schema::keys() {
        match key.path.strip_prefix("views.*.") {
            None => fill_one(table, key, key.path, method, origin)?,
            Some(rest) => {
                for i in 0..num_views(table) {
                    fill_one(table, key, &format!("views.{i}.{rest}"), method, origin)?;
                }
            }
        }
    }
    Ok(())
}

/// The method that a recipe names.
fn method(table: &Table, origin: &str) -> Result<&'static Method, Error> {
    let name = super::overrides::method_of(table);
    objective::find(name).ok_or_else(|| {
        let all = METHODS.iter().map(|method| method.name);
        let near = names::nearest(name, all.clone());
        Error::BadValue {
            origin: origin.into(),
            key: "objective.name".into(),
            expected: format!("one of {}", all.collect::<Vec<_>>().join(", ")),
            got: near.map_or_else(
                || format!("\"{name}\""),
                |near| format!("\"{name}\" (did you mean \"{near}\"?)"),
            ),
            example: format!("objective.name = \"{}\"", METHODS[0].name),
        }
    })
}

/// Refuses a setting of a section that the method does not have; whether the method has it.
fn has_section(method: &Method, path: &str, is_present: bool, origin: &str) -> Result<bool, Error> {
    let section = path.split('.').next().unwrap_or(path);
    if !schema::OF_METHODS.contains(&section) || method.sections.contains(&section) {
        return Ok(true);
    }
    if !is_present {
        return Ok(false);
    }
    let having = METHODS.iter().filter(|m| m.sections.contains(&section));
    Err(Error::DoesNotApply {
        origin: origin.into(),
        key: path.into(),
        selector: "objective.name",
        got: format!("\"{}\"", method.name),
        expected: having.map(|m| format!("\"{}\"", m.name)).collect::<Vec<_>>().join(" or "),
    })
}

fn num_views(table: &Table) -> usize {
    table.get("views").and_then(Value::as_array).map_or(0, Vec::len)
}

fn fill_one(
    table: &mut Table,
    key: &Key,
    path: &str,
    method: &Method,
    origin: &str,
) -> Result<(), Error> {
    let present = at(table, path).is_some();
    if !has_section(method, path, present, origin)? {
        return Ok(());
    }
    if let Some((selector, values)) = key.only {
        // Selectors come before what they select in the schema, so they are filled in by now.
        let Some(chosen) = at(table, selector) else { return Ok(()) };
        let name = chosen.as_str().map_or_else(|| chosen.to_string(), str::to_owned);
        if !values.contains(&name.as_str()) {
            // Another method may have a key of this name.
            let is_shared =
                selector == "objective.name" && method.keys.iter().any(|k| k.path == path);
            if !present || is_shared {
                return Ok(());
            }
            let quote = |v: &&str| if *v == "true" { (*v).into() } else { format!("\"{v}\"") };
            return Err(Error::DoesNotApply {
                origin: origin.into(),
                key: path.into(),
                selector,
                got: shown(chosen),
                expected: values.iter().map(quote).collect::<Vec<_>>().join(" or "),
            });
        }
    }
    if present {
        return Ok(());
    }
    let missing = || Error::MissingKey {
        origin: origin.into(),
        key: path.into(),
        expected: key.kind.expected(),
        example: example(key, path),
    };
    let section = path.rsplit_once('.').map_or("", |(section, _)| section);
    if let Some((_, published)) = method.defaults.iter().find(|(of, _)| *of == path) {
        insert(table, path, parse(published));
        return Ok(());
    }
    match key.default {
        Fallback::Required => Err(missing()),
        // A table that was begun without its switch would silently do nothing.
        Fallback::Value(_) if key.leaf() == "probability" && at(table, section).is_some() => {
            Err(missing())
        }
        Fallback::Optional => Ok(()),
        Fallback::Value(text) => {
            insert(table, path, parse(text));
            Ok(())
        }
        Fallback::Width => {
            let architecture = at(table, "model.architecture").and_then(Value::as_str);
            let small = matches!(architecture, Some("resnet8" | "resnet14" | "resnet20"));
            insert(table, path, Value::Integer(if small { 16 } else { 64 }));
            Ok(())
        }
    }
}

fn parse(text: &str) -> Value {
    let table: Table = toml::from_str(&format!("v = {text}")).expect("the schema's defaults parse");
    table["v"].clone()
}

/// Puts a value where a path leads, making the tables on the way.
pub(super) fn insert(table: &mut Table, path: &str, value: Value) {
    let Some((first, rest)) = path.split_once('.') else {
        table.insert(path.to_owned(), value);
        return;
    };
    let inside = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
    match inside {
        Value::Table(inside) => insert(inside, rest, value),
        Value::Array(items) => {
            let Some((position, rest)) = rest.split_once('.') else { return };
            let item = position.parse::<usize>().ok().and_then(|i| items.get_mut(i));
            if let Some(Value::Table(inside)) = item {
                insert(inside, rest, value);
            }
        }
        _ => {}
    }
}
