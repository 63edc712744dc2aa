//! Runs kernels as they were compiled for a GPU, in PTX, instruction by instruction, so that machines without one see what a device would be given.
//!
//! `mira-cuda-emulation` runs the *source* of the kernels through the host's compiler. This is the other half: the very text that the driver
//! is handed, with what CUDA's compiler and our inline assembly made of it. It is also stricter than a device, which forgives much in silence:
//!
//! - every access must lie in an allocation, be aligned to its size, and read only what was written of shared memory;
//! - two accesses that nothing orders are a fault even if they do no harm this time, in shared memory and between blocks: barriers,
//!   fences and release with acquire order them, words that are relaxed on both sides may meet;
//! - lanes that an exchange does not reach, threads that a barrier waits for in vain, and blocks that poll for ever, are told with the instruction;
//! - warps, blocks and lanes that went apart go on in an order drawn from a seed; at times a block begins only when all others have ended or wait;
//! - `ex2.approx` and its like are off by up to the two units in the last place that PTX allows.
//!
//! A rough clock may run beside it ([`Launch::watch_time`]), to find what a kernel waits for; it is a model that nobody has held against a device.
//!
//! What it cannot show: what the driver's compiler makes of PTX, registers, occupancy, speed, and orders of memory that only hardware has. Of those who
//! read a word before it is written it remembers the last of two warps; accesses of single bytes are not looked at for order; `bar.warp.sync` counts
//! for the whole warp; a relaxed write after a thread's own release of the word does not release again, as PTX would have it. A kernel that loops for
//! ever without `nanosleep` is not stopped.
//!
//! Of PTX it knows what our kernels and some of candle's use; [`Refused::Unsupported`] says what more is needed.

// Registers are bits, which instructions take as what they like.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod access;
mod arithmetic;
mod clock;
mod control;
mod costs;
mod decode;
mod error;
mod execute;
mod instructions;
mod lanes;
mod launch;
mod memory;
mod operands;
mod program;
mod races;
mod registers;
mod syntax;
mod warp;
mod weaken;

pub use clock::{Phase, Time, Wait};
pub use error::{Fault, Malformed, Misdeed, Place, Refused, Space};
pub use launch::{Launch, Stats, run};
pub use memory::Memory;
pub use program::Program;

/// A module: the text of its kernels.
#[derive(Debug)]
pub struct Module {
    text: syntax::Text,
}

/// A kernel as a module declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its name.
    pub name: String,
    /// Bytes of each parameter.
    pub params: Vec<usize>,
    /// Threads that a block has at most.
    pub max_threads: u32,
}

impl Module {
    /// Of PTX.
    ///
    /// # Errors
    /// What is no PTX.
    pub fn new(ptx: &str) -> Result<Self, Malformed> {
        Ok(Self { text: syntax::parse(ptx)? })
    }

    /// The version that it asks for, major and minor.
    pub const fn version(&self) -> (u32, u32) {
        self.text.version
    }

    /// All of its kernels.
    pub fn kernels(&self) -> impl Iterator<Item = Kernel> {
        self.text.functions.iter().filter(|function| function.is_kernel).map(|kernel| Kernel {
            name: kernel.name.clone(),
            params: kernel.params.iter().map(|param| param.bytes).collect(),
            max_threads: kernel.max_threads.unwrap_or(1024),
        })
    }

    /// Its variables in global memory that begin as zeros, and their bytes. Others have values from the start; a kernel with one of those is not
    /// known here.
    pub fn globals(&self) -> impl Iterator<Item = (&str, usize)> {
        self.text.globals.iter().map(|(variable, _)| (variable.name.as_str(), variable.bytes))
    }

    /// Where such a variable lies, for kernels that are made ready from now on.
    pub fn place(&mut self, global: &str, address: u64) {
        let found = self.text.globals.iter_mut().find(|(variable, _)| variable.name == global);
        if let Some((_, place)) = found {
            *place = Some(address);
        }
    }

    /// Takes away the `n`-th barrier, fence, or order of memory of a kernel and what it calls, counted from 1 in the text, for tests of who
    /// notices. How many there are, and which it was.
    pub fn weaken(&mut self, kernel: &str, n: usize) -> (usize, Option<String>) {
        weaken::weaken(&mut self.text, kernel, n)
    }

    /// A kernel, ready to run.
    ///
    /// # Errors
    /// [`Refused`] if there is none of the name, or it has an instruction that is not known here.
    pub fn program(&self, kernel: &str) -> Result<Program, Refused> {
        decode::decode(&self.text, kernel)
    }
}
