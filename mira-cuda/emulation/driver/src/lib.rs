//! A stand-in for `libcuda.so.1`: one device, whose kernels run under `mira-cuda-emulation`. With its folder on `LD_LIBRARY_PATH`, programs
//! that open CUDA devices (tests, `dev/gpu-bundle`) run as they are, on a machine without one.
//!
//! It is a hostile device, as far as CUDA's documentation allows one to be:
//!
//! - **Nothing is done before somebody waits for it.** What is enqueued runs at the last moment: when its stream, an event behind it or the
//!   context is waited for. So do copies to the host, as if its memory were page-locked, unless `STAND_IN_PAGEABLE` is 1 (CUDA returns from those to
//!   pageable memory once they are over, on which candle relies): whoever reads without having waited reads old bytes, or worse. With `STAND_IN_SEED` other than 0, queues also move on at moments drawn from it.
//! - **Streams know nothing of each other** but for events, and the default stream's rules.
//! - **Memory** is watched on both sides; fresh memory is NaN; freed memory is kept for a while and must not be read or written, nor may
//!   memory be used on another stream before its allocation is certain to be over.
//! - **Launches** must have the kernel's parameters, as its PTX declares them, its number of threads, no more shared memory than was
//!   asked for by attribute; kernels whose blocks wait for each other must be launched cooperatively, and fit on the device.
//! - **Modules** unloaded before their kernels have run, and what cannot be captured in a graph, are faults.
//!
//! The first fault is said on standard error, and every later call fails, as on a device whose context is lost.
//!
//! Of candle's own kernels it knows those that copy, fill and cast, which is what tests over candle tensors need.
//!
//! It says nothing of speed, of registers, of fences (see `mira-cuda-emulation`), and nothing of how a real driver
//! understands our calls: only that they keep to what is documented, as its authors read it.
//!
//! | variable | |
//! |---|---|
//! | `STAND_IN_SEED` | when queues move on, and the order of threads; 0 |
//! | `STAND_IN_MULTIPROCESSORS` | 4 |
//! | `STAND_IN_DEVICES` | 1; with 0 a driver without devices |
//! | `STAND_IN_PAGEABLE` | whether copies to the host are over on return; 0 |
//! | `STAND_IN_PTX_VERSION` | the newest that is taken; 9.0 |
//!
//! The same file is `libnccl.so.2` as well, for worlds of one rank.
//!
//! `stand_in_calls(name)` is how often the calling thread has called the driver's function `name`, for tests of what a hot path does.

mod api;
mod candle;
mod code;
mod device;
mod memory;
mod module;
mod nccl;
mod stream;
