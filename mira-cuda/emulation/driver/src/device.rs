//! The device and what its driver keeps: contexts, streams and what is enqueued on them; `events`, `graphs`, `kernels`.

mod events;
mod graphs;
mod kernels;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::env;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use mira_ptx::{Kernel, Module, Program, Refused};

use crate::code::Code;
use crate::memory::Memory;
use crate::stream::{Key, Moment, Stream, Work};

/// What a kernel may have without asking.
const SHARED_MEMORY_UNASKED: usize = 48 * 1024;
/// `CUdevice_attribute`
const ATTRIBUTES: [(i32, i32); 7] = [
    (38, 1 << 20), // L2_CACHE_SIZE
    (1, 1024),     // MAX_THREADS_PER_BLOCK
    (10, 32),      // WARP_SIZE
    (75, 9),       // COMPUTE_CAPABILITY_MAJOR
    (76, 0),       // COMPUTE_CAPABILITY_MINOR
    (95, 1),       // COOPERATIVE_LAUNCH
    (115, 1),      // MEMORY_POOLS_SUPPORTED
];
const MULTIPROCESSOR_COUNT: i32 = 16;
/// `MAX_SHARED_MEMORY_PER_MULTIPROCESSOR`, less what the system takes, and `MAX_SHARED_MEMORY_PER_BLOCK_OPTIN`.
const SHARED_MEMORY: [i32; 2] = [81, 97];
/// The primary context's handle.
pub(crate) const CONTEXT: usize = 0xc0;
const PER_THREAD: usize = 2;

#[derive(Debug, Default)]
struct Event {
    /// Where its stream stands once it is reached, and how often it was recorded before.
    recorded: Option<(Moment, u64)>,
    is_captured: bool,
    reached: Option<(u64, Instant)>,
}

#[derive(Debug)]
struct Function {
    kernel: Kernel,
    /// Or what of it is not known here.
    program: Result<Arc<Program>, Refused>,
    module: usize,
    shared_limit: usize,
}

#[derive(Debug)]
pub(crate) struct Device {
    seed: u64,
    random: u64,
    multiprocessors: u32,
    /// Of a block that asks for it, in bytes.
    shared_memory: usize,
    /// Whether copies to the host are over on return.
    is_pageable: bool,
    watch_races: bool,
    pub(crate) count: i32,
    pub(crate) is_initialized: bool,
    /// How often the primary context is retained.
    retained: usize,
    handles: usize,
    streams: HashMap<Key, Stream>,
    events: HashMap<usize, Event>,
    modules: HashMap<usize, Module>,
    functions: HashMap<usize, Function>,
    /// Variables of modules, by name.
    globals: HashMap<(usize, String), u64>,
    graphs: HashMap<usize, Vec<Work>>,
    pub(crate) memory: Memory,
    /// What every call returns since something went wrong.
    pub(crate) lost: Option<Code>,
}

static DEVICE: Mutex<Option<Device>> = Mutex::new(None);

/// The device, for one call.
pub(crate) fn locked<T>(call: impl FnOnce(&mut Device) -> T) -> T {
    let mut device: MutexGuard<'_, Option<Device>> =
        DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    call(device.get_or_insert_with(Device::new))
}

fn setting(name: &str, default: u64) -> u64 {
    let Ok(text) = env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| {
        eprintln!("stand-in: {name} must be a number, got {text:?}; {default} is taken");
        default
    })
}

type Done<T = ()> = Result<T, Code>;

impl Device {
    fn new() -> Self {
        let seed = setting("STAND_IN_SEED", 0);
        Self {
            seed,
            random: seed,
            multiprocessors: u32::try_from(setting("STAND_IN_MULTIPROCESSORS", 4)).unwrap_or(4),
            // Of an H100 or H200, like the compute capability.
            shared_memory: setting("STAND_IN_SHARED_MEMORY", 227 * 1024) as usize,
            is_pageable: setting("STAND_IN_PAGEABLE", 0) != 0,
            watch_races: setting("STAND_IN_RACES", 1) != 0,
            count: i32::from(setting("STAND_IN_DEVICES", 1) != 0),
            is_initialized: false,
            retained: 0,
            handles: 0x1000,
            streams: HashMap::new(),
            events: HashMap::new(),
            modules: HashMap::new(),
            functions: HashMap::new(),
            globals: HashMap::new(),
            graphs: HashMap::new(),
            memory: Memory::default(),
            lost: None,
        }
    }

