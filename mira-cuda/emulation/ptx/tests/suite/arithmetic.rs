//! Single instructions: expected values are Rust's, or written out by hand where PTX is its own.

use super::lanes;

/// The value that an instruction gives of constants.
fn value(instruction: &str) -> u64 {
    let all = lanes(&format!("mov.b64 %rd9, 0;\n{instruction}"));
    assert!(all.iter().all(|x| *x == all[0]), "{instruction}: {all:x?}");
    all[0]
}

fn b32(opcode: &str, operands: &str) -> u32 {
    let kind = if opcode.ends_with("f32") { 'f' } else { 'r' };
    let all = value(&format!(
        "{opcode} %{kind}2, {operands};\nmov.b32 %r3, %{kind}2;\ncvt.u64.u32 %rd9, %r3;"
    ));
    u32::try_from(all).unwrap()
}

fn f32(opcode: &str, operands: &[f32]) -> f32 {
    let texts: Vec<String> = operands.iter().map(|x| format!("0f{:08X}", x.to_bits())).collect();
    f32::from_bits(b32(opcode, &texts.join(", ")))
}

fn b64(opcode: &str, operands: &str) -> u64 {
    value(&format!("{opcode} %rd9, {operands};"))
}

fn f64(opcode: &str, operands: &[f64]) -> f64 {
    let texts: Vec<String> = operands.iter().map(|x| format!("0d{:016X}", x.to_bits())).collect();
    let texts = texts.join(", ");
    f64::from_bits(value(&format!("{opcode} %fd2, {texts};\nmov.b64 %rd9, %fd2;")))
}

#[test]
fn integers() {
    assert_eq!(b32("add.s32", "-1, 3"), 2);
    assert_eq!(b32("sub.s32", "3, 5"), (-2i32).cast_unsigned());
    assert_eq!(b32("mul.lo.s32", "70000, 70000"), 70_000u32.wrapping_mul(70_000));
    assert_eq!(b32("mul.hi.s32", "-70000, 70000"), (-2i32).cast_unsigned());
    assert_eq!(b32("mul.hi.u32", "4000000000, 3"), 2);
    assert_eq!(b32("mad.lo.s32", "-3, 5, 1"), (-14i32).cast_unsigned());
    assert_eq!(b32("div.s32", "-7, 2"), (-3i32).cast_unsigned());
    assert_eq!(b32("rem.s32", "-7, 2"), (-1i32).cast_unsigned());
    assert_eq!(b32("div.u32", "-1, 2"), i32::MAX.cast_unsigned());
    assert_eq!(b32("min.s32", "-1, 1"), u32::MAX);
    assert_eq!(b32("min.u32", "-1, 1"), 1);
    assert_eq!(b32("max.s32", "-1, 1"), 1);
    assert_eq!(b32("abs.s32", "-9"), 9);
    assert_eq!(b32("not.b32", "15"), !15);
    assert_eq!(b32("xor.b32", "-1, 15"), !15);
    assert_eq!(b64("mul.wide.s32", "-3, 5"), (-15i64).cast_unsigned());
    assert_eq!(b64("mul.wide.u32", "-1, 2"), 2 * u64::from(u32::MAX));
    assert_eq!(b64("sub.s64", "1, 2"), u64::MAX);
}

/// Shifts by as many bits as there are, or more.
#[test]
fn shifts() {
    assert_eq!(b32("shl.b32", "3, 31"), 1 << 31);
    assert_eq!(b32("shl.b32", "3, 32"), 0);
    assert_eq!(b32("shr.u32", "-1, 40"), 0);
    assert_eq!(b32("shr.s32", "-8, 1"), (-4i32).cast_unsigned());
    assert_eq!(b32("shr.s32", "-8, 32"), u32::MAX);
    assert_eq!(b64("shr.u64", "-1, 63"), 1);
    assert_eq!(b64("shl.b64", "1, 64"), 0);
    // A field of three bits at the top, also if more are asked for; then of none.
    assert_eq!(b32("bfi.b32", "5, 1, 29, 3"), 5 << 29 | 1);
    assert_eq!(b32("bfi.b32", "-1, 1, 29, 9"), 7 << 29 | 1);
    assert_eq!(b32("bfi.b32", "5, 1, 3, 0"), 1);
    assert_eq!(b64("bfi.b64", "-1, 0, 32, 32"), u64::MAX << 32);
}

