//! `TensorBoard` event files: scalars only, written by hand, appended and never rewritten.

mod framing;

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use framing::{Message, record};

use super::Error;
use super::metrics::{EvalRecord, StepRecord};

/// How long an event may wait in memory once another one follows it.
const FLUSH_EVERY: Duration = Duration::from_secs(5);

/// Writes one event file, `events.out.tfevents.<time>.<host>.<pid>`.
///
/// Events reach the file at most five seconds late while more of them come, with [`flush`](Self::flush), and when the writer is dropped.
#[derive(Debug)]
pub struct EventWriter {
    file: BufWriter<File>,
    path: PathBuf,
    last_flush: Instant,
}

impl EventWriter {
    /// Begins a new file in `folder`, which it makes if need be; other files there are left alone.
    ///
    /// A run that resumes gives the step it goes on from as `resumed`, be it 0: `TensorBoard` then drops what earlier files say of that step and later ones,
    /// so that evaluations of that step which are not made again must be written again.
    ///
    /// # Errors
    /// [`Error::WriteFailed`].
    pub fn create(folder: &Path, resumed: Option<u64>) -> Result<Self, Error> {
        let failed = |path: &Path, source| Error::WriteFailed { path: path.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
        let seconds = now() as u64;
        let name = format!("events.out.tfevents.{seconds:010}.{}.{}", host(), std::process::id());
        let mut path = folder.join(&name);
        let mut file = OpenOptions::new().append(true).create_new(true).open(&path);
        // Several files within one second, by one process.
        for i in 1..1000 {
            if !file.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::AlreadyExists) {
                break;
            }
            path = folder.join(format!("{name}.{i}"));
            file = OpenOptions::new().append(true).create_new(true).open(&path);
        }
        let file = BufWriter::new(file.map_err(|e| failed(&path, e))?);
        let mut this = Self { file, path, last_flush: Instant::now() };
        this.write(&Message::default().double(1, now()).bytes(3, b"brain.Event:2").finish())?;
        if let Some(step) = resumed {
            const START: u64 = 1;
            let log = Message::default().varint(1, START).finish();
            let event = Message::default().double(1, now()).varint(2, step).bytes(7, &log);
            this.write(&event.finish())?;
        }
        this.flush()?;
        Ok(this)
    }

    /// The file being written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds one event with several scalars.
    ///
    /// # Errors
    /// [`Error::WriteFailed`].
    pub fn scalars(&mut self, step: u64, values: &[(&str, f32)]) -> Result<(), Error> {
        let mut summary = Message::default();
        for (tag, value) in values {
            let value = Message::default().bytes(1, tag.as_bytes()).float(2, *value).finish();
            summary = summary.bytes(1, &value);
        }
        let event = Message::default().double(1, now()).varint(2, step).bytes(5, &summary.finish());
        self.write(&event.finish())?;
        if self.last_flush.elapsed() >= FLUSH_EVERY { self.flush() } else { Ok(()) }
    }

    /// Adds what a step measured, as `train/loss`, `train/lr`, …; what was not recorded is left out.
    ///
    /// # Errors
    /// [`Error::WriteFailed`].
    pub fn step(&mut self, record: &StepRecord) -> Result<(), Error> {
        let values = record.values().map(|(name, value)| (format!("train/{name}"), value));
        let known: Vec<_> = values.iter().filter(|(_, v)| !v.is_nan()).collect();
        let scalars: Vec<_> = known.iter().map(|(tag, v)| (tag.as_str(), *v as f32)).collect();
        self.scalars(record.step, &scalars)
    }

    /// Adds an evaluation, as `eval/<metric>/<encoder>`, and flushes.
    ///
    /// # Errors
    /// [`Error::WriteFailed`].
    pub fn evaluation(&mut self, record: &EvalRecord) -> Result<(), Error> {
        let tag = format!("eval/{}/{}", record.metric, record.encoder);
        self.scalars(record.step, &[(&tag, record.value as f32)])?;
        self.flush()
    }

