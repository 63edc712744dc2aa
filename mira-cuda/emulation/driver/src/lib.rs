//! A stand-in for `libcuda.so.1`: one device, whose kernels `mira-ptx` runs as the PTX that it is given. With its folder on `LD_LIBRARY_PATH`, programs
//! that open CUDA devices (tests, `dev/gpu-bundle`) run as they are, on a machine without one.
//!
//! It is a hostile device, as far as CUDA's documentation allows one to be:
//!
//! - **Nothing is done before somebody waits for it.** What is enqueued runs at the last moment: when its stream, an event behind it or the
//!   context is waited for. So do copies to the host, as if its memory were page-locked, unless `STAND_IN_PAGEABLE` is 1 (CUDA returns from those to
//!   pageable memory once they are over, on which candle relies): whoever reads without having waited reads old bytes, or worse. With `STAND_IN_SEED` other than 0, queues also move on at moments drawn from it.
//! - **Streams know nothing of each other** but for events, and the default stream's rules.
//! - **Memory** of any kernel or copy must be inside an allocation that is neither freed nor, on another stream, not certain to be over; fresh
//!   memory is NaN.
//! - **Launches** must have the kernel's parameters, as its PTX declares them, its number of threads, no more shared memory than was
//!   asked for by attribute; kernels whose blocks wait for each other must be launched cooperatively, and fit on the device.
//! - **Kernels** must not do what `mira-ptx` forbids: accesses that nothing orders above all, in shared memory and between blocks.
//! - **Modules** unloaded before their kernels have run, and what cannot be captured in a graph, are faults.
//!
//! The first fault is said on standard error, and every later call fails, as on a device whose context is lost.
//!
//! It says nothing of registers, of speed but by a clock that is a model, of what the driver's compiler makes of PTX, and nothing of how a real driver
//! understands our calls: only that they keep to what is documented, as its authors read it.
//!
//! | variable | |
//! |---|---|
//! | `STAND_IN_SEED` | when queues move on, and the order of threads; 0 |
//! | `STAND_IN_MULTIPROCESSORS` | 4 |
//! | `STAND_IN_SHARED_MEMORY` | bytes that a block can ask for; 232448 |
//! | `STAND_IN_DEVICES` | 1; with 0 a driver without devices |
//! | `STAND_IN_PAGEABLE` | whether copies to the host are over on return; 0 |
//! | `STAND_IN_PTX_VERSION` | the newest that is taken; 8.0, as by drivers of CUDA 12.0 |
//! | `STAND_IN_RACES` | whether accesses that nothing orders are faults; 1 |
//! | `STAND_IN_LAUNCHED` | a file, to which a line is added for each launch that is over: kernel, blocks, threads, instructions of warps, polls in vain |
//! | `STAND_IN_CLOCK` | a file, to which is added what each launch would take by the interpreter's rough clock: cycles, and what its barriers waited for |
//! | `STAND_IN_TRACE` | `block:warp`, of which it is added what each instruction that was held up waited |
//! | `STAND_IN_WEAKEN` | `kernel:n`: leaves the kernel's n-th barrier, fence or order of memory out, and says which |
//!
//! The same file is `libnccl.so.2` as well, for worlds of one rank.
//!
//! `stand_in_calls(name)` is how often the calling thread has called the driver's function `name`, for tests of what a hot path does.

mod api;
mod code;
mod device;
mod memory;
mod nccl;
mod stream;
