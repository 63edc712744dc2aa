//! What a recipe can have wrong; each message is one sentence that names the remedy.

use std::path::PathBuf;

/// Errors of recipes; `origin` is the file, the built-in name, or `--set`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Text that is no TOML.
    #[error(
        "{origin}:{line}: {problem}; a recipe is TOML, `mira-train recipes default` prints one"
    )]
    Syntax {
        /// Where the text is from.
        origin: String,
        /// Line, from 1.
        line: usize,
        /// What the parser says.
        problem: String,
    },
    /// A key no recipe has at this place.
    #[error("{origin}: unknown {what} `{key}`; {suggestion}")]
    UnknownKey {
        /// Where it is from.
        origin: String,
        /// Key or section.
        what: &'static str,
        /// Dotted path.
        key: String,
        /// Where it belongs, or what was probably meant.
        suggestion: String,
    },
    /// A key without a default that is absent.
    #[error("{origin}: `{key}` is missing, expected {expected}; add for example `{example}`")]
    MissingKey {
        /// Where it should be.
        origin: String,
        /// Dotted path.
        key: String,
        /// What it may be.
        expected: String,
        /// A line of TOML.
        example: String,
    },
    /// A value of another type, or out of its range.
    #[error("{origin}: `{key}` is {got}, expected {expected}; write for example `{example}`")]
    BadValue {
        /// Where it is from.
        origin: String,
        /// Dotted path.
        key: String,
        /// What it may be.
        expected: String,
        /// What it is.
        got: String,
        /// A line of TOML.
        example: String,
    },
    /// A key that another setting makes meaningless.
    #[error(
        "{origin}: `{key}` does not apply with {selector} = {got}, expected {selector} = {expected}; remove it or change {selector}"
    )]
    DoesNotApply {
        /// Where it is from.
        origin: String,
        /// Dotted path.
        key: String,
        /// The setting it depends on.
        selector: &'static str,
        /// That setting's value.
        got: String,
        /// Values under which it applies.
        expected: String,
    },
    /// Values that contradict each other.
    #[error("{origin}: {problem}; {remedy}")]
    Conflict {
        /// Where they are from.
        origin: String,
        /// Keys, what they are, what is expected.
        problem: String,
        /// What to change.
        remedy: String,
    },
    /// A `--set` that is no `key=value`, whose value is no TOML, or that another flag contradicts.
    #[error("--set {text}: {problem}")]
    Override {
        /// What was given.
        text: String,
        /// What is wrong with it, and the remedy.
        problem: String,
    },
    /// A name that no built-in recipe has.
    #[error("there is no recipe or file `{name}`; {suggestion}")]
    UnknownRecipe {
        /// What was given.
        name: String,
        /// The nearest name, or how to list them.
        suggestion: String,
    },
    /// An objective that there is not.
    #[error("there is no objective `{name}`; {suggestion}")]
    UnknownObjective {
        /// What was given.
        name: String,
        /// The nearest name, or all of them.
        suggestion: String,
    },
    /// One of several recipes that a command line does not suit.
    #[error("{recipe}: {source}")]
    OfCompared {
        /// Its name.
        recipe: String,
        /// What is wrong.
        source: Box<Error>,
    },
    /// A recipe's file that cannot be read.
    #[error("cannot read the recipe {}: {problem}; give a readable .toml file or a name from `mira-train recipes`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        problem: String,
    },
}

impl Error {
    pub(super) fn syntax(origin: &str, text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = 1 + text.get(..start).unwrap_or(text).matches('\n').count();
        let problem = error.message().replace('\n', ", ");
        Self::Syntax { origin: origin.into(), line, problem }
    }
}
