//! Kernels: PTX inside this crate, compiled by the driver for whatever device it meets, once a context and kernel.
//!
//! PTX rather than CUDA C, so that neither building nor running needs CUDA's toolkit; rather than machine code, so that devices newer than
//! this crate work. The driver keeps what it compiled (`~/.nv/ComputeCache`), so only a machine's first start waits for it; and a program waits
//! for the kernels it needs alone, which are one or two of each operation's ten.

use std::collections::HashMap;
use std::io::Read;
use std::ptr;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak};

use cudarc::driver::result::{launch_cooperative_kernel, launch_kernel};
use cudarc::driver::sys::{CUdevice_attribute as Attribute, CUfunction_attribute};
use cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaStream, DeviceRepr, DriverError};
use cudarc::nvrtc::Ptx;
use flate2::read::GzDecoder;

use crate::params::THREADS;
use crate::plan::{self, Hardware};
use crate::{Error, cross_entropy, diagnosis};

/// What kernels are loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// A whole assignment in one launch.
    Assign,
    /// A pass of one over a batch spread over ranks.
    AssignOverRanks,
    /// The certificate of either, and what the objective needs.
    Certify,
    /// Cross-entropy and its gradient.
    CrossEntropy,
}

impl Operation {
    const ALL: [Self; 4] = [Self::Assign, Self::AssignOverRanks, Self::Certify, Self::CrossEntropy];

    /// Its kernels: PTX, and their names.
    const fn module(self) -> (&'static [u8], &'static [&'static str]) {
        match self {
            Self::Assign => (include_bytes!("assign/assign.ptx.gz"), &plan::ASSIGN),
            Self::AssignOverRanks => {
                (include_bytes!("assign/over_ranks.ptx.gz"), &plan::OVER_RANKS)
            }
            Self::Certify => (include_bytes!("assign/certificate.ptx.gz"), &plan::AFTERWARDS),
            Self::CrossEntropy => {
                (include_bytes!("cross_entropy/cross_entropy.ptx.gz"), &cross_entropy::KERNEL_NAMES)
            }
        }
    }

    /// Of [`diagnosis`] in its folder.
    const fn file(self) -> &'static str {
        match self {
            Self::Assign => "assign.ptx",
            Self::AssignOverRanks => "over_ranks.ptx",
            Self::Certify => "certificate.ptx",
            Self::CrossEntropy => "cross_entropy.ptx",
        }
    }
}

/// One launch.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) kernel: &'a str,
    pub(crate) grid: (u32, u32),
    pub(crate) threads: u32,
    pub(crate) shared_bytes: usize,
    /// Blocks wait for each other, so all must be on the device at once.
    pub(crate) cooperative: bool,
}

/// The kernels of an operation in a context, loaded one by one when they are needed.
#[derive(Debug)]
pub(crate) struct Kernels {
    functions: HashMap<&'static str, OnceLock<(CudaFunction, Arc<CudaModule>)>>,
    /// Held while one is loaded.
    loading: Mutex<()>,
    operation: Operation,
    pub(crate) hardware: Hardware,
    context: Arc<CudaContext>,
}

impl Drop for Kernels {
    /// Nothing says that the driver unloads code only once no launch of it is under way.
    fn drop(&mut self) {
        // What failed before is for the next one who asks, whom waiting would keep from it.
        let earlier = self.context.check_err();
        self.context.record_err(self.context.synchronize());
        self.context.record_err(earlier);
    }
}

/// By context and operation; a context that is gone leaves its kernels to be dropped.
static LOADED: LazyLock<Mutex<Loaded>> = LazyLock::new(Mutex::default);
type Loaded = HashMap<(usize, Operation), Weak<Kernels>>;

