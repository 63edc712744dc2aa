//! `mira-train recipes`.

mod settings;

use std::fmt::Write as _;

use clap::Args;

use crate::objective::METHODS;
use crate::recipe::{self, builtins};

const EXAMPLES: &str = "\
Examples:
  mira-train recipes
      names, one line each
  mira-train recipes imagenet-r50-100ep
      the recipe as commented TOML; redirect it to a file, change that and run it
  mira-train recipes --settings
      every setting there is, its default, its range, and what it is

A recipe of your own may begin with extends = \"NAME\" and state only in what it differs from a recipe of this list, or from a .toml file whose path is
relative to its own folder.";

/// Flags of `mira-train recipes`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct RecipesArgs {
    /// Recipe to print, as TOML with comments; without it, all are listed
    #[arg(value_name = "NAME")]
    pub name: Option<String>,

    /// Print all settings of recipes instead, with what they are and may be
    #[arg(long, conflicts_with = "name")]
    pub settings: bool,
}

/// What the subcommand prints.
///
/// # Errors
/// [`recipe::Error::UnknownRecipe`].
pub fn text(args: &RecipesArgs) -> Result<String, recipe::Error> {
    if args.settings {
        return Ok(settings::text());
    }
    if let Some(name) = &args.name {
        return Ok(recipe::find_builtin(name)?.text.to_owned());
    }
    let width = builtins().iter().map(|builtin| builtin.name.len()).max().unwrap_or(0);
    let mut list = String::new();
    let is_of_family = |name: &str| {
        name.split_once('/')
            .is_some_and(|(_, objective)| METHODS.iter().any(|m| m.name == objective))
    };
    for builtin in builtins().iter().filter(|builtin| !is_of_family(builtin.name)) {
        let _ = writeln!(list, "{:width$}  {}", builtin.name, builtin.description);
    }
    let names = METHODS.iter().map(|method| method.name);
    let _ = writeln!(
        list,
        "\nsmall/OBJECTIVE, cifar10-small/OBJECTIVE, cifar10-r18/OBJECTIVE, imagenet-r50/OBJECTIVE, with the OBJECTIVE one of\n{}",
        names.collect::<Vec<_>>().join(", ")
    );
    list.push_str(
        "\n`mira-train recipes NAME` prints one in full, `mira-train recipes --settings` what there is to set; `mira-train run NAME` runs it.\n",
    );
    Ok(list)
}
