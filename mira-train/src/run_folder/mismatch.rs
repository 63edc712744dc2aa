//! A run is resumed with the recipe it was begun with, but for keys that do not change what is learned.

use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::Error;

/// Keys, and tables of them, that may change on resume: where the data and lists lie (other images, be they of other classes, are refused by
/// what a checkpoint says of them), how fast data is read, when the run evaluates, saves and gives up. Not the number of epochs, for the schedules depend on it; not another number of threads' last bits, which are not learned.
pub const MAY_CHANGE: &[&str] = &[
    "data.path",
    "data.classes",
    "data.label_list",
    "data.label_fraction",
    "data.num_workers",
    "data.prefetch",
    "data.max_bad_fraction",
    "data.read_timeout",
    "teacher.evaluate",
    "train.num_threads",
    "train.max_skipped_steps",
    "eval",
    "checkpoint",
];

/// How many differences an error lists.
const MAX_LISTED: usize = 12;

/// A key of two recipes with different values.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// With dots, and brackets for the elements of arrays: `views[0].size`.
    pub key: String,
    /// In the run's folder; `None` where there is no such key.
    pub saved: Option<Value>,
    /// On resume; `None` where there is no such key.
    pub given: Option<Value>,
}

impl Difference {
    /// Whether a run may go on all the same: the key or its table is in [`MAY_CHANGE`].
    pub fn may_change(&self) -> bool {
        MAY_CHANGE.iter().any(|allowed| {
            let rest = self.key.strip_prefix(allowed);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<Value>| value.as_ref().map_or("none".into(), Value::to_string);
        write!(f, "{} (saved {}, given {})", self.key, show(&self.saved), show(&self.given))
    }
}

/// The keys in which two recipes differ, in alphabetical order of tables and keys; 1 and 1.0 are the same number, a key that is null is
/// one that is missing.
pub fn diff(saved: &Value, given: &Value) -> Vec<Difference> {
    let mut differences = Vec::new();
    compare("", Some(saved), Some(given), &mut differences);
    differences
}

/// Compares the recipe of the run in `path` with the one it is to go on with; returns the differences that do no harm.
///
/// # Errors
/// [`Error::Mismatch`] for any that is not in [`MAY_CHANGE`].
pub fn check_resume(path: &Path, saved: &Value, given: &Value) -> Result<Vec<Difference>, Error> {
    let (harmless, differences): (Vec<_>, Vec<_>) =
        diff(saved, given).into_iter().partition(Difference::may_change);
    if differences.is_empty() {
        Ok(harmless)
    } else {
        Err(Error::Mismatch { path: path.into(), differences })
    }
}

fn compare(key: &str, saved: Option<&Value>, given: Option<&Value>, into: &mut Vec<Difference>) {
    let present = |value: Option<&Value>| value.filter(|value| !value.is_null()).cloned();
    match (saved, given) {
        (Some(Value::Object(saved)), Some(Value::Object(given))) => {
            let mut names: Vec<&String> = saved.keys().chain(given.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                compare(&key, saved.get(name), given.get(name), into);
            }
        }
        (Some(Value::Array(saved)), Some(Value::Array(given))) => {
            for i in 0..saved.len().max(given.len()) {
                compare(&format!("{key}[{i}]"), saved.get(i), given.get(i), into);
            }
        }
        (Some(Value::Number(saved)), Some(Value::Number(given)))
            if saved == given
                || (!(saved.is_u64() && given.is_u64()) && saved.as_f64() == given.as_f64()) => {}
        (saved, given) => {
            let (saved, given) = (present(saved), present(given));
            if saved != given {
                into.push(Difference { key: key.into(), saved, given });
            }
        }
    }
}

/// Differences for an error message.
pub(super) fn listing(differences: &[Difference]) -> String {
    let listed: Vec<String> =
        differences.iter().take(MAX_LISTED).map(ToString::to_string).collect();
    let more = match differences.len().saturating_sub(MAX_LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", listed.join(", "))
}
