//! What settings are, in the words of their documentation: the one source for who reads the code and who asks the program.

use super::{
    Assignment, Blur, Checkpoint, Data, Eval, Jitter, Loss, Model, Objective, Optimizer, Projector,
    Prototypes, Recipe, Schedule, Solarize, Teacher, Train, View,
};

/// Names of a struct's fields, each with its doc comment on one line.
pub(crate) type Fields = &'static [(&'static str, &'static str)];

/// A struct as it stands, with its [`Fields`] as the constant `FIELDS`.
macro_rules! documented {
    (@text #[doc = $line:literal] $($rest:tt)*) => { concat!($line, documented!(@text $($rest)*)) };
    (@text #[$($other:tt)*] $($rest:tt)*) => { documented!(@text $($rest)*) };
    (@text) => { "" };
    (
        $(#[$($outer:tt)*])*
        $vis:vis struct $name:ident {
            $($(#[$($inner:tt)*])* $field_vis:vis $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$($outer)*])*
        $vis struct $name {
            $($(#[$($inner)*])* $field_vis $field: $type,)*
        }

        impl $name {
            pub(crate) const FIELDS: $crate::recipe::documented::Fields =
                &[$((stringify!($field), documented!(@text $(#[$($inner)*])*)),)*];
        }
    };
}
pub(crate) use documented;

/// Sections and the tables in them; `*` is a position in an array.
pub(crate) const TABLES: &[(&str, Fields)] = &[
    ("", Recipe::FIELDS),
    ("data", Data::FIELDS),
    ("model", Model::FIELDS),
    ("projector", Projector::FIELDS),
    ("objective", Objective::FIELDS),
    ("prototypes", Prototypes::FIELDS),
    ("assignment", Assignment::FIELDS),
    ("loss", Loss::FIELDS),
    ("teacher", Teacher::FIELDS),
    ("optimizer", Optimizer::FIELDS),
    ("schedule", Schedule::FIELDS),
    ("train", Train::FIELDS),
    ("views.*", View::FIELDS),
    ("views.*.jitter", Jitter::FIELDS),
    ("views.*.blur", Blur::FIELDS),
    ("views.*.solarize", Solarize::FIELDS),
    ("eval", Eval::FIELDS),
    ("checkpoint", Checkpoint::FIELDS),
];

/// What a key is, or a section.
pub(crate) fn meaning(path: &str) -> Option<&'static str> {
    let (table, name) = path.rsplit_once('.').unwrap_or(("", path));
    let (_, fields) = TABLES.iter().find(|(of, _)| *of == table)?;
    of_field(fields, name)
}

/// What a field is.
pub(crate) fn of_field(fields: Fields, name: &str) -> Option<&'static str> {
    fields.iter().find(|(of, _)| *of == name).map(|(_, meaning)| meaning.trim())
}
