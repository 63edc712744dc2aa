//! `mira-train recipes --settings`: every setting, in the words of the schema and of the structs that recipes are read into.

use std::fmt::Write as _;

use crate::objective::METHODS;
use crate::recipe::documented::{self, Fields, meaning};
use crate::recipe::{Fallback, Key, schema};

const HEAD: &str = "\
Settings of a recipe, each with its default and what it may be. In a file, train.seed is the key seed under [train], and there is one [[views]] for
each kind of view; on the command line it is --set train.seed=1, and views.*.flip=0 for all views. `mira-train run RECIPE --dry-run` prints a
recipe's own values, `mira-train objectives NAME` the published ones of an objective.

extends = \"NAME\"  # optional: a recipe of this program, or the path of a .toml file, relative to the folder of the one that names it
    A recipe with it states only in what it differs: tables are merged key by key, arrays such as views are replaced whole, and settings that no
    longer apply (those of another optimizer.kind) are left out. Up to 8 recipes may extend one another.
";

/// All settings, by section.
pub(super) fn text() -> String {
    let mut text = HEAD.to_owned();
    for section in schema::sections() {
        let name = if section == "views" { "[[views]]".into() } else { format!("[{section}]") };
        let of_methods = of_methods(section);
        let _ = writeln!(text, "\n{name}{of_methods}  {}", meaning(section).unwrap_or_default());
        let of_section = |key: &&Key| key.path.split('.').next() == Some(section);
        for key in schema::shared().iter().filter(of_section) {
            write_key(&mut text, key, meaning(key.path));
        }
        if section == "objective" {
            for method in METHODS.iter().filter(|method| !method.keys.is_empty()) {
                let _ = writeln!(text, "\n[objective] with name = \"{}\"", method.name);
                for key in method.keys {
                    write_own_key(&mut text, key, method.settings);
                }
            }
        }
    }
    text
}

/// Which objectives have a section, where not all do.
fn of_methods(section: &str) -> String {
    if !schema::OF_METHODS.contains(&section) {
        return String::new();
    }
    let having = METHODS.iter().filter(|method| method.sections.contains(&section));
    let names: Vec<&str> = having.map(|method| method.name).collect();
    format!(" of {}", names.join(", "))
}

fn write_own_key(text: &mut String, key: &Key, fields: Fields) {
    // That it is the method's has been said.
    write_key(text, &Key { only: None, ..*key }, documented::of_field(fields, key.leaf()));
}

fn write_key(text: &mut String, key: &Key, meaning: Option<&str>) {
    let expected = key.kind.expected();
    let _ = match key.default {
        Fallback::Value(value) => write!(text, "{} = {value}  # {expected}", key.path),
        Fallback::Required => write!(text, "{}  # required: {expected}", key.path),
        Fallback::Optional => write!(text, "{}  # optional: {expected}", key.path),
        Fallback::Width => write!(text, "{}  # the architecture's: {expected}", key.path),
    };
    if let Some((selector, values)) = key.only {
        let _ = write!(text, "; only with {selector} = {}", values.join(" or "));
    }
    let _ = writeln!(text, "\n    {}", meaning.unwrap_or_default());
    let published = published(key);
    if !published.is_empty() {
        let _ = writeln!(text, "    Default of {published}.");
    }
}

/// The defaults of objectives that are not the others'.
fn published(key: &Key) -> String {
    let mut values: Vec<(&str, Vec<&str>)> = Vec::new();
    for method in METHODS {
        let of_key = method.defaults.iter().filter(|(path, _)| *path == key.path);
        for (_, value) in of_key {
            match values.iter_mut().find(|(other, _)| other == value) {
                Some((_, names)) => names.push(method.name),
                None => values.push((value, vec![method.name])),
            }
        }
    }
    let said = values.iter().map(|(value, names)| format!("{}: {value}", names.join(", ")));
    said.collect::<Vec<_>>().join("; of ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::documented::TABLES;

    #[test]
    fn every_field_that_a_recipe_is_read_into_is_listed_with_what_it_is() {
        let text = text();
        let block = |path: &str| {
            let starts = |line: &str| {
                let rest = line.strip_prefix(path);
                rest.is_some_and(|rest| rest.starts_with(" = ") || rest.starts_with("  # "))
            };
            let mut lines = text.lines().skip_while(|line| !starts(line));
            (lines.next().map(str::to_owned), lines.next().map(str::to_owned))
        };
        let mut num_listed = 0;
        for (table, fields) in TABLES {
            for (name, meaning) in *fields {
                let path =
                    if table.is_empty() { (*name).to_owned() } else { format!("{table}.{name}") };
                // Tables are listed by what is in them; settings of methods below.
                if TABLES.iter().any(|(other, _)| other.trim_end_matches(".*") == path)
                    || path == "objective.settings"
                {
                    continue;
                }
                let meaning = meaning.trim();
                assert!(meaning.len() > 3, "{path} is without documentation");
                assert_eq!(block(&path).1.as_deref().map(str::trim), Some(meaning), "{path}");
                num_listed += 1;
            }
        }
        assert_eq!(num_listed, schema::shared().len(), "keys that no field is for");
        for method in METHODS {
            for key in method.keys {
                let meaning = documented::of_field(method.settings, key.leaf());
                let meaning = meaning.filter(|meaning| meaning.len() > 3);
                let meaning = meaning.unwrap_or_else(|| panic!("{}: {}", method.name, key.path));
                assert!(text.contains(meaning), "{}: {}", method.name, key.path);
            }
        }
    }

    #[test]
    fn a_setting_is_listed_with_range_default_and_condition() {
        let text = text();
        for line in [
            "train.batch_size  # required: a whole number from 2 to 16777216",
            "data.path  # optional: a string",
            "eval.linear_lr = 0.3  # a number above 0",
            "optimizer.momentum = 0.9  # a number in [0, 1); only with optimizer.kind = lars or sgd",
            "model.width  # the architecture's: a whole number from 1 to 4096",
            "train.seed = 0  # a whole number of at least 0",
            "objective.queue_length = 0  # a whole number from 0 to 4294967296",
            "    Default of mira, spectral, byol, linear-byol, barlow-twins, vicreg: \"per-view\".",
            "[prototypes] of mira, swav, dino, self-classifier, deepcluster-v2  Prototypes, the head's weights.",
        ] {
            assert!(text.lines().any(|listed| listed == line), "no {line:?} in:\n{text}");
        }
        assert!(text.contains("extends = \"NAME\""), "{text}");
    }
}
