//! The driver's functions, as far as mira and cudarc call them. Handles are numbers dressed as pointers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::ptr;
use std::slice;
use std::sync::Arc;

use crate::code::Code;
use crate::device::{CONTEXT, Device, locked};
use crate::stream::Work;

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
    static CALLS: RefCell<HashMap<&'static str, u64>> = RefCell::default();
}

const NAME: &[u8] = b"stand-in for a CUDA device\0";
/// CUDA 12.0
const VERSION: c_int = 12_000;
const TOTAL_MEMORY: usize = 8 << 30;

fn count(name: &'static str) {
    let _ = CALLS.try_with(|calls| *calls.borrow_mut().entry(name).or_default() += 1);
}

fn current() -> usize {
    CURRENT.try_with(Cell::get).unwrap_or(0)
}

/// What a call needs before it is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Driver,
    Context,
}

fn call(
    name: &'static str,
    needs: Needs,
    body: impl FnOnce(&mut Device) -> Result<(), Code>,
) -> c_uint {
    count(name);
    locked(|device| {
        if needs != Needs::Nothing && !device.is_initialized {
            return Code::NOT_INITIALIZED.0;
        }
        if let Some(code) = device.lost {
            return code.0;
        }
        if needs == Needs::Context && (current() != CONTEXT || !device.is_retained()) {
            return Code::INVALID_CONTEXT.0;
        }
        body(device).err().map_or(0, |code| code.0)
    })
}

/// `name(arguments) needs => |device| body`
macro_rules! functions {
    ($($name:ident($($argument:ident: $type:ty),*) $needs:ident => |$device:ident| $body:expr;)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> c_uint {
            call(stringify!($name), Needs::$needs, |$device| $body)
        }
    )* };
}

/// # Safety
/// `to` must be valid for a write.
unsafe fn give<T>(to: *mut T, value: T) -> Result<(), Code> {
    if to.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: by this function's contract.
    unsafe { to.write(value) };
    Ok(())
}

/// # Safety
/// `text` must end with a zero byte.
unsafe fn text<'a>(text: *const c_char) -> Result<&'a str, Code> {
    // SAFETY: by this function's contract.
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|_| Code::INVALID_IMAGE)
}

/// A copy of `len` bytes of the host.
///
/// # Safety
/// They must be there.
unsafe fn bytes_of(from: *const c_void, len: usize) -> Arc<[u8]> {
    if len == 0 {
        return Arc::new([]);
    }
    // SAFETY: by this function's contract.
    unsafe { slice::from_raw_parts(from.cast::<u8>(), len) }.into()
}

/// What a launch is given, each from a multiple of 8 bytes on.
///
/// # Safety
/// `params` must point to the addresses of as many values, of as many bytes each.
unsafe fn values_of(params: *mut *mut c_void, bytes: &[usize]) -> Result<Vec<u64>, Code> {
    if params.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    let mut words = vec![];
    for (i, bytes) in bytes.iter().enumerate() {
        let start = words.len();
        words.resize(start + bytes.div_ceil(8), 0u64);
        // SAFETY: by this function's contract; there is room for as many.
        unsafe {
            let to = words[start..].as_mut_ptr().cast::<u8>();
            ptr::copy_nonoverlapping((*params.add(i)).cast(), to, *bytes);
        }
    }
    Ok(words)
}

