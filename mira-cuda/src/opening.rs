//! Opening a device, or saying what is missing.

use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use cudarc::driver::CudaContext;
use cudarc::driver::sys::CUresult;
use libloading::Library;

use crate::Error;

/// `1000 * major + 10 * minor` of CUDA, as drivers say it: below this they do not know the kernels' version of PTX.
const OLDEST: c_int = 12_000;

/// Opens a device, from 0; what is missing is an error, never a panic.
///
/// Open a device once and share its context: two contexts of one device use the same memory, but cudarc has no stream of one wait for streams of the
/// other.
///
/// # Errors
/// [`Error::NoDriver`], [`Error::StubDriver`], [`Error::OldDriver`], [`Error::DriverMismatch`], [`Error::NoCompatibility`], [`Error::NotReady`],
/// [`Error::NoDevice`], [`Error::InUse`], [`Error::OutOfMemory`], [`Error::Driver`].
///
/// # Example
/// ```
/// match mira_cuda::device(0) {
///     Ok(context) => println!("{}", context.name()?),
///     Err(error) => println!("{error}"), // says what is missing
/// }
/// # Ok::<(), mira_cuda::Error>(())
/// ```
pub fn device(ordinal: usize) -> Result<Arc<CudaContext>, Error> {
    // Before anything of cudarc's, which panics where a driver lacks a symbol it was generated for.
    check_driver()?;
    let found = CudaContext::device_count().or_else(|error| match error.0 {
        CUresult::CUDA_ERROR_NO_DEVICE => Ok(0),
        _ => Err(error),
    })?;
    let found = usize::try_from(found).unwrap_or(0);
    if ordinal >= found {
        return Err(Error::NoDevice { ordinal, found });
    }
    Ok(CudaContext::new(ordinal)?)
}

/// `cuDriverGetVersion`.
type Ask = unsafe extern "C" fn(*mut c_int) -> c_int;

/// Refuses a libcuda that cudarc cannot work with. (It is not asked by cudarc, which has no such question where it does not load libcuda itself but is linked
/// with it, as with candle's CUDA in the tree.)
///
/// # Errors
/// [`Error::NoDriver`], [`Error::StubDriver`], [`Error::OldDriver`].
fn check_driver() -> Result<(), Error> {
    // SAFETY: loading libcuda runs its initialisers, as any use of it does.
    let load = |name: &&str| unsafe { Library::new(*name) }.ok();
    let names = ["libcuda.so.1", "libcuda.so", "nvcuda.dll"];
    // It stays loaded, for what it has begun lives as long as the process.
    let library = names.iter().find_map(load).map(ManuallyDrop::new).ok_or(Error::NoDriver)?;
    // SAFETY: the type is that of cuda.h.
    let ask = unsafe { library.get::<Ask>(b"cuDriverGetVersion\0") }
        .map_err(|_| Error::OldDriver { found: None })?;
    let mut version = 0;
    // SAFETY: written by the call, which may come before cuInit.
    match unsafe { ask(&raw mut version) } {
        STUB => Err(Error::StubDriver),
        0 if version < OLDEST => {
            Err(Error::OldDriver { found: Some((version / 1000, version % 1000 / 10)) })
        }
        _ => Ok(()), // what else may be wrong, cuInit says
    }
}

/// What every function of a stub returns.
const STUB: c_int = CUresult::CUDA_ERROR_STUB_LIBRARY as c_int;
