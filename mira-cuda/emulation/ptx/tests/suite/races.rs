//! Accesses that nothing orders, whether or not they do harm in the order that was drawn.

use mira_ptx::{Misdeed, Space};

use super::{ONE_WARP, Size, launch, launch_module, module};

/// Whether the kernel has a race, the same for all seeds.
fn race(body: &str, size: Size) -> Option<Space> {
    let found = (0..12).map(|seed| match launch(body, &mut [0; 64], Size { seed, ..size }) {
        Ok(_) => None,
        Err(fault) => match fault.what {
            Misdeed::Race { space, .. } => Some(space),
            _ => panic!("{fault}"),
        },
    });
    let found: Vec<_> = found.collect();
    assert!(found.iter().all(|x| *x == found[0]), "by seed: {found:?}");
    found[0]
}

/// Each thread writes its word of shared memory, and reads that of another, `apart` on, after what is in between.
fn exchange(between: &str, apart: u32) -> String {
    format!(
        "mov.u32 %r0, %tid.x;\nshl.b32 %r1, %r0, 2;\nmov.u32 %r2, shared;\nadd.s32 %r3, %r2, %r1;\nst.shared.u32 [%r3], %r0;\n{between}\n\
         xor.b32 %r4, %r1, {};\nadd.s32 %r4, %r2, %r4;\nld.shared.u32 %r5, [%r4];",
        4 * apart
    )
}

#[test]
fn shared_memory() {
    let size = Size { threads: 64, shared_bytes: 256, ..ONE_WARP };
    assert_eq!(race(&exchange("bar.sync 0;", 32), size), None);
    assert_eq!(race(&exchange("bar.sync 0;", 1), size), None);
    assert_eq!(race(&exchange("bar.warp.sync -1;", 1), size), None);
    assert_eq!(race(&exchange("", 0), size), None, "with itself");
    // That lanes of a warp go on together is nowhere promised, and a shuffle orders no memory.
    for between in ["", "shfl.sync.bfly.b32 %r9, %r0, 1, 31, -1;"] {
        let one_warp = Size { threads: 32, ..size };
        assert_eq!(race(&exchange(between, 1), one_warp), Some(Space::Shared), "{between:?}");
    }
    assert_eq!(found(&exchange("bar.warp.sync -1;", 32), size), Some(Space::Shared));
    // Read, then written by another.
    let again = format!("{}\nst.shared.u32 [%r3], 7;", exchange("bar.sync 0;", 32));
    assert_eq!(race(&again, size), Some(Space::Shared));
    let again = format!("{}\nbar.sync 0;\nst.shared.u32 [%r3], 7;", exchange("bar.sync 0;", 32));
    assert_eq!(race(&again, size), None);
}

/// For some seed at least: others read what nobody has written yet, which is told first.
fn found(body: &str, size: Size) -> Option<Space> {
    (0..200).find_map(|seed| match launch(body, &mut [0; 64], Size { seed, ..size }) {
        Err(fault) => match fault.what {
            Misdeed::Race { space, .. } => Some(space),
            Misdeed::Unwritten { .. } => None,
            _ => panic!("{fault}"),
        },
        Ok(_) => None,
    })
}

/// Block 0 writes a word of data and tells, block 1 waits to be told and reads: `tells` and `asks` are of the flag, the 16th word, and `%r2`
/// is to become 1.
fn message(tells: &str, asks: &str) -> String {
    format!(
        "mov.u32 %r0, %tid.x;\nmov.u32 %r1, %ctaid.x;\nsetp.ne.s32 %p1, %r1, 0;\n@%p1 bra READ;\n\
         setp.ne.s32 %p2, %r0, 40;\n@%p2 bra WRITTEN;\nst.global.u32 [%out0], 7;\nWRITTEN:\nbar.sync 0;\n\
         setp.ne.s32 %p2, %r0, 0;\n@%p2 bra END;\n{tells}\nbra.uni END;\n\
         READ:\nsetp.ne.s32 %p2, %r0, 0;\n@%p2 bra TOLD;\nPOLL:\nnanosleep.u32 32;\n{asks}\nsetp.ne.s32 %p3, %r2, 1;\n@%p3 bra POLL;\n\
         TOLD:\nbar.sync 0;\nld.global.u32 %r3, [%out0];\nEND:"
    )
}

