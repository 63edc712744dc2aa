//! The checksums that the hub lists: SHA-256 of files in large-file storage, and Git's SHA-1 of the others.

use std::fmt::{self, Write as _};

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// A checksum that a file should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256 of the content.
    Sha256([u8; 32]),
    /// SHA-1 of a Git blob: `blob`, the size, a zero byte, the content.
    GitBlob([u8; 20]),
}

impl Digest {
    /// From 64 hexadecimal digits.
    pub(super) fn sha256(hex: &str) -> Option<Self> {
        from_hex(hex).map(Self::Sha256)
    }

    /// From 40 hexadecimal digits.
    pub(super) fn git_blob(hex: &str) -> Option<Self> {
        from_hex(hex).map(Self::GitBlob)
    }

    /// Starts computing one of this kind of a file of `size` bytes.
    pub(super) fn hasher(&self, size: u64) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher(Context::new(&SHA256)),
            Self::GitBlob(_) => {
                let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {size}\0").as_bytes());
                Hasher(context)
            }
        }
    }

    /// Whether it is what was computed.
    pub(super) fn check(&self, computed: Hasher) -> Result<(), Mismatch> {
        let got = computed.0.finish();
        let expected: &[u8] = match self {
            Self::Sha256(bytes) => bytes,
            Self::GitBlob(bytes) => bytes,
        };
        if got.as_ref() == expected {
            return Ok(());
        }
        Err(Mismatch {
            expected: self.to_string(),
            got: format!("{}:{}", self.kind(), hex(got.as_ref())),
        })
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::GitBlob(_) => "git-sha1",
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: &[u8] = match self {
            Self::Sha256(bytes) => bytes,
            Self::GitBlob(bytes) => bytes,
        };
        write!(f, "{}:{}", self.kind(), hex(bytes))
    }
}

/// Two checksums that should be one, as text.
#[derive(Debug)]
pub(super) struct Mismatch {
    pub(super) expected: String,
    pub(super) got: String,
}

/// A checksum being computed.
#[derive(Clone)]
pub(super) struct Hasher(Context);

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    if hex.len() != 2 * N || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `sha256sum` and `git hash-object` print for the six bytes of "hello\n".
    const SHA256_HELLO: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    const GIT_HELLO: &str = "ce013625030ba8dba906f756967f9e9ca394464a";

    #[test]
    fn checksums_are_those_of_the_tools() {
        for digest in [Digest::sha256(SHA256_HELLO), Digest::git_blob(GIT_HELLO)] {
            let digest = digest.unwrap();
            let mut hasher = digest.hasher(6);
            hasher.update(b"hel");
            hasher.update(b"lo\n");
            digest.check(hasher).unwrap();
            let mismatch = digest.check(digest.hasher(6)).unwrap_err();
            assert_eq!(mismatch.expected, digest.to_string());
            assert_ne!(mismatch.expected, mismatch.got);
        }
    }

    #[test]
    fn what_is_no_checksum_is_none() {
        for text in ["", "ab", &GIT_HELLO.replace('c', "x"), &format!("é{}", &GIT_HELLO[2..])] {
            assert_eq!(Digest::git_blob(text), None, "{text}");
        }
        assert_eq!(Digest::sha256(GIT_HELLO), None);
    }
}
