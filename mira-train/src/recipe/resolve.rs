//! From a table to a recipe: names, types and ranges, defaults, structs, agreement.

use serde::Deserialize as _;
use toml::{Table, Value};

use super::schema::{self, Bounds, Key, Kind};
use super::{Error, Recipe, checks, defaults, names};

pub(super) fn from_table(mut table: Table, origin: &str) -> Result<Recipe, Error> {
    names::check(&table, origin)?;
    check_values(&table, "", origin)?;
    defaults::fill(&mut table, origin)?;
    let recipe = Recipe::deserialize(Value::Table(table)).map_err(|e| Error::Conflict {
        origin: origin.into(),
        problem: e.message().replace('\n', ", "),
        remedy: "compare with `mira-train recipes default`".into(),
    })?;
    checks::check(&recipe, origin)?;
    Ok(recipe)
}

fn check_values(table: &Table, prefix: &str, origin: &str) -> Result<(), Error> {
    for (name, value) in table {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if let Some(key) = schema::find(&path) {
            if !key.kind.allows(value) {
                return Err(bad_value(key, &path, value, origin));
            }
            continue;
        }
        match value {
            Value::Table(inside) => check_values(inside, &path, origin)?,
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    if let Value::Table(inside) = item {
                        check_values(inside, &format!("{path}.{i}"), origin)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn bad_value(key: &Key, path: &str, value: &Value, origin: &str) -> Error {
    let mut got = shown(value);
    if let (Kind::Choice(choices), Value::String(text)) = (key.kind, value)
        && let Some(near) = names::nearest(text, choices.iter().copied())
    {
        got = format!("{got} (did you mean \"{near}\"?)");
    }
    let expected = key.kind.expected();
    Error::BadValue {
        origin: origin.into(),
        key: path.into(),
        expected,
        got,
        example: example(key, path),
    }
}

/// A line that sets the key.
pub(super) fn example(key: &Key, path: &str) -> String {
    format!("{path} = {}", key.example)
}

/// A value as TOML, short and on one line.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Table(_) => "a table".into(),
        Value::Array(items) if items.iter().any(Value::is_table) => "an array of tables".into(),
        other => {
            let text = other.to_string().replace('\n', " ");
            if text.chars().count() <= 60 {
                return text;
            }
            text.chars().take(57).chain("...".chars()).collect()
        }
    }
}

/// The value at a path, through tables and positions in arrays.
pub(super) fn at<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let mut value = table.get(parts.next()?)?;
    for part in parts {
        value = match value {
            Value::Table(inside) => inside.get(part)?,
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

impl Kind {
    fn allows(self, value: &Value) -> bool {
        let numbers = |count: usize, bounds: Bounds| {
            let items = value.as_array()?;
            let numbers: Option<Vec<f64>> = items.iter().map(number).collect();
            numbers.filter(|n| n.len() == count && n.iter().all(|&x| bounds.contain(x)))
        };
        match self {
            Self::Flag => value.is_bool(),
            Self::Text => value.as_str().is_some_and(|text| !text.is_empty()),
            Self::Names => {
                let is_name = |value: &Value| Self::Text.allows(value);
                let are_names = |names: &Vec<Value>| !names.is_empty() && names.iter().all(is_name);
                is_name(value) || value.as_array().is_some_and(are_names)
            }
            Self::Choice(choices) => value.as_str().is_some_and(|text| choices.contains(&text)),
            Self::Whole(low, high) => value
                .as_integer()
                .and_then(|n| u64::try_from(n).ok())
                .is_some_and(|n| (low..=high).contains(&n)),
            Self::Number(bounds) => number(value).is_some_and(|x| bounds.contain(x)),
            Self::Range(bounds) => numbers(2, bounds).is_some_and(|pair| pair[0] <= pair[1]),
            Self::Pair(bounds) => numbers(2, bounds).is_some(),
            Self::Triple(bounds) => numbers(3, bounds).is_some(),
        }
    }

    pub(crate) fn expected(self) -> String {
        match self {
            Self::Flag => "true or false".into(),
            Self::Text => "a string".into(),
            Self::Names => "the path of a list, or an array of names".into(),
            Self::Choice(choices) => {
                let quoted: Vec<String> = choices.iter().map(|c| format!("\"{c}\"")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Self::Whole(low, high) if high > 1 << 32 => format!("a whole number of at least {low}"),
            Self::Whole(low, high) => format!("a whole number from {low} to {high}"),
            Self::Number(bounds) => format!("a number {}", bounds.words()),
            Self::Range(bounds) => format!("[low, high] with low ≤ high, each {}", bounds.words()),
            Self::Pair(bounds) => format!("two numbers, each {}", bounds.words()),
            Self::Triple(bounds) => format!("three numbers, each {}", bounds.words()),
        }
    }
}

#[allow(clippy::cast_precision_loss)] // integers that stand for reals are small
fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|n| n as f64))
}

impl Bounds {
    fn contain(self, x: f64) -> bool {
        match self {
            Self::Unit => (0.0..=1.0).contains(&x),
            Self::UnitOpen => (0.0..1.0).contains(&x),
            Self::Positive => x > 0.0 && x.is_finite(),
            Self::ZeroUp => x >= 0.0 && x.is_finite(),
            Self::PositiveUnit => x > 0.0 && x <= 1.0,
            Self::HalfUnit => (0.0..=0.5).contains(&x),
            Self::Temperature => x >= 1e-6 && x.is_finite(),
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Unit => "in [0, 1]",
            Self::UnitOpen => "in [0, 1)",
            Self::Positive => "above 0",
            Self::ZeroUp => "of at least 0",
            Self::PositiveUnit => "in (0, 1]",
            Self::HalfUnit => "in [0, 0.5]",
            Self::Temperature => "of at least 1e-6",
        }
    }
}
