//! A packed set on a server that fails in all the ways that servers and networks fail.

#[path = "../../../tests/trainer/fetch/server.rs"]
#[allow(dead_code, reason = "of the server that downloads are tested against")]
mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use server::{Act, Server};
use tempfile::TempDir;

use super::*;
use crate::data::fixtures::png;
use crate::data::pack::open_remote;
use crate::data::{
    self, Error, Format, Image, Loader, LoaderConfig, PackInput, PackOptions, Pixels, Source,
    Split, ViewSpec, webdataset,
};

const SET: &str = "o/n/main";

/// Two attempts, and no long waits.
const LIMITS: Limits = Limits {
    timeout: Duration::from_millis(300),
    num_retries: 2,
    backoff: Duration::from_millis(1),
};

/// Five images of two classes in several shards, here and on a server.
struct Both {
    local: TempDir,
    server: Server,
}

fn both(pixels: Pixels) -> Both {
    let (source, local) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for i in 0..5_usize {
        let folder = source.path().join(["train/ant", "train/bee"][i % 2]);
        std::fs::create_dir_all(&folder).unwrap();
        let side = 8 + i;
        let pixels = (0..side * side * 3).map(|p| (p * (i + 3)) as u8).collect();
        let image = Image { width: side, height: side, pixels };
        std::fs::write(folder.join(format!("{i}.png")), png(&image)).unwrap();
    }
    let input = PackInput::open(Format::ImageFolder, source.path()).unwrap();
    let options = PackOptions { pixels, shard_bytes: 400, ..PackOptions::default() };
    data::pack(&input, local.path(), &options, &mut |_| {}).unwrap();
    let server = Server::start();
    for entry in std::fs::read_dir(local.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        server.file(SET, name, &std::fs::read(&path).unwrap());
    }
    Both { local, server }
}

impl Both {
    fn url(&self) -> PathBuf {
        format!("{}/datasets/{SET}", self.server.endpoint()).into()
    }

    fn open(&self) -> Result<impl Source + use<>, Error> {
        open_remote(&self.url(), LIMITS, Split::Train)
    }
}

fn image(source: &dyn Source, index: usize) -> Image {
    let mut image = Image::default();
    source.load(index, &mut image).unwrap();
    image
}

/// What went wrong, said in time.
fn failure<T>(work: impl FnOnce() -> Result<T, Error>) -> String {
    let started = Instant::now();
    let error = work().err().expect("a failure");
    assert!(started.elapsed() < Duration::from_secs(10), "{error}");
    // Neither is replaced by another image.
    assert!(matches!(error, Error::Remote { .. } | Error::Malformed { .. }), "{error:?}");
    assert!(!error.is_of_one_image(), "{error:?}");
    let text = error.to_string();
    let has_remedy = ["; check the ", "; start again", "; fetch the shard again"];
    assert!(text.starts_with("http://127.0.0.1"), "{text}");
    assert!(has_remedy.iter().any(|remedy| text.contains(remedy)), "{text}");
    text
}

#[test]
fn a_set_on_a_server_is_that_on_the_disk() {
    for pixels in [Pixels::Original, Pixels::Raw { short_side: 8 }] {
        let both = both(pixels);
        let here = data::open(Format::Packed, Some(both.local.path()), Split::Train).unwrap();
        let there = data::open(Format::Auto, Some(&both.url()), Split::Train).unwrap();
        assert_eq!((there.len(), there.class_names()), (5, here.class_names()));
        for i in 0..5 {
            assert_eq!((image(&*there, i), there.label(i)), (image(&*here, i), here.label(i)));
            assert_eq!(there.relative_path(i), here.relative_path(i));
            let (mut a, mut b) = (Vec::new(), Vec::new());
            assert_eq!(there.encoded(i, &mut a).unwrap(), here.encoded(i, &mut b).unwrap());
            assert_eq!(a, b);
            assert!(there.name(i).contains("http://127.0.0.1"));
        }
        // The index and the names as a whole, of shards nothing but headers and images.
        for request in both.server.requests("blobs-") {
            assert!(request.header("range").is_some());
        }
        assert_eq!(both.server.requests("index").len(), 1);
        assert_eq!(both.server.requests("names").len(), 1);
        // A second look at a small image asks for nothing.
        let num_requests = both.server.requests("").len();
        image(&*there, 3);
        assert_eq!(both.server.requests("").len(), num_requests);
        let test = data::open(Format::Packed, Some(&both.url()), Split::Test).err().unwrap();
        assert!(matches!(test, Error::NotRecognised { .. }), "{test}");
    }
}

