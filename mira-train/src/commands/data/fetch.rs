//! `mira-train data fetch`: a data set of the hub becomes a folder that `--data` takes.

use std::process::ExitCode;

use crate::Error;
use crate::cli::data::fetch::FetchArgs;

#[cfg(not(feature = "fetch"))]
pub(super) fn run(_: &FetchArgs) -> Result<(ExitCode, String), Error> {
    Err(Error::NotBuilt { what: "mira-train data fetch", feature: "fetch" })
}

#[cfg(feature = "fetch")]
pub(super) fn run(args: &FetchArgs) -> Result<(ExitCode, String), Error> {
    with_hub::run(args)
}

#[cfg(feature = "fetch")]
mod with_hub {
    use std::env;
    use std::fmt::Write as _;
    use std::path::{Path, PathBuf};
    use std::process::ExitCode;
    use std::time::{Duration, Instant};

    use super::{Error, FetchArgs};
    use crate::fetch::{self, DataSet, Fetched, Hub, Options, Plan, Progress};
    use crate::run_folder::{EXIT_INTERRUPTED, StopRequest};
    use crate::terminal::tell;
    use crate::text::{bytes, count, in_shell};
    use crate::train;

    pub(super) fn run(args: &FetchArgs) -> Result<(ExitCode, String), Error> {
        let started = Instant::now();
        let set: DataSet = args.name.parse()?;
        let out = args.out.clone().unwrap_or_else(|| Path::new("data").join(set.folder_name()));
        let stop = StopRequest::install().map_err(train::Error::from)?;
        let hub = Hub::new(options(args), stop)?;
        let progress = Progress::new(args.quiet);
        let result = fetch::plan(&hub, &set, &progress).and_then(|plan| {
            if args.dry_run {
                return Ok(listing(&hub, &plan, &out));
            }
            if !args.quiet {
                let (set, num_files) = (&plan.set, count(plan.files.len()));
                let (from, size) = (hub.endpoint(), bytes(plan.num_bytes()));
                let out = out.display();
                tell(&format!("{set} from {from}: {num_files} file(s), {size}, into {out}"));
            }
            let fetched = fetch::fetch(&hub, &plan, &out, args.jobs as usize, &progress)?;
            Ok(summary(&plan, fetched, &out, started.elapsed()))
        });
        match result {
            Ok(text) => Ok((ExitCode::SUCCESS, text)),
            Err(interrupted @ fetch::Error::Interrupted { .. }) => {
                let text = format!("{interrupted}\ncontinue with the same command\n");
                Ok((ExitCode::from(EXIT_INTERRUPTED), text))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn options(args: &FetchArgs) -> Options {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let default = Options::default();
        Options {
            endpoint: args
                .endpoint
                .clone()
                .or_else(|| set("HF_ENDPOINT"))
                .unwrap_or(default.endpoint),
            token: set("HF_TOKEN"),
            num_retries: args.retries,
            timeout: Duration::from_secs(args.timeout.into()),
            backoff: default.backoff,
            certificates: set("SSL_CERT_FILE").map(PathBuf::from),
        }
    }

    fn listing(hub: &Hub, plan: &Plan, out: &Path) -> String {
        let mut text = String::new();
        for file in &plan.files {
            let _ = writeln!(
                text,
                "{:>15}  {}  {}",
                count(file.size),
                file.local.display(),
                file.digest
            );
        }
        let (num_files, num_bytes) = (count(plan.files.len()), bytes(plan.num_bytes()));
        let _ = writeln!(
            text,
            "{num_files} file(s), {num_bytes} of {} at {} from {} would be in {}; nothing was fetched",
            plan.set,
            plan.set.revision(),
            hub.endpoint(),
            out.display()
        );
        text
    }

    fn summary(plan: &Plan, fetched: Fetched, out: &Path, elapsed: Duration) -> String {
        let Fetched { num_fetched, num_present } = fetched;
        format!(
            "{} file(s) fetched, {} there already, {} in all in {} after {}\ntrain on them with: mira-train run --data {}\n",
            count(num_fetched),
            count(num_present),
            bytes(plan.num_bytes()),
            out.display(),
            train::hours(elapsed),
            in_shell(out.display())
        )
    }
}
