//! Lanes that go apart, meet again, call and exchange.

use super::{ONE_WARP, Size, lanes, launch, launch_module};
use mira_ptx::Module;

#[test]
fn lanes_take_their_own_ways() {
    // Lane i adds up 0..i, odd ones from the top.
    let sums = lanes(
        "and.b32 %r1, %r0, 1;\nsetp.eq.s32 %p1, %r1, 0;\nmov.b64 %rd9, 0;\n@%p1 bra EVEN;\n\
         mov.u32 %r2, %r0;\nDOWN:\nsetp.eq.s32 %p2, %r2, 0;\n@%p2 bra END;\nsub.s32 %r2, %r2, 1;\n\
         cvt.u64.u32 %rd1, %r2;\nadd.s64 %rd9, %rd9, %rd1;\nbra.uni DOWN;\n\
         EVEN:\nmov.u32 %r2, 0;\nUP:\nsetp.ge.s32 %p2, %r2, %r0;\n@%p2 bra END;\ncvt.u64.u32 %rd1, %r2;\n\
         add.s64 %rd9, %rd9, %rd1;\nadd.s32 %r2, %r2, 1;\nbra.uni UP;\nEND:",
    );
    for (lane, sum) in sums.into_iter().enumerate() {
        assert_eq!(sum, (0..lane as u64).sum::<u64>(), "lane {lane}");
    }
}

/// As soon as they can: a hundred instructions after a branch, and a hundred after a loop of different lengths, are executed once.
#[test]
fn lanes_meet_again() {
    let hundred = "add.s32 %r2, %r2, 1;\n".repeat(100);
    let body = format!(
        "mov.u32 %r0, %tid.x;\nand.b32 %r1, %r0, 3;\nmov.u32 %r2, 0;\nsetp.eq.s32 %p1, %r1, 0;\n@%p1 bra OTHER;\nadd.s32 %r2, %r2, 1;\nbra.uni JOIN;\n\
         OTHER:\nadd.s32 %r2, %r2, 2;\nJOIN:\n{hundred}\
         LOOP:\nsetp.eq.s32 %p2, %r1, 0;\n@%p2 bra DONE;\nsub.s32 %r1, %r1, 1;\nbra.uni LOOP;\nDONE:\n{hundred}"
    );
    for seed in 0..5 {
        let stats = launch(&body, &mut [0], Size { seed, ..ONE_WARP })
            .unwrap_or_else(|fault| panic!("{fault}"));
        assert!(stats.instructions < 260, "{stats:?}");
    }
}

#[test]
fn shuffles() {
    let shuffled = |how: &str, select: u32, limits: u32| {
        lanes(&format!(
            "mul.lo.s32 %r1, %r0, 3;\nshfl.sync.{how}.b32 %r2|%p1, %r1, {select}, {limits}, -1;\ncvt.u64.u32 %rd9, %r2;\n\
             @!%p1 add.s64 %rd9, %rd9, 1000;"
        ))
    };
    // Outside of its segment a lane gets its own value, and is told.
    let expected = |from: &dyn Fn(u64) -> Option<u64>| -> Vec<u64> {
        (0..32).map(|lane| from(lane).map_or(3 * lane + 1000, |from| 3 * from)).collect()
    };
    assert_eq!(shuffled("bfly", 5, 31), expected(&|lane| Some(lane ^ 5)));
    assert_eq!(shuffled("idx", 7, 31), expected(&|_| Some(7)));
    assert_eq!(shuffled("down", 4, 31), expected(&|lane| (lane + 4 < 32).then(|| lane + 4)));
    assert_eq!(shuffled("up", 4, 0), expected(&|lane| lane.checked_sub(4)));
    // Segments of eight.
    let of_eight = |from: &dyn Fn(u64) -> u64| {
        expected(&|lane| Some(from(lane)).filter(|f| f / 8 == lane / 8))
    };
    assert_eq!(shuffled("down", 3, 24 << 8 | 31), of_eight(&|lane| lane + 3));
    assert_eq!(shuffled("bfly", 6, 24 << 8 | 31), of_eight(&|lane| lane ^ 6));
    // Of a lower segment a lane may be asked, of a higher one not.
    let crossing = |lane: u64| (lane ^ 8 < lane).then_some(lane ^ 8);
    assert_eq!(shuffled("bfly", 8, 24 << 8 | 31), expected(&crossing));
    assert_eq!(shuffled("idx", 2, 24 << 8 | 31), of_eight(&|lane| lane / 8 * 8 + 2));
}