#[test]
fn what_may_pass_is_tried_again() {
    let acts = [
        Act::Status(500, ""),
        Act::Status(503, "Retry-After: 0\r\n"),
        Act::Short(3),
        Act::Stall(2),
        Act::Stall(0),
        Act::Reset(0),
    ];
    for act in acts {
        let both = both(Pixels::Original);
        for file in ["index", "blobs-00000"] {
            both.server.script(file, std::slice::from_ref(&act));
        }
        let set = both.open().unwrap_or_else(|error| panic!("{act:?}: {error}"));
        both.server.script("blobs-00000", &[act.clone(), act.clone()]);
        let here = data::open(Format::Packed, Some(both.local.path()), Split::Train).unwrap();
        assert_eq!(image(&set, 0), image(&*here, 0), "{act:?}");
        assert_eq!(both.server.requests("index").len(), 2, "{act:?}");
    }
}

#[test]
fn what_does_not_pass_ends_in_time_and_by_name() {
    let acts =
        [Act::Status(500, ""), Act::Short(1), Act::Stall(1), Act::Reset(1), Act::Status(403, "")];
    for act in acts {
        let both = both(Pixels::Original);
        let always = vec![act.clone(); 9];
        let set = both.open().unwrap();
        both.server.script("blobs-00000", &always).script("index", &always);
        let text = failure(|| set.load(0, &mut Image::default()));
        assert!(text.contains("blobs-00000"), "{act:?}: {text}");
        let text = failure(|| both.open());
        assert!(text.contains("/index: "), "{act:?}: {text}");
        let expected = if matches!(act, Act::Status(403, _)) { 1 + 1 } else { 1 + 3 };
        assert_eq!(both.server.requests("index").len(), expected, "{act:?}");
    }
    // Nobody there at all, and no set.
    let both = both(Pixels::Original);
    let url = PathBuf::from(format!("{}/datasets/o/n/other", both.server.endpoint()));
    let error = open_remote(&url, LIMITS, Split::Train).err().unwrap().to_string();
    assert!(error.contains("/other/index: there is no packed set"), "{error}");
    let gone = both.url();
    drop(both);
    failure(|| open_remote(&gone, LIMITS, Split::Train));
}

#[test]
fn servers_that_answer_something_else_are_not_believed() {
    // Without ranges, with another one, with other bytes.
    for (act, words) in [
        (Act::Whole, "Range request not supported"),
        (Act::Shifted, "Requested"),
        (Act::Damaged, "checksum"),
    ] {
        let both = both(Pixels::Original);
        let set = both.open().unwrap();
        both.server.script("blobs-00000", &vec![act.clone(); 9]);
        let error = set.load(0, &mut Image::default()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(words) && text.contains("blobs-00000"), "{act:?}: {text}");
        assert!(matches!(error, Error::Malformed { .. }), "{act:?}: {error:?}");
    }
    let both = both(Pixels::Original);
    both.server.script("index", &[Act::Damaged]);
    let error = both.open().err().unwrap().to_string();
    assert!(error.contains("/index: ") && error.contains("first bytes"), "{error}");
    // A shard of another length, and one of another set.
    let shard = std::fs::read(both.local.path().join("blobs-00001")).unwrap();
    both.server.file(SET, "blobs-00001", &shard[..shard.len() - 1]);
    let error = both.open().err().unwrap().to_string();
    assert!(error.contains("blobs-00001") && error.contains("the index says"), "{error}");
    let mut other = shard;
    other[9] ^= 1;
    both.server.file(SET, "blobs-00001", &other);
    let error = both.open().err().unwrap().to_string();
    assert!(error.contains("blobs-00001") && error.contains("another packed set"), "{error}");
}

