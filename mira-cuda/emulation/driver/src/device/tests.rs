//! What the device forgives, and what it does not.

use super::*;

fn device(seed: u64) -> Device {
    let mut device = Device { seed, random: seed, is_pageable: false, ..Device::new() };
    device.retain();
    device
}

fn stream(device: &mut Device) -> Key {
    let handle = device.new_stream(false);
    device.key(handle).unwrap()
}

fn allocate(device: &mut Device, key: Key, len: usize) -> u64 {
    device.enqueue(key, Work::Allocated).unwrap();
    let since = device.end_of(key);
    device.memory.allocate(len, Some(since))
}

fn byte(at: u64) -> u8 {
    // SAFETY: the tests ask for allocated memory only.
    unsafe { pointer(at).read() }
}

#[test]
fn nothing_is_done_before_it_is_waited_for() {
    let mut device = device(0);
    let key = stream(&mut device);
    let at = allocate(&mut device, key, 8);
    device.enqueue(key, Work::Fill { at, byte: 7, len: 8 }).unwrap();
    assert_eq!(byte(at), 0xff, "fresh memory is NaN");
    let mut host = [1u8; 8];
    let to = host.as_mut_ptr().expose_provenance();
    device.download(key, at, to, 8).unwrap();
    assert_eq!(host, [1; 8]);
    device.synchronize_stream(key).unwrap();
    assert_eq!(host, [7; 8]);
    device.is_pageable = true;
    device.enqueue(key, Work::Fill { at, byte: 9, len: 4 }).unwrap();
    device.download(key, at, to, 8).unwrap();
    assert_eq!(host, [9, 9, 9, 9, 7, 7, 7, 7]);
}

#[test]
fn streams_wait_for_events_and_for_nothing_else() {
    for wait in [false, true] {
        let mut device = device(0);
        let (first, second) = (stream(&mut device), stream(&mut device));
        let at = allocate(&mut device, first, 2);
        device.synchronize_stream(first).unwrap();
        device.enqueue(first, Work::Fill { at, byte: 3, len: 1 }).unwrap();
        let event = device.new_event();
        device.record(event, first).unwrap();
        assert!(!device.is_reached(event).unwrap());
        if wait {
            device.wait(second, event).unwrap();
        }
        device.enqueue(second, Work::Copy { from: at, to: at + 1, len: 1 }).unwrap();
        device.synchronize_stream(second).unwrap();
        assert_eq!(byte(at + 1), if wait { 3 } else { 0xff });
        // Asking gets a device on.
        while !device.query_event(event).unwrap() {}
        assert_eq!(byte(at), 3);
    }
}

#[test]
fn the_default_stream_waits_for_blocking_streams_and_they_for_it() {
    let mut device = device(0);
    let legacy = device.key(0).unwrap();
    let handle = device.new_stream(true);
    let blocking = device.key(handle).unwrap();
    let at = allocate(&mut device, legacy, 1);
    device.enqueue(blocking, Work::Fill { at, byte: 5, len: 1 }).unwrap();
    device.enqueue(legacy, Work::Fill { at, byte: 6, len: 1 }).unwrap();
    device.synchronize_stream(legacy).unwrap();
    assert_eq!(byte(at), 6);
    assert!(device.streams[&blocking].queue.is_empty());
}

#[test]
fn memory_is_used_between_its_allocation_and_its_end() {
    let mut before = device(0);
    let (owner, other) = (stream(&mut before), stream(&mut before));
    let at = allocate(&mut before, owner, 4);
    before.enqueue(other, Work::Fill { at, byte: 0, len: 4 }).unwrap();
    assert_eq!(before.synchronize_stream(other), Err(Code::ILLEGAL_ADDRESS));
    assert_eq!(before.lost, Some(Code::ILLEGAL_ADDRESS), "and every call after it fails");

    for (base, len) in [(0, 5), (1, 4)] {
        let mut beside = device(0);
        let key = stream(&mut beside);
        let at = allocate(&mut beside, key, 4) + base;
        beside.enqueue(key, Work::Fill { at, byte: 0, len }).unwrap();
        assert_eq!(beside.synchronize_stream(key), Err(Code::ILLEGAL_ADDRESS), "{len} at {base}");
    }

    let mut after = device(0);
    let key = stream(&mut after);
    let at = allocate(&mut after, key, 4);
    after.enqueue(key, Work::Free { base: at }).unwrap();
    after.enqueue(key, Work::Fill { at, byte: 0, len: 4 }).unwrap();
    assert_eq!(after.synchronize_stream(key), Err(Code::ILLEGAL_ADDRESS));
    assert!(after.memory.around(at, 4).unwrap_err().contains("freed") && !after.memory.is_base(at));
}