#[test]
fn floats() {
    assert_eq!(f32("add.f32", &[1.0, 1e-8]), 1.0);
    assert_eq!(
        f32("fma.rn.f32", &[1.000_000_1, 1.000_000_1, -1.0]),
        1.000_000_1f32.mul_add(1.000_000_1, -1.0)
    );
    assert_eq!(f32("div.rn.f32", &[1.0, 3.0]), 1.0 / 3.0);
    assert_eq!(f32("max.f32", &[f32::NAN, 2.0]), 2.0);
    assert_eq!(f32("min.f32", &[2.0, f32::NAN]), 2.0);
    assert_eq!(f32("max.f32", &[-0.0, 0.0]).to_bits(), 0);
    assert_eq!(f32("min.f32", &[0.0, -0.0]).to_bits(), 1 << 31);
    assert_eq!(f32("sub.f32", &[f32::INFINITY, f32::INFINITY]).to_bits(), 0x7fff_ffff);
    assert_eq!(f64("fma.rn.f64", &[1.0 / 3.0, 3.0, -1.0]), (1.0f64 / 3.0).mul_add(3.0, -1.0));
    assert_eq!(f64("rcp.rn.f64", &[3.0]), 1.0 / 3.0);
    assert_eq!(f64("cvt.rni.f64.f64", &[2.5]), 2.0);
    let guess = f64("rcp.approx.ftz.f64", &[3.0]);
    assert!(guess != 1.0 / 3.0 && (guess * 3.0 - 1.0).abs() < 1e-5 && guess.to_bits() << 32 == 0);
}

#[test]
fn conversions() {
    assert_eq!(b64("cvt.s64.s32", "-5"), (-5i64).cast_unsigned());
    assert_eq!(b64("cvt.u64.u32", "-5"), u64::from((-5i32).cast_unsigned()));
    assert_eq!(
        value("cvt.f64.f32 %fd1, 0f3DCCCCCD;\nmov.b64 %rd9, %fd1;"),
        f64::from(0.1f32).to_bits()
    );
    assert_eq!(
        value("cvt.rn.f32.f64 %f1, 0d3FB999999999999A;\nmov.b32 %r1, %f1;\ncvt.u64.u32 %rd9, %r1;"),
        u64::from(0.1f32.to_bits())
    );
    assert_eq!(f32::from_bits(b32("cvt.rn.f32.s32", "16777217")), 16_777_216.0);
    let rounded = |kind, x: f32| {
        let text = format!(
            "cvt.rn.{kind}.f32 %rs1, 0f{:08X};\ncvt.u32.u16 %r2, %rs1;\ncvt.u64.u32 %rd9, %r2;",
            x.to_bits()
        );
        value(&text)
    };
    // Ties to even, and one NaN.
    assert_eq!(rounded("bf16", 1.0 + 1.0 / 256.0), 0x3f80);
    assert_eq!(rounded("bf16", 1.0 + 3.0 / 256.0), 0x3f82);
    assert_eq!(rounded("bf16", f32::NAN), 0x7fff);
    assert_eq!(rounded("f16", 65_520.0), 0x7c00);
    assert_eq!(rounded("f16", 2f32.powi(-25) * 1.001), 1);
    assert_eq!(
        value(
            "mov.b16 %rs1, 0x3c01;\ncvt.f32.f16 %f1, %rs1;\nmov.b32 %r1, %f1;\ncvt.u64.u32 %rd9, %r1;"
        ),
        u64::from((1.0f32 + 1.0 / 1024.0).to_bits())
    );
}

/// Halves are computed in as they are stored, rounded once.
#[test]
fn halves() {
    let computed = |opcode: &str, a: u16, b: u16| {
        value(&format!(
            "mov.b16 %rs1, {a};\nmov.b16 %rs2, {b};\n{opcode} %rs3, %rs1, %rs2;\ncvt.u32.u16 %r1, %rs3;\ncvt.u64.u32 %rd9, %r1;"
        ))
    };
    // 1 + 2⁻¹⁰ is f16's next after 1, and half of that is a tie.
    assert_eq!(computed("add.f16", 0x3c00, 0x1000), 0x3c00);
    assert_eq!(computed("add.f16", 0x3c01, 0x1000), 0x3c02);
    assert_eq!(computed("mul.bf16", 0x3f81, 0x3f81), 0x3f82);
    assert_eq!(computed("max.NaN.f16", 0x7e00, 0x3c00), 0x7fff);
    assert_eq!(computed("sub.bf16", 0x3f80, 0x3f80), 0);
}

