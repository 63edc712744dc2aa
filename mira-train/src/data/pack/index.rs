//! The index to bytes and back, without trusting a byte. The layout is in the module above.

use twox_hash::XxHash3_64;

use super::{SHARD_HEADER, VERSION};
use crate::data::MAX_PIXELS;
use crate::data::bytes::{Unread, push_text};

pub(super) const MAGIC: [u8; 8] = *b"\x89MPK\r\n\x1a\n";
const PROLOGUE: usize = 64;
pub(super) const ENTRY: usize = 40;
const NO_LABEL: u32 = u32::MAX;
const DAMAGED: &str = "copy it again, or pack the images again into another folder";

/// What the file `index` holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Index {
    pub(super) fingerprint: u64,
    pub(super) class_names: Vec<String>,
    /// Lengths of the files.
    pub(super) shards: Vec<u64>,
    /// Training images, then test images.
    pub(super) entries: Vec<Entry>,
    pub(super) num_train: usize,
}

/// An image's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) shard: u32,
    pub(super) offset: u64,
    pub(super) length: u32,
    pub(super) checksum: u64,
    pub(super) label: Option<u32>,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) kind: Kind,
}

/// What an image's bytes are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// A JPEG, PNG or WebP file.
    File,
    /// RGB bytes.
    Raw,
}

impl Entry {
    /// Where it ends in its shard.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.length.into())
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.offset.to_le_bytes());
        to.extend_from_slice(&self.checksum.to_le_bytes());
        let kind = match self.kind {
            Kind::File => 0,
            Kind::Raw => 1,
        };
        let label = self.label.unwrap_or(NO_LABEL);
        for number in [self.length, self.shard, label, self.width, self.height, kind] {
            to.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// `None` where there are too few bytes or the kind is unknown.
    pub(super) fn read(from: &mut Unread) -> Option<Self> {
        let (offset, checksum) = (from.u64()?, from.u64()?);
        let (length, shard, label) = (from.u32()?, from.u32()?, from.u32()?);
        let (width, height, kind) = (from.u32()?, from.u32()?, from.u32()?);
        let kind = match kind {
            0 => Kind::File,
            1 => Kind::Raw,
            _ => return None,
        };
        let label = (label != NO_LABEL).then_some(label);
        Some(Self { shard, offset, length, checksum, label, width, height, kind })
    }

    /// Whether it can be true of shards of these lengths.
    fn check(&self, shards: &[u64], num_classes: usize) -> Result<(), String> {
        let Some(&shard_length) = shards.get(self.shard as usize) else {
            return Err(format!("is in shard {} of {}", self.shard, shards.len()));
        };
        if self.offset < SHARD_HEADER as u64 || self.end() > shard_length || self.length == 0 {
            return Err(format!(
                "takes bytes {} to {} of a shard of {shard_length}",
                self.offset,
                self.end()
            ));
        }
        if let Some(label) = self.label
            && label as usize >= num_classes
        {
            return Err(format!("has label {label}, which is not below the {num_classes} classes"));
        }
        let num_pixels = u64::from(self.width) * u64::from(self.height);
        if !(1..=MAX_PIXELS as u64).contains(&num_pixels) {
            return Err(format!(
                "has {} × {} pixels, expected 1 to {MAX_PIXELS}",
                self.width, self.height
            ));
        }
        if self.kind == Kind::Raw && num_pixels * 3 != u64::from(self.length) {
            return Err(format!(
                "has {} bytes for {} × {} × 3 pixels",
                self.length, self.height, self.width
            ));
        }
        Ok(())
    }
}

impl Index {
    /// The file's bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.entries.len() * ENTRY);
        self.shards.iter().for_each(|length| body.extend_from_slice(&length.to_le_bytes()));
        self.class_names.iter().for_each(|name| push_text(name, &mut body));
        self.entries.iter().for_each(|entry| entry.write(&mut body));