#[test]
fn between_blocks() {
    let size = Size { blocks: 2, threads: 64, ..ONE_WARP };
    let add = |how: &str| format!("atom{how}.global.add.u32 %r9, [%out0+128], 1;");
    let load = |how: &str| format!("ld.{how}.gpu.global.u32 %r2, [%out0+128];");
    let store = |how: &str| format!("st.{how}.gpu.global.u32 [%out0+128], 1;");
    let (released, acquired) = (add(".release.gpu"), load("acquire"));
    assert_eq!(race(&message(&released, &acquired), size), None);
    assert_eq!(race(&message(&store("release"), &acquired), size), None);
    // Fences on both sides make relaxed words as good.
    let (fenced, relaxed) = (format!("membar.gl;\n{}", add("")), load("relaxed"));
    assert_eq!(race(&message(&fenced, &acquired), size), None);
    assert_eq!(race(&message(&fenced, &format!("{relaxed}\nmembar.gl;")), size), None);
    assert_eq!(race(&message(&released, &format!("{relaxed}\nmembar.gl;")), size), None);
    // Without, on either side, they order nothing.
    for (tells, asks) in [
        (store("relaxed"), acquired.clone()),
        (add(""), acquired),
        (released, relaxed.clone()),
        (fenced, relaxed.clone()),
        (format!("{}\nmembar.gl;", add("")), relaxed),
    ] {
        assert_eq!(race(&message(&tells, &asks), size), Some(Space::Global), "{tells} {asks}");
    }
}

/// A third block learns of the first's data from the second.
#[test]
fn what_is_known_is_handed_on() {
    let size = Size { blocks: 3, threads: 32, ..ONE_WARP };
    let body = |hands_on: &str| {
        format!(
            "mov.u32 %r0, %tid.x;\nmov.u32 %r1, %ctaid.x;\nsetp.ne.s32 %p2, %r0, 0;\nsetp.eq.s32 %p1, %r1, 1;\n@%p1 bra SECOND;\nsetp.eq.s32 %p1, %r1, 2;\n@%p1 bra THIRD;\n\
         @%p2 bra F;\nst.global.u32 [%out0], 7;\nF:\nbar.sync 0;\n@%p2 bra END;\nst.release.gpu.global.u32 [%out0+128], 1;\nbra.uni END;\n\
         SECOND:\n@%p2 bra S;\nP:\nnanosleep.u32 32;\nld.acquire.gpu.global.u32 %r2, [%out0+128];\nsetp.ne.s32 %p3, %r2, 1;\n@%p3 bra P;\nS:\nbar.sync 0;\n\
         @%p2 bra END;\nst.{hands_on}.gpu.global.u32 [%out0+256], 1;\nbra.uni END;\n\
         THIRD:\n@%p2 bra T;\nQ:\nnanosleep.u32 32;\nld.acquire.gpu.global.u32 %r2, [%out0+256];\nsetp.ne.s32 %p3, %r2, 1;\n@%p3 bra Q;\nT:\nbar.sync 0;\n\
         ld.global.u32 %r3, [%out0];\nEND:"
        )
    };
    assert_eq!(race(&body("release"), size), None);
    assert_eq!(race(&body("relaxed"), size), Some(Space::Global));
}

/// Two warps read a word, and one of them writes it.
#[test]
fn all_who_have_read() {
    let size = Size { threads: 64, shared_bytes: 4, ..ONE_WARP };
    let body = "mov.u32 %r0, %tid.x;\nsetp.ne.s32 %p1, %r0, 0;\n@%p1 bra WRITTEN;\nst.shared.u32 [shared], 1;\nWRITTEN:\nbar.sync 0;\n\
         and.b32 %r1, %r0, 31;\nsetp.ne.s32 %p2, %r1, 0;\n@%p2 bra END;\nld.shared.u32 %r2, [shared];\nsetp.ne.s32 %p3, %r0, 32;\n@%p3 bra END;\n\
         st.shared.u32 [shared], 2;\nEND:";
    assert_eq!(race(body, size), Some(Space::Shared));
}