// SAFETY (of all): arguments are what the driver's documentation asks for.
functions! {
    cuInit(flags: c_uint) Nothing => |device| {
        if flags != 0 { return Err(Code::INVALID_VALUE); }
        device.is_initialized = true;
        if device.count == 0 { Err(Code::NO_DEVICE) } else { Ok(()) }
    };
    cuDriverGetVersion(version: *mut c_int) Nothing => |_device| unsafe { give(version, VERSION) };
    cuDeviceGetCount(number: *mut c_int) Driver => |device| unsafe { give(number, device.count) };
    cuDeviceGet(to: *mut c_int, ordinal: c_int) Driver => |device| {
        if !(0..device.count).contains(&ordinal) { return Err(Code::INVALID_DEVICE); }
        unsafe { give(to, ordinal) }
    };
    cuDeviceGetName(to: *mut c_char, len: c_int, of: c_int) Driver => |device| {
        if !(0..device.count).contains(&of) { return Err(Code::INVALID_DEVICE); }
        let len = usize::try_from(len).map_err(|_| Code::INVALID_VALUE)?.min(NAME.len());
        unsafe { ptr::copy_nonoverlapping(NAME.as_ptr().cast(), to, len) };
        Ok(())
    };
    cuDeviceGetAttribute(to: *mut c_int, attribute: c_int, of: c_int) Driver => |device| {
        if !(0..device.count).contains(&of) { return Err(Code::INVALID_DEVICE); }
        let value = device.attribute(attribute)?;
        unsafe { give(to, value) }
    };
    cuDeviceTotalMem_v2(to: *mut usize, _of: c_int) Driver => |_device| unsafe { give(to, TOTAL_MEMORY) };
    cuMemGetInfo_v2(free: *mut usize, total: *mut usize) Context => |device| {
        let left = TOTAL_MEMORY.saturating_sub(device.memory.num_bytes());
        unsafe { give(free, left).and(give(total, TOTAL_MEMORY)) }
    };

    cuDevicePrimaryCtxRetain(to: *mut usize, of: c_int) Driver => |device| {
        if !(0..device.count).contains(&of) { return Err(Code::INVALID_DEVICE); }
        device.retain();
        unsafe { give(to, CONTEXT) }
    };
    cuDevicePrimaryCtxRelease_v2(_of: c_int) Driver => |device| device.release();
    cuCtxGetCurrent(to: *mut usize) Driver => |_device| unsafe { give(to, current()) };
    cuCtxSetCurrent(context: usize) Driver => |device| {
        if context != 0 && (context != CONTEXT || !device.is_retained()) { return Err(Code::INVALID_CONTEXT); }
        CURRENT.with(|current| current.set(context));
        Ok(())
    };
    cuCtxSynchronize() Context => |device| {
        if device.is_capturing_anywhere() { return Err(Code::CAPTURE_UNSUPPORTED); }
        device.synchronize()
    };

    cuStreamCreate(to: *mut usize, flags: c_uint) Context => |device| {
        let handle = device.new_stream(flags == 0);
        unsafe { give(to, handle) }
    };
    // Nothing has to begin before anything else for it; so many as there are.
    cuStreamCreateWithPriority(to: *mut usize, flags: c_uint, _priority: c_int) Context => |device| {
        let handle = device.new_stream(flags == 0);
        unsafe { give(to, handle) }
    };
    cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) Context => |_device| {
        unsafe { give(least, 0)?; give(greatest, -5) }
    };
    cuStreamDestroy_v2(stream: usize) Context => |device| device.destroy_stream(stream);
    cuStreamSynchronize(stream: usize) Context => |device| {
        let key = device.key(stream)?;
        device.synchronize_stream(key)
    };
    cuStreamWaitEvent(stream: usize, event: usize, _flags: c_uint) Context => |device| {
        let key = device.key(stream)?;
        device.wait(key, event)
    };
    cuEventCreate(to: *mut usize, _flags: c_uint) Context => |device| {
        let handle = device.new_event();
        unsafe { give(to, handle) }
    };
    cuEventDestroy_v2(event: usize) Context => |device| device.destroy_event(event);
    cuEventRecord(event: usize, stream: usize) Context => |device| {
        let key = device.key(stream)?;
        device.record(event, key)
    };
    cuEventQuery(event: usize) Context => |device| {
        if device.query_event(event)? { Ok(()) } else { Err(Code::NOT_READY) }
    };
    cuEventSynchronize(event: usize) Context => |device| device.synchronize_event(event);
    cuEventElapsedTime(to: *mut f32, start: usize, end: usize) Context => |device| {
        let milliseconds = device.milliseconds(start, end)?;
        unsafe { give(to, milliseconds) }
    };
    // The only one here that drivers of CUDA 12.0 lack: benchmarks call it, where cudarc's bindings are for CUDA 13.
    cuEventElapsedTime_v2(to: *mut f32, start: usize, end: usize) Context => |device| {
        let milliseconds = device.milliseconds(start, end)?;
        unsafe { give(to, milliseconds) }
    };

    cuStreamBeginCapture_v2(stream: usize, _mode: c_uint) Context => |device| {
        let key = device.key(stream)?;
        device.begin_capture(key)
    };
    cuStreamEndCapture(stream: usize, graph: *mut usize) Context => |device| {
        let key = device.key(stream)?;
        let handle = device.end_capture(key)?;
        unsafe { give(graph, handle) }
    };
    cuStreamIsCapturing(stream: usize, status: *mut c_uint) Context => |device| {
        let key = device.key(stream)?;
        let is_capturing = device.is_capturing(key);
        unsafe { give(status, c_uint::from(is_capturing)) }
    };
    cuGraphInstantiateWithFlags(to: *mut usize, graph: usize, _flags: c_ulonglong) Context => |device| {
        let handle = device.copy_graph(graph)?;
        unsafe { give(to, handle) }
    };
    cuGraphLaunch(graph: usize, stream: usize) Context => |device| {
        let key = device.key(stream)?;
        device.launch_graph(graph, key)
    };
    cuGraphUpload(_graph: usize, _stream: usize) Context => |_device| Ok(());
    cuGraphExecDestroy(graph: usize) Context => |device| device.destroy_graph(graph);
    cuGraphDestroy(graph: usize) Context => |device| device.destroy_graph(graph);

    cuMemAllocAsync(to: *mut u64, len: usize, stream: usize) Context => |device| {
        if len == 0 { return Err(Code::INVALID_VALUE); }
        if len > TOTAL_MEMORY.saturating_sub(device.memory.num_bytes()) { return Err(Code::OUT_OF_MEMORY); }
        let key = device.key(stream)?;
        device.enqueue(key, Work::Allocated)?;
        let since = device.end_of(key);
        let base = device.memory.allocate(len, Some(since));
        unsafe { give(to, base) }
    };
    cuMemAlloc_v2(to: *mut u64, len: usize) Context => |device| {
        if device.is_capturing_anywhere() { return Err(Code::CAPTURE_UNSUPPORTED); }
        if len == 0 { return Err(Code::INVALID_VALUE); }
        if len > TOTAL_MEMORY.saturating_sub(device.memory.num_bytes()) { return Err(Code::OUT_OF_MEMORY); }
        let base = device.memory.allocate(len, None);
        unsafe { give(to, base) }
    };
    cuMemFreeAsync(base: u64, stream: usize) Context => |device| {
        if !device.memory.is_base(base) { return Err(Code::INVALID_VALUE); }
        let key = device.key(stream)?;
        device.enqueue(key, Work::Free { base })
    };
    cuMemFree_v2(base: u64) Context => |device| {
        if !device.memory.is_base(base) { return Err(Code::INVALID_VALUE); }
        device.synchronize()?;
        device.free_now(base)
    };
    cuMemsetD8Async(at: u64, byte: u8, len: usize, stream: usize) Context => |device| {
        let key = device.key(stream)?;
        device.enqueue(key, Work::Fill { at, byte, len })
    };
    cuMemsetD8_v2(at: u64, byte: u8, len: usize) Context => |device| {
        let key = device.key(0)?;
        device.enqueue(key, Work::Fill { at, byte, len })
    };
    cuMemcpyHtoDAsync_v2(at: u64, from: *const c_void, len: usize, stream: usize) Context => |device| {
        let key = device.key(stream)?;
        let bytes = unsafe { bytes_of(from, len) };
        device.enqueue(key, Work::Upload { at, bytes })
    };
    cuMemcpyHtoD_v2(at: u64, from: *const c_void, len: usize) Context => |device| {
        let key = device.key(0)?;
        let bytes = unsafe { bytes_of(from, len) };
        device.enqueue(key, Work::Upload { at, bytes })?;
        device.synchronize_stream(key)
    };
    cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, len: usize, stream: usize) Context => |device| {
        let key = device.key(stream)?;
        device.download(key, from, to.expose_provenance(), len)
    };
    cuMemcpyDtoH_v2(to: *mut c_void, from: u64, len: usize) Context => |device| {
        let key = device.key(0)?;
        device.download(key, from, to.expose_provenance(), len)?;
        device.synchronize_stream(key)
    };
    cuMemcpyDtoDAsync_v2(to: u64, from: u64, len: usize, stream: usize) Context => |device| {
        let key = device.key(stream)?;
        device.enqueue(key, Work::Copy { from, to, len })
    };

    cuModuleLoadData(to: *mut usize, image: *const c_void) Context => |device| {
        let ptx = unsafe { text(image.cast()) }?;
        let handle = device.load(ptx)?;
        unsafe { give(to, handle) }
    };
    cuModuleUnload(module: usize) Context => |device| device.unload(module);
    cuModuleGetFunction(to: *mut usize, module: usize, name: *const c_char) Context => |device| {
        let handle = device.function(module, unsafe { text(name) }?)?;
        unsafe { give(to, handle) }
    };
    cuModuleGetGlobal_v2(to: *mut u64, bytes: *mut usize, module: usize, name: *const c_char) Context => |device| {
        let (base, len) = device.global(module, unsafe { text(name) }?)?;
        unsafe { give(to, base).and(give(bytes, len)) }
    };
    cuFuncSetAttribute(function: usize, attribute: c_int, value: c_int) Context => |device| {
        match attribute {
            8 => device.allow_shared(function, value), // MAX_DYNAMIC_SHARED_SIZE_BYTES
            _ => Err(Code::INVALID_VALUE),
        }
    };
    cuFuncGetAttribute(to: *mut c_int, attribute: c_int, function: usize) Context => |device| {
        let value = match attribute {
            0 => device.max_threads(function)?, // MAX_THREADS_PER_BLOCK
            _ => return Err(Code::INVALID_VALUE),
        };
        unsafe { give(to, value) }
    };
    cuLaunchKernel(function: usize, x: c_uint, y: c_uint, z: c_uint, threads: c_uint, threads_y: c_uint, threads_z: c_uint,
                   shared: c_uint, stream: usize, params: *mut *mut c_void, _extra: *mut *mut c_void) Context => |device| {
        unsafe { launch(device, function, [x, y, z], [threads, threads_y, threads_z], shared, stream, params, false) }
    };
    cuLaunchCooperativeKernel(function: usize, x: c_uint, y: c_uint, z: c_uint, threads: c_uint, threads_y: c_uint, threads_z: c_uint,
                              shared: c_uint, stream: usize, params: *mut *mut c_void) Context => |device| {
        unsafe { launch(device, function, [x, y, z], [threads, threads_y, threads_z], shared, stream, params, true) }
    };
}

