//! Modules, and launches of their kernels.

use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;

use mira_ptx::{Module, Stats};

use super::{Device, Done, Function, SHARED_MEMORY_UNASKED};
use crate::code::Code;
use crate::stream::{Key, Launch, Work};

/// The newest version of PTX that drivers of CUDA 12.0 know, the oldest that mira-cuda is for.
const NEWEST: &str = "8.0";

impl Device {
    pub(crate) fn load(&mut self, ptx: &str) -> Done<usize> {
        let mut module = Module::new(ptx).map_err(|malformed| {
            eprintln!("stand-in: {malformed}");
            Code::INVALID_IMAGE
        })?;
        let newest = env::var("STAND_IN_PTX_VERSION").unwrap_or_else(|_| NEWEST.to_owned());
        let newest = newest.split_once('.').and_then(|(major, minor)| {
            Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
        });
        if newest.is_some_and(|newest| module.version() > newest) {
            return Err(Code::UNSUPPORTED_PTX_VERSION);
        }
        if let Some((kernel, n)) =
            env::var("STAND_IN_WEAKEN").ok().as_deref().and_then(|x| x.split_once(':'))
            && module.kernels().any(|k| k.name == kernel)
        {
            let (count, which) = module.weaken(kernel, n.parse().unwrap_or(0));
            let which = which.unwrap_or_else(|| "nothing".to_owned());
            eprintln!("stand-in: of {count} in `{kernel}`, left out: {which}");
        }
        let handle = self.handle();
        let globals: Vec<_> = module.globals().map(|(name, len)| (name.to_owned(), len)).collect();
        for (name, len) in globals {
            let base = self.memory.allocate_zeros(len);
            module.place(&name, base);
            self.globals.insert((handle, name), base);
        }
        self.modules.insert(handle, module);
        Ok(handle)
    }

    /// A module's variable: where it is, and its bytes.
    pub(crate) fn global(&self, module: usize, name: &str) -> Done<(u64, usize)> {
        let base = *self.globals.get(&(module, name.to_owned())).ok_or(Code::NOT_FOUND)?;
        let allocation = self.memory.around(base, 0).map_err(|_| Code::NOT_FOUND)?;
        let bounds = allocation.bounds();
        Ok((base, usize::try_from(bounds.end - bounds.start).map_err(|_| Code::INVALID_VALUE)?))
    }

    pub(crate) fn unload(&mut self, module: usize) -> Done {
        self.modules.remove(&module).ok_or(Code::INVALID_HANDLE)?;
        self.functions.retain(|_, function| function.module != module);
        let own: Vec<_> = self.globals.extract_if(|(of, _), _| *of == module).collect();
        own.into_iter().try_for_each(|(_, base)| self.free_now(base))
    }

    pub(crate) fn function(&mut self, of: usize, name: &str) -> Done<usize> {
        let module = self.modules.get(&of).ok_or(Code::INVALID_HANDLE)?;
        let kernel = module.kernels().find(|kernel| kernel.name == name).ok_or(Code::NOT_FOUND)?;
        let program = module.program(name).map(Arc::new);
        let handle = self.handle();
        let function =
            Function { kernel, program, module: of, shared_limit: SHARED_MEMORY_UNASKED };
        self.functions.insert(handle, function);
        Ok(handle)
    }

    /// `MAX_DYNAMIC_SHARED_SIZE_BYTES`
    pub(crate) fn allow_shared(&mut self, function: usize, bytes: i32) -> Done {
        let function = self.functions.get_mut(&function).ok_or(Code::INVALID_HANDLE)?;
        let bytes = usize::try_from(bytes).map_err(|_| Code::INVALID_VALUE)?;
        if bytes > self.shared_memory {
            return Err(Code::INVALID_VALUE);
        }
        function.shared_limit = bytes;
        Ok(())
    }

    pub(crate) fn max_threads(&self, function: usize) -> Done<i32> {
        let function = self.functions.get(&function).ok_or(Code::INVALID_HANDLE)?;
        Ok(function.kernel.max_threads as i32)
    }

    /// Bytes of each of a function's parameters.
    pub(crate) fn params(&self, function: usize) -> Done<&[usize]> {
        Ok(&self.functions.get(&function).ok_or(Code::INVALID_HANDLE)?.kernel.params)
    }