/// Within two units in the last place, and not exact, so that nobody relies on it; but for powers of two.
#[test]
fn approximations_are_off_by_what_is_allowed() {
    let mut off = 0;
    for i in 1..200 {
        let x = i as f32 * 0.173 - 17.0;
        let exact = f64::from(x).exp2();
        let found = f32("ex2.approx.f32", &[x]);
        let unit = f64::from(f32::from_bits(found.to_bits() & 0x7f80_0000)) * 2f64.powi(-23);
        let units = (f64::from(found) - exact).abs() / unit;
        assert!(units <= 2.5, "2^{x}: {found}, {units} units from {exact}");
        off += u32::from(units > 0.75);
        let root = f32("rsqrt.approx.f32", &[i as f32 * 0.37]);
        assert!(
            (f64::from(root) * f64::from(i as f32 * 0.37).sqrt() - 1.0).abs()
                < 4.0 * 2f64.powi(-23)
        );
    }
    assert!(off > 100, "{off} of 199");
    for exponent in -126..127 {
        assert_eq!(f32("ex2.approx.f32", &[exponent as f32]), 2f32.powi(exponent));
    }
    assert_eq!(f32("ex2.approx.f32", &[f32::NEG_INFINITY]), 0.0);
    assert_eq!(f32("ex2.approx.f32", &[129.0]), f32::INFINITY);
}

/// Of NaN: nothing holds without u, everything with it; constants are as wide as their type.
#[test]
fn comparisons_and_choices() {
    let holds = |how: &str, of: &str, operands: &str| {
        value(&format!("setp.{how}.{of} %p1, {operands};\nselp.b64 %rd9, 1, 0, %p1;")) == 1
    };
    assert!(holds("lt", "s32", "-1, 0") && !holds("lt", "u32", "-1, 0"));
    assert!(holds("ge", "u64", "-1, 7") && holds("ne", "s16", "1, 2"));
    for nan in ["0f7FC00000, 0f00000000", "0f00000000, 0f7FC00000"] {
        for how in ["eq", "ne", "lt", "le", "gt", "ge"] {
            assert!(
                !holds(how, "f32", nan) && holds(&format!("{how}u"), "f32", nan),
                "{how} {nan}"
            );
        }
    }
    assert!(holds("ltu", "f64", "0d0000000000000000, 0d3FF0000000000000"));
    assert!(!holds("gtu", "f64", "0d0000000000000000, 0d3FF0000000000000"));
    assert_eq!(b32("selp.b32", "-1, 0, 1"), u32::MAX);
    assert_eq!(
        value(
            "setp.lt.s32 %p1, 1, 2;\nnot.pred %p2, %p1;\nor.pred %p3, %p1, %p2;\nand.pred %p4, %p1, %p2;\n\
               selp.b64 %rd1, 1, 0, %p3;\nselp.b64 %rd2, 2, 0, %p4;\nor.b64 %rd9, %rd1, %rd2;"
        ),
        1
    );
}

/// A signed number fills a wider register with its sign.
#[test]
fn loads_of_narrow_numbers() {
    let stored = "setp.ne.s32 %p1, %r0, 0;\n@%p1 bra STORED;\nst.global.u32 [%out0], -5;\nSTORED:";
    let loaded = |load: &str| value(&format!("{stored}\nbar.sync 0;\n{load}\nbar.sync 0;"));
    assert_eq!(loaded("ld.global.s32 %rd9, [%out0];"), (-5i64).cast_unsigned());
    assert_eq!(loaded("ld.global.u32 %rd9, [%out0];"), u64::from((-5i32).cast_unsigned()));
    assert_eq!(loaded("ld.global.s8 %rd9, [%out0];"), (-5i64).cast_unsigned());
    assert_eq!(
        loaded("ld.global.s16 %r2, [%out0];\ncvt.u64.u32 %rd9, %r2;"),
        u64::from((-5i32).cast_unsigned())
    );
}

#[test]
fn halves_of_registers() {
    let swapped =
        "mov.b64 %rd1, 0x123456789abcdef0;\nmov.b64 {%r1, %r2}, %rd1;\nmov.b64 %rd9, {%r2, %r1};";
    assert_eq!(value(swapped), 0x9abc_def0_1234_5678);
    let upper =
        "{\n.reg .b32 %temp;\nmov.b64 {%temp, %r1}, 0x123456789abcdef0;\n}\ncvt.u64.u32 %rd9, %r1;";
    assert_eq!(value(upper), 0x1234_5678);
    assert_eq!(value("mov.u32 %r1, -1;\nmov.b64 %rd9, {%r1, %r1};"), u64::MAX);
}