/// The exchange is for half of the warp, whose lanes come to it by two ways.
#[test]
fn lanes_that_went_apart_exchange() {
    for seed in 0..20 {
        let mut out = [0; 32];
        let body = "mov.u32 %r0, %tid.x;\nmov.u32 %r1, %r0;\nsetp.ge.u32 %p1, %r0, 16;\n@%p1 bra END;\n\
             and.b32 %r2, %r0, 3;\nsetp.eq.s32 %p2, %r2, 0;\n@%p2 bra OTHER;\nadd.s32 %r1, %r1, 100;\nbra.uni JOIN;\n\
             OTHER:\nadd.s32 %r1, %r1, 200;\nJOIN:\nshfl.sync.bfly.b32 %r1, %r1, 1, 31, 0xffff;\n\
             END:\nmul.wide.u32 %rd0, %r0, 8;\nadd.s64 %rd0, %out0, %rd0;\ncvt.u64.u32 %rd1, %r1;\nst.global.u64 [%rd0], %rd1;";
        launch(body, &mut out, Size { seed, ..ONE_WARP }).unwrap_or_else(|fault| panic!("{fault}"));
        for (lane, found) in (0u64..).zip(out) {
            let other = lane ^ 1;
            let expected =
                if lane >= 16 { lane } else { other + if other % 4 == 0 { 200 } else { 100 } };
            assert_eq!(found, expected, "lane {lane}, seed {seed}");
        }
    }
}

/// A function that half of the lanes call twice, with a struct in memory of its own.
#[test]
fn functions_are_called() {
    let text = ".version 8.0\n.target sm_80\n.address_size 64\n\
        .func (.param .b32 result) twice_plus(.param .b32 x, .param .align 4 .b8 more[8])\n;\n\
        .visible .entry k(.param .u64 k_param_0)\n{\n.reg .pred %p<3>;\n.reg .b32 %r<9>;\n.reg .b64 %rd<9>;\n\
        ld.param.u64 %rd1, [k_param_0];\nmov.u32 %r1, %tid.x;\nmov.u32 %r2, %r1;\nsetp.lt.u32 %p1, %r1, 16;\n@%p1 bra LOW;\n\
        mov.u32 %r3, 5;\n\
        AGAIN:\n{\n.param .b32 param0;\nst.param.b32 [param0+0], %r2;\n.param .align 4 .b8 param1[8];\n\
        st.param.b32 [param1+0], %r3;\nst.param.b32 [param1+4], 1000;\n.param .b32 retval0;\n\
        call.uni (retval0), twice_plus, (param0, param1);\nld.param.b32 %r2, [retval0+0];\n}\n\
        add.s32 %r3, %r3, 1;\nsetp.lt.u32 %p2, %r3, 7;\n@%p2 bra AGAIN;\n\
        LOW:\nmul.wide.u32 %rd2, %r1, 8;\nadd.s64 %rd2, %rd1, %rd2;\ncvt.u64.u32 %rd3, %r2;\nst.global.u64 [%rd2], %rd3;\nret;\n}\n\
        .func (.param .b32 result) twice_plus(.param .b32 x, .param .align 4 .b8 more[8])\n{\n.reg .b32 %r<9>;\n\
        ld.param.u32 %r1, [x];\nld.param.u32 %r2, [more];\nld.param.u32 %r3, [more+4];\nadd.s32 %r4, %r1, %r1;\n\
        add.s32 %r4, %r4, %r2;\nadd.s32 %r4, %r4, %r3;\nst.param.b32 [result+0], %r4;\nret;\n}\n";
    let mut out = [0; 32];
    launch_module(&Module::new(text).unwrap(), &mut out, ONE_WARP)
        .unwrap_or_else(|fault| panic!("{fault}"));
    for (lane, found) in (0u64..).zip(out) {
        let expected = if lane < 16 { lane } else { 2 * (2 * lane + 1005) + 1006 };
        assert_eq!(found, expected, "lane {lane}");
    }
}