impl Kernels {
    /// The kernels of `operation` in `context`, the same for all who ask.
    pub(crate) fn of(context: &Arc<CudaContext>, operation: Operation) -> Result<Arc<Self>, Error> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (context.cu_ctx().addr(), operation);
        if let Some(kernels) = loaded.get(&key).and_then(Weak::upgrade) {
            return Ok(kernels);
        }
        let kernels = Arc::new(Self::new(context, operation)?);
        loaded.retain(|_, kernels| kernels.strong_count() > 0);
        loaded.insert(key, Arc::downgrade(&kernels));
        Ok(kernels)
    }

    fn new(context: &Arc<CudaContext>, operation: Operation) -> Result<Self, Error> {
        let (major, minor) = context.compute_capability()?;
        let cooperative = context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH)?;
        if major < 8 || cooperative == 0 {
            return Err(Error::UnsupportedDevice { name: context.name()?, major, minor });
        }
        let number = |attribute| -> Result<u32, DriverError> {
            Ok(u32::try_from(context.attribute(attribute)?).unwrap_or(0))
        };
        let shared_memory = Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let hardware = Hardware {
            multiprocessors: number(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_memory: number(shared_memory)?,
            threads: THREADS,
        };
        let (_, names) = operation.module();
        let functions = names.iter().map(|&name| (name, OnceLock::new())).collect();
        Ok(Self {
            functions,
            loading: Mutex::new(()),
            operation,
            hardware,
            context: context.clone(),
        })
    }

    /// Has the driver compile a kernel unless that is done: before the hot path, and before a graph is captured.
    ///
    /// # Errors
    /// [`Error::OldDriver`], [`Error::NoCompiler`], [`Error::CompilerDisabled`], [`Error::InvalidKernels`], [`Error::Driver`].
    pub(crate) fn prepare(&self, kernel: &str) -> Result<(), Error> {
        self.loaded(kernel).map(drop)
    }

    /// Of which the kernel is.
    pub(crate) fn module(&self, kernel: &str) -> Result<&Arc<CudaModule>, Error> {
        self.loaded(kernel).map(|(_, module)| module)
    }

    fn loaded(&self, kernel: &str) -> Result<&(CudaFunction, Arc<CudaModule>), Error> {
        let place = &self.functions[kernel];
        if let Some(loaded) = place.get() {
            return Ok(loaded);
        }
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = place.get() {
            return Ok(loaded);
        }
        let loaded = self.load(kernel)?;
        Ok(place.get_or_init(|| loaded))
    }

    fn load(&self, kernel: &str) -> Result<(CudaFunction, Arc<CudaModule>), Error> {
        let (compressed, _) = self.operation.module();
        let ptx = diagnosis::text_of(self.operation.file()).unwrap_or_else(|| {
            let mut ptx = String::new();
            GzDecoder::new(compressed).read_to_string(&mut ptx).map(|_| ptx)
        });
        let ptx = ptx.map_err(Error::Kernels)?;
        let program = Ptx::from_src(with_one_kernel(&ptx, kernel));
        let module = self.context.load_module(program)?;
        let function = module.load_function(kernel)?;
        let most = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let bytes = i32::try_from(self.hardware.shared_memory).unwrap_or(i32::MAX);
        function.set_attribute(most, bytes)?;
        if matches!(self.operation, Operation::Assign | Operation::AssignOverRanks) {
            diagnosis::prepare(&self.context, &module)?;
        }
        Ok((function, module))
    }

    /// Enqueues a kernel that takes one struct. cudarc's builder of launches would allocate its list of arguments.
    ///
    /// # Safety
    /// The kernel must take `T`, whose pointers must be valid for what it does with them until the stream is past it.
    pub(crate) unsafe fn launch<T: DeviceRepr>(
        &self,
        stream: &CudaStream,
        launch: &Launch<'_>,
        params: &T,
    ) -> Result<(), Error> {
        let function = self.loaded(launch.kernel)?.0.cu_function();
        let Launch { grid: (x, y), threads, shared_bytes, cooperative, .. } = *launch;
        let (grid, block) = ((x, y, 1), (threads, 1, 1));
        let shared = u32::try_from(shared_bytes).unwrap_or(u32::MAX);
        let mut arguments = [ptr::from_ref(params).cast_mut().cast()];
        stream.context().bind_to_thread()?;
        let enqueue = if cooperative { launch_cooperative_kernel } else { launch_kernel };
        // SAFETY: by this function's contract; the driver copies the arguments before it returns.
        unsafe { enqueue(function, grid, block, shared, stream.cu_stream(), &mut arguments) }?;
        Ok(())
    }
}

/// The names of all kernels.
#[doc(hidden)]
pub fn kernel_names() -> impl Iterator<Item = &'static str> {
    Operation::ALL.into_iter().flat_map(|operation| operation.module().1.iter().copied())
}

/// Has the driver compile the kernel of this name, which it then finds in its cache, in whichever process it is wanted; false if there is none.
///
/// # Errors
/// Those of loading it, as where it is used.
#[doc(hidden)]
pub fn prepare(context: &Arc<CudaContext>, kernel: &str) -> Result<bool, Error> {
    let mut operations = Operation::ALL.into_iter();
    match operations.find(|operation| operation.module().1.contains(&kernel)) {
        Some(operation) => Kernels::of(context, operation)?.prepare(kernel).map(|()| true),
        None => Ok(false),
    }
}

/// A program without its other kernels: the driver compiles all that it is given.
fn with_one_kernel(ptx: &str, kernel: &str) -> String {
    let mut is_wanted = true;
    let mut program = String::with_capacity(ptx.len() / 2);
    for line in ptx.split_inclusive('\n') {
        if let Some(name) = line.strip_prefix(".visible .entry ") {
            is_wanted = name.split('(').next() == Some(kernel);
        }
        if is_wanted {
            program.push_str(line);
        }
        if line.trim_end() == "}" {
            is_wanted = true;
        }
    }
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_can_do_without_its_other_kernels() {
        for operation in Operation::ALL {
            let (compressed, names) = operation.module();
            let mut ptx = String::new();
            GzDecoder::new(compressed).read_to_string(&mut ptx).unwrap();
            let entries = |program: &str| program.matches(".entry ").count();
            assert_eq!(entries(&ptx), names.len(), "{operation:?}");
            // What is left out of one or the other are the kernels, each once; all else is in each.
            let bodies: usize = names
                .iter()
                .map(|name| {
                    let program = with_one_kernel(&ptx, name);
                    assert_eq!(entries(&program), 1, "{name}");
                    assert!(program.contains(&format!(".entry {name}(")), "{name}");
                    assert_eq!(program.matches('{').count(), program.matches('}').count());
                    program.len() - with_one_kernel(&ptx, "none").len()
                })
                .sum();
            assert_eq!(bodies + with_one_kernel(&ptx, "none").len(), ptx.len(), "{operation:?}");
        }
    }
}