/// Who writes a word anew without knowing of what was released by it does not hand it on.
#[test]
fn a_word_written_anew_is_no_release() {
    let size = Size { blocks: 3, threads: 32, ..ONE_WARP };
    let body = |anew: &str| {
        format!(
            "mov.u32 %r0, %tid.x;\nmov.u32 %r1, %ctaid.x;\nsetp.ne.s32 %p2, %r0, 0;\nsetp.eq.s32 %p1, %r1, 1;\n@%p1 bra SECOND;\nsetp.eq.s32 %p1, %r1, 2;\n@%p1 bra THIRD;\n\
             @%p2 bra F;\nst.global.u32 [%out0], 7;\nF:\nbar.sync 0;\n@%p2 bra END;\nst.release.gpu.global.u32 [%out0+128], 1;\nbra.uni END;\n\
             SECOND:\n@%p2 bra END;\nP:\nnanosleep.u32 32;\nld.relaxed.gpu.global.u32 %r2, [%out0+128];\nsetp.ne.s32 %p3, %r2, 1;\n@%p3 bra P;\n{anew}\nbra.uni END;\n\
             THIRD:\n@%p2 bra T;\nQ:\nnanosleep.u32 32;\nld.relaxed.gpu.global.u32 %r2, [%out0+128];\nsetp.ne.s32 %p3, %r2, 2;\n@%p3 bra Q;\nld.acquire.gpu.global.u32 %r2, [%out0+128];\nT:\nbar.sync 0;\n\
             ld.global.u32 %r3, [%out0];\nEND:"
        )
    };
    assert_eq!(race(&body("st.relaxed.gpu.global.u32 [%out0+128], 2;"), size), Some(Space::Global));
    assert_eq!(race(&body("atom.global.add.u32 %r9, [%out0+128], 1;"), size), None, "added to");
}

/// Words that are relaxed on both sides may meet; one side alone may not be.
#[test]
fn strong_words_may_meet() {
    let size = Size { blocks: 2, ..ONE_WARP };
    let both = |store: &str, load: &str| {
        format!(
            "mov.u32 %r0, %tid.x;\nmov.u32 %r1, %ctaid.x;\nsetp.ne.s32 %p2, %r0, 0;\n@%p2 bra END;\nsetp.ne.s32 %p1, %r1, 0;\n@%p1 bra READ;\n\
         st{store}.global.v2.u64 [%out0], {{%rd1, %rd2}};\nbra.uni END;\nREAD:\nld{load}.global.v2.u64 {{%rd3, %rd4}}, [%out0];\nEND:"
        )
    };
    let aligned = |store, load| {
        race(
            &both(store, load)
                .replace("v2.u64 [%out0], {%rd1, %rd2}", "u64 [%out0], %rd1")
                .replace("v2.u64 {%rd3, %rd4}", "u64 %rd3"),
            size,
        )
    };
    assert_eq!(aligned(".relaxed.gpu", ".relaxed.gpu"), None);
    assert_eq!(aligned(".relaxed.gpu", ".volatile"), None);
    // Of two side by side each is watched.
    let second = "mov.u32 %r0, %tid.x;\nmov.u32 %r1, %ctaid.x;\nsetp.ne.s32 %p2, %r0, 0;\n@%p2 bra END;\nsetp.ne.s32 %p1, %r1, 0;\n@%p1 bra READ;\n\
         st.relaxed.gpu.global.v2.u32 [%out0], {%r2, %r3};\nbra.uni END;\nREAD:\nld.global.u32 %r4, [%out0+4];\nEND:";
    assert_eq!(race(second, size), Some(Space::Global));
    assert_eq!(aligned("", ".relaxed.gpu"), Some(Space::Global));
    assert_eq!(aligned(".relaxed.gpu", ""), Some(Space::Global));
}

/// Each order of a message is needed.
#[test]
fn weakened_modules_have_races() {
    let size = Size { blocks: 2, threads: 64, ..ONE_WARP };
    for (tells, asks, orders) in [
        (
            "st.release.gpu.global.u32 [%out0+128], 1;",
            "ld.acquire.gpu.global.u32 %r2, [%out0+128];",
            4,
        ),
        (
            "membar.gl;\nst.relaxed.gpu.global.u32 [%out0+128], 1;",
            "ld.volatile.global.u32 %r2, [%out0+128];\nmembar.gl;",
            4,
        ),
    ] {
        let body = message(tells, asks);
        assert_eq!(module(&body).weaken("k", 0), (orders, None));
        for n in 1..=orders {
            let mut module = module(&body);
            let (_, which) = module.weaken("k", n);
            let which = which.expect("one of them");
            let is_race = |seed| match launch_module(&module, &mut [0; 64], Size { seed, ..size }) {
                Ok(_) => false,
                Err(fault) => matches!(fault.what, Misdeed::Race { space: Space::Global, .. }),
            };
            assert!((0..12).any(is_race), "without {which}");
        }
        launch_module(&module(&body), &mut [0; 64], size).expect("with all of them");
    }
}
