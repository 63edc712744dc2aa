//! The subcommands; the flags of `assign` are beside its code, the others below here.

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::assign::AssignArgs;

#[allow(clippy::doc_markdown)] // help texts, where backticks would show
pub mod compare;
#[allow(clippy::doc_markdown)] // as above
pub mod data;
#[allow(clippy::doc_markdown)] // as above
pub mod eval;
pub mod export;
#[allow(clippy::doc_markdown)] // as above
pub mod features;
pub mod objectives;
pub mod plot;
pub mod recipes;
pub mod run;

/// Self-supervised learning by online clustering: training, evaluation, and certified pseudo-labels
#[derive(Debug, Parser)]
#[command(name = "mira-train", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Assign a batch of logits to prototypes, and prove how far the answer is from the optimum
    Assign(AssignArgs),
    /// Pre-train an encoder, and measure what it learned
    Run(run::RunArgs),
    /// Compare objectives, or other recipes, over seeds, with everything else equal
    Compare(compare::CompareArgs),
    /// Get images to train on, prepare and measure them
    Data(data::DataArgs),
    /// Evaluate an encoder: k-NN or linear probe
    Eval(eval::EvalArgs),
    /// Write a run's weights for other programs
    Export(export::ExportArgs),
    /// Write an encoder's features of images as .npy files
    ///
    /// The folder has, for the training images and, with test_ for train_, for the test images where there are any, a row or a line an
    /// image in the order of the data: train_features.npy (float32, images × dimensions: what k-NN and linear probe are given, before any
    /// normalisation), train_labels.npy (int64; -1 for an image without a label), train_images.txt (their files, or positions); and
    /// features.json, which says what they are of. Images that cannot be read are left out of all.
    #[allow(clippy::doc_markdown)] // as above
    Features(features::FeaturesArgs),
    /// Draw the curves of runs into one file
    Plot(plot::PlotArgs),
    /// List the objectives, or the settings of one
    Objectives(objectives::ObjectivesArgs),
    /// List the recipes in this binary, or print one
    Recipes(recipes::RecipesArgs),
}

/// clap's complaint without its second paragraph (the usage): one line, no prefix, and whose help to read.
pub(crate) fn one_sentence(error: &clap::Error, args: &[OsString]) -> String {
    sentence(error, &invoked(&Cli::command(), args))
}

fn sentence(error: &clap::Error, invoked: &str) -> String {
    let text = error.render().to_string();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let message = lines.join(" ").replace(" tip: ", "; tip: ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    if message.is_empty() || !text.starts_with("error: ") {
        return format!("no subcommand given; see '{invoked} --help'");
    }
    format!("{message}; see '{invoked} --help'")
}

