//! What the targets share: each reads bytes as one format, and every allocation is counted.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;
use std::{env, fs, panic};

use mira_train::fuzzing::{Counting, Format};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Prepares a target: writes its seeds into the folder `MIRA_FUZZ_SEEDS`, if that is set.
///
/// Panics that are caught, as those of decoders are, are no finding of the fuzzer, whose own hook would end the process; each place is shown
/// once. One that is not caught ends the process after this.
///
/// # Panics
/// Where seeds cannot be written.
pub fn init(name: &str) {
    if let Some(folder) = env::var_os("MIRA_FUZZ_SEEDS") {
        for (i, seed) in format(name).seeds().iter().enumerate() {
            fs::write(Path::new(&folder).join(format!("seed-{i:02}")), seed).expect("a file");
        }
    }
    let shown = Mutex::new(HashSet::new());
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string);
        if shown.lock().is_ok_and(|mut shown| shown.insert(place)) {
            eprintln!("{info}");
        }
    }));
}

/// A target by the name of its format.
///
/// # Panics
/// Where a promise is broken.
pub fn check(name: &str, bytes: &[u8]) {
    let _ = format(name).check(bytes);
}

fn format(name: &str) -> Format {
    Format::find(name).expect("a format of this name")
}

/// The target of a format.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(
            init: $crate::init($name),
            |bytes: &[u8]| { $crate::check($name, bytes) }
        );
    };
}
