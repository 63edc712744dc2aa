//! The flags of `mira-train data pack`.

use std::path::PathBuf;

use clap::Args;

use crate::data::{Format, Pixels};

const EXAMPLES: &str = "\
Examples:
  mira-train data pack imagenet imagenet-packed
      the images' own files, byte for byte, checked and in shards of 1 GiB
  mira-train data pack imagenet imagenet-320 --short-side 320 --quality 90
      JPEG files of at most 320 pixels on the shorter side: less to read and to decode
  mira-train data pack imagenet imagenet-raw --raw 256
      pixels: much larger, and nothing to decode
  mira-train data pack imagenet imagenet100-320 --classes imagenet100.txt --short-side 320
      some of the classes
  mira-train data pack imagenet imagenet-320 --short-side 320 --dry-run
      what it would come to

Interrupted, the same command goes on where it stopped. Train on the result with `mira-train run RECIPE --data DST`.";

/// Flags of `mira-train data pack`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct PackArgs {
    /// Images of any format that `mira-train run` reads; training and test split are packed
    #[arg(value_name = "SRC")]
    pub src: PathBuf,

    /// Folder of the packed set: a new one, or that of an interrupted run
    #[arg(value_name = "DST")]
    pub dst: PathBuf,

    /// Format of SRC: auto, idx, cifar10, cifar100, image-folder, parquet, packed, webdataset
    #[arg(long, value_name = "FORMAT", default_value = "auto", help_heading = "Data")]
    pub source: Format,

    /// List of the classes packed, one a line; others are left out
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub classes: Option<PathBuf>,

    /// Share of the images that may be unreadable and are left out, in [0, 1]: at least one, none with 0
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, default_value_t = 0.01, value_parser = share, help_heading = "Data")]
    pub max_bad_fraction: f64,

    /// Store JPEG files whose shorter side is at most this; smaller JPEG files stay as they are
    #[arg(
        long,
        value_name = "PIXELS",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..=8192),
        help_heading = "Pixels"
    )]
    pub short_side: Option<u32>,

    /// Quality of the JPEG files that are made, 1 to 100
    #[arg(
        long,
        value_name = "Q",
        allow_negative_numbers = true,
        default_value_t = 90,
        value_parser = clap::value_parser!(u8).range(1..=100),
        requires = "short_side",
        help_heading = "Pixels"
    )]
    pub quality: u8,

    /// Store pixels, with a shorter side of at most this
    #[arg(
        long,
        value_name = "PIXELS",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..=8192),
        conflicts_with = "short_side",
        help_heading = "Pixels"
    )]
    pub raw: Option<u32>,

    /// Threads; 0 for one a processor
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 0,
        value_parser = clap::value_parser!(u32).range(0..=1024),
        help_heading = "Work"
    )]
    pub threads: u32,

    /// Look at some images and say what the set would come to; write nothing
    #[arg(long, help_heading = "Work")]
    pub dry_run: bool,

    /// Print no progress, only the summary at the end
    #[arg(long, help_heading = "Output")]
    pub quiet: bool,
}

impl PackArgs {
    /// What an image becomes.
    pub fn pixels(&self) -> Pixels {
        match (self.short_side, self.raw) {
            (Some(n), _) => Pixels::Jpeg { short_side: n as usize, quality: self.quality },
            (None, Some(n)) => Pixels::Raw { short_side: n as usize },
            (None, None) => Pixels::Original,
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|x: &f64| (0.0..=1.0).contains(x));
    number.ok_or_else(|| "expected a number in [0, 1]".into())
}