const HEAD: &str = ".version 8.0\n.target sm_80\n";

/// A kernel that takes an address, in `%rd1`.
fn kernel(device: &mut Device, body: &str) -> usize {
    let ptx = format!(
        "{HEAD}.visible .entry k(.param .u64 p)\n{{\n.reg .b64 %rd<4>;\nld.param.u64 %rd1, [p];\n{body}\nret;\n}}\n"
    );
    let module = device.load(&ptx).unwrap();
    device.function(module, "k").unwrap()
}

/// What a kernel does with memory is seen as well as what is asked of the driver.
#[test]
fn kernels_use_what_is_theirs() {
    for (offset, frees, is_right) in [(0, false, true), (8, false, false), (0, true, false)] {
        let mut device = device(0);
        let key = stream(&mut device);
        let at = allocate(&mut device, key, 8);
        let store = kernel(&mut device, "st.global.u64 [%rd1], 5;");
        if frees {
            device.enqueue(key, Work::Free { base: at }).unwrap();
        }
        device.launch(key, store, ((1, 1), 1), 0, false, vec![at + offset]).unwrap();
        let expected = if is_right { Ok(()) } else { Err(Code::LAUNCH_FAILED) };
        assert_eq!(device.synchronize_stream(key), expected, "{offset}, freed: {frees}");
        assert!(!is_right || byte(at) == 5);
    }
    let mut before = device(0);
    let (owner, other) = (stream(&mut before), stream(&mut before));
    let at = allocate(&mut before, owner, 8);
    let store = kernel(&mut before, "st.global.u64 [%rd1], 5;");
    before.launch(other, store, ((1, 1), 1), 0, false, vec![at]).unwrap();
    assert_eq!(before.synchronize_stream(other), Err(Code::LAUNCH_FAILED), "not allocated yet");
}

#[test]
fn blocks_that_wait_for_each_other_are_launched_together() {
    for cooperative in [false, true] {
        let mut device = device(0);
        let key = stream(&mut device);
        let at = allocate(&mut device, key, 8);
        let polls = kernel(&mut device, "nanosleep.u32 32;");
        device.launch(key, polls, ((2, 1), 32), 0, cooperative, vec![at]).unwrap();
        assert_eq!(device.synchronize_stream(key).is_ok(), cooperative);
    }
}

#[test]
fn graphs_are_replayed_and_isolated() {
    let mut device = device(0);
    let (key, other) = (stream(&mut device), stream(&mut device));
    let at = allocate(&mut device, key, 1);
    device.synchronize_stream(key).unwrap();
    device.begin_capture(key).unwrap();
    device.enqueue(key, Work::Fill { at, byte: 4, len: 1 }).unwrap();
    let graph = device.end_capture(key).unwrap();
    device.synchronize_stream(key).unwrap();
    assert_eq!(byte(at), 0xff, "captured, not done");
    for _ in 0..2 {
        device.enqueue(key, Work::Fill { at, byte: 0, len: 1 }).unwrap();
        device.launch_graph(graph, key).unwrap();
        device.synchronize_stream(key).unwrap();
        assert_eq!(byte(at), 4);
    }

    let event = device.new_event();
    device.record(event, other).unwrap();
    device.begin_capture(key).unwrap();
    assert_eq!(device.wait(key, event), Err(Code::CAPTURE_ISOLATION));
    assert_eq!(device.end_capture(key), Err(Code::CAPTURE_INVALIDATED));
    device.begin_capture(key).unwrap();
    assert_eq!(device.synchronize_stream(key), Err(Code::CAPTURE_UNSUPPORTED));
    assert_eq!(device.end_capture(key), Err(Code::CAPTURE_INVALIDATED));
}

