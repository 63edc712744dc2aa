//! What a device forgives in silence, or does not survive.

use mira_ptx::{Launch, Misdeed, Space, run};

use super::{Array, ONE_WARP, Size, launch, module};

/// The fault of a kernel over two words, and its thread.
fn misdeed(body: &str, size: Size) -> (u32, Misdeed) {
    let fault = launch(body, &mut [0; 2], size).expect_err("it is wrong");
    assert!(fault.place.line > 0 && !fault.place.text.is_empty(), "{fault}");
    (fault.thread, fault.what)
}

const SHARED: Size = Size { shared_bytes: 64, ..ONE_WARP };

#[test]
fn accesses_beside_what_there_is() {
    let store = |address: &str| {
        format!("mov.u32 %r0, %tid.x;\nsetp.ne.s32 %p1, %r0, 3;\n@%p1 bra END;\n{address}\nEND:")
    };
    for offset in [-8, 16] {
        let (thread, what) =
            misdeed(&store(&format!("st.global.u64 [%out0+{offset}], 1;")), ONE_WARP);
        assert!(
            matches!(what, Misdeed::Outside { space: Space::Global, bytes: 8, .. }) && thread == 3,
            "{what}"
        );
    }
    let (_, what) = misdeed(&store("ld.global.v2.u64 {%rd1, %rd2}, [%out0+8];"), ONE_WARP);
    assert!(
        matches!(what, Misdeed::Outside { .. } | Misdeed::Misaligned { bytes: 16, .. }),
        "{what}"
    );
    let (_, what) = misdeed(&store("st.shared.u64 [shared+64], 1;"), SHARED);
    assert!(matches!(what, Misdeed::Outside { space: Space::Shared, address: 64, .. }), "{what}");
    let (_, what) = misdeed(&store("ld.param.u64 %rd1, [k_param_0+8];"), ONE_WARP);
    assert!(matches!(what, Misdeed::Outside { space: Space::Param, .. }), "{what}");
    let (_, what) = misdeed(&store("mov.b64 %rd1, 16;\nst.u64 [%rd1], 1;"), ONE_WARP);
    assert!(matches!(what, Misdeed::Outside { space: Space::Global, address: 16, .. }), "{what}");
}

/// Some of an access, beyond the end.
#[test]
fn accesses_across_the_end() {
    let (_, what) = misdeed("st.shared.u64 [shared+56], 1;", Size { shared_bytes: 60, ..ONE_WARP });
    assert!(matches!(what, Misdeed::Outside { space: Space::Shared, bytes: 8, .. }), "{what}");
    let mut words = [0u64; 2];
    let start = words.as_mut_ptr().expose_provenance() as u64;
    let program = module("ld.global.u64 %rd1, [%out0+8];").program("k").unwrap();
    for (bytes, is_there) in [(16, true), (12, false)] {
        let launch = Launch {
            grid: (1, 1),
            threads: 1,
            shared_bytes: 0,
            resident: 1,
            params: &[start],
            seed: 0,
            watch_races: false,
            watch_time: false,
            trace: None,
        };
        // SAFETY: the words are there.
        let done = unsafe { run(&program, &launch, &Array(start..start + bytes)) };
        assert_eq!(done.is_ok(), is_there, "{done:?}");
    }
}

#[test]
fn misaligned_and_unwritten() {
    let (_, what) = misdeed("ld.global.u32 %r1, [%out0+2];", ONE_WARP);
    assert!(matches!(what, Misdeed::Misaligned { bytes: 4, .. }), "{what}");
    let one = "mov.u32 %r0, %tid.x;\nsetp.ne.s32 %p1, %r0, 0;\n@%p1 bra END;\nst.shared.u32 [shared], 1;\n";
    launch(&format!("{one}ld.shared.u32 %r1, [shared];\nEND:"), &mut [0], SHARED)
        .expect("it was written");
    // By a generic address, too.
    let generic = "mov.u64 %rd1, shared;\ncvta.shared.u64 %rd2, %rd1;\nld.u32 %r1, [%rd2+4];\nEND:";
    let (_, what) = misdeed(&format!("{one}{generic}"), SHARED);
    assert!(matches!(what, Misdeed::Unwritten { address: 4, bytes: 4 }), "{what}");
}

