//! Faults injected into run folders: killed processes, full disks, flipped bytes, hostile headers, second trainers.

mod allocation;
mod container;
mod folder;
#[cfg(unix)]
mod full_disk;
mod hostile;
mod kill;
mod metrics;
mod mismatch;
mod pack;
mod shards;
#[cfg(unix)]
mod signals;
mod support;
