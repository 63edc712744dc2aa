//! Shards as memory: a mapped file, which nobody rewrites in place.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::data::Error;

/// Maps a whole file, read-only.
pub(super) fn map(path: &Path) -> Result<Mmap, Error> {
    // Asked before opening, which would wait for the writer of a pipe.
    let metadata = std::fs::metadata(path).map_err(Error::unreadable(path))?;
    if !metadata.is_file() {
        return Err(Error::malformed(path, "it is no file; pack the images again"));
    }
    let file = File::open(path).map_err(Error::unreadable(path))?;
    // SAFETY: the map is read-only and private to this process, and is read as bytes, of which every value is valid. What remains is
    // that another process changes the file underneath: a program that packs never writes to a file that an index names, and the
    // documentation of the format tells people not to. Bytes are only believed after their checksum, and a file that shrinks ends the
    // process by a signal, not by an invalid read.
    unsafe { Mmap::map(&file) }.map_err(Error::unreadable(path))
}