    pub(crate) fn attribute(&self, attribute: i32) -> Done<i32> {
        if attribute == MULTIPROCESSOR_COUNT {
            return Ok(self.multiprocessors as i32);
        }
        if SHARED_MEMORY.contains(&attribute) {
            return Ok(self.shared_memory as i32);
        }
        let found = ATTRIBUTES.iter().find(|(number, _)| *number == attribute);
        found.map(|(_, value)| *value).ok_or_else(|| {
            eprintln!("stand-in: it has no device attribute {attribute}; add it to ATTRIBUTES");
            Code::INVALID_VALUE
        })
    }

    pub(crate) fn retain(&mut self) {
        self.retained += 1;
    }

    /// With the last one everything ends, done or not.
    pub(crate) fn release(&mut self) -> Done {
        self.retained = self.retained.checked_sub(1).ok_or(Code::INVALID_CONTEXT)?;
        if self.retained == 0 {
            self.streams.clear();
            self.events.clear();
            self.modules.clear();
            self.functions.clear();
            self.graphs.clear();
            self.memory = Memory::default();
        }
        Ok(())
    }

    pub(crate) const fn is_retained(&self) -> bool {
        self.retained > 0
    }

    /// What can only be found out when it is done: said once, and the context is lost.
    fn lose(&mut self, code: Code, message: &str) -> Code {
        if self.lost.is_none() {
            eprintln!("stand-in: {message}");
            self.lost = Some(code);
        }
        code
    }

    fn handle(&mut self) -> usize {
        self.handles += 0x10;
        self.handles
    }

    fn draw(&mut self) -> u64 {
        // splitmix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn new_stream(&mut self, is_blocking: bool) -> usize {
        let handle = self.handle();
        self.streams.insert(Key(handle, None), Stream { is_blocking, ..Stream::default() });
        handle
    }

    /// What a handle means on this thread.
    pub(crate) fn key(&mut self, handle: usize) -> Done<Key> {
        let key = Key(handle, (handle == PER_THREAD).then(|| thread::current().id()));
        if handle <= PER_THREAD {
            let is_blocking = handle == PER_THREAD;
            let key = if handle == PER_THREAD { key } else { Key::LEGACY };
            self.streams.entry(key).or_insert_with(|| Stream { is_blocking, ..Stream::default() });
            return Ok(key);
        }
        let known = self.streams.get(&key).is_some_and(|stream| !stream.is_destroyed);
        if known { Ok(key) } else { Err(Code::INVALID_HANDLE) }
    }

    pub(crate) fn destroy_stream(&mut self, handle: usize) -> Done {
        let key = self.key(handle)?;
        self.stream(key).is_destroyed = true;
        Ok(())
    }

    fn stream(&mut self, key: Key) -> &mut Stream {
        self.streams.entry(key).or_default()
    }

    /// Where a stream will stand when all it has been given is done.
    pub(crate) fn end_of(&mut self, key: Key) -> Moment {
        Moment { stream: key, count: self.stream(key).enqueued }
    }

    fn push(&mut self, key: Key, work: Work) {
        let stream = self.stream(key);
        stream.queue.push_back(work);
        stream.enqueued += 1;
    }

    pub(crate) fn enqueue(&mut self, key: Key, work: Work) -> Done {
        if let Some(capture) = &mut self.stream(key).capture {
            let holds = matches!(work, Work::Launch(_) | Work::Fill { .. } | Work::Copy { .. });
            if !holds {
                eprintln!(
                    "stand-in: graphs of launches, fills and copies on the device only, got {work:?}"
                );
                capture.is_invalid = true;
                return Err(Code::CAPTURE_UNSUPPORTED);
            }
            capture.work.push(work);
            return Ok(());
        }
        // The rules of the default stream.
        let others: Vec<Key> = match (key == Key::LEGACY, self.stream(key).is_blocking) {
            (true, _) => {
                self.streams.iter().filter(|(_, s)| s.is_blocking).map(|(k, _)| *k).collect()
            }
            (false, true) => vec![Key::LEGACY],
            (false, false) => vec![],
        };
        for other in others {
            let moment = self.end_of(other);
            if !self.is_past(moment) {
                self.push(key, Work::After(moment));
            }
        }
        self.push(key, work);
        if self.seed != 0 {
            self.wander()?;
        }
        Ok(())
    }

    /// A copy to the host.
    pub(crate) fn download(&mut self, key: Key, from: u64, to: usize, len: usize) -> Done {
        self.enqueue(key, Work::Download { from, to, len })?;
        if self.is_pageable { self.synchronize_stream(key) } else { Ok(()) }
    }

