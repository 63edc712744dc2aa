//! A folder to fetch into, and options that do not make tests wait.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mira_train::fetch::{Error, Fetched, Hub, Options, Progress, fetch, plan};
use mira_train::run_folder::StopRequest;
use tempfile::TempDir;

use super::server::Server;

/// The repository that tests mostly use, and its only file.
pub(crate) const SET: &str = "o/n/main";
pub(crate) const FILE: &str = "data/train-00000-of-00001.parquet";
pub(crate) const LOCAL: &str = "train-00000-of-00001.parquet";

/// Bytes without a pattern that a shifted copy would fit.
pub(crate) fn content(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(next).collect()
}

pub(crate) struct Sandbox {
    pub(crate) server: Server,
    folder: TempDir,
}

impl Sandbox {
    /// A hub with nothing in it.
    pub(crate) fn empty() -> Self {
        Self { server: Server::start(), folder: TempDir::new().expect("a folder") }
    }

    /// A hub with one file of `len` bytes.
    pub(crate) fn with_file(len: usize) -> Self {
        let sandbox = Self::empty();
        sandbox.server.file(SET, FILE, &content(len));
        sandbox
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.out().join(name)
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            endpoint: self.server.endpoint(),
            num_retries: 3,
            timeout: Duration::from_secs(20),
            backoff: Duration::from_millis(1),
            ..Options::default()
        }
    }

    pub(crate) fn fetch(&self, set: &str) -> Result<Fetched, Error> {
        self.fetch_with(set, self.options())
    }

    pub(crate) fn fetch_with(&self, set: &str, options: Options) -> Result<Fetched, Error> {
        let progress = Progress::new(true);
        let hub = Hub::new(options, StopRequest::never())?;
        let plan = plan(&hub, &set.parse()?, &progress)?;
        fetch(&hub, &plan, &self.out(), 2, &progress)
    }

    /// Fetches the one file, and finds it complete and nothing beside it.
    pub(crate) fn fetches(&self, len: usize) {
        let fetched = self.fetch("hf:o/n").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((fetched.num_fetched, fetched.num_present), (1, 0));
        self.is_complete(len);
    }

    pub(crate) fn is_complete(&self, len: usize) {
        assert!(fs::read(self.path(LOCAL)).expect("the file") == content(len), "other content");
        assert_eq!(names(&self.out()), [LOCAL]);
    }

    /// An earlier download's part: its bytes, and what they are a part of.
    pub(crate) fn leave_part(&self, bytes: &[u8], note: &str) {
        fs::create_dir_all(self.out()).expect("a folder");
        fs::write(self.path(&format!("{LOCAL}.part")), bytes).expect("a part");
        fs::write(self.path(&format!("{LOCAL}.part.json")), note).expect("a note");
    }

    pub(crate) fn part(&self) -> Vec<u8> {
        fs::read(self.path(&format!("{LOCAL}.part"))).unwrap_or_default()
    }
}

/// The names in a folder, in order.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}
