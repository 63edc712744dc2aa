//! What instructions do, and what the interpreter finds wrong with kernels that are.

mod arithmetic;
mod divergence;
mod faults;
mod modules;
mod races;
mod sharing;
mod timing;

use std::ops::Range;

use mira_ptx::{Fault, Launch, Memory, Module, Stats, run};

/// The device's memory: an array of the test.
struct Array(Range<u64>);

impl Memory for Array {
    fn around(&self, address: u64) -> Result<Range<u64>, String> {
        let is_there = self.0.contains(&address);
        is_there.then(|| self.0.clone()).ok_or_else(|| "no array is there".to_owned())
    }
}

/// A module with a kernel `k` that takes an address, `%out`.
fn module(body: &str) -> Module {
    let text = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.extern .shared .align 16 .b8 shared[];\n\
         .visible .entry k(.param .u64 k_param_0)\n{{\n.reg .pred %p<9>;\n.reg .b16 %rs<9>;\n.reg .b32 %r<20>;\n\
         .reg .b64 %rd<20>;\n.reg .f32 %f<9>;\n.reg .f64 %fd<9>;\n.reg .b64 %out<1>;\n\
         ld.param.u64 %out0, [k_param_0];\ncvta.to.global.u64 %out0, %out0;\n{body}\nret;\n}}\n"
    );
    Module::new(&text).expect("as written above")
}

#[derive(Clone, Copy)]
struct Size {
    blocks: u32,
    threads: u32,
    shared_bytes: usize,
    seed: u64,
}

const ONE_WARP: Size = Size { blocks: 1, threads: 32, shared_bytes: 0, seed: 1 };

/// Runs `k` over an array, which it is given.
fn launch(body: &str, out: &mut [u64], size: Size) -> Result<Stats, Fault> {
    launch_module(&module(body), out, size)
}

fn launch_module(module: &Module, out: &mut [u64], size: Size) -> Result<Stats, Fault> {
    launch_watched(module, out, size, (false, None))
}

/// The same, with or without a clock, and a warp whose waits it tells.
fn launch_watched(
    module: &Module,
    out: &mut [u64],
    size: Size,
    (watch_time, trace): (bool, Option<(u32, u32)>),
) -> Result<Stats, Fault> {
    let program = module.program("k").unwrap_or_else(|refused| panic!("{refused}"));
    let start = out.as_mut_ptr().expose_provenance() as u64;
    let memory = Array(start..start + 8 * out.len() as u64);
    let launch = Launch {
        grid: (size.blocks, 1),
        threads: size.threads,
        shared_bytes: size.shared_bytes,
        resident: size.blocks,
        params: &[start],
        seed: size.seed,
        watch_races: true,
        watch_time,
        trace,
    };
    // SAFETY: the array is there, and nothing else uses it.
    unsafe { run(&program, &launch, &memory) }
}

/// What each lane of a warp has in `%rd9` at the end.
fn lanes(body: &str) -> Vec<u64> {
    let mut out = vec![0; 32];
    let body = format!(
        "mov.u32 %r0, %tid.x;\n{body}\nmov.u32 %r0, %tid.x;\nmul.wide.u32 %rd0, %r0, 8;\n\
         add.s64 %rd0, %out0, %rd0;\nst.global.u64 [%rd0], %rd9;"
    );
    launch(&body, &mut out, ONE_WARP).unwrap_or_else(|fault| panic!("{fault}"));
    out
}
