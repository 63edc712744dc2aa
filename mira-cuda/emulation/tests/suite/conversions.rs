//! Numbers as the kernels see them, against the `half` crate and the standard library.

use half::{bf16, f16};
use mira_cuda_emulation::{Guarded, launch};

use crate::exact_values;

#[derive(Clone, Copy)]
#[repr(C)]
struct Widen {
    bits: *const u16,
    from_bf16: *mut f32,
    from_f16: *mut f32,
    length: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Narrow {
    values: *const f32,
    to_bf16: *mut bf16,
    to_f16: *mut f16,
    same: *mut f32,
    length: u32,
}

fn same(found: f32, expected: f32) -> bool {
    found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan()
}

#[test]
fn all_halves_widen_exactly() {
    let bits: Vec<u16> = (0..=u16::MAX).collect();
    let input = Guarded::from_slice(&bits);
    let mut from_bf16 = Guarded::<f32>::poisoned(bits.len());
    let mut from_f16 = Guarded::<f32>::poisoned(bits.len());
    let params = Widen {
        bits: input.as_ptr(),
        from_bf16: from_bf16.as_mut_ptr(),
        from_f16: from_f16.as_mut_ptr(),
        length: 65_536,
    };
    // SAFETY: the arrays have that many elements.
    unsafe { launch("sample_widen", (4, 1), 256, 0, &params, 0) }.unwrap();
    for (i, b) in bits.iter().enumerate() {
        assert!(same(from_bf16.as_slice()[i], bf16::from_bits(*b).to_f32()), "bf16 {b:#06x}");
        assert!(same(from_f16.as_slice()[i], f16::from_bits(*b).to_f32()), "f16 {b:#06x}");
    }
}

/// Floats around which rounding is decided: every half, what lies next to it, the middle between two, what lies next to that.
fn delicate() -> Vec<f32> {
    let mut values = Vec::new();
    for bits in 0..=u16::MAX {
        for half in [bf16::from_bits(bits).to_f32(), f16::from_bits(bits).to_f32()] {
            let next =
                [bf16::from_bits(bits ^ 1).to_f32(), f16::from_bits(bits.wrapping_add(1)).to_f32()];
            for centre in [half, f32::midpoint(half, next[0]), f32::midpoint(half, next[1])] {
                values.extend([centre, centre.next_up(), centre.next_down()]);
            }
        }
    }
    values.extend([
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        65_519.996,
        65_520.0,
        -65_520.0,
        f32::NAN,
        -f32::NAN,
    ]);
    values.extend([0x7f80_0001, 0xff80_0001, 0x7fff_ffff, 1, 0x8000_0001].map(f32::from_bits));
    values
}

#[test]
fn floats_narrow_to_the_nearest_even() {
    let values = delicate();
    let input = Guarded::from_slice(&values);
    let mut to_bf16 = Guarded::<bf16>::poisoned(values.len());
    let mut to_f16 = Guarded::<f16>::poisoned(values.len());
    let mut unchanged = Guarded::<f32>::poisoned(values.len());
    let params = Narrow {
        values: input.as_ptr(),
        to_bf16: to_bf16.as_mut_ptr(),
        to_f16: to_f16.as_mut_ptr(),
        same: unchanged.as_mut_ptr(),
        length: values.len().try_into().unwrap(),
    };
    // SAFETY: the arrays have that many elements.
    unsafe { launch("sample_narrow", (16, 1), 256, 0, &params, 0) }.unwrap();
    for (i, x) in values.iter().enumerate() {
        let (b, h) = (to_bf16.as_slice()[i], to_f16.as_slice()[i]);
        assert_eq!(unchanged.as_slice()[i].to_bits(), x.to_bits());
        if x.is_nan() {
            assert_eq!((b.to_bits(), h.to_bits()), (0x7fff, 0x7fff), "as the device has it");
        } else {
            assert_eq!(b.to_bits(), bf16::from_f32(*x).to_bits(), "{x:e} as bf16");
            assert_eq!(h.to_bits(), f16::from_f32(*x).to_bits(), "{x:e} as f16");
        }
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Fused {
    a: *const f32,
    b: *const f32,
    c: *const f32,
    together: *mut f32,
    separate: *mut f32,
    functions: *mut f64,
    length: u32,
}

#[test]
fn products_are_fused_where_asked_for_and_nowhere_else() {
    let a: Vec<f32> = exact_values(256).iter().map(|x| x * 1.234_567).collect();
    let b: Vec<f32> = a.iter().rev().map(|x| x + 0.1).collect();
    let c: Vec<f32> = a.iter().zip(&b).map(|(x, y)| -(x * y)).collect();
    let inputs = [&a, &b, &c].map(|x| Guarded::from_slice(x));
    let mut together = Guarded::<f32>::poisoned(256);
    let mut separate = Guarded::<f32>::poisoned(256);
    let mut functions = Guarded::<f64>::poisoned(4 * 256);
    let params = Fused {
        a: inputs[0].as_ptr(),
        b: inputs[1].as_ptr(),
        c: inputs[2].as_ptr(),
        together: together.as_mut_ptr(),
        separate: separate.as_mut_ptr(),
        functions: functions.as_mut_ptr(),
        length: 256,
    };
    // SAFETY: 256 elements in each array, four times as many in the last.
    unsafe { launch("sample_fused", (1, 1), 256, 0, &params, 0) }.unwrap();
    for i in 0..256 {
        assert_eq!(together.as_slice()[i], a[i].mul_add(b[i], c[i]));
        assert_eq!(separate.as_slice()[i], 0.0);
        let (x, y, z) = (f64::from(a[i]), f64::from(b[i]), f64::from(c[i]));
        let expected = [x.exp(), x.max(1e-300).ln(), x.abs().sqrt(), x.mul_add(y, z)];
        for (found, expected) in functions.as_slice()[4 * i..].iter().zip(expected) {
            assert!((found - expected).abs() <= 4e-16 * expected.abs());
        }
    }
    assert!(together.as_slice().iter().any(|x| *x != 0.0), "rounding errors of the products");
}
