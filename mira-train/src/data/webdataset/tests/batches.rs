//! The same images in shards, in a folder and packed are the same batches.

use super::*;

/// The same images as files, in shards and packed, in the same order: `files` are names in a class folder and bytes.
fn three_sources(files: &[(String, Vec<u8>)]) -> (TempDir, [Arc<dyn Source>; 3]) {
    let root = tempfile::tempdir().unwrap();
    let mut classes = BTreeMap::new();
    for (name, _) in files {
        let next = classes.len();
        classes.entry(name.split('/').next().unwrap()).or_insert(next);
    }
    let mut members = Vec::new();
    for (i, (name, bytes)) in files.iter().enumerate() {
        write(root.path(), &format!("folder/{name}"), bytes);
        let label = classes[name.split('/').next().unwrap()].to_string();
        members.push((format!("{i:06}.jpg"), bytes.clone()));
        members.push((format!("{i:06}.cls"), label.into_bytes()));
    }
    // Several shards.
    for (i, members) in members.chunks(2 * files.len().div_ceil(3)).enumerate() {
        let members: Vec<_> = members.iter().map(|(n, bytes)| (n.as_str(), &bytes[..])).collect();
        write(root.path(), &format!("tar/{i:05}.tar"), &archive(Header::new_gnu, &members));
    }
    let names: Vec<_> = classes.keys().copied().collect();
    write(root.path(), "tar/classes.txt", names.join("\n").as_bytes());
    let input = PackInput::open(Format::Auto, &root.path().join("tar")).unwrap();
    let options = PackOptions { shard_bytes: 1 << 20, ..Default::default() };
    data::pack(&input, &root.path().join("packed"), &options, &mut |_| {}).unwrap();
    let open = |folder: &str| {
        data::open(Format::Auto, Some(&root.path().join(folder)), Split::Train).unwrap()
    };
    let sources = ["folder", "tar", "packed"].map(open);
    (root, sources)
}

fn batches(source: Arc<dyn Source>, batch_size: usize, num_workers: usize) -> Vec<Batch> {
    let config = LoaderConfig {
        batch_size,
        seed: 5,
        num_workers,
        prefetch: 2,
        views: vec![ViewSpec { size: 24, jitter: 0.8, hue: 0.1, count: 2, ..Default::default() }],
        ..LoaderConfig::default()
    };
    let mut loader = Loader::new(source, config, 0).unwrap();
    (0..5).map(|_| loader.next_batch().unwrap()).collect()
}

fn same_batches(files: &[(String, Vec<u8>)]) {
    let (_root, [folder, shards, packed]) = three_sources(files);
    assert_eq!(folder.len(), files.len());
    let expected = batches(folder.clone(), 6, 1);
    assert!(expected.iter().any(|batch| batch.labels.iter().any(|label| *label != Some(0))));
    for source in [shards, packed] {
        assert_eq!(source.class_names(), folder.class_names());
        assert!(batches(source.clone(), 6, 3) == expected);
    }
}

#[test]
fn folder_shards_and_packed_set_give_the_same_batches() {
    let files: Vec<_> = (0..14)
        .map(|i| (format!("{}/{i:02}.png", ["ant", "bee"][i / 7]), grey_png(i as u8)))
        .collect();
    same_batches(&files);
}

/// Photographs, where they are at hand: an archive of an image folder is read by our own parser, and its files packed three ways.
#[test]
fn real_photographs_give_the_same_batches() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/datasets/imagenet-originals-mini.tar");
    if !path.is_file() {
        eprintln!("skipped: there is no {}", path.display());
        return;
    }
    let archive = fs::read(path).unwrap();
    let mut files = Vec::new();
    for entry in ::tar::Archive::new(&archive[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type() == EntryType::Regular {
            let name = entry.path().unwrap().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let mut parts = name.iter().rev().map(|part| part.to_str().unwrap());
            let (file, class) = (parts.next().unwrap(), parts.next().unwrap());
            files.push((format!("{class}/{file}").replace(".JPEG", ".jpg"), bytes));
        }
    }
    files.sort_unstable();
    // Two independent readers of the same archive.
    let mut ours: Vec<_> = found(&archive).into_iter().map(|(bytes, _)| bytes.to_vec()).collect();
    let mut theirs: Vec<_> = files.iter().map(|(_, bytes)| bytes.clone()).collect();
    ours.sort_unstable();
    theirs.sort_unstable();
    assert!(ours.len() == 80 && ours == theirs);
    same_batches(&files);
}