/// # Safety
/// `params` must point to the address of what the function takes.
#[allow(clippy::too_many_arguments)] // the driver's own
unsafe fn launch(
    device: &mut Device,
    function: usize,
    [x, y, z]: [c_uint; 3],
    [threads, threads_y, threads_z]: [c_uint; 3],
    shared: c_uint,
    stream: usize,
    params: *mut *mut c_void,
    cooperative: bool,
) -> Result<(), Code> {
    if (z, threads_y, threads_z) != (1, 1, 1) {
        eprintln!("stand-in: grids of two dimensions and blocks of one only");
        return Err(Code::INVALID_VALUE);
    }
    let key = device.key(stream)?;
    // SAFETY: by this function's contract.
    let params = unsafe { values_of(params, device.params(function)?) }?;
    device.launch(key, function, ((x, y), threads), shared as usize, cooperative, params)
}

/// # Safety
/// `to` must be valid for a write.
unsafe fn give_text(to: *mut *const c_char, text: Option<&'static CStr>) -> c_uint {
    let Some(text) = text else { return Code::INVALID_VALUE.0 };
    // SAFETY: by this function's contract.
    unsafe { to.write(text.as_ptr()) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(code: c_uint, to: *mut *const c_char) -> c_uint {
    // SAFETY: as the driver's documentation asks for.
    unsafe { give_text(to, Code(code).texts().map(|(name, _)| name)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(code: c_uint, to: *mut *const c_char) -> c_uint {
    // SAFETY: as the driver's documentation asks for.
    unsafe { give_text(to, Code(code).texts().map(|(_, text)| text)) }
}

/// How often this thread has called the driver's function of a name; of all, for null.
#[unsafe(no_mangle)]
unsafe extern "C" fn stand_in_calls(name: *const c_char) -> u64 {
    CALLS.with(|calls| {
        let calls = calls.borrow();
        if name.is_null() {
            return calls.values().sum();
        }
        // SAFETY: a text that ends with a zero byte.
        let name = unsafe { CStr::from_ptr(name) };
        name.to_str().ok().and_then(|name| calls.get(name)).copied().unwrap_or(0)
    })
}