#[test]
fn barriers_that_not_all_reach() {
    let two_warps = Size { threads: 64, ..ONE_WARP };
    let (_, what) = misdeed(
        "mov.u32 %r0, %tid.x;\nsetp.eq.s32 %p1, %r0, 40;\n@%p1 bra END;\nbar.sync 0;\nEND:",
        two_warps,
    );
    assert!(
        matches!(what, Misdeed::Divergent { of_warp: false, waiting: 63, elsewhere: 0, ended: 1 }),
        "{what}"
    );
    let (_, what) = misdeed(
        "mov.u32 %r0, %tid.x;\nsetp.eq.s32 %p1, %r0, 40;\n@%p1 bra OTHER;\nbar.sync 0;\nret;\nOTHER:\nbar.sync 0;",
        two_warps,
    );
    assert!(
        matches!(
            what,
            Misdeed::Divergent { of_warp: false, waiting: 63 | 1, elsewhere: 1 | 63, ended: 0 }
        ),
        "{what}"
    );
    let apart = "mov.u32 %r0, %tid.x;\nsetp.eq.s32 %p1, %r0, 4;\n@%p1 bra OTHER;\nshfl.sync.bfly.b32 %r1, %r0, 1, 31, -1;\nret;\nOTHER:\nshfl.sync.bfly.b32 %r1, %r0, 1, 31, -1;";
    let (_, what) = misdeed(apart, ONE_WARP);
    assert!(matches!(what, Misdeed::Divergent { of_warp: true, .. }), "{what}");
}

#[test]
fn exchanges_with_lanes_that_take_no_part() {
    let low = "mov.u32 %r0, %tid.x;\nsetp.ge.u32 %p1, %r0, 16;\n@%p1 bra END;\n";
    let (thread, what) =
        misdeed(&format!("{low}shfl.sync.idx.b32 %r1, %r0, 20, 31, 0xffff;\nEND:"), ONE_WARP);
    assert!(matches!(what, Misdeed::InactiveLane { lane: 20 }) && thread == 0, "{what}");
    let (thread, what) = misdeed(&format!("{low}bar.warp.sync 0xff;\nEND:"), ONE_WARP);
    assert!(matches!(what, Misdeed::OutsideMask { mask: 0xff }) && thread == 8, "{what}");
}

#[test]
fn polling_for_ever_and_giving_up() {
    let poll = "POLL:\nnanosleep.u32 32;\nld.relaxed.gpu.global.u64 %rd1, [%out0];\nsetp.eq.s64 %p1, %rd1, 0;\n@%p1 bra POLL;";
    let (_, what) = misdeed(poll, Size { blocks: 2, threads: 64, ..ONE_WARP });
    assert!(matches!(what, Misdeed::Deadlock), "{what}");
    // Somebody writes it after all.
    let body = format!(
        "mov.u32 %r0, %tid.x;\nsetp.ne.s32 %p1, %r0, 70;\n@%p1 bra POLL;\nst.relaxed.gpu.global.u64 [%out0], 1;\n{poll}"
    );
    for seed in 0..20 {
        let stats =
            launch(&body, &mut [0; 2], Size { threads: 96, seed, ..ONE_WARP }).expect("it ends");
        assert!(stats.sleeps >= 3, "{stats:?}");
    }
    // Two blocks take turns, fifty each.
    let turns = "mov.u32 %r0, %tid.x;\nsetp.ne.s32 %p1, %r0, 0;\n@%p1 bra END;\nmov.u32 %r1, %ctaid.x;\ncvt.u64.u32 %rd2, %r1;\n\
         NEXT:\nld.relaxed.gpu.global.u64 %rd1, [%out0];\nsetp.eq.s64 %p2, %rd1, %rd2;\n@%p2 bra MINE;\nnanosleep.u32 32;\nbra.uni NEXT;\n\
         MINE:\nadd.s64 %rd1, %rd1, 1;\nst.relaxed.gpu.global.u64 [%out0], %rd1;\nadd.s64 %rd2, %rd2, 2;\nsetp.lt.s64 %p3, %rd2, 100;\n@%p3 bra NEXT;\nEND:";
    for seed in 0..100 {
        let mut out = [0; 2];
        launch(turns, &mut out, Size { blocks: 2, seed, ..ONE_WARP })
            .unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(out[0], 100);
    }
    let (_, what) = misdeed("trap;", ONE_WARP);
    assert!(matches!(what, Misdeed::Trap), "{what}");
}