    /// Hands everything to the file.
    ///
    /// # Errors
    /// [`Error::WriteFailed`].
    pub fn flush(&mut self) -> Result<(), Error> {
        self.last_flush = Instant::now();
        self.file.flush().map_err(|source| self.failed(source))
    }

    fn write(&mut self, event: &[u8]) -> Result<(), Error> {
        self.file.write_all(&record(event)).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::WriteFailed { path: self.path.clone(), source }
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .or_else(|_| std::env::var("COMPUTERNAME"))
        .unwrap_or_default();
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let plain: String = name.trim().chars().filter(is_plain).take(64).collect();
    if plain.is_empty() { "localhost".into() } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a file apart bit by bit, with a CRC computed one bit at a time.
    fn records(bytes: &[u8]) -> Vec<Vec<u8>> {
        fn check(data: &[u8], stored: &[u8]) {
            let mut crc = !0_u32;
            for bit in data.iter().flat_map(|b| (0..8).map(move |i| b >> i & 1)) {
                let out = crc & 1 ^ u32::from(bit);
                crc = crc >> 1 ^ if out == 1 { 0x82F6_3B78 } else { 0 };
            }
            crc = !crc;
            let mask = crc.rotate_right(15).wrapping_add(0xa282_ead8);
            assert_eq!(mask, u32::from_le_bytes(stored.try_into().unwrap()));
        }
        let (mut rest, mut found) = (bytes, Vec::new());
        while !rest.is_empty() {
            let (length, after) = rest.split_at(8);
            check(length, &after[..4]);
            let n = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            let data = &after[4..4 + n];
            check(data, &after[4 + n..8 + n]);
            found.push(data.to_vec());
            rest = &after[8 + n..];
        }
        found
    }

    #[test]
    fn the_file_holds_a_version_and_the_scalars() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(folder.path(), None).unwrap();
        writer.scalars(300, &[("a", 1.5), ("bc", -2.0)]).unwrap();
        let path = writer.path().to_owned();
        drop(writer);
        assert!(path.file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents."));
        let records = records(&std::fs::read(path).unwrap());
        assert_eq!(records.len(), 2);
        assert_eq!(records[0][0], 0x09);
        assert_eq!(&records[0][9..], b"\x1a\x0dbrain.Event:2");
        // step 300 = 0xAC 0x02; a summary of two values, each a tag and a float
        let mut expected = b"\x10\xac\x02\x2a\x15\x0a\x08\x0a\x01a\x15\0\0\xc0\x3f".to_vec();
        expected.extend(b"\x0a\x09\x0a\x02bc\x15\0\0\0\xc0");
        assert_eq!(&records[1][9..], expected);
    }

    #[test]
    fn steps_leave_out_what_was_not_recorded_and_files_do_not_collide() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = EventWriter::create(folder.path(), None).unwrap();
        let second = EventWriter::create(folder.path(), Some(7)).unwrap();
        assert_ne!(first.path(), second.path());
        first.step(&StepRecord { step: 3, loss: 1.0, ..StepRecord::default() }).unwrap();
        first.flush().unwrap();
        let all = records(&std::fs::read(first.path()).unwrap());
        assert_eq!(&all[1][9..], b"\x10\x03\x2a\x13\x0a\x11\x0a\x0atrain/loss\x15\0\0\x80\x3f");
        // a resumed run says where it starts: step 7, session_log { status: START }
        let all = records(&std::fs::read(second.path()).unwrap());
        assert_eq!(&all[1][9..], b"\x10\x07\x3a\x02\x08\x01");
        // also where it starts again, for there may be files of before
        let third = EventWriter::create(folder.path(), Some(0)).unwrap();
        let all = records(&std::fs::read(third.path()).unwrap());
        assert_eq!(&all[1][9..], b"\x10\0\x3a\x02\x08\x01");
    }
}
