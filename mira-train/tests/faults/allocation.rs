//! How much memory a thread asks for at once, counted as where formats are fuzzed.

#![allow(unsafe_code)] // a global allocator cannot be had without

#[allow(unreachable_pub)] // it is public where fuzz targets use it
#[path = "../../src/fuzzing/memory.rs"]
mod memory;

pub(crate) use memory::peak;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;
