//! The rough clock: what waits for what, and for how long.

use mira_ptx::Time;

use super::{ONE_WARP, Size, launch_watched, module};

/// What `k` takes, and what the warp `trace` waited for.
fn time_of(body: &str, size: Size, trace: Option<(u32, u32)>) -> Time {
    launch_watched(&module(body), &mut [0; 64], size, (true, trace))
        .unwrap_or_else(|fault| panic!("{fault}"))
        .time
        .expect("it was asked for")
}

fn cycles(body: &str, size: Size) -> u64 {
    time_of(body, size, None).cycles
}

/// `n` additions in f64, each of what the one before it made.
fn chain(n: usize) -> String {
    "add.f64 %fd1, %fd1, %fd1;\n".repeat(n)
}

/// The same in a register that has nothing to do with those.
fn other_chain(n: usize) -> String {
    chain(n).replace("fd1", "fd3")
}

#[test]
fn what_is_read_must_be_there() {
    // An addition in f64 is there 8 cycles later.
    assert_eq!(cycles(&chain(30), ONE_WARP) - cycles(&chain(10), ONE_WARP), 8 * 20);
    let others = |n: usize| "add.f64 %fd2, %fd1, %fd1;\n".repeat(n);
    let mixed = chain(10) + &others(5) + &chain(20);
    assert_eq!(cycles(&mixed, ONE_WARP), cycles(&chain(30), ONE_WARP), "they fit in between");
    // Predicates, too; and what is after a jump begins after it.
    let jump = |before: &str| {
        let then = other_chain(10);
        let test = "setp.gt.f64 %p1, %fd1, 0d3FF0000000000000;\n@%p1 bra END;\n";
        cycles(&format!("{before}{test}{then}END:"), ONE_WARP)
    };
    assert_eq!(jump(&chain(10)) - jump(""), 8 * 10);
}

#[test]
fn a_barrier_waits_for_the_last_warp_and_for_all_that_was_asked() {
    let size = Size { blocks: 2, threads: 64, ..ONE_WARP };
    let uneven = |n: usize| {
        let (long, then) = (chain(n), other_chain(3));
        let skip = "mov.u32 %r0, %tid.x;\nsetp.lt.u32 %p1, %r0, 32;\n@%p1 bra SHORT;\n";
        time_of(&format!("{skip}{long}SHORT:\nbar.sync 0;\n{then}"), size, None)
    };
    let (short, long) = (uneven(10), uneven(50));
    assert_eq!(long.cycles - short.cycles, 8 * 40);
    let [phase] = long.phases[..] else { panic!("{long:?}") };
    assert_eq!(phase.limit, "latency");
    assert_eq!(phase.passed[2] - short.phases[0].passed[2], 8 * 40);
    // 16 warps on four schedulers, whose integers take two cycles each.
    let size = Size { blocks: 1, threads: 512, ..ONE_WARP };
    let integers = "add.s32 %r2, %r1, %r1;\n".repeat(100) + "bar.sync 0;";
    let phase = time_of(&integers, size, None).phases[0];
    assert_eq!((phase.limit, phase.passed), ("integers", [4 * 100 * 2; 3]));
}

