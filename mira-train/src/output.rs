//! Files that appear complete or not at all: written beside their destination, synced, then renamed over it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::Error;

/// A destination found to be writable.
#[derive(Debug)]
pub(crate) struct Destination {
    /// As given, for messages.
    given: PathBuf,
    /// Where the file will stand: symbolic links to a file followed.
    resolved: PathBuf,
    directory: PathBuf,
    flag: &'static str,
}

impl Destination {
    /// Checks that a file can be made at `path`, by making and removing one beside it.
    pub(crate) fn new(flag: &'static str, path: &Path) -> Result<Self, Error> {
        let refuse =
            |problem: String| Error::Unwritable { flag, path: path.to_path_buf(), problem };
        // A rename would replace a device or a dangling link instead of writing to what it stands for.
        match fs::metadata(path) {
            Ok(m) if m.is_dir() => return Err(refuse("it is a directory".into())),
            Ok(m) if !m.is_file() => return Err(refuse("it is not a regular file".into())),
            Err(_) if path.is_symlink() => {
                return Err(refuse("it is a symbolic link to nothing".into()));
            }
            _ => {}
        }
        // `file_name` does not tell `w.npy/` from `w.npy`.
        if path
            .as_os_str()
            .as_encoded_bytes()
            .last()
            .is_some_and(|&c| std::path::is_separator(c.into()))
        {
            return Err(refuse("it names a folder; leave out the separator at its end".into()));
        }
        let Some(name) = path.file_name() else {
            return Err(refuse("it names no file".into()));
        };
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        let resolved = fs::canonicalize(path)
            .or_else(|_| fs::canonicalize(parent.unwrap_or(Path::new("."))).map(|d| d.join(name)))
            .map_err(|e| refuse(format!("its directory cannot be used: {e}")))?;
        let directory = resolved.parent().unwrap_or(Path::new("/")).to_path_buf();
        let destination = Self { given: path.into(), resolved, directory, flag };
        destination
            .temporary()
            .map_err(|e| refuse(format!("its directory cannot be used: {e}")))?;
        Ok(destination)
    }

    /// Refuses two roles for one file.
    pub(crate) fn differs_from(&self, other: &'static str, path: &Path) -> Result<(), Error> {
        if fs::canonicalize(path).is_ok_and(|path| path == self.resolved) {
            let (first, second, path) = (other, self.flag, self.given.clone());
            return Err(Error::SameFile { first, second, path });
        }
        Ok(())
    }

    /// Refuses two outputs to one file, which need not exist yet.
    pub(crate) fn differs_from_output(&self, other: &Self) -> Result<(), Error> {
        if self.resolved == other.resolved {
            let (first, second, path) = (other.flag, self.flag, self.given.clone());
            return Err(Error::SameFile { first, second, path });
        }
        Ok(())
    }

    fn temporary(&self) -> io::Result<NamedTempFile> {
        let mut builder = Builder::new();
        builder.prefix(".mira-").suffix(".tmp");
        #[cfg(unix)]
        {
            // What the umask leaves, as for any other new file.
            use std::os::unix::fs::PermissionsExt as _;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        builder.tempfile_in(&self.directory)
    }

    /// Writes the contents beside the destination and syncs them; nothing shows yet.
    pub(crate) fn stage(
        &self,
        write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
    ) -> Result<Staged<'_>, Error> {
        let staged = || {
            let mut file = self.temporary()?;
            let mut out = BufWriter::new(file.as_file_mut());
            write(&mut out)?;
            out.flush()?;
            drop(out);
            file.as_file().sync_all()?;
            Ok(Staged { destination: self, file })
        };
        staged().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::WriteFailed { path: self.given.clone(), source }
    }
}

/// A finished file without its name. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Staged<'a> {
    destination: &'a Destination,
    file: NamedTempFile,
}

impl Staged<'_> {
    /// Gives the file its name, and returns it as the caller wrote it.
    pub(crate) fn publish(self) -> Result<PathBuf, Error> {
        let destination = self.destination;
        self.file.persist(&destination.resolved).map_err(|e| destination.failed(e.error))?;
        // The rename itself outlives a power cut only if the directory is synced; where that is not possible, it is done.
        #[cfg(unix)]
        if let Ok(directory) = File::open(&destination.directory) {
            let _ = directory.sync_all();
        }
        Ok(destination.given.clone())
    }
}
