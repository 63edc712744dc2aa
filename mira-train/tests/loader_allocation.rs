//! A loader that is warm allocates nothing, on any thread, and never holds more than it says.

#![allow(unsafe_code)] // a global allocator cannot be had without

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use mira_train::data::{
    AlignedBytes, Batch, Error, Format, Image, Loader, LoaderConfig, PackInput, PackOptions,
    Source, Split, ViewSpec, open, pack,
};

/// Counts what all threads ask for, and what they hold.
struct Counting;

static REQUESTS: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicIsize = AtomicIsize::new(0);
static MOST: AtomicIsize = AtomicIsize::new(0);

fn count(num_bytes: isize) {
    if num_bytes > 0 {
        REQUESTS.fetch_add(1, Ordering::Relaxed);
    }
    let held = HELD.fetch_add(num_bytes, Ordering::Relaxed) + num_bytes;
    MOST.fetch_max(held, Ordering::Relaxed);
}

// SAFETY: forwards to the system's allocator unchanged; counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new are there together for a while.
        count(size.cast_signed());
        count(-layout.size().cast_signed());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Requests for memory during `work`, by all threads.
fn requests(work: impl FnOnce()) -> usize {
    let before = REQUESTS.load(Ordering::SeqCst);
    work();
    REQUESTS.load(Ordering::SeqCst) - before
}

/// Without a harness: nothing else runs in this process meanwhile.
fn main() {
    let elsewhere = || {
        std::thread::spawn(|| drop(std::hint::black_box(vec![1u8; 100]))).join().expect("no panic");
    };
    assert!(requests(elsewhere) > 1, "the counter does not see other threads");
    let source = open(Format::Embedded, None, Split::Train).expect("in the binary");
    // By one thread, or whether each has seen its largest crop would depend on chance.
    steady(&source, views(28), 1, source.len());
    // JPEG files where they are, in a tar and packed, by one thread as well.
    let folder = tempfile::tempdir().expect("a folder");
    let [images, shards, packed] =
        ["images", "shards", "packed"].map(|name| folder.path().join(name));
    write_jpegs(&images.join("train/one"));
    fs::create_dir(&shards).expect("a folder");
    let mut archive = tar::Builder::new(File::create(shards.join("train-0.tar")).expect("a file"));
    archive.append_dir_all(".", images.join("train/one")).expect("an archive");
    archive.finish().expect("an archive");
    let input = PackInput::open(Format::ImageFolder, &images).expect("images");
    pack(&input, &packed, &PackOptions::default(), &mut |_| {}).expect("a packed set");
    for (format, path) in
        [(Format::ImageFolder, images), (Format::WebDataset, shards), (Format::Packed, packed)]
    {
        let source = open(format, Some(&path), Split::Train).expect("images");
        assert_eq!(source.len(), 203, "{format:?}");
        steady(&source, plain(28), 1, source.len());
    }
    // The loader itself, by several: crops of one size, so that the augmentation has nothing to grow for.
    for num_workers in [1, 2, 8] {
        let source: Arc<dyn Source> = Arc::new(Grey::met_by(num_workers));
        steady(&source, plain(28), num_workers, 0);
    }
    for prefetch in [1, 3] {
        bounded(prefetch);
    }
    println!("a warm loader allocates nothing and holds what it says: ok");
}

/// Pictures of one size, of all usual samplings; as many as a batch has, so that an epoch sees all.
fn write_jpegs(folder: &Path) {
    // Smaller ones would be decoded once and kept.
    const WIDTH: u16 = 130;
    const HEIGHT: u16 = 100;
    fs::create_dir_all(folder).expect("a folder");
    for i in 0..203_u32 {
        let pixels: Vec<u8> = (0..u32::from(WIDTH) * u32::from(HEIGHT) * 3)
            .map(|p| (p / 3 % 97 * p / (i + 3) % 251) as u8)
            .collect();
        let mut encoder = Encoder::new_file(folder.join(format!("{i}.jpg")), 90).expect("a file");
        // Its own codes it would write in one scan a channel, which another decoder decodes, with memory of its own.
        encoder.set_sampling_factor(
            [SamplingFactor::F_1_1, SamplingFactor::F_2_1, SamplingFactor::F_2_2][i as usize % 3],
        );
        encoder.encode(&pixels, WIDTH, HEIGHT, ColorType::Rgb).expect("a picture");
    }
}

/// As in a recipe: two global views, and local ones.
fn views(size: usize) -> Vec<ViewSpec> {
    let global = ViewSpec {
        count: 2,
        size,
        jitter: 0.8,
        brightness: 0.4,
        contrast: 0.4,
        saturation: 0.2,
        hue: 0.1,
        grayscale: 0.2,
        blur: 0.5,
        solarize: 0.2,
        ..ViewSpec::default()
    };
    vec![global, ViewSpec { count: 3, size: size / 2, ..ViewSpec::default() }]
}

