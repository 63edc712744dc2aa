//! A shard's samples from its headers, in one pass that skips the images.

use std::collections::HashSet;
use std::io::{self, BufReader, Read, Seek};

use serde_json::Value;

use super::tar::{self, BLOCK, Header, Kind, Records};
use crate::data::strings::Strings;

/// The most bytes of a name or an extended header.
const MAX_NAME: u64 = 64 << 10;
/// The most bytes of a file that a label is in.
const MAX_LABEL: u64 = 1 << 20;
/// Archives are filled up with zeros to whole records, which may be large.
const MAX_TAIL: u64 = 1 << 20;

const DAMAGED: &str = "fetch the shard again, or write it again";

/// Where a sample's image is, and its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) offset: u64,
    /// 2³² − 1 for anything larger.
    pub(super) length: u32,
    pub(super) label: Option<u32>,
}

/// The samples of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Samples {
    pub(super) places: Vec<Sample>,
    /// Of their images, as the shard has them: as many.
    pub(super) names: Strings,
}

impl Samples {
    fn push(&mut self, found: Option<(Sample, String)>) {
        if let Some((place, name)) = found {
            self.places.push(place);
            self.names.push(name.as_bytes());
        }
    }
}

/// Why a shard cannot be indexed.
#[derive(Debug)]
pub(super) enum Problem {
    Io(io::Error),
    Malformed(String),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads the headers of a shard of `size` bytes. Memory is taken for the samples found, a name and a label.
///
/// # Errors
/// [`Problem::Malformed`] saying at which byte what is wrong: a shard that is cut short, also where a member ends, is never taken for a
/// whole one.
pub(super) fn scan(input: impl Read + Seek, size: u64) -> Result<Samples, Problem> {
    let mut members = Members { input: BufReader::new(input), position: 0, size };
    let (mut samples, mut group) = (Samples::default(), Group::default());
    while let Some(member) = members.next()? {
        let Some((key, extension)) = split(&member.name) else {
            members.skip(&member)?;
            continue;
        };
        if group.key != key {
            samples.push(group.finish());
            group.key = key.into();
        }
        group.add(&extension.to_ascii_lowercase(), &member, &mut members)?;
    }
    samples.push(group.finish());
    samples.names.shrink();
    Ok(samples)
}

/// The name up to the first dot behind its folders, and the rest; `None` for hidden files and for names without a dot.
fn split(name: &str) -> Option<(&str, &str)> {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = file + name[file..].find('.')?;
    (dot > file && dot + 1 < name.len()).then(|| (&name[..dot], &name[dot + 1..]))
}

/// A sample that is not complete yet.
#[derive(Default)]
struct Group {
    key: String,
    extensions: HashSet<String>,
    /// Offset, length, name.
    image: Option<(u64, u32, String)>,
    label: Option<u32>,
    /// Whether the label is that in `.cls`, which goes before the one in `.json`.
    has_cls: bool,
}

impl Group {
    /// The sample, if there is an image; the next one begins.
    fn finish(&mut self) -> Option<(Sample, String)> {
        let Self { image, label, .. } = std::mem::take(self);
        let (offset, length, name) = image?;
        Some((Sample { offset, length, label }, name))
    }

    fn add(
        &mut self,
        extension: &str,
        member: &Member,
        members: &mut Members<impl Read + Seek>,
    ) -> Result<(), Problem> {
        if !self.extensions.insert(extension.into()) {
            return Err(member.refuse("is there twice in one sample; write the shard again"));
        }
        match extension {
            "jpg" | "jpeg" | "png" | "webp" => {
                if self.image.is_none() {
                    let length = u32::try_from(member.size).unwrap_or(u32::MAX);
                    self.image = Some((member.offset, length, member.name.clone()));
                }
                members.skip(member)?;
            }
            "cls" => {
                let bytes = members.read(member, MAX_LABEL)?;
                self.label = member.label(&String::from_utf8_lossy(&bytes))?;
                self.has_cls = true;
            }
            "json" => {
                let bytes = members.read(member, MAX_LABEL)?;
                let value: Value = serde_json::from_slice(&bytes)
                    .map_err(|e| member.refuse(&format!("is no JSON ({e}); correct it")))?;
                let label = match value.get("label").or_else(|| value.get("cls")) {
                    None | Some(Value::Null) => None,
                    Some(Value::String(text)) => member.label(text)?,
                    Some(other) => member.label(&other.to_string())?,
                };
                if !self.has_cls {
                    self.label = label;
                }
            }
            _ => members.skip(member)?,
        }
        Ok(())
    }
}

/// A file in a shard.
struct Member {
    name: String,
    /// Of its header.
    header: u64,
    /// Of its data.
    offset: u64,
    size: u64,
}

impl Member {
    fn refuse(&self, problem: &str) -> Problem {
        Problem::Malformed(format!("at byte {}: {:?} {problem}", self.header, self.name))
    }