/// The program and the subcommands that the arguments begin with.
fn invoked(program: &clap::Command, args: &[OsString]) -> String {
    let mut name = program.get_name().to_owned();
    let mut command = program;
    for arg in args.iter().skip(1) {
        let Some(sub) = arg.to_str().and_then(|arg| command.find_subcommand(arg)) else { break };
        name = format!("{name} {}", sub.get_name());
        command = sub;
    }
    name
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::{Command, CommandFactory, Parser as _};

    use super::Cli;
    use super::run::load_recipe;
    use crate::Error;

    fn program() -> Command {
        super::Cli::command()
    }

    #[test]
    fn the_flags_are_consistent() {
        program().debug_assert();
    }

    fn refused(line: &str) -> String {
        let args: Vec<_> = line.split(' ').map(Into::into).collect();
        let error = program().try_get_matches_from(&args).unwrap_err();
        super::sentence(&error, &super::invoked(&program(), &args))
    }

    #[test]
    fn earlier_names_of_flags_still_do() {
        for [old, new] in [
            ["data info --format idx a", "data info --source idx a"],
            ["data hash --format idx a", "data hash --source idx a"],
            ["data preview --format idx a", "data preview --source idx a"],
            ["data hash --workers 1,4 a", "data hash --threads 1,4 a"],
            ["eval knn --fraction 0.5 a", "eval knn --label-fraction 0.5 a"],
        ] {
            let parsed = |line: &str| {
                let words = std::iter::once("mira-train").chain(line.split(' '));
                format!("{:?}", super::Cli::try_parse_from(words).unwrap())
            };
            assert_eq!(parsed(old), parsed(new));
        }
    }

    #[test]
    fn a_refusal_names_the_help_to_read() {
        for (line, expected) in [
            ("mira-train", "no subcommand given; see 'mira-train --help'"),
            ("mira-train asign", "see 'mira-train --help'"),
            ("mira-train assign", "see 'mira-train assign --help'"),
            ("mira-train run --sed 3", "see 'mira-train run --help'"),
            ("mira-train run --device gpu", "see 'mira-train run --help'"),
            ("mira-train recipes a b", "see 'mira-train recipes --help'"),
            ("mira-train eval knn", "see 'mira-train eval knn --help'"),
            ("mira-train eval", "see 'mira-train eval --help'"),
            ("mira-train eval linear run --epochs x", "see 'mira-train eval linear --help'"),
            ("mira-train export run --format onnx --out f", "see 'mira-train export --help'"),
            ("mira-train data", "see 'mira-train data --help'"),
            ("mira-train data fetch", "see 'mira-train data fetch --help'"),
            ("mira-train data fetch cifar10 --jobs 0", "see 'mira-train data fetch --help'"),
            ("mira-train data hash --threads 0", "see 'mira-train data hash --help'"),
            ("mira-train data info --source jpg", "see 'mira-train data info --help'"),
            ("mira-train data preview --out a.svg", "see 'mira-train data preview --help'"),
            ("mira-train plot", "see 'mira-train plot --help'"),
            ("mira-train compare a --objectives b", "see 'mira-train compare --help'"),
            ("mira-train compare a --seeds 0", "see 'mira-train compare --help'"),
            ("mira-train compare --objectives a --family tiny", "see 'mira-train compare --help'"),
            ("mira-train data pack a", "see 'mira-train data pack --help'"),
            (
                "mira-train data pack a b --raw 9 --short-side 9",
                "see 'mira-train data pack --help'",
            ),
            ("mira-train data pack a b --source tar", "see 'mira-train data pack --help'"),
        ] {
            let got = refused(line);
            assert!(got.ends_with(expected) && !got.contains('\n'), "{line}: {got}");
        }
    }

    /// Whether a recipe is in the program, not in somebody's file.
    fn is_builtin(recipe: &str) -> bool {
        Path::new(recipe).extension().is_none_or(|e| e != "toml")
    }

    /// Resolves what an example names, as far as that needs no files.
    fn works(command: &super::Command) -> Result<(), Error> {
        use super::Command as C;
        use super::data::DataCommand as D;
        let load = |recipe: &str| {
            if is_builtin(recipe) { load_recipe(recipe).map(drop) } else { Ok(()) }
        };
        match command {
            C::Assign(args) => args.method(1e-5).map(drop)?,
            C::Run(args) if !args.resume && args.recipe.as_deref().is_none_or(is_builtin) => {
                super::run::resolve(args).map(drop)?;
            }
            C::Compare(args) => {
                // A file is as good as the first recipe.
                let mut args = args.clone();
                args.recipes.retain(|recipe| is_builtin(recipe));
                crate::commands::compare::check(&args)?;
            }
            C::Eval(_) | C::Features(_) => {
                let encoder = match command {
                    C::Features(args) => &args.encoder,
                    C::Eval(args) => args.protocol.encoder(),
                    _ => unreachable!("one of the two above"),
                };
                let is_file = encoder.encoder.extension().is_some_and(|e| e == "safetensors");
                assert!(!is_file || encoder.recipe.is_some(), "weights alone need --recipe");
                encoder.recipe.as_deref().map_or(Ok(()), load)?;
            }
            C::Data(args) => match &args.command {
                D::Bench(args) => load(&args.recipe)?,
                D::Preview(args) => load(&args.recipe)?,
                D::Hash(args) => load(&args.recipe)?,
                _ => {}
            },
            C::Objectives(args) => super::objectives::text(args).map(drop)?,
            C::Recipes(args) => super::recipes::text(args).map(drop)?,
            _ => {}
        }
        Ok(())
    }

    #[test]
    fn every_help_has_examples_that_parse() {
        let program = program();
        let mut num_examples = 0;
        let groups = program.get_subcommands().flat_map(Command::get_subcommands);
        for sub in program.get_subcommands().chain(groups) {
            let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines().filter(|line| line.trim().starts_with("mira-train ")) {
                let parsed = Cli::try_parse_from(line.trim().split(' '));
                let cli = parsed.unwrap_or_else(|e| panic!("{line}: {e}"));
                works(&cli.command).unwrap_or_else(|e| panic!("{line}: {e}"));
                num_examples += 1;
            }
        }
        assert!(num_examples >= 15, "{num_examples}");
    }
}