/// Whatever the seed, things on a stream happen in order.
#[test]
fn queues_move_on_by_themselves_in_order() {
    let mut moved = 0;
    for seed in 1..20 {
        let mut device = device(seed);
        let (first, second) = (stream(&mut device), stream(&mut device));
        let at = allocate(&mut device, first, 1);
        device.synchronize_stream(first).unwrap();
        for byte in 0..10 {
            device.enqueue(first, Work::Fill { at, byte, len: 1 }).unwrap();
            device.enqueue(second, Work::Allocated).unwrap();
        }
        let (done, seen) = (device.streams[&first].done - 1, byte(at));
        assert_eq!(u64::from(seen.wrapping_add(1)), done, "seed {seed}");
        moved += usize::from(done > 0);
        device.synchronize_stream(first).unwrap();
        assert_eq!(byte(at), 9);
    }
    assert!(moved > 10, "{moved} of 19 seeds did anything");
}

#[test]
fn launches_are_checked() {
    let mut device = device(0);
    let key = stream(&mut device);
    let ptx = format!(
        "{HEAD}.visible .entry k(\n.param .align 8 .b8 p[16]\n)\n.maxntid 512, 1, 1\n{{\nret;\n}}\n"
    );
    let module = device.load(&ptx).unwrap();
    assert_eq!(device.function(module, "other"), Err(Code::NOT_FOUND));
    let function = device.function(module, "k").unwrap();
    let mut launch = |grid, threads, shared, cooperative| {
        device.launch(key, function, (grid, threads), shared, cooperative, vec![0; 2])
    };
    assert_eq!(launch((1, 1), 513, 0, false), Err(Code::INVALID_VALUE));
    assert_eq!(launch((0, 1), 512, 0, false), Err(Code::INVALID_VALUE));
    assert_eq!(launch((1, 1), 512, 49 * 1024, false), Err(Code::INVALID_VALUE));
    assert_eq!(launch((5, 1), 512, 0, true), Err(Code::COOPERATIVE_LAUNCH_TOO_LARGE));
    launch((5, 1), 512, 0, false).unwrap();
    device.allow_shared(function, 227 * 1024).unwrap();
    assert_eq!(device.allow_shared(function, 227 * 1024 + 1), Err(Code::INVALID_VALUE));
    let unknown = device.load(&ptx.replace("ret;", "brkpt;")).unwrap();
    let unknown = device.function(unknown, "k").unwrap();
    let refused = device.launch(key, unknown, ((1, 1), 1), 0, false, vec![0; 2]);
    assert_eq!((refused, device.lost), (Err(Code::NOT_SUPPORTED), None));
    // What was enqueued still needs it.
    device.unload(module).unwrap();
    assert_eq!(device.synchronize_stream(key), Err(Code::ILLEGAL_ADDRESS));
}

#[test]
fn modules_are_checked() {
    let mut device = device(0);
    assert_eq!(device.load("\u{7f}ELF"), Err(Code::INVALID_IMAGE));
    assert_eq!(device.load(&HEAD.replace("8.0", "8.1")), Err(Code::UNSUPPORTED_PTX_VERSION));
    device.load(HEAD).unwrap();
}

/// They begin as zeros and go with their module.
#[test]
fn variables_of_modules() {
    let mut device = device(0);
    let key = stream(&mut device);
    let text = "{HEAD}.visible .global .align 8 .b8 seen[24];\n\
                .visible .entry k(.param .u64 p)\n{\n.reg .b64 %rd<4>;\nld.param.u64 %rd1, [p];\nst.global.u64 [seen+8], %rd1;\nret;\n}\n";
    let module = device.load(&text.replace("{HEAD}", HEAD)).unwrap();
    let (at, len) = device.global(module, "seen").unwrap();
    assert_eq!((len, byte(at), byte(at + 23)), (24, 0, 0));
    assert_eq!(device.global(module, "unseen"), Err(Code::NOT_FOUND));
    let function = device.function(module, "k").unwrap();
    device.launch(key, function, ((1, 1), 1), 0, false, vec![5]).unwrap();
    device.synchronize_stream(key).unwrap();
    assert_eq!((byte(at), byte(at + 8)), (0, 5));
    device.unload(module).unwrap();
    assert_eq!(device.global(module, "seen"), Err(Code::NOT_FOUND));
    assert!(!device.memory.is_base(at));
}