/// A word is found so long after it was stored, in whatever order the interpreter took blocks.
#[test]
fn words_come_when_they_were_stored() {
    let jump = "setp.gt.f64 %p2, %fd1, 0d3FF0000000000000;\n@%p2 bra END;\n";
    let message = |work: &str, wait: &str| {
        // Several are looked at together, and then waited for one after the other.
        let words = 0..4;
        let of_each = |text: fn(usize) -> String| words.clone().map(text).collect::<String>();
        let stores = of_each(|w| format!("st.relaxed.gpu.global.u64 [%out0+{}], 1;\n", 8 * w));
        let looks = of_each(|w| format!("ld.relaxed.gpu.global.u64 %rd{w}, [%out0+{}];\n", 8 * w));
        let polls = of_each(|w| {
            format!(
                "setp.eq.s64 %p3, %rd{w}, 1;\n@%p3 bra FOUND{w};\nPOLL{w}:\nnanosleep.u32 32;\nld.relaxed.gpu.global.u64 %rd{w}, [%out0+{}];\n\
                 setp.ne.s64 %p3, %rd{w}, 1;\n@%p3 bra POLL{w};\nFOUND{w}:\n",
                8 * w
            )
        });
        // What the reader does then ends after everything else.
        let then = other_chain(1000);
        format!(
            "mov.u32 %r1, %ctaid.x;\nsetp.ne.s32 %p1, %r1, 0;\n@%p1 bra READ;\n{work}{jump}{stores}bra.uni END;\n\
             READ:\n{wait}{jump}{looks}{polls}{then}END:"
        )
    };
    let time = |work: &str, wait: &str, seed| {
        cycles(&message(work, wait), Size { blocks: 2, threads: 1, seed, ..ONE_WARP })
    };
    // Polls in vain take nothing but jumps.
    let is_about = |x: u64, y: u64| x.abs_diff(y) <= 4 * 6;
    // Few instructions that take long, and many that do not: a word that is there before anybody looks comes late for the interpreter.
    let long = "div.rn.f64 %fd1, %fd1, %fd1;\n".repeat(20);
    let many = "add.s32 %r2, %r1, %r1;\n".repeat(1000);
    for seed in 0..20 {
        let waited = time(&chain(500), "", seed) - time(&chain(200), "", 0);
        assert!(is_about(waited, 8 * 300), "seed {seed}: {waited}");
        let (late, early) = (time(&many, &long, seed), time("", &long, seed));
        assert!(is_about(late, early), "seed {seed}: {late}, {early}");
    }
}

/// Those that are missing are looked at again together. Which those are is known before, or worked out of what was found, by instructions one after the
/// other. The reader answers, so there is one order of passes.
#[test]
fn words_that_are_looked_at_together_come_when_they_were_stored() {
    let all = "and.pred %p3, %p4, %p5;\nand.pred %p3, %p3, %p6;\nand.pred %p3, %p3, %p7;\n";
    looked_at_together(
        |w| format!("setp.eq.u64 %p{}, %rd{w}, %rd10;\n", 4 + w),
        all,
        |_| String::new(),
    );
    let compare =
        |w| format!("xor.b64 %rd{0}, %rd{w}, %rd10;\nor.b64 %rd9, %rd9, %rd{0};\n", 11 + w);
    let again = |w| format!("setp.eq.u64 %p{}, %rd{}, 0;\n", 4 + w, 11 + w);
    looked_at_together(compare, "setp.eq.u64 %p3, %rd9, 0;\nmov.u64 %rd9, 0;\n", again);
}

fn looked_at_together(
    compare: impl Fn(usize) -> String,
    all: &str,
    is_there: impl Fn(usize) -> String,
) {
    const PASSES: u64 = 3;
    let words = 0..4;
    let of_each = |text: &dyn Fn(usize) -> String| words.clone().map(text).collect::<String>();
    let message = |work: &str| {
        let store = |w| format!("st.relaxed.gpu.global.u64 [%out0+{}], %rd10;\n{work}", 8 * w);
        let look = |w| format!("ld.relaxed.gpu.global.u64 %rd{w}, [%out0+{}];\n", 8 * w);
        let again = |w| format!("{}@%p{} bra HAS{w};\n{}HAS{w}:\n", is_there(w), 4 + w, look(w));
        let answer = "st.relaxed.gpu.global.u64 [%out0+64], %rd10;\n";
        let wait = "WAIT:\nld.relaxed.gpu.global.u64 %rd5, [%out0+64];\nsetp.eq.u64 %p3, %rd5, %rd10;\n\
                    @%p3 bra NEXT;\nnanosleep.u32 32;\nbra.uni WAIT;\n";
        format!(
            "mov.u32 %r1, %ctaid.x;\nsetp.ne.s32 %p1, %r1, 0;\nmov.u64 %rd9, 0;\nmov.u64 %rd10, 0;\nPASS:\nadd.s64 %rd10, %rd10, 1;\n@%p1 bra READ;\n\
             {}{wait}READ:\n{}LOOK:\n{}{all}@%p3 bra ANSWER;\nnanosleep.u32 32;\n{}bra.uni LOOK;\n\
             ANSWER:\n{answer}NEXT:\nbar.sync 0;\nsetp.lt.u64 %p2, %rd10, {PASSES};\n@%p2 bra PASS;\nEND:",
            of_each(&store),
            of_each(&look),
            of_each(&compare),
            of_each(&again),
        )
    };
    let time =
        |work: &str, seed| cycles(&message(work), Size { blocks: 2, threads: 1, seed, ..ONE_WARP });
    let division =
        "div.rn.f64 %fd1, %fd1, %fd1;\nsetp.gt.f64 %p8, %fd1, 0d7FF0000000000000;\n@%p8 bra END;\n";
    let work = |n: usize, seed| time(&division.repeat(n), seed);
    let of_division = (work(20, 0) - work(10, 0)) / (10 * PASSES * 4);
    assert!((180..=200).contains(&of_division), "{of_division}");
    for seed in 1..20 {
        // Looks in vain take nothing but jumps, in any pass.
        let (one, other) = (work(3, 0), work(3, seed));
        assert!(one.abs_diff(other) <= PASSES * 4 * 6, "seed {seed}: {one}, {other}");
    }
}

