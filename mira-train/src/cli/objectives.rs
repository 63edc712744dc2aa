//! `mira-train objectives`: the methods, and the settings of one.

use std::fmt::Write as _;

use clap::Args;

use crate::objective::{self, METHODS, Method};
use crate::recipe::{Error, Fallback, Key, schema};

const EXAMPLES: &str = "\
Examples:
  mira-train objectives
      names, and whose each is
  mira-train objectives swav
      its settings as TOML, with the published values, and those of its sections
  mira-train run small/swav
      a recipe made for it; there are cifar10-small/NAME, cifar10-r18/NAME and imagenet-r50/NAME, too";

/// Flags of `mira-train objectives`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ObjectivesArgs {
    /// Objective whose settings to print, as TOML; without it, all are listed
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// What the command prints.
///
/// # Errors
/// [`Error::UnknownObjective`].
pub fn text(args: &ObjectivesArgs) -> Result<String, Error> {
    let Some(name) = &args.name else { return Ok(list()) };
    let method = objective::find(name).ok_or_else(|| Error::UnknownObjective {
        name: name.clone(),
        suggestion: crate::recipe::names::nearest(name, METHODS.iter().map(|m| m.name))
            .map_or_else(
                || "`mira-train objectives` lists them".into(),
                |near| format!("did you mean `{near}`?"),
            ),
    })?;
    Ok(settings(method))
}

fn list() -> String {
    let width = METHODS.iter().map(|m| m.name.len()).max().unwrap_or(0);
    METHODS.iter().fold(String::new(), |mut text, method| {
        let _ = writeln!(text, "{:width$}  {}", method.name, method.title);
        text
    })
}

fn settings(method: &Method) -> String {
    let mut text = format!("# {}\n\n[objective]\nname = \"{}\"\n", method.title, method.name);
    for key in method.keys {
        let value = default_of(key);
        let _ = writeln!(text, "{} = {value}  # {}", key.leaf(), key.kind.expected());
    }
    for section in method.sections {
        let _ = writeln!(text, "\n[{section}]");
        let keys = schema::keys().filter(|key| key.path.split('.').next() == Some(*section));
        for key in keys.filter(|key| applies(key)) {
            let expected = key.kind.expected();
            let _ = match (value_of(key, method), key.default) {
                (Some(value), _) => writeln!(text, "{} = {value}  # {expected}", key.leaf()),
                // One of the two that end an iteration, and the one that was published.
                (None, Fallback::Optional) if key.leaf() == "iterations" => {
                    writeln!(text, "iterations = {}  # {expected}", key.example)
                }
                (None, _) => {
                    writeln!(
                        text,
                        "# {} = {}  # may be there instead: {expected}",
                        key.leaf(),
                        key.example
                    )
                }
            };
        }
    }
    let views = if method.needs.two_views { "exactly two" } else { "two or more" };
    let _ = writeln!(text, "\n# Views: {views}.");
    let is_shown = |path: &str| method.sections.iter().any(|s| path.split('.').next() == Some(s));
    let mut others = method.defaults.iter().filter(|(path, _)| !is_shown(path)).peekable();
    if others.peek().is_some() {
        text += "\n# Published values of other settings, where a recipe leaves them out:\n";
        for (path, value) in others {
            let _ = writeln!(text, "# {path} = {value}");
        }
    }
    text
}

/// Whether a key of a section applies where everything has its default.
fn applies(key: &Key) -> bool {
    let Some((selector, values)) = key.only else { return true };
    schema::find(selector)
        .is_some_and(|selector| values.contains(&default_of(selector).trim_matches('"')))
}

/// What a key is where a recipe of the method leaves it out.
fn value_of(key: &Key, method: &Method) -> Option<&'static str> {
    let published = method.defaults.iter().find(|(path, _)| *path == key.path);
    published.map(|(_, value)| *value).or(match key.default {
        Fallback::Value(value) => Some(value),
        _ => None,
    })
}

const fn default_of(key: &Key) -> &'static str {
    match key.default {
        Fallback::Value(value) => value,
        _ => key.example,
    }
}