        let mut file = MAGIC.to_vec();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        file.extend_from_slice(&VERSION.to_le_bytes());
        file.extend_from_slice(&number(self.shards.len()));
        file.extend_from_slice(&((PROLOGUE + body.len()) as u64).to_le_bytes());
        file.extend_from_slice(&XxHash3_64::oneshot(&body).to_le_bytes());
        file.extend_from_slice(&self.fingerprint.to_le_bytes());
        file.extend_from_slice(&number(self.class_names.len()));
        file.extend_from_slice(&number(self.num_train));
        file.extend_from_slice(&number(self.entries.len() - self.num_train));
        file.extend_from_slice(&[0; 4]);
        file.extend_from_slice(&XxHash3_64::oneshot(&file).to_le_bytes());
        file.extend_from_slice(&body);
        file
    }

    /// Reads the file's bytes. Memory is taken for what is there, never for what is claimed.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn parse(file: &[u8]) -> Result<Self, String> {
        let Some((prologue, body)) = file.split_at_checked(PROLOGUE) else {
            let got = file.len();
            return Err(format!(
                "it has {got} bytes, expected at least {PROLOGUE}: it was cut short; {DAMAGED}"
            ));
        };
        let (fields, own_checksum) = prologue.split_at(PROLOGUE - 8);
        let mut unread = Unread(fields);
        if unread.bytes(8) != Some(&MAGIC) {
            return Err(format!(
                "its first bytes are not those of a packed set's index; {DAMAGED}"
            ));
        }
        let missing = || "its prologue is too short".to_owned();
        if Unread(own_checksum).u64() != Some(XxHash3_64::oneshot(fields)) {
            return Err(format!("its prologue is damaged (checksum); {DAMAGED}"));
        }
        let version = unread.u32().ok_or_else(missing)?;
        if version != VERSION {
            return Err(format!(
                "it has format version {version}, expected {VERSION}; update mira-train, or pack the images again with this one"
            ));
        }
        let num_shards = unread.u32().ok_or_else(missing)? as usize;
        let length = unread.u64().ok_or_else(missing)?;
        let checksum = unread.u64().ok_or_else(missing)?;
        let fingerprint = unread.u64().ok_or_else(missing)?;
        let num_classes = unread.u32().ok_or_else(missing)? as usize;
        let num_train = unread.u32().ok_or_else(missing)? as usize;
        let num_test = unread.u32().ok_or_else(missing)? as usize;
        if length != file.len() as u64 {
            let got = file.len();
            return Err(format!("it has {got} bytes, expected {length}; {DAMAGED}"));
        }
        if XxHash3_64::oneshot(body) != checksum {
            return Err(format!("its body is damaged (checksum); {DAMAGED}"));
        }

        // The checksums are right: what is wrong from here on was written so.
        let short = || format!("its body is shorter than the prologue says; {DAMAGED}");
        let mut unread = Unread(body);
        if !unread.has(num_shards, 8) {
            return Err(short());
        }
        let shards: Vec<u64> = (0..num_shards).map_while(|_| unread.u64()).collect();
        if !unread.has(num_classes, 4) {
            return Err(short());
        }
        let mut class_names = Vec::with_capacity(num_classes);
        for _ in 0..num_classes {
            class_names.push(unread.text().ok_or_else(short)?.to_owned());
        }
        let num_images = num_train.saturating_add(num_test);
        if num_images.checked_mul(ENTRY) != Some(unread.0.len()) {
            return Err(short());
        }
        let mut entries = Vec::with_capacity(num_images);
        for i in 0..num_images {
            let entry = Entry::read(&mut unread)
                .ok_or_else(|| format!("image {i} is of an unknown kind; {DAMAGED}"))?;
            entry
                .check(&shards, num_classes)
                .map_err(|problem| format!("image {i} {problem}; {DAMAGED}"))?;
            entries.push(entry);
        }
        Ok(Self { fingerprint, class_names, shards, entries, num_train })
    }
}