    /// Does something of what is enqueued, or nothing.
    fn wander(&mut self) -> Done {
        let mut waiting: Vec<Key> =
            self.streams.iter().filter(|(_, s)| !s.queue.is_empty()).map(|(k, _)| *k).collect();
        waiting.sort_by_key(|key| (key.0, self.streams[key].enqueued)); // not by the order of a hash map
        let steps = self.draw() % 3;
        for _ in 0..steps {
            let key = waiting[self.draw() as usize % waiting.len()];
            let count = self.stream(key).done + 1;
            if count <= self.stream(key).enqueued {
                self.reach(Moment { stream: key, count })?;
            }
        }
        Ok(())
    }

    fn is_past(&self, moment: Moment) -> bool {
        self.streams.get(&moment.stream).is_none_or(|stream| stream.done >= moment.count)
    }

    /// Does what is enqueued on a stream up to there.
    fn reach(&mut self, moment: Moment) -> Done {
        while !self.is_past(moment) {
            let Some(work) = self.stream(moment.stream).queue.pop_front() else { break };
            if let Work::After(other) = work {
                self.reach(other)?;
            } else {
                self.carry_out(work, moment.stream)?;
            }
            self.stream(moment.stream).done += 1;
        }
        Ok(())
    }

    pub(crate) fn synchronize_stream(&mut self, key: Key) -> Done {
        if let Some(capture) = &mut self.stream(key).capture {
            capture.is_invalid = true;
            return Err(Code::CAPTURE_UNSUPPORTED);
        }
        let end = self.end_of(key);
        self.reach(end)
    }

    pub(crate) fn synchronize(&mut self) -> Done {
        let mut keys: Vec<Key> = self.streams.keys().copied().collect();
        keys.sort_by_key(|key| key.0);
        keys.into_iter().try_for_each(|key| self.synchronize_stream(key))
    }

    fn carry_out(&mut self, work: Work, key: Key) -> Done {
        if let Some(code) = self.lost {
            return Err(code);
        }
        match work {
            Work::Fill { at, byte, len } => {
                self.usable(at, len, key, "a fill")?;
                // SAFETY: inside an allocation, which nobody else uses while the device is locked; so below.
                unsafe { std::ptr::write_bytes(pointer(at), byte, len) };
            }
            Work::Upload { at, bytes } => {
                self.usable(at, bytes.len(), key, "a copy from the host")?;
                // SAFETY: as above.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), pointer(at), bytes.len()) };
            }
            Work::Download { from, to, len } => {
                self.usable(from, len, key, "a copy to the host")?;
                let to = std::ptr::with_exposed_provenance_mut(to);
                // SAFETY: as above; the host promised to leave its memory alone until it has waited.
                unsafe { std::ptr::copy_nonoverlapping(pointer(from), to, len) };
            }
            Work::Copy { from, to, len } => {
                self.usable(from, len, key, "a copy")?;
                self.usable(to, len, key, "a copy")?;
                // SAFETY: as above.
                unsafe { std::ptr::copy(pointer(from), pointer(to), len) };
            }
            Work::Free { base } => {
                self.free_now(base)?;
            }
            Work::Record { event, number } => {
                if let Some(event) = self.events.get_mut(&event) {
                    event.reached = Some((number, Instant::now()));
                }
            }
            Work::Launch(launch) => self.run(&launch, key)?,
            Work::Allocated | Work::After(_) => {}
        }
        Ok(())
    }

    /// At once.
    pub(crate) fn free_now(&mut self, base: u64) -> Done {
        self.memory.free(base).map_err(|message| self.lose(Code::ILLEGAL_ADDRESS, &message))
    }

    /// Memory that a stream may use now.
    fn usable(&mut self, at: u64, len: usize, key: Key, what: &str) -> Done {
        let found = self.memory.around(at, len).map(|_| ());
        found
            .and_then(|()| self.has_begun(at, key))
            .map_err(|problem| self.lose(Code::ILLEGAL_ADDRESS, &format!("{what}: {problem}")))
    }

    /// Whether the allocation around an address is certain to be over for a stream.
    fn has_begun(&self, at: u64, key: Key) -> Result<(), String> {
        match self.memory.around(at, 0)?.since {
            Some(since) if since.stream != key && !self.is_past(since) => Err(format!(
                "memory at {at:#x} is used before its allocation on another stream is over"
            )),
            _ => Ok(()),
        }
    }
}

fn pointer(address: u64) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(address as usize)
}
