//! Registers that share one: values must outlive others wherever control may go.

use super::lanes;

/// Values between definition and use, in registers of their own, so that a number that is free is taken.
const OTHERS: &str = "mov.u32 %r10, 77;\nmov.u32 %r11, 78;\nmov.u32 %r12, 79;\nadd.s32 %r13, %r10, %r11;\nadd.s32 %r14, %r12, %r13;";

/// Lanes that a guard leaves out need what was there, in the next turn of a loop, too.
#[test]
fn what_a_guard_keeps() {
    let found = lanes(&format!(
        "mov.u32 %r1, 5;\nmov.u32 %r2, 0;\nmov.u32 %r3, 0;\nsetp.lt.u32 %p1, %r0, 16;\nTOP:\n@%p1 mov.u32 %r1, 9;\nadd.s32 %r2, %r2, %r1;\n\
         {OTHERS}\nadd.s32 %r3, %r3, 1;\nsetp.lt.u32 %p2, %r3, 3;\n@%p2 bra TOP;\ncvt.u64.u32 %rd9, %r2;"
    ));
    let expected = (0..32).map(|lane| if lane < 16 { 27 } else { 15 });
    assert_eq!(found, expected.collect::<Vec<_>>());
}

/// Defined before a loop, and used at its top only.
#[test]
fn what_a_loop_needs_again() {
    let found = lanes(&format!(
        "mov.u32 %r1, 3;\nmov.u32 %r2, 0;\nmov.u32 %r3, 0;\nTOP:\nadd.s32 %r2, %r2, %r1;\n{OTHERS}\nadd.s32 %r3, %r3, 1;\n\
         setp.lt.u32 %p1, %r3, 4;\n@%p1 bra TOP;\ncvt.u64.u32 %rd9, %r2;"
    ));
    assert_eq!(found, [12; 32]);
}

/// The same, but used only where a branch of the loop is not taken.
#[test]
fn what_a_way_through_a_loop_needs_again() {
    let found = lanes(&format!(
        "mov.u32 %r1, 3;\nmov.u32 %r2, 0;\nmov.u32 %r3, 0;\nTOP:\nsetp.ge.u32 %p2, %r3, 4;\n@%p2 bra SKIP;\nadd.s32 %r2, %r2, %r1;\n\
         SKIP:\n{OTHERS}\nadd.s32 %r3, %r3, 1;\nsetp.lt.u32 %p1, %r3, 6;\n@%p1 bra TOP;\ncvt.u64.u32 %rd9, %r2;"
    ));
    assert_eq!(found, [12; 32]);
}

/// Defined behind the code that uses it.
#[test]
fn what_comes_from_below() {
    let found = lanes(&format!(
        "bra.uni BELOW;\nABOVE:\n{OTHERS}\nadd.s32 %r2, %r1, %r14;\ncvt.u64.u32 %rd9, %r2;\nbra.uni END;\n\
         BELOW:\nmov.u32 %r1, 1000;\nbra.uni ABOVE;\nEND:"
    ));
    assert_eq!(found, [1000 + 77 + 78 + 79; 32]);
}
