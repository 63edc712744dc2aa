//! The flags that choose classes and labels of a set.

use std::path::PathBuf;

use clap::Args;

use crate::cli::eval::share;
use crate::data::{Classes, Labels, Subset};

/// `--classes`, `--label-list`, `--label-fraction`: what the keys of these names are in recipes.
#[derive(Args, Clone, Debug)]
pub struct SubsetArgs {
    /// List of the classes used, one a line; others are left out
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub classes: Option<PathBuf>,

    /// List of the training images that keep their labels, one file name a line, such as SimCLR's 1percent.txt
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub label_list: Option<PathBuf>,

    /// Share of each class's training images that keep their labels, in (0, 1]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, value_parser = share, conflicts_with = "label_list", help_heading = "Data")]
    pub label_fraction: Option<f64>,
}

impl SubsetArgs {
    /// What they choose.
    pub fn subset(&self) -> Subset {
        let list = self.label_list.clone().map(Labels::List);
        Subset {
            classes: self.classes.clone().map(Classes::List),
            labels: list.or(self.label_fraction.map(Labels::Fraction)),
        }
    }
}