    /// A label in digits; −1 says that there is none.
    fn label(&self, text: &str) -> Result<Option<u32>, Problem> {
        match text.trim().parse::<i64>().map(u32::try_from) {
            Ok(Ok(label)) if label != u32::MAX => Ok(Some(label)),
            Ok(Err(_)) if text.trim() == "-1" => Ok(None),
            _ => {
                let start: String = text.trim().chars().take(40).collect();
                Err(self.refuse(&format!(
                    "has the label '{start}', expected a whole number; correct it"
                )))
            }
        }
    }
}

/// The files of a shard one after the other; each must be read or skipped.
struct Members<R: Read + Seek> {
    input: BufReader<R>,
    position: u64,
    /// The file's true size.
    size: u64,
}

impl<R: Read + Seek> Members<R> {
    fn next(&mut self) -> Result<Option<Member>, Problem> {
        let (mut long_name, mut extended) = (None, Records::default());
        loop {
            let at = self.position;
            let refuse =
                |problem: &str| Problem::Malformed(format!("at byte {at}: {problem}; {DAMAGED}"));
            if self.size - at < BLOCK as u64 {
                return Err(refuse("the shard is cut short, its end marker is missing"));
            }
            let mut block = [0; BLOCK];
            self.fill(&mut block)?;
            let Some(Header { kind, name, size }) = tar::header(&block).map_err(|e| refuse(&e))?
            else {
                self.check_tail()?;
                return Ok(None);
            };
            if kind == Kind::Sparse || extended.is_sparse {
                return Err(refuse("a sparse file; write the shard without --sparse"));
            }
            let size = match extended.size {
                Some(size) if kind == Kind::File => size,
                _ => size,
            };
            let left = self.size - self.position;
            if size > left {
                return Err(refuse(&format!(
                    "{name:?} claims {size} bytes, but the shard ends after {left}"
                )));
            }
            let member = Member { name, header: at, offset: self.position, size };
            match kind {
                Kind::File => {
                    let name = extended.path.or(long_name).unwrap_or(member.name);
                    return Ok(Some(Member { name, ..member }));
                }
                Kind::LongName => long_name = Some(tar::text(&self.read(&member, MAX_NAME)?)),
                Kind::Extended => {
                    let bytes = self.read(&member, MAX_NAME)?;
                    extended = tar::records(&bytes).map_err(|e| refuse(&e))?;
                }
                Kind::Global => {
                    let bytes = self.read(&member, MAX_NAME)?;
                    if tar::records(&bytes).map_err(|e| refuse(&e))? != Records::default() {
                        return Err(refuse("an extended header gives all files one name or size"));
                    }
                }
                Kind::LongLink => self.skip(&member)?,
                Kind::Nothing | Kind::Sparse => {
                    (long_name, extended) = (None, Records::default());
                }
            }
        }
    }

    /// What a member holds, and passes it over.
    fn read(&mut self, member: &Member, limit: u64) -> Result<Vec<u8>, Problem> {
        let size = member.size;
        if size > limit {
            return Err(member.refuse(&format!("has {size} bytes, expected at most {limit}")));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.fill(&mut bytes)?;
        self.pass(member.offset + size, member)?;
        Ok(bytes)
    }

    /// Passes a member over.
    fn skip(&mut self, member: &Member) -> Result<(), Problem> {
        self.pass(member.offset + member.size, member)
    }

    /// Goes to the block behind `end`.
    fn pass(&mut self, end: u64, member: &Member) -> Result<(), Problem> {
        let next = end.checked_next_multiple_of(BLOCK as u64).filter(|&next| next <= self.size);
        let Some(next) = next else {
            return Err(member.refuse(&format!("is cut short; {DAMAGED}")));
        };
        self.input.seek_relative(i64::try_from(next - self.position).unwrap_or(i64::MAX))?;
        self.position = next;
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Problem> {
        self.input.read_exact(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Behind the end marker there are only zeros: anything else is an archive that another was appended to, whose images would be
    /// left out in silence.
    fn check_tail(&mut self) -> Result<(), Problem> {
        let (at, left) = (self.position, self.size - self.position);
        let mut tail = Vec::new();
        self.input.by_ref().take(left.min(MAX_TAIL)).read_to_end(&mut tail)?;
        if left > MAX_TAIL || tail.iter().any(|&byte| byte != 0) {
            return Err(Problem::Malformed(format!(
                "at byte {at}: {left} bytes behind the end marker; join shards with `tar --concatenate` only"
            )));
        }
        Ok(())
    }
}
