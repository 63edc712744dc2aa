//! `--source`: the names that recipes have for formats.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use serde::de::value::Error;

use crate::data::Format;
use crate::recipe::choices;

/// Takes the values of `data.source`.
pub(in crate::cli) fn parser() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(choices("data.source")).try_map(|name| {
        Format::deserialize(name.into_deserializer()).map_err(|error: Error| error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_of_recipes_is_taken() {
        let command = clap::Command::new("test").no_binary_name(true);
        let command = command.arg(clap::Arg::new("format").value_parser(parser()));
        assert!(choices("data.source").len() >= 7);
        for &name in choices("data.source") {
            let matches = command.clone().try_get_matches_from([name]).unwrap();
            assert_eq!(matches.get_one::<Format>("format").unwrap().name(), name);
        }
    }
}
