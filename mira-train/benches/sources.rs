//! Images a second that one thread loads and decodes from data sets in any format, in turns, out of the page cache:
//! `cargo bench -p mira-train --bench sources -- PATH PATH …`.
//!
//! For the same images in several formats: `mira-train data pack` makes the packed ones.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use mira_train::data::{Format, Image, Source, Split, open};

/// Turns a set has, and how long each is at least.
const TURNS: usize = 5;
const TURN: Duration = Duration::from_secs(2);

fn main() {
    let paths: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if paths.is_empty() {
        println!(
            "give the paths of data sets: cargo bench -p mira-train --bench sources -- PATH …"
        );
        return;
    }
    let sets: Vec<_> = paths
        .iter()
        .map(|path| open(Format::Auto, Some(Path::new(path)), Split::Train).expect("a data set"))
        .collect();
    let mut rates = vec![Vec::new(); sets.len()];
    for _ in 0..TURNS {
        for (set, rates) in sets.iter().zip(&mut rates) {
            rates.push(rate(&**set));
        }
    }
    println!("{:>8} {:>10} {:>8} {:>8} {:>8}  set", "images", "MB", "img/s", "least", "most");
    for ((path, set), rates) in paths.iter().zip(&sets).zip(&mut rates) {
        rates.sort_by(f64::total_cmp);
        println!(
            "{:>8} {:>10.2} {:>8.0} {:>8.0} {:>8.0}  {path}",
            set.len(),
            size(Path::new(path)) as f64 / 1e6,
            rates[TURNS / 2],
            rates[0],
            rates[TURNS - 1]
        );
    }
}

/// Whole passes over the set, so that all images count alike.
fn rate(set: &dyn Source) -> f64 {
    let (mut image, started, mut num_images) = (Image::default(), Instant::now(), 0);
    while started.elapsed() < TURN {
        for index in 0..set.len() {
            set.load(index, &mut image).expect("an image");
            std::hint::black_box(&image);
        }
        num_images += set.len();
    }
    num_images as f64 / started.elapsed().as_secs_f64()
}

/// Bytes of a file, or of all files in a folder.
fn size(path: &Path) -> u64 {
    if path.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        return entries.map(|entry| size(&entry.path())).sum();
    }
    fs::metadata(path).map_or(0, |file| file.len())
}
