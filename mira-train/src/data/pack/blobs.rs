//! Where a shard's bytes are: in a mapped file, or on a server.

use std::ops::Range;

use memmap2::Mmap;

use crate::data::Error;
#[cfg(feature = "object-store")]
use crate::data::remote::RemoteFile;

/// The bytes of a shard.
pub(super) enum Blobs {
    Mapped(Mmap),
    /// Read anew each time: whoever wants to keep images keeps them decoded.
    #[cfg(feature = "object-store")]
    Remote(RemoteFile),
}

impl Blobs {
    /// Some of them, in the buffer if they are nowhere else yet; none where there are fewer.
    #[cfg_attr(
        not(feature = "object-store"),
        allow(
            clippy::unnecessary_wraps,
            clippy::ptr_arg,
            unused_variables,
            reason = "what files on a server need"
        )
    )]
    pub(super) fn read<'a>(
        &'a self,
        range: Range<u64>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], Error> {
        match self {
            Self::Mapped(map) => {
                let range = range.start as usize..range.end as usize;
                Ok(map.get(range).unwrap_or_default())
            }
            #[cfg(feature = "object-store")]
            Self::Remote(file) => {
                (*buffer, _) = file.range(range).map_err(|error| match error {
                    // A server that fails is no bad image, for which training takes another one.
                    Error::Remote { url, problem } => Error::malformed(url, problem),
                    other => other,
                })?;
                Ok(buffer)
            }
        }
    }
}
