//! How long it takes to open an image folder: listed plainly, by threads, and from the kept lists:
//! `cargo bench -p mira-train --bench folder_index -- [FILES [FOLDERS]]`.
//!
//! Empty files in a temporary folder, in a thousandth as many class folders; each opening is a process of its own, in turns. The system
//! has the folders in memory, so that this is the least that remembering them can gain: over a network, listing waits for a server.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use mira_train::data::{Format, Split, open};

const TURNS: usize = 7;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if let [what, path] = &arguments[..]
        && let "plain" | "open" = what.as_str()
    {
        return child(what, Path::new(path));
    }
    let number = |i: usize| arguments.get(i).and_then(|n| n.parse().ok());
    let num_files: usize = number(0).unwrap_or(1000);
    let num_folders: usize = number(1).unwrap_or(num_files.div_ceil(1000));
    let folder = tempfile::tempdir().expect("a folder");
    let (root, cache) = (folder.path().join("set"), folder.path().join("cache"));
    make(&root, num_files, num_folders);
    // Folders that have just been changed are not remembered.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..TURNS {
        let _ = fs::remove_dir_all(&cache);
        for (times, what) in times.iter_mut().zip(["plain", "open", "open"]) {
            times.push(seconds(what, &root, &cache, num_files));
        }
    }
    let size: u64 =
        walk(&cache).iter().filter_map(|file| file.metadata().ok()).map(|m| m.len()).sum();
    println!("{num_files} files in {num_folders} folders; the kept list has {size} bytes");
    for (name, mut times) in
        ["plainly, one thread", "by threads, kept", "from what is kept"].iter().zip(times)
    {
        times.sort_by(f64::total_cmp);
        println!(
            "{name:<20} {:>8.1} ms (least {:.1}, most {:.1})",
            times[TURNS / 2],
            times[0],
            times[TURNS - 1]
        );
    }
}

fn make(root: &Path, num_files: usize, num_folders: usize) {
    for folder in 0..num_folders {
        let path = root.join(format!("train/n{folder:08}"));
        fs::create_dir_all(&path).expect("a folder");
        for file in (folder..num_files).step_by(num_folders) {
            File::create(path.join(format!("n{folder:08}_{file}.JPEG"))).expect("a file");
        }
    }
}

/// Milliseconds that a process of its own takes for it.
fn seconds(what: &str, root: &Path, cache: &Path, num_files: usize) -> f64 {
    let program = env::current_exe().expect("this program");
    let output = Command::new(program)
        .args([what.as_ref(), root.as_os_str()])
        .env("XDG_CACHE_HOME", cache)
        .output()
        .expect("a process");
    let text = String::from_utf8_lossy(&output.stdout);
    let (milliseconds, found) = text.trim().split_once(' ').expect("two numbers");
    assert_eq!(found.parse(), Ok(num_files));
    milliseconds.parse().expect("a number")
}

fn child(what: &str, root: &Path) {
    let started = Instant::now();
    let found = if what == "plain" {
        walk(&root.join("train")).len()
    } else {
        open(Format::ImageFolder, Some(root), Split::Train).expect("a data set").len()
    };
    println!("{} {found}", started.elapsed().as_secs_f64() * 1e3);
}

/// All files, in the order of names.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort_unstable();
    let mut files = Vec::new();
    for entry in entries {
        // As the name says an image, nothing is asked of the system.
        if entry.extension().is_none() && entry.is_dir() {
            files.extend(walk(&entry));
        } else {
            files.push(entry);
        }
    }
    files
}
