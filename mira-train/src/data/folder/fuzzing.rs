//! The kept list of folders from any bytes.

use std::path::Path;

use twox_hash::XxHash3_64;

use super::listing::{KIND, parse};
use crate::data::strings::Strings;
use crate::fuzzing::Format;

/// A folder is at least 32 bytes: its path, times, and how many images and folders it has.
pub(crate) const INDEX: Format =
    Format { name: "folder_index", read: index, memory: |n| 32 * n, seeds };

const ROOT: &str = "/data";

fn index(bytes: &[u8]) -> Result<(), String> {
    let read = |bytes: &[u8]| KIND.parse(bytes, |unread| parse(unread, Path::new(ROOT)));
    let _ = read(bytes);
    let mut file = bytes.to_vec();
    if file.len() >= 20 {
        let checksum = XxHash3_64::oneshot(&file[20..]);
        file[12..20].copy_from_slice(&checksum.to_le_bytes());
    }
    let known = read(&file).ok_or("it is no list of folders")?;
    let num_folders: usize = known.values().map(|listing| listing.folders().count()).sum();
    assert!(known.len() + num_folders <= bytes.len() / 4);
    Ok(())
}

fn seeds() -> Vec<Vec<u8>> {
    let write = |names: &[&str], to: &mut Vec<u8>| {
        let mut strings = Strings::default();
        for name in names {
            strings.push(name.as_bytes());
        }
        strings.write(to);
    };
    let mut body = Vec::new();
    write(&[ROOT], &mut body);
    body.extend(2_u32.to_le_bytes());
    for (path, images, folders) in [("", &[][..], &["cat"][..]), ("cat", &["1.jpg", "2.png"], &[])]
    {
        write(&[path], &mut body);
        body.extend([[7_u64, 9].map(u64::to_le_bytes)].concat().concat());
        write(images, &mut body);
        write(folders, &mut body);
        body.extend(1_u64.to_le_bytes());
    }
    vec![KIND.to_bytes(&body)]
}