    /// What a driver can see at once.
    pub(crate) fn launch(
        &mut self,
        key: Key,
        function: usize,
        (grid, threads): ((u32, u32), u32),
        shared_bytes: usize,
        cooperative: bool,
        params: Vec<u64>,
    ) -> Done {
        let function = self.functions.get(&function).ok_or(Code::INVALID_HANDLE)?;
        let kernel = &function.kernel;
        let program = function.program.clone().map_err(|refused| {
            eprintln!("stand-in: `{}` cannot be run: {refused}", kernel.name);
            Code::NOT_SUPPORTED
        })?;
        let refuse = |what: &str, limit: usize, got: usize| {
            eprintln!(
                "stand-in: `{}` is launched with {what}: at most {limit}, got {got}",
                kernel.name
            );
            Code::INVALID_VALUE
        };
        if threads == 0 || threads > kernel.max_threads {
            return Err(refuse("threads", kernel.max_threads as usize, threads as usize));
        }
        if shared_bytes > function.shared_limit {
            return Err(refuse("shared memory", function.shared_limit, shared_bytes));
        }
        let blocks = u64::from(grid.0) * u64::from(grid.1);
        if blocks == 0 {
            return Err(refuse("an empty grid", 0, 0));
        }
        if cooperative && blocks > u64::from(self.multiprocessors) {
            eprintln!(
                "stand-in: {blocks} blocks of `{}` must be on {} multiprocessors at once",
                kernel.name, self.multiprocessors
            );
            return Err(Code::COOPERATIVE_LAUNCH_TOO_LARGE);
        }
        let module = function.module;
        let launch = Launch {
            kernel: kernel.clone(),
            program,
            module,
            grid,
            threads,
            shared_bytes,
            cooperative,
            params,
        };
        self.enqueue(key, Work::Launch(launch))
    }

    /// What only doing it shows.
    pub(super) fn run(&mut self, launch: &Launch, key: Key) -> Done {
        let name = launch.kernel.name.as_str();
        if !self.modules.contains_key(&launch.module) {
            let message =
                format!("the module of `{name}` was unloaded before a launch of it was over");
            return Err(self.lose(Code::ILLEGAL_ADDRESS, &message));
        }
        let seed = self.draw();
        let view = View { device: self, key };
        let orders = mira_ptx::Launch {
            grid: launch.grid,
            threads: launch.threads,
            shared_bytes: launch.shared_bytes,
            resident: self.multiprocessors,
            params: &launch.params,
            seed,
            watch_races: self.watch_races,
            watch_time: env::var_os("STAND_IN_CLOCK").is_some(),
            trace: traced(),
        };
        // SAFETY: the view says what is there, and the device is locked.
        let problem = match unsafe { mira_ptx::run(&launch.program, &orders, &view) } {
            Err(fault) => Some(fault.to_string()),
            Ok(stats) if stats.sleeps > 0 && !launch.cooperative => Some(format!(
                "blocks of `{name}` wait for each other, and the launch is not cooperative"
            )),
            Ok(stats) => {
                tell_launched(launch, &stats);
                tell_time(launch, &stats);
                None
            }
        };
        problem.map_or(Ok(()), |message| Err(self.lose(Code::LAUNCH_FAILED, &message)))
    }
}

/// `STAND_IN_TRACE`, a block and its warp.
fn traced() -> Option<(u32, u32)> {
    let warp = env::var("STAND_IN_TRACE").ok()?;
    let (block, warp) = warp.split_once(':')?;
    Some((block.parse().ok()?, warp.parse().ok()?))
}

/// For who asks what a launch would take: the kernel and its cycles; then for each barrier of blocks its line in the PTX, when the first block, half of them
/// and the last one passed it, and what most of them waited for; then what the warp of `STAND_IN_TRACE` waited for.
fn tell_time(launch: &Launch, stats: &Stats) {
    let (Ok(path), Some(time)) = (env::var("STAND_IN_CLOCK"), &stats.time) else { return };
    let mut text = format!("{} {}\n", launch.kernel.name, time.cycles);
    for phase in &time.phases {
        let [first, half, last] = phase.passed;
        text += &format!("  barrier at {}: {first} {half} {last}, {}\n", phase.line, phase.limit);
    }
    for wait in &time.waits {
        text += &format!("  {} +{} {}\n", wait.cycles, wait.waited, wait.place);
    }
    append("STAND_IN_CLOCK", &path, &text);
}

/// For who asks which kernels have run to their end, and what that took: the kernel, blocks, threads of each, instructions of all warps, and how
/// often a warp has polled in vain.
fn tell_launched(launch: &Launch, stats: &Stats) {
    let Ok(path) = env::var("STAND_IN_LAUNCHED") else { return };
    let (name, blocks) = (&launch.kernel.name, launch.grid.0 * launch.grid.1);
    let (threads, instructions, sleeps) = (launch.threads, stats.instructions, stats.sleeps);
    let line = format!("{name} {blocks} {threads} {instructions} {sleeps}\n");
    append("STAND_IN_LAUNCHED", &path, &line);
}

fn append(variable: &str, path: &str, text: &str) {
    let file = OpenOptions::new().append(true).create(true).open(path);
    if let Err(error) = file.and_then(|mut file| file.write_all(text.as_bytes())) {
        eprintln!("stand-in: {variable}={path}: {error}");
    }
}

/// The device's memory, as a launch on a stream may use it.
struct View<'a> {
    device: &'a Device,
    key: Key,
}

impl mira_ptx::Memory for View<'_> {
    fn around(&self, address: u64) -> Result<Range<u64>, String> {
        let bounds = self.device.memory.around(address, 1)?.bounds();
        self.device.has_begun(address, self.key)?;
        Ok(bounds)
    }
}