#[test]
fn lanes_of_a_bank_come_one_after_another() {
    let size = Size { shared_bytes: 32 * 128, ..ONE_WARP };
    let apart = |stride: u32| {
        let address = format!("mov.u32 %r0, %tid.x;\nmul.lo.s32 %r1, %r0, {stride};\n");
        let body = address
            + "st.shared.u32 [%r1], %r0;\nld.shared.u32 %r2, [%r1];\nadd.s32 %r3, %r2, %r2;";
        cycles(&body, size)
    };
    assert_eq!(apart(128) - apart(4), 31);
    assert_eq!(apart(8) - apart(4), 1);
    let load = |stride: u32| {
        let store = "mov.u32 %r0, %tid.x;\nmul.lo.s32 %r1, %r0, 4;\nst.shared.u32 [%r1], %r0;\nbar.warp.sync -1;\n";
        let address = format!("mul.lo.s32 %r1, %r0, {stride};\n");
        cycles(&format!("{store}{address}ld.shared.u32 %r2, [%r1];\nadd.s32 %r3, %r2, %r2;"), size)
    };
    assert_eq!(load(0), load(4), "one word for all");
}

#[test]
fn waits_of_the_warp_that_is_asked_for() {
    let time = time_of(&chain(3), ONE_WARP, Some((0, 0)));
    let told: Vec<_> = time.waits.iter().map(|w| (w.waited, w.place.text.as_str())).collect();
    let addition = "add.f64 %fd1, %fd1, %fd1";
    assert_eq!(told, [(7, addition), (7, addition)]);
    assert!(time_of(&chain(3), ONE_WARP, Some((0, 1))).waits.is_empty());
}

/// What a kernel measures of itself is what the clock would say.
#[test]
fn a_kernel_reads_the_clock() {
    let body = |n: usize| {
        let use_it = "setp.gt.f64 %p1, %fd1, 0d7FF0000000000000;\n@%p1 bra END;\n";
        let read = |n| format!("mov.u64 %rd{n}, %clock64;\n");
        format!(
            "{}{}{use_it}{}sub.s64 %rd3, %rd2, %rd1;\nst.global.u64 [%out0], %rd3;\nEND:",
            read(1),
            chain(n),
            read(2)
        )
    };
    let read = |n, watch_time| {
        let mut out = [0];
        let size = Size { threads: 1, ..ONE_WARP };
        launch_watched(&module(&body(n)), &mut out, size, (watch_time, None)).unwrap();
        out[0]
    };
    assert_eq!(read(30, true) - read(10, true), 8 * 20);
    assert_eq!(read(30, false) - read(10, false), 20, "instructions, where no time is counted");
}