fn plain(size: usize) -> Vec<ViewSpec> {
    let whole = ViewSpec { scale: [1.0, 1.0], ratio: [1.0, 1.0], size, ..ViewSpec::default() };
    vec![whole.clone(), ViewSpec { size: size / 2, ..whole }]
}

/// Over an epoch's end, after at least so many images to warm up. Batches end in a smaller piece, epochs leave images out.
fn steady(source: &Arc<dyn Source>, views: Vec<ViewSpec>, num_workers: usize, warm_up: usize) {
    let config = LoaderConfig { batch_size: 203, num_workers, views, ..LoaderConfig::default() };
    let mut loader = Loader::new(Arc::clone(source), config, 0).expect("a loader");
    let mut next = |num_steps: usize| {
        for _ in 0..num_steps {
            let batch: Batch = loader.next_batch().expect("a batch");
            for view in &batch.views {
                let address = view.pixels.as_ptr() as usize;
                assert!(address.is_multiple_of(AlignedBytes::ALIGNMENT));
            }
            loader.recycle(batch);
        }
    };
    next(warm_up / 203 + 4);
    let count = requests(|| next(source.len() / 203 + 2));
    assert_eq!(count, 0, "{num_workers} workers");
}

/// Images of one colour.
struct Grey {
    num_loaded: AtomicUsize,
    /// Where the threads wait for each other before their first image, so that all have memory before any goes on.
    all: Barrier,
}

thread_local! {
    static HAS_MET: Cell<bool> = const { Cell::new(false) };
}

impl Grey {
    fn met_by(num_workers: usize) -> Self {
        Self { num_loaded: AtomicUsize::new(0), all: Barrier::new(num_workers) }
    }
}

impl Source for Grey {
    fn len(&self) -> usize {
        1000
    }

    fn num_classes(&self) -> Option<usize> {
        None
    }

    fn class_names(&self) -> &[String] {
        &[]
    }

    fn label(&self, _: usize) -> Option<u32> {
        None
    }

    fn load(&self, _: usize, into: &mut Image) -> Result<(), Error> {
        if !HAS_MET.replace(true) {
            self.all.wait();
        }
        into.reshape(32, 32);
        into.pixels.fill(90);
        self.num_loaded.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn name(&self, index: usize) -> String {
        format!("grey {index}")
    }
}

/// However long the consumer takes, and whatever it does with its batches.
fn bounded(prefetch: usize) {
    const NUM_WORKERS: usize = 2;
    // A worker's view and, of its image's 32 rows, what is between two passes, in 16 bits; 24 KiB for the image, tables and threads' own.
    const SCRATCH: usize = 2 * 3 * 64 * (64 + 32) + (24 << 10);
    let source = Arc::new(Grey::met_by(NUM_WORKERS));
    let config = LoaderConfig {
        batch_size: 50,
        num_workers: NUM_WORKERS,
        prefetch,
        views: plain(64),
        ..LoaderConfig::default()
    };
    let batch_bytes = 50 * (3 * (64 * 64 + 32 * 32) + 12);
    let promised = usize::try_from(config.memory(source.len())).expect("not much");
    // (prefetch + 1) batches, of which those ahead are in 13 pieces of 4 images; 4 bytes for each of the 1000 images.
    let exact = batch_bytes + prefetch * batch_bytes * 52 / 50 + 4000;
    assert_eq!(promised, exact);

    let settled = || {
        let mut before = usize::MAX;
        while before != source.num_loaded.load(Ordering::SeqCst) {
            before = source.num_loaded.load(Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        before
    };
    let before = HELD.load(Ordering::SeqCst);
    MOST.store(before, Ordering::SeqCst);
    let shared: Arc<dyn Source> = source.clone();
    let mut loader = Loader::new(shared, config, 0).expect("a loader");
    assert_eq!(settled(), 50 * prefetch, "made ahead before the first batch is asked for");
    for step in 1..=5 {
        let batch = loader.next_batch().expect("a batch");
        assert_eq!(settled(), 50 * (prefetch + step), "made ahead of a consumer that stalls");
        loader.recycle(batch);
        // A batch of somebody else's is not kept, too.
        loader.recycle(Batch::default());
    }
    let most = (MOST.load(Ordering::SeqCst) - before).unsigned_abs();
    let workers = NUM_WORKERS * SCRATCH;
    assert!(most <= promised + workers, "{most} of {promised}");
    assert!(most > promised * 9 / 10, "it promises more than it needs: {most} of {promised}");
}
