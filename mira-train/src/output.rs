//! Files that appear complete or not at all: written beside their destination, synced, then renamed over it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::Error;
use crate::run_folder::sync_folder;

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
        temporary_in(&destination.directory)
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

    /// Writes the contents beside the destination and syncs them; nothing shows yet.
    pub(crate) fn stage(
        &self,
        write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
    ) -> Result<Staged<'_>, Error> {
        let staged = || {
            let mut file = temporary_in(&self.directory)?;
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
        put_in_place(self.file, &destination.resolved, &destination.directory)
            .map_err(|source| destination.failed(source))?;
        Ok(destination.given.clone())
    }
}

/// Makes or replaces a file, complete or not at all; an error is the caller's to name the file in.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = temporary_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    put_in_place(file, path, folder)
}

/// Gives a file its name, in the same folder. After an error of the last step the name is there but may not outlive a power cut.
fn put_in_place(file: NamedTempFile, path: &Path, folder: &Path) -> io::Result<()> {
    file.persist(path).map_err(|e| e.error)?;
    sync_folder(folder)
}

fn temporary_in(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(".mira-").suffix(".tmp");
    #[cfg(unix)]
    {
        // What the umask leaves, as for any other new file.
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::run_folder::with_fault;

    #[test]
    fn a_name_that_may_not_outlive_a_power_cut_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.npy");
        let destination = Destination::new("--out", &path).unwrap();
        let publish = |errno| {
            let staged = destination.stage(|out| out.write_all(b"all of it")).unwrap();
            with_fault(errno, || staged.publish())
        };
        let failure = publish(Errno::IO).unwrap_err();
        let Error::WriteFailed { path: named, source } = &failure else { panic!("{failure:?}") };
        assert_eq!((named, source.raw_os_error()), (&path, Some(Errno::IO.raw_os_error())));
        assert_eq!(failure.exit_code(), 1);
        assert_eq!(publish(Errno::INVAL).unwrap(), path);
        for (errno, is_failure) in [(Errno::IO, true), (Errno::NOTSUP, false)] {
            let written = with_fault(errno, || write_whole(&path, b"other"));
            assert_eq!(written.is_err(), is_failure, "{errno}");
        }
        assert_eq!(fs::read(&path).unwrap(), b"other");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }
}
