//! Headers of every kind, by the `tar` library and by hand; cut short and of any bytes.

use super::*;

#[test]
fn files_of_one_key_are_a_sample_in_every_format() {
    for format in [Header::new_ustar, Header::new_gnu, Header::new_old] {
        let archive = archive(
            format,
            &[
                ("a/1.jpg", b"one"),
                ("a/1.cls", b"7\n"),
                ("a/1.txt", &[b'x'; 5000]),
                ("2.json", br#"{"caption": "a dog", "label": 3}"#),
                ("2.PNG", b"two"),
                ("3.webp", b""),
                ("3.jpg", b"a second image"),
                ("4.cls", b"1"),
                ("b/1.jpeg", &[b'f'; 513]),
                ("b/1.cls", b"-1"),
                ("b/1.json", br#"{"label": 5}"#),
                ("5.json", br#"{"cls": "12"}"#),
                ("5.jpg", b"five"),
                ("6.seg.jpg", b"a mask"),
                ("6.jpg", b"six"),
                (".hidden.jpg", b"no"),
                ("README", b"no"),
            ],
        );
        let expected: [(&[u8], _); 6] = [
            (b"one", Some(7)),
            (b"two", Some(3)),
            (b"", None),
            (&[b'f'; 513], None),
            (b"five", Some(12)),
            (b"six", None),
        ];
        assert_eq!(found(&archive), expected);
    }
    assert_eq!(scan(&[0; 1024]).unwrap(), Samples::default());
}

/// Members written by hand, so that every field may be wrong.
struct Member {
    kind: u8,
    name: Vec<u8>,
    size: [u8; 12],
    data: Vec<u8>,
}

impl Member {
    fn new(kind: u8, name: &str, data: &[u8]) -> Self {
        let size = format!("{:011o} ", data.len()).into_bytes().try_into().unwrap();
        Self { kind, name: name.into(), size, data: data.into() }
    }

    fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..self.name.len()].copy_from_slice(&self.name);
        block[124..136].copy_from_slice(&self.size);
        block[156] = self.kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        checksummed(block)
    }
}

fn checksummed(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn by_hand(members: &[Member]) -> Vec<u8> {
    let mut archive = Vec::new();
    for member in members {
        archive.extend(member.block());
        archive.extend(&member.data);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let length =
        (rest + 1..rest + 9).find(|length| rest + length.to_string().len() == *length).unwrap();
    format!("{length} {key}={value}\n")
}

#[test]
fn long_names_of_all_kinds_are_read() {
    let key = "k".repeat(300);
    let (image, label) = (format!("{key}.jpg"), format!("{key}.cls"));
    // GNU, by the library.
    let gnu = archive(Header::new_gnu, &[(&image, b"gnu"), (&label, b"4")]);
    assert_eq!(found(&gnu), [(&b"gnu"[..], Some(4))]);
    // The first part in the header's field for it.
    let (folder, file) = ("f".repeat(120), "k".repeat(90));
    let (image, label) = (format!("{folder}/{file}.jpg"), format!("{folder}/{file}.cls"));
    let ustar = archive(Header::new_ustar, &[(&image, b"a"), (&label, b"4")]);
    assert_eq!(found(&ustar), [(&b"a"[..], Some(4))]);
    let other = format!("{}/{file}.cls", "g".repeat(120));
    let ustar = archive(Header::new_ustar, &[(&image, b"a"), (&other, b"4")]);
    assert_eq!(found(&ustar), [(&b"a"[..], None)]);

    // Extended headers: a name, a size that the header's field has not, a comment for all files, a link with a long name.
    let path =
        |name: &str| record("path", name) + &record("mtime", "1.5") + &record("comment", "=");
    let (image, label) = (format!("{key}.jpg"), format!("{key}.cls"));
    let mut large = Member::new(b'0', "short", b"large");
    large.size = *b"00000000000 ";
    let pax = by_hand(&[
        Member::new(b'g', "pax_global_header", record("comment", "0123abcd").as_bytes()),
        Member::new(b'x', "x", (path(&image) + &record("size", "5")).as_bytes()),
        large,
        Member::new(b'K', "././@LongLink", key.as_bytes()),
        Member::new(b'5', "folder.jpg", b""),
        Member::new(b'x', "x", path(&label).as_bytes()),
        Member::new(b'7', "short", b"4"),
        Member::new(b'x', "x", path("lost.jpg").as_bytes()),
        Member::new(b'2', "link.jpg", b""),
        Member::new(0, "own.jpg", b"own"),
    ]);
    assert_eq!(found(&pax), [(&b"large"[..], Some(4)), (b"own", None)]);
    // Sizes in base 256.
    let mut member = Member::new(b'0', "1.jpg", b"base");
    member.size = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4];
    assert_eq!(found(&by_hand(&[member])), [(&b"base"[..], None)]);
}

#[test]
fn what_cannot_be_understood_is_refused_with_its_place() {
    let file = |name, data: &[u8]| Member::new(b'0', name, data);
    let many = [b'n'].repeat(70_000);
    let sized = |size: [u8; 12]| Member { size, ..file("1.jpg", b"x") };
    for (member, words) in [
        (sized(*b"77777777777 "), "claims 8589934591 bytes, but the shard ends after"),
        (sized([0x80, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]), "claims"),
        (sized([0xFF; 12]), "size is no number"),
        (sized(*b"12345678    "), "size is no number"),
        (Member::new(b'L', "l", &many), "70000 bytes, expected at most 65536"),
        (Member::new(b'x', "x", &many), "70000 bytes, expected at most 65536"),
        (Member::new(b'x', "x", b"99 path=a\n"), "damaged record"),
        (Member::new(b'x', "x", b"0 path=a\n"), "damaged record"),
        (Member::new(b'x', "x", b"11 size=-1\n"), "size is no number"),
        (Member::new(b'g', "g", record("path", "a.jpg").as_bytes()), "all files one name"),
        (Member::new(b'S', "s.jpg", b""), "without --sparse"),
        (Member::new(b'x', "x", record("GNU.sparse.major", "1").as_bytes()), "without --sparse"),
        (file("0.cls", b"dog"), "\"0.cls\" has the label 'dog', expected a whole number"),
        (file("0.cls", b"4294967295"), "has the label"),
        (file("0.cls", b"-2"), "has the label"),
        (file("0.json", b"{"), "is no JSON"),
        (file("0.json", br#"{"label": 1.5}"#), "has the label '1.5'"),
        (file("0.cls", &[b'1'].repeat((1 << 20) + 1)), "expected at most 1048576"),
        (file("0.jpg", b"again"), "is there twice"),
    ] {
        let error =
            scan(&by_hand(&[file("0.jpg", b"x"), member, file("2.jpg", b"y")])).unwrap_err();
        assert!(error.contains(words) && error.starts_with("at byte "), "{words}: {error}");
    }
    let mut two = by_hand(&[file("0.jpg", b"x")]);
    two.extend(by_hand(&[file("1.jpg", b"y")]));
    assert!(scan(&two).unwrap_err().contains("behind the end marker"));
    let good = by_hand(&[file("0.jpg", b"x")]);
    let mut bad = good.clone();
    bad[3] ^= 1;
    assert!(scan(&bad).unwrap_err().starts_with("at byte 0: there is no tar header"));
}

#[test]
fn a_shard_cut_short_anywhere_is_refused() {
    let whole = by_hand(&[
        Member::new(b'x', "x", record("path", "1.jpg").as_bytes()),
        Member::new(b'0', "1.png", &[7; 600]),
        Member::new(b'0', "1.cls", b"3"),
        Member::new(b'0', "2.jpg", &[8; 512]),
    ]);
    assert_eq!(scan(&whole).unwrap().places.len(), 2);
    // One block of zeros is an end, too.
    let end = whole.len() - BLOCK;
    for length in 0..end {
        let error = scan(&whole[..length]).unwrap_err();
        assert!(error.starts_with("at byte "), "{length}: {error}");
    }
    assert_eq!(scan(&whole[..end]).unwrap().places.len(), 2);
}

proptest! {
    #[test]
    fn any_bytes_are_samples_or_an_error(
        mut blocks in prop::collection::vec(any::<[u8; 32]>(), 0..6),
        kinds in prop::collection::vec(prop_oneof![Just(b'0'), Just(b'L'), Just(b'x'), Just(b'g'), any::<u8>()], 6),
        sizes in prop::collection::vec(prop_oneof![0..3000_u64, any::<u64>()], 6),
    ) {
        // Headers whose checksums are right, over anything.
        let mut archive = Vec::new();
        for (i, noise) in blocks.iter_mut().enumerate() {
            let mut member = Member::new(kinds[i], "1.jpg", noise);
            member.size[..4].copy_from_slice(&[0x80, 0, 0, 0]);
            member.size[4..].copy_from_slice(&sizes[i].to_be_bytes());
            archive.extend(by_hand(&[member]));
            archive.truncate(archive.len() - 2 * BLOCK);
        }
        archive.resize(archive.len() + 2 * BLOCK, 0);
        if let Ok(samples) = scan(&archive) {
            for sample in samples.places {
                prop_assert!(sample.offset + u64::from(sample.length) <= archive.len() as u64);
            }
        }
    }

    #[test]
    fn any_bytes_are_records_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..80), text in "[0-9 =a\n]{0,40}") {
        let _ = records(&bytes);
        let _ = records(text.as_bytes());
        let _ = cache::parse(&mut Unread(&bytes));
    }
}
