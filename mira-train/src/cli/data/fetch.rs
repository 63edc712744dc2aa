//! The flags of `mira-train data fetch`.

use std::path::PathBuf;

use clap::Args;

const EXAMPLES: &str = "\
Examples:
  mira-train data fetch cifar10
      into data/cifar10; then: mira-train run cifar10-small-cpu --data data/cifar10
  mira-train data fetch hf:frgfm/imagenette:320px --out imagenette-320
      one folder of any data set of the hub
  mira-train data fetch hf:ylecun/mnist@refs/convert/parquet --dry-run
      what there is at a revision, and how large; nothing is fetched
  mira-train data fetch cifar10 --endpoint https://hub.example.com
      from another server with the hub's layout

Sets by name:
  cifar10        hf:uoft-cs/cifar10:plain_text/
  fashion-mnist  hf:zalando-datasets/fashion_mnist:fashion_mnist/
  imagenette     hf:frgfm/imagenette:160px/

Of other sets, Parquet files are taken whose names or folders say their split, or else image
and IDX files; where the main branch has neither, those of refs/convert/parquet.

The same command goes on after an interruption, of which NAME.part files are left. A file that
is there already is fetched again, and replaced, only if its checksum is wrong.

Environment: HF_ENDPOINT; HF_TOKEN, sent to the endpoint alone; HTTPS_PROXY and NO_PROXY;
SSL_CERT_FILE, certificates to trust instead of the built-in ones.";

/// Flags of `mira-train data fetch`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct FetchArgs {
    /// Data set: cifar10, fashion-mnist, imagenette, or one of the hub as hf:OWNER/NAME
    ///
    /// In full hf:OWNER/NAME@REVISION:SUBSET, either part left out at will. SUBSET is a folder, a file, or a pattern in which * is any text.
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Folder for the files; made if need be [default: data/ and the set's name]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,

    /// Print which files would be fetched, and their sizes; fetch nothing
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,

    /// Print no progress, only the summary at the end
    #[arg(long, help_heading = "Output")]
    pub quiet: bool,

    /// Address of the hub [default: HF_ENDPOINT, else huggingface.co over https]
    #[arg(long, value_name = "URL", help_heading = "Network")]
    pub endpoint: Option<String>,

    /// Files fetched at the same time
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=64),
        help_heading = "Network"
    )]
    pub jobs: u32,

    /// Failures in a row, without progress, after which a file is given up
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(0..=1000),
        help_heading = "Network"
    )]
    pub retries: u32,

    /// Seconds to wait for an answer, or for the next bytes, before that is a failure
    #[arg(
        long,
        value_name = "SECONDS",
        allow_negative_numbers = true,
        default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(1..=3600),
        help_heading = "Network"
    )]
    pub timeout: u32,
}
