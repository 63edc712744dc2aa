//! `mira-train objectives`: the methods, and the settings of one.

use std::fmt::Write as _;

use clap::Args;

use crate::objective::{self, METHODS, Method};
use crate::recipe::{Error, Fallback, Key};

const EXAMPLES: &str = "\
Examples:
  mira-train objectives
      names, and whose each is
  mira-train objectives swav
      its settings as TOML, with the published values
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
    if !method.sections.is_empty() {
        let sections: Vec<String> = method.sections.iter().map(|s| format!("[{s}]")).collect();
        let _ = write!(text, "\n# It also has {}.", sections.join(", "));
    }
    let views = if method.needs.two_views { "exactly two" } else { "two or more" };
    let _ = writeln!(text, "\n# Views: {views}.");
    if !method.defaults.is_empty() {
        text += "\n# Published values of other settings, where a recipe leaves them out:\n";
        for (path, value) in method.defaults {
            let _ = writeln!(text, "# {path} = {value}");
        }
    }
    text
}

const fn default_of(key: &Key) -> &'static str {
    match key.default {
        Fallback::Value(value) => value,
        _ => key.example,
    }
}
