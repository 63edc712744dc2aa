//! Modules, and launches of their kernels.

use std::env;
use std::sync::Arc;

use mira_cuda_emulation::{kernels, launch_with};

use super::{Device, Done, Function, SHARED_MEMORY, SHARED_MEMORY_UNASKED};
use crate::candle;
use crate::code::Code;
use crate::module::{self, Refused};
use crate::stream::{Key, Launch, Work};

impl Device {
    pub(crate) fn load(&mut self, ptx: &str) -> Done<usize> {
        let newest = env::var("STAND_IN_PTX_VERSION").ok();
        let newest = newest.and_then(|text| module::version(&text)).unwrap_or(module::NEWEST);
        let kernels = module::kernels(ptx, newest).map_err(|refused| match refused {
            Refused::Version => Code::UNSUPPORTED_PTX_VERSION,
            Refused::Image => Code::INVALID_IMAGE,
        })?;
        let handle = self.handle();
        self.modules.insert(handle, kernels.into_iter().map(Arc::new).collect());
        Ok(handle)
    }

    pub(crate) fn unload(&mut self, module: usize) -> Done {
        self.modules.remove(&module).ok_or(Code::INVALID_HANDLE)?;
        self.functions.retain(|_, function| function.module != module);
        Ok(())
    }

    pub(crate) fn function(&mut self, module: usize, name: &str) -> Done<usize> {
        let kernels = self.modules.get(&module).ok_or(Code::INVALID_HANDLE)?;
        let kernel = kernels.iter().find(|k| k.name == name).ok_or(Code::NOT_FOUND)?.clone();
        let handle = self.handle();
        let function = Function { kernel, module, shared_limit: SHARED_MEMORY_UNASKED };
        self.functions.insert(handle, function);
        Ok(handle)
    }

    /// `MAX_DYNAMIC_SHARED_SIZE_BYTES`
    pub(crate) fn allow_shared(&mut self, function: usize, bytes: i32) -> Done {
        let function = self.functions.get_mut(&function).ok_or(Code::INVALID_HANDLE)?;
        let bytes = usize::try_from(bytes).map_err(|_| Code::INVALID_VALUE)?;
        if bytes > SHARED_MEMORY {
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
        let kernel = function.kernel.clone();
        if !candle::knows(&kernel.name) && !kernels().contains(&kernel.name) {
            eprintln!("stand-in: it has no kernel `{}`: mira's, and few of candle's", kernel.name);
            return Err(Code::NOT_SUPPORTED);
        }
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
        let launch = Launch { kernel, module, grid, threads, shared_bytes, cooperative, params };
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
        for address in &launch.params {
            if self.memory.is_freed(*address) {
                let message = format!("`{name}` is given memory that was freed");
                return Err(self.lose(Code::ILLEGAL_ADDRESS, &message));
            }
            if self.memory.around(*address, 0).is_ok() {
                self.usable(*address, 0, key, name)?;
            }
        }
        // SAFETY: what a kernel does with its pointers is for the one who launched it to answer, as on a device; so below.
        if unsafe { candle::run(name, &launch.params) }.is_some() {
            return Ok(());
        }
        let bytes = launch.kernel.params.iter().sum();
        let params = (launch.params.as_ptr().cast(), bytes);
        let seed = self.draw();
        // SAFETY: as above.
        let stats = unsafe {
            launch_with(name, launch.grid, launch.threads, launch.shared_bytes, params, seed)
        };
        let problem = match stats {
            Err(error) => Some(error.to_string()),
            Ok(stats) if stats.spins > 0 && !launch.cooperative => Some(format!(
                "blocks of `{name}` wait for each other, and the launch is not cooperative"
            )),
            Ok(_) => launch
                .params
                .iter()
                .find_map(|address| self.memory.check(*address).err())
                .map(|overrun| format!("`{name}` made {overrun}")),
        };
        problem.map_or(Ok(()), |message| Err(self.lose(Code::LAUNCH_FAILED, &message)))
    }
}
