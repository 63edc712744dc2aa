//! Bytes of the index and the journal.

use super::*;

fn any_entry() -> impl Strategy<Value = Entry> {
    let label = prop_oneof![Just(None), (0..3_u32).prop_map(Some)];
    let place = (0..3_u32, any::<u64>(), any::<u32>(), any::<u64>());
    (place, label, any::<u32>(), any::<u32>(), any::<bool>()).prop_map(
        |((shard, offset, length, checksum), label, width, height, is_raw)| Entry {
            shard,
            offset,
            length,
            checksum,
            label,
            width,
            height,
            kind: if is_raw { Kind::Raw } else { Kind::File },
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_are_an_index_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Index::parse(&bytes);
        let _ = replay(&bytes, |_| true);
        let mut file = index::MAGIC.to_vec();
        file.extend(VERSION.to_le_bytes());
        file.extend(&bytes);
        if file.len() >= 64 {
            let length = file.len() as u64;
            file[16..24].copy_from_slice(&length.to_le_bytes());
            let _ = Index::parse(&forge(file));
        }
    }

    #[test]
    fn entries_keep_their_numbers(entry in any_entry()) {
        let mut bytes = Vec::new();
        entry.write(&mut bytes);
        prop_assert_eq!(bytes.len(), 40);
        let mut unread = crate::data::bytes::Unread(&bytes);
        prop_assert_eq!(Entry::read(&mut unread), Some(entry));
        prop_assert!(Entry::read(&mut crate::data::bytes::Unread(&bytes[..39])).is_none());
    }
}

#[test]
fn a_journal_says_what_was_written_to_it() {
    let to = tempfile::tempdir().unwrap();
    let entry = Entry {
        shard: 0,
        offset: 16,
        length: 5,
        checksum: 7,
        label: None,
        width: 1,
        height: 1,
        kind: Kind::File,
    };
    let skipped =
        Skipped { split: "test".into(), index: 3, name: "\u{fc}".into(), problem: "x".into() };
    let records = [Record::Packed(entry), Record::Skipped(skipped)];
    let mut journal = journal::Journal::create(to.path(), 9).unwrap();
    journal.append(&records[..1]).unwrap();
    journal.append(&records[1..]).unwrap();
    drop(journal);
    let (_, found) = journal::Journal::resume(to.path(), 9, |_| true).unwrap();
    assert_eq!(found, records);
    let (_, found) =
        journal::Journal::resume(to.path(), 9, |record| *record != records[1]).unwrap();
    assert_eq!(found, records[..1]);
    assert!(journal::Journal::resume(to.path(), 8, |_| true).is_err());
}
