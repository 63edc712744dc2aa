//! `extends = "NAME"`: a recipe that states only in what it differs from another.

use std::path::Path;

use toml::{Table, Value};

use super::{Error, overrides};

/// Recipes that extend one another, at most.
const MAX_DEPTH: usize = 8;

/// The table with everything of the recipe that it extends, if it does, but what it sets itself and what no longer applies by that.
pub(super) fn expand(table: Table, origin: &str) -> Result<Table, Error> {
    expand_within(table, origin, MAX_DEPTH)
}

fn expand_within(mut table: Table, origin: &str, depth: usize) -> Result<Table, Error> {
    let name = match table.remove("extends") {
        None => return Ok(table),
        Some(Value::String(name)) if !name.is_empty() => name,
        Some(other) => {
            return Err(Error::BadValue {
                origin: origin.into(),
                key: "extends".into(),
                expected: "the name of a recipe, or a .toml file".into(),
                got: super::resolve::shown(&other),
                example: "extends = \"default\"".into(),
            });
        }
    };
    if depth == 0 {
        return Err(Error::Conflict {
            origin: origin.into(),
            problem: format!("more than {MAX_DEPTH} recipes extend one another"),
            remedy: "see that none extends itself".into(),
        });
    }
    let (text, base_origin) = text_of(&name, origin)?;
    let base: Table = toml::from_str(&text).map_err(|e| Error::syntax(&base_origin, &text, &e))?;
    let mut base = expand_within(base, &base_origin, depth - 1)?;
    let (mut set, method) = (Vec::new(), overrides::method_of(&base).to_owned());
    merge(&mut base, table, "", &mut set);
    overrides::drop_what_no_longer_applies(&mut base, &method, &set);
    Ok(base)
}

/// A built-in recipe's text, or a file's beside the one that names it.
fn text_of(name: &str, origin: &str) -> Result<(String, String), Error> {
    if Path::new(name).extension().is_none_or(|end| end != "toml") {
        let found = super::find_builtin(name)?;
        return Ok((found.text.into(), found.name.into()));
    }
    let path = Path::new(origin).parent().unwrap_or(Path::new("")).join(name);
    let text = std::fs::read_to_string(&path)
        .map_err(|e| Error::Unreadable { path: path.clone(), problem: e.to_string() })?;
    Ok((text, path.display().to_string()))
}

/// Puts what is set over what was there, noting each key; arrays are replaced whole.
fn merge(base: &mut Table, over: Table, prefix: &str, set: &mut Vec<String>) {
    for (name, value) in over {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match (base.get_mut(&name), value) {
            (Some(Value::Table(inside)), Value::Table(value)) => merge(inside, value, &path, set),
            (_, Value::Table(value)) => {
                let mut inside = Table::new();
                merge(&mut inside, value, &path, set);
                base.insert(name, Value::Table(inside));
            }
            (_, value) => {
                set.push(path);
                base.insert(name, value);
            }
        }
    }
}