/// Blocks have their index, and the last warp of a block fewer lanes.
#[test]
fn blocks_and_parts_of_warps() {
    let mut out = [u64::MAX; 3 * 40];
    let body = "mov.u32 %r0, %tid.x;\nmov.u32 %r1, %ctaid.x;\nmov.u32 %r2, %ntid.x;\nmad.lo.s32 %r3, %r1, %r2, %r0;\n\
         mul.wide.u32 %rd0, %r3, 8;\nadd.s64 %rd0, %out0, %rd0;\nmov.u32 %r4, %nctaid.x;\nmad.lo.s32 %r5, %r4, 1000, %r3;\n\
         cvt.u64.u32 %rd1, %r5;\nst.global.u64 [%rd0], %rd1;";
    launch(body, &mut out, Size { blocks: 3, threads: 40, ..ONE_WARP })
        .unwrap_or_else(|fault| panic!("{fault}"));
    assert!((3000..).zip(out).all(|(expected, found)| expected == found), "{out:?}");
}

/// Blocks 0 and 1 wait for each other forty times, then block 0 says so; block 2 looks at that when it begins.
#[test]
fn a_block_may_begin_when_others_have_ended() {
    let poll = |at: &str, name: &str| {
        format!(
            "{name}:\nld.relaxed.gpu.global.u64 %rd1, [%out0+{at}];\nsetp.eq.s64 %p2, %rd1, %rd2;\n@%p2 bra {name}_OVER;\n\
             nanosleep.u32 32;\nbra.uni {name};\n{name}_OVER:\n"
        )
    };
    let (first, second) = (poll("8", "FIRST"), poll("0", "SECOND"));
    let body = format!(
        "mov.u32 %r1, %ctaid.x;\nmov.u64 %rd2, 0;\nsetp.eq.s32 %p1, %r1, 2;\n@%p1 bra LOOK;\nsetp.eq.s32 %p1, %r1, 1;\n\
         TOP:\nadd.s64 %rd2, %rd2, 1;\n@%p1 bra ANSWER;\nst.relaxed.gpu.global.u64 [%out0], %rd2;\n{first}bra.uni NEXT;\n\
         ANSWER:\n{second}st.relaxed.gpu.global.u64 [%out0+8], %rd2;\nNEXT:\nsetp.lt.s64 %p2, %rd2, 40;\n@%p2 bra TOP;\n\
         @%p1 bra END;\nst.relaxed.gpu.global.u64 [%out0+16], 1;\nbra.uni END;\n\
         LOOK:\nld.relaxed.gpu.global.u64 %rd1, [%out0+16];\nst.global.u64 [%out0+24], %rd1;\nEND:"
    );
    let seen = |seed| {
        let mut out = [0, 0, 0, 7];
        launch(&body, &mut out, Size { blocks: 3, threads: 1, seed, ..ONE_WARP })
            .unwrap_or_else(|fault| panic!("{fault}"));
        out[3]
    };
    let late = (0..64).filter(|seed| seen(*seed) == 1).count();
    assert!((4..32).contains(&late), "{late} of 64: a sixth"); // of three blocks, in every other launch
}

/// Block 0 polls for what block 1 says when it begins, which may be when block 0 is seen to wait: soon, however long a look takes.
#[test]
fn long_looks_are_no_progress() {
    let look = "add.s32 %r2, %r2, %r1;\n".repeat(600);
    let body = format!(
        "mov.u32 %r1, %ctaid.x;\nsetp.eq.s32 %p1, %r1, 1;\n@%p1 bra SAY;\n\
         POLL:\nnanosleep.u32 32;\n{look}ld.relaxed.gpu.global.u64 %rd1, [%out0];\nsetp.eq.s64 %p2, %rd1, 0;\n@%p2 bra POLL;\nbra.uni END;\n\
         SAY:\nst.relaxed.gpu.global.u64 [%out0], 1;\nEND:"
    );
    for seed in 0..32 {
        let stats = launch(&body, &mut [0], Size { blocks: 2, threads: 128, seed, ..ONE_WARP })
            .unwrap_or_else(|fault| panic!("{fault}"));
        assert!(stats.sleeps < 200, "seed {seed}: {} looks of four warps", stats.sleeps);
    }
}