/// No image is replaced for a server's failure, and the run ends by its name.
#[test]
fn training_ends_when_the_server_does() {
    let both = both(Pixels::Original);
    let set = Arc::new(both.open().unwrap());
    let config = LoaderConfig {
        batch_size: 5,
        seed: 0,
        num_workers: 2,
        prefetch: 1,
        views: vec![ViewSpec::default()],
        max_bad_fraction: 1.0,
        ..LoaderConfig::default()
    };
    let mut loader = Loader::new(set, config, 0).unwrap();
    loader.next_batch().unwrap();
    drop(both);
    let text = failure(|| {
        let failed = (0..4).try_for_each(|_| loader.next_batch().map(drop));
        assert!(matches!(failed, Err(Error::Malformed { .. })), "{failed:?}");
        failed
    });
    assert!(text.contains("blobs-"), "{text}");
}

#[test]
fn addresses_of_no_folder_are_refused() {
    for url in ["https://", "https://host/a?b=c", "s3://bucket#x"] {
        let error = data::open(Format::Auto, Some(Path::new(url)), Split::Train).err().unwrap();
        assert!(error.to_string().contains("no address of a folder"), "{error}");
    }
    for (format, url, words) in [
        (Format::ImageFolder, "https://host/x", "only packed sets and tar shards"),
        (Format::ImageFolder, "https://host/x.tar", "only packed sets and tar shards"),
        (Format::Packed, "https://host/x.tar", "that of the folder of a packed set"),
        (Format::WebDataset, "https://host/x", "https://host/train-{000000..000146}.tar"),
        (Format::Auto, "https://host/x-{3..1}.tar", "counts down"),
    ] {
        let error = data::open(format, Some(Path::new(url)), Split::Train).err().unwrap();
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// Shards of three images each on a server, and the folder they are in here.
struct Shards {
    local: TempDir,
    server: Server,
    cache: TempDir,
}

impl Shards {
    fn new() -> Self {
        let (local, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let server = Server::start();
        for shard in 0..3_u8 {
            let mut archive = tar::Builder::new(Vec::new());
            for i in 3 * shard..3 * shard + 3 {
                let side = 10 + usize::from(i);
                let pixels = (0..side * side * 3).map(|p| (p * (p + 3)) as u8).collect();
                let image = Image { width: side, height: side, pixels };
                for (name, content) in
                    [("png", png(&image)), ("cls", (i % 2).to_string().into_bytes())]
                {
                    let mut header = tar::Header::new_gnu();
                    header.set_size(content.len() as u64);
                    archive.append_data(&mut header, format!("{i}.{name}"), &content[..]).unwrap();
                }
            }
            let name = ["train-0.tar", "train-1.tar", "val-0.tar"][usize::from(shard)];
            std::fs::write(local.path().join(name), archive.into_inner().unwrap()).unwrap();
        }
        std::fs::write(local.path().join("classes.txt"), "ant\nbee\n").unwrap();
        let shards = Self { local, server, cache };
        for name in ["train-0.tar", "train-1.tar", "val-0.tar", "classes.txt"] {
            shards.serve(name, &std::fs::read(shards.local.path().join(name)).unwrap());
        }
        shards
    }

    fn serve(&self, name: &str, content: &[u8]) {
        self.server.file(SET, name, content);
    }

    fn url(&self, name: &str) -> PathBuf {
        format!("{}/datasets/{SET}/{name}", self.server.endpoint()).into()
    }

    fn open(&self, name: &str, split: Split) -> Result<impl Source + use<>, Error> {
        webdataset::open_remote(&self.url(name), LIMITS, Some(self.cache.path()), split)
    }
}

#[test]
fn shards_on_a_server_are_those_on_the_disk() {
    let shards = Shards::new();
    for (pattern, split, len) in
        [("train-{0..1}.tar", Split::Train, 6), ("val-0.tar", Split::Test, 3)]
    {
        let here = data::open(Format::Auto, Some(shards.local.path()), split).unwrap();
        let there = shards.open(pattern, split).unwrap();
        assert_eq!((there.len(), there.class_names()), (len, here.class_names()));
        for i in 0..len {
            assert_eq!((image(&there, i), there.label(i)), (image(&*here, i), here.label(i)));
            assert_eq!(there.relative_path(i), here.relative_path(i));
            let (mut a, mut b) = (Vec::new(), Vec::new());
            assert_eq!(there.encoded(i, &mut a).unwrap(), here.encoded(i, &mut b).unwrap());
            assert_eq!(a, b);
            assert!(there.name(i).contains("of http://127.0.0.1"), "{}", there.name(i));
        }
    }
    // Of shards, ranges only; what each holds is asked for once, and again when it is another.
    assert!(shards.server.requests(".tar").iter().all(|request| request.header("range").is_some()));
    let num_requests = || shards.server.requests("train-1.tar").len();
    let before = num_requests();
    shards.open("train-{0..1}.tar", Split::Train).unwrap();
    assert_eq!(num_requests(), before + 1);
    let other = std::fs::read(shards.local.path().join("val-0.tar")).unwrap();
    shards.serve("train-1.tar", &other);
    let set = shards.open("train-{0..1}.tar", Split::Train).unwrap();
    assert!(num_requests() > before + 2);
    assert_eq!(set.relative_path(3), Some("6.png".into()));
}

/// As browsers and other clients ask for them.
#[test]
fn names_in_addresses_are_encoded_once() {
    let shards = Shards::new();
    let content = std::fs::read(shards.local.path().join("train-0.tar")).unwrap();
    let classes = "%C3%BC%20~b/classes.txt";
    shards.serve(classes, b"ant\nbee\n");
    for (encoded, written) in [
        ("train-0%20a.tar", "train-0%20a.tar"),
        ("train-0~b.tar", "train-0~b.tar"),
        ("train-%C3%BC.tar", "train-ü.tar"),
        ("%C3%BC%20~b/train-%C3%BC%20~.tar", "ü%20~b/train-%C3%BC%20~.tar"),
    ] {
        shards.serve(encoded, &content);
        let set = shards.open(written, Split::Train).unwrap();
        assert_eq!((set.len(), set.class_names()), (3, &["ant".into(), "bee".into()][..]));
        image(&set, 1);
    }
    assert_eq!(shards.server.requests(classes).len(), 1);
}

#[test]
fn shards_on_a_server_that_fails() {
    for act in [Act::Status(500, ""), Act::Short(3), Act::Stall(2), Act::Reset(0)] {
        let shards = Shards::new();
        shards.server.script("train-0.tar", &[act.clone(), act.clone()]);
        let set = shards.open("train-0.tar", Split::Train).unwrap();
        shards.server.script("train-0.tar", &[act.clone(), act.clone()]);
        image(&set, 0);
        shards.server.script("train-0.tar", &vec![act.clone(); 99]);
        let text = failure(|| set.load(1, &mut Image::default()));
        assert!(text.contains("/train-0.tar"), "{act:?}: {text}");
        let text = failure(|| shards.open("train-0.tar", Split::Train));
        assert!(text.contains("/train-0.tar"), "{act:?}: {text}");
    }
    // Other bytes than asked for, another file, and none.
    for (act, words) in [(Act::Whole, "Range request not supported"), (Act::Shifted, "Requested")] {
        let shards = Shards::new();
        let set = shards.open("train-0.tar", Split::Train).unwrap();
        shards.server.script("train-0.tar", &vec![act.clone(); 9]);
        let text = failure(|| set.load(0, &mut Image::default()));
        assert!(text.contains(words) && text.contains("train-0.tar"), "{act:?}: {text}");
    }
    let shards = Shards::new();
    let set = shards.open("train-0.tar", Split::Train).unwrap();
    let shard = std::fs::read(shards.local.path().join("train-0.tar")).unwrap();
    shards.serve("train-0.tar", &shard[..shard.len() - 512]);
    let text = failure(|| set.load(0, &mut Image::default()));
    assert!(text.contains("when it was opened") && text.contains("start again"), "{text}");
    let cut = failure(|| {
        shards.serve("train-0.tar", &shard[..700]);
        shards.open("train-0.tar", Split::Train)
    });
    assert!(cut.contains("cut short") || cut.contains("claims"), "{cut}");
    let text = failure(|| shards.open("train-7.tar", Split::Train));
    assert!(text.contains("/train-7.tar") && text.contains("check the address"), "{text}");
}
