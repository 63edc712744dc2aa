//! Pages of a column, held against the bytes there are before memory is taken for them.
//!
//! The library takes memory by a page's header: up to 2 GiB for its bytes, up to 64 GiB for the values of a dictionary. So it is told that
//! columns are not compressed, and pages are unpacked and counted here.

use std::fs::File;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::{ColumnReader, get_column_reader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::ChunkReader as _;
use parquet::file::serialized_reader::SerializedPageReader;

use super::format::{FILE_META_DATA, PAGE_HEADER};
use super::thrift::{self, Problem};

/// Snappy copies at most 64 bytes by 3.
const MAX_EXPANSION: usize = 22;

/// The shortest value of a dictionary: a whole number, or the length of a text.
const MIN_VALUE: usize = 4;

/// A reader of one column of a group.
///
/// # Errors
/// What is wrong with the group.
pub(super) fn reader(
    file: &Arc<File>,
    group: &RowGroupMetaData,
    column: usize,
    num_rows: usize,
) -> Result<ColumnReader> {
    let chunk = group.column(column);
    let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
    let end = u64::try_from(start)
        .ok()
        .zip(u64::try_from(chunk.compressed_size()).ok())
        .and_then(|(start, length)| start.checked_add(length));
    let length = file.metadata()?.len();
    if end.is_none_or(|end| end > length) {
        return refuse(format!("a column claims to be outside the {length} bytes of the file"));
    }
    if let (Ok(start), Some(end)) = (u64::try_from(start), end) {
        check_headers(file, start, end)?;
    }
    let is_snappy = chunk.compression() == Compression::SNAPPY;
    let as_it_is = Compression::UNCOMPRESSED;
    let plain = chunk.clone().into_builder().set_compression(as_it_is).build()?;
    let chunk = if is_snappy { &plain } else { chunk };
    let packed = SerializedPageReader::new(Arc::clone(file), chunk, num_rows, None)?;
    let pages = Pages { packed, is_snappy, num_rows };
    Ok(get_column_reader(chunk.column_descr_ptr(), Box::new(pages)))
}

/// Bytes that a header is looked for in at first.
const WINDOW: u64 = 4 << 10;

/// Refuses a file whose footer would keep the library busy; what else is wrong with it the library says.
pub(super) fn check_footer(file: &File, length: u64) -> Result<()> {
    let Some(end) = length.checked_sub(8) else { return Ok(()) };
    let tail = file.get_bytes(end, 8)?;
    let footer = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    let Some(start) = end.checked_sub(footer) else { return Ok(()) };
    if tail[4..] != *b"PAR1" {
        return Ok(());
    }
    match thrift::walk(&file.get_bytes(start, footer as usize)?, FILE_META_DATA) {
        Err(Problem::Refused(problem)) => refuse(format!("its footer is damaged: {problem}")),
        Err(Problem::Cut) => refuse("its footer is damaged: it ends early"),
        Ok(_) => Ok(()),
    }
}

/// The same of the headers of a column's pages, which lie between `start` and `end`.
fn check_headers(file: &File, start: u64, end: u64) -> Result<()> {
    let mut at = start;
    while at < end {
        let mut window = WINDOW;
        let header = loop {
            let length = window.min(end - at);
            match thrift::walk(&file.get_bytes(at, length as usize)?, PAGE_HEADER) {
                Ok(header) => break header,
                Err(Problem::Cut) if length < end - at => window *= 4,
                Err(Problem::Cut) => return refuse("the header of a page is cut short"),
                Err(Problem::Refused(problem)) => {
                    return refuse(format!("the header of a page is damaged: {problem}"));
                }
            }
        };
        // What the page takes in the file.
        let Some(length) = header.third.and_then(|length| u64::try_from(length).ok()) else {
            return refuse("the header of a page does not say how long it is");
        };
        at = at.saturating_add(header.length as u64).saturating_add(length);
    }
    Ok(())
}

struct Pages {
    packed: SerializedPageReader<File>,
    is_snappy: bool,
    num_rows: usize,
}

fn refuse<T>(problem: impl Into<String>) -> Result<T> {
    Err(ParquetError::General(problem.into()))
}

impl Pages {
    fn check(&self, mut page: Page) -> Result<Page> {
        let num_values = page.num_values() as usize;
        match &mut page {
            Page::DictionaryPage { buf, .. } => {
                *buf = self.unpack(buf, 0)?.into();
                if num_values > buf.len() / MIN_VALUE {
                    let length = buf.len();
                    return refuse(format!(
                        "a dictionary claims {num_values} values in {length} bytes"
                    ));
                }
            }
            Page::DataPage { buf, .. } => *buf = self.unpack(buf, 0)?.into(),
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed,
                ..
            } => {
                let levels =
                    (*def_levels_byte_len as usize).saturating_add(*rep_levels_byte_len as usize);
                if *is_compressed {
                    *buf = self.unpack(buf, levels)?.into();
                    *is_compressed = false;
                }
            }
        }
        if page.is_data_page() && num_values > self.num_rows {
            return refuse(format!("a page claims {num_values} of {} rows", self.num_rows));
        }
        // Those of texts take memory for as many as they claim.
        if let encoding @ (Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY) =
            page.encoding()
        {
            return refuse(format!("the encoding {encoding} is not read"));
        }
        Ok(page)
    }

    /// The bytes of a page behind its first `levels`, which are not compressed.
    fn unpack(&self, page: &[u8], levels: usize) -> Result<Vec<u8>> {
        let Some((levels, packed)) = page.split_at_checked(levels) else {
            return refuse("a page is shorter than its levels");
        };
        if !self.is_snappy || packed.is_empty() {
            return Ok(page.to_vec());
        }
        let length =
            snap::raw::decompress_len(packed).map_err(|e| ParquetError::External(e.into()))?;
        if length > MAX_EXPANSION * packed.len() {
            return refuse(format!("a page claims {length} bytes in {}", packed.len()));
        }
        let mut bytes = levels.to_vec();
        bytes.resize(levels.len() + length, 0);
        snap::raw::Decoder::new()
            .decompress(packed, &mut bytes[levels.len()..])
            .map_err(|e| ParquetError::External(e.into()))?;
        Ok(bytes)
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.packed.get_next_page()?;
        page.map(|page| self.check(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.packed.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.packed.skip_next_page()
    }
}
