//! Instructions that compute of registers alone, by their names.

use std::cmp::Ordering::{Equal, Greater, Less};

use half::{bf16, f16};

use crate::lanes::{Lanes, Value, compare, map, map2, map3};

type OfOne = fn(&Lanes) -> Lanes;
type OfTwo = fn(&Lanes, &Lanes) -> Lanes;
type OfThree = fn(&Lanes, &Lanes, &Lanes) -> Lanes;

/// What an instruction computes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arithmetic {
    One(OfOne),
    Two(OfTwo),
    Three(OfThree),
    /// `bfi`: a field of the first at a place in the second.
    Insert {
        bits: u32,
    },
}
use Arithmetic::{Insert, One, Three, Two};

/// The lanes for which a comparison holds.
pub(crate) type Comparison = fn(&Lanes, &Lanes) -> u32;

/// The arithmetic of `add.rn.f32` and the like, its name in parts.
pub(crate) fn arithmetic(parts: &[&str]) -> Option<Arithmetic> {
    Some(match *parts {
        // Of global memory the address in its own window is the generic one.
        ["cvta", "global" | "to", ..] => One(|a| *a),
        ["div", "approx" | "full", .., "f32"] => {
            Two(|a, b| map2(a, b, |a: f32, b: f32| approximate(f64::from(a) / f64::from(b))))
        }
        ["rcp", "approx", .., "f32"] => One(|a| map(a, |a: f32| approximate(1.0 / f64::from(a)))),
        ["sqrt", "approx", .., "f32"] => One(|a| map(a, |a: f32| approximate(f64::from(a).sqrt()))),
        // The first guess of a division or logarithm: about as many bits as the upper half holds.
        ["rcp", "approx", "ftz", "f64"] => {
            One(|a| map(a, |a: f64| f64::from_bits((1.0 / a).to_bits() & !0xffff_ffff)))
        }
        [
            "add" | "sub" | "mul" | "fma" | "div" | "rcp" | "sqrt" | "min" | "max" | "neg" | "abs",
            ..,
            "f32",
        ] => float32(parts)?,
        [
            "add" | "sub" | "mul" | "fma" | "div" | "rcp" | "sqrt" | "min" | "max" | "neg" | "abs",
            ..,
            "f64",
        ] => float64(parts)?,
        [.., "f16"] if parts[0] != "cvt" => half_precision_f16(&parts[..parts.len() - 1])?,
        [.., "bf16"] if parts[0] != "cvt" => half_precision_bf16(&parts[..parts.len() - 1])?,
        ["ex2", "approx", .., "f32"] => One(|a| map(a, |a: f32| approximate(f64::from(a).exp2()))),
        ["lg2", "approx", .., "f32"] => One(|a| map(a, |a: f32| approximate(f64::from(a).log2()))),
        ["copysign", "f32"] => Two(|a, b| map2(a, b, |a: f32, b: f32| b.copysign(a))),
        ["copysign", "f64"] => Two(|a, b| map2(a, b, |a: f64, b: f64| b.copysign(a))),
        ["rsqrt", "approx", .., "f32"] => {
            One(|a| map(a, |a: f32| approximate(1.0 / f64::from(a).sqrt())))
        }
        ["mov" | "and" | "or" | "xor" | "not", kind] => match kind.get(1..)? {
            "16" => bits_u16(parts[0]),
            "32" => bits_u32(parts[0]),
            "64" => bits_u64(parts[0]),
            _ => return None,
        },
        ["bfi", "b32"] => Insert { bits: 32 },
        ["bfi", "b64"] => Insert { bits: 64 },
        ["mul", "wide", "s32"] => {
            Two(|a, b| map2(a, b, |a: i32, b: i32| i64::from(a) * i64::from(b)))
        }
        ["mul", "wide", "u32"] => {
            Two(|a, b| map2(a, b, |a: u32, b: u32| u64::from(a) * u64::from(b)))
        }
        ["cvt", ..] => One(conversion(&parts[1..])?),
        ["abs", "s32"] => One(|a| map(a, i32::wrapping_abs)),
        ["abs", "s64"] => One(|a| map(a, i64::wrapping_abs)),
        [_, .., "s32"] => integer_s32(parts)?,
        [_, .., "u32" | "b32"] => integer_u32(parts)?,
        [_, .., "s64"] => integer_s64(parts)?,
        [_, .., "u64" | "b64"] => integer_u64(parts)?,
        [_, .., "s16"] => integer_s16(parts)?,
        [_, .., "u16" | "b16"] => integer_u16(parts)?,
        _ => return None,
    })
}

/// What the device's approximations give: PTX promises two units in the last place, and drawn from the bits of the value, they are off by up to that much.
/// Powers of two stay exact, as they are on every device, though nobody promises it.
fn approximate(exact: f64) -> f32 {
    let rounded = exact as f32;
    let is_exact = rounded.to_bits().trailing_zeros() >= 23 && f64::from(rounded) == exact;
    if is_exact || !rounded.is_normal() {
        return rounded;
    }
    let drawn = u64::from(rounded.to_bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let moved = rounded.to_bits().wrapping_add((drawn % 5) as u32).wrapping_sub(2);
    let moved = f32::from_bits(moved);
    if moved.is_normal() { moved } else { rounded }
}

macro_rules! bits {
    ($name:ident, $type:ty) => {
        fn $name(name: &str) -> Arithmetic {
            match name {
                "mov" => One(|a| map(a, |a: $type| a)),
                "not" => One(|a| map(a, |a: $type| !a)),
                "and" => Two(|a, b| map2(a, b, |a: $type, b: $type| a & b)),
                "or" => Two(|a, b| map2(a, b, |a: $type, b: $type| a | b)),
                _ => Two(|a, b| map2(a, b, |a: $type, b: $type| a ^ b)),
            }
        }
    };
}
bits!(bits_u16, u16);
bits!(bits_u32, u32);
bits!(bits_u64, u64);

/// `a b + c`, rounded once: by the machine's own instruction where it has one, for it is most of what kernels compute.
macro_rules! fused {
    ($name:ident, $type:ty) => {
        fn $name() -> Arithmetic {
            fn plain(a: &Lanes, b: &Lanes, c: &Lanes) -> Lanes {
                map3(a, b, c, |a: $type, b: $type, c: $type| a.mul_add(b, c))
            }
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("fma")
                && std::arch::is_x86_feature_detected!("avx2")
            {
                #[target_feature(enable = "avx2,fma")]
                fn fast(a: &Lanes, b: &Lanes, c: &Lanes) -> Lanes {
                    Lanes(std::array::from_fn(|i| {
                        let [a, b, c] = [a.0[i], b.0[i], c.0[i]].map(<$type>::of);
                        a.mul_add(b, c).bits()
                    }))
                }
                // SAFETY: the machine has both.
                return Three(|a, b, c| unsafe { fast(a, b, c) });
            }
            Three(plain)
        }
    };
}
fused!(fused_f32, f32);
fused!(fused_f64, f64);

macro_rules! floats {
    ($name:ident, $type:ty, $fused:expr) => {
        fn $name(parts: &[&str]) -> Option<Arithmetic> {
            Some(match parts[..parts.len() - 1] {
                ["add"] | ["add", "rn"] => Two(|a, b| map2(a, b, |a: $type, b: $type| a + b)),
                ["sub"] | ["sub", "rn"] => Two(|a, b| map2(a, b, |a: $type, b: $type| a - b)),
                ["mul"] | ["mul", "rn"] => Two(|a, b| map2(a, b, |a: $type, b: $type| a * b)),
                ["div", "rn"] => Two(|a, b| map2(a, b, |a: $type, b: $type| a / b)),
                ["fma", "rn"] => $fused,
                ["rcp", "rn"] => One(|a| map(a, |a: $type| 1.0 / a)),
                ["sqrt", "rn"] => One(|a| map(a, <$type>::sqrt)),
                ["neg"] => One(|a| map(a, |a: $type| -a)),
                ["abs"] => One(|a| map(a, <$type>::abs)),
                // The other of a NaN, and +0 of both zeros.
                ["max"] => Two(|a, b| {
                    map2(a, b, |a: $type, b: $type| {
                        if a == b {
                            <$type>::from_bits(a.to_bits() & b.to_bits())
                        } else {
                            a.max(b)
                        }
                    })
                }),
                ["min"] => Two(|a, b| {
                    map2(a, b, |a: $type, b: $type| {
                        if a == b {
                            <$type>::from_bits(a.to_bits() | b.to_bits())
                        } else {
                            a.min(b)
                        }
                    })
                }),
                _ => return None,
            })
        }
    };
}
floats!(float32, f32, fused_f32());
floats!(float64, f64, fused_f64());

/// Through f32, whose rounding before the last changes nothing.
macro_rules! half_precision {
    ($name:ident, $type:ty) => {
        fn $name(parts: &[&str]) -> Option<Arithmetic> {
            macro_rules! rounded {
                (|$a:ident| $result:expr) => {
                    One(|a| {
                        map(a, |a: $type| {
                            let $a = a.to_f32();
                            <$type>::from_f32($result)
                        })
                    })
                };
                (|$a:ident, $b:ident| $result:expr) => {
                    Two(|a, b| {
                        map2(a, b, |a: $type, b: $type| {
                            let ($a, $b) = (a.to_f32(), b.to_f32());
                            <$type>::from_f32($result)
                        })
                    })
                };
            }
            Some(match *parts {
                ["add"] | ["add", "rn"] => rounded!(|a, b| a + b),
                ["sub"] | ["sub", "rn"] => rounded!(|a, b| a - b),
                ["mul"] | ["mul", "rn"] => rounded!(|a, b| a * b),
                ["neg"] => rounded!(|a| -a),
                ["abs"] => rounded!(|a| a.abs()),
                ["max", "NaN"] => rounded!(|a, b| if a.is_nan() {
                    a
                } else if b.is_nan() {
                    b
                } else {
                    a.max(b)
                }),
                ["min", "NaN"] => rounded!(|a, b| if a.is_nan() {
                    a
                } else if b.is_nan() {
                    b
                } else {
                    a.min(b)
                }),
                _ => return None,
            })
        }
    };
}
half_precision!(half_precision_f16, f16);
half_precision!(half_precision_bf16, bf16);

macro_rules! integers {
    ($name:ident, $type:ty, $wide:ty, $shift_right:expr) => {
        fn $name(parts: &[&str]) -> Option<Arithmetic> {
            const BITS: u32 = <$type>::BITS;
            Some(match parts[..parts.len() - 1] {
                ["add"] => Two(|a, b| map2(a, b, <$type>::wrapping_add)),
                ["sub"] => Two(|a, b| map2(a, b, <$type>::wrapping_sub)),
                ["mul", "lo"] => Two(|a, b| map2(a, b, <$type>::wrapping_mul)),
                ["mul", "hi"] => Two(|a, b| {
                    map2(a, b, |a: $type, b: $type| {
                        ((<$wide>::from(a) * <$wide>::from(b)) >> BITS) as $type
                    })
                }),
                ["mad", "lo"] => Three(|a, b, c| {
                    map3(a, b, c, |a: $type, b: $type, c: $type| a.wrapping_mul(b).wrapping_add(c))
                }),
                // Of a division by zero nothing is promised.
                ["div"] => Two(|a, b| {
                    map2(a, b, |a: $type, b: $type| if b == 0 { !0 } else { a.wrapping_div(b) })
                }),
                ["rem"] => Two(|a, b| {
                    map2(a, b, |a: $type, b: $type| if b == 0 { !0 } else { a.wrapping_rem(b) })
                }),
                ["min"] => Two(|a, b| map2(a, b, <$type>::min)),
                ["max"] => Two(|a, b| map2(a, b, <$type>::max)),
                ["neg"] => One(|a| map(a, <$type>::wrapping_neg)),
                ["shl"] => Two(|a, b| map2(a, b, |a: $type, b: u32| a.checked_shl(b).unwrap_or(0))),
                ["shr"] => Two(|a, b| map2(a, b, $shift_right)),
                _ => return None,
            })
        }
    };
}
// From above comes the sign of a signed number.
integers!(integer_s16, i16, i32, |a: i16, b: u32| a >> b.min(15));
integers!(integer_s32, i32, i64, |a: i32, b: u32| a >> b.min(31));
integers!(integer_s64, i64, i128, |a: i64, b: u32| a >> b.min(63));
integers!(integer_u16, u16, u32, |a: u16, b: u32| a.checked_shr(b).unwrap_or(0));
integers!(integer_u32, u32, u64, |a: u32, b: u32| a.checked_shr(b).unwrap_or(0));
integers!(integer_u64, u64, u128, |a: u64, b: u32| a.checked_shr(b).unwrap_or(0));

/// `bfi`: the lowest `length` bits of `a` at `position` in `b`.
pub(crate) fn insert(bits: u32, a: u64, b: u64, position: u64, length: u64) -> u64 {
    let (position, length) = ((position & 255) as u32, (length & 255) as u32);
    if position >= bits || length == 0 {
        return b;
    }
    let length = length.min(bits - position);
    let field = (u64::MAX >> (64 - length)) << position;
    (b & !field) | (a << position & field)
}

fn conversion(parts: &[&str]) -> Option<OfOne> {
    macro_rules! by_as {
        ($from:ty => $($to:ty),*) => { [$(|a: &Lanes| map(a, |a: $from| a as $to)),*] };
    }
    const INTEGERS: [&str; 8] = ["u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64"];
    const FROM: [[OfOne; 10]; 8] = [
        by_as!(u8 => u8, u16, u32, u64, i8, i16, i32, i64, f32, f64),
        by_as!(u16 => u8, u16, u32, u64, i8, i16, i32, i64, f32, f64),
        by_as!(u32 => u8, u16, u32, u64, i8, i16, i32, i64, f32, f64),
        by_as!(u64 => u8, u16, u32, u64, i8, i16, i32, i64, f32, f64),
        by_as!(i8 => u8, u16, u32, u64, i8, i16, i32, i64, f32, f64),
        by_as!(i16 => u8, u16, u32, u64, i8, i16, i32, i64, f32, f64),
        by_as!(i32 => u8, u16, u32, u64, i8, i16, i32, i64, f32, f64),
        by_as!(i64 => u8, u16, u32, u64, i8, i16, i32, i64, f32, f64),
    ];
    let integer = |name: &str| INTEGERS.iter().position(|known| *known == name);
    Some(match *parts {
        [to, from] if integer(to).is_some() => FROM[integer(from)?][integer(to)?],
        ["rn", "f32", from] if integer(from).is_some() => FROM[integer(from)?][8],
        ["rn", "f64", from] | ["f64", from] if integer(from).is_some() => FROM[integer(from)?][9],
        ["f64", "f32"] => |a| map(a, |a: f32| f64::from(a)),
        ["rn", "f32", "f64"] => |a| map(a, |a: f64| a as f32),
        ["f32", "f16"] => |a| map(a, f16::to_f32),
        ["f32", "bf16"] => |a| map(a, bf16::to_f32),
        ["f64", "f16"] => |a| map(a, f16::to_f64),
        ["f64", "bf16"] => |a| map(a, bf16::to_f64),
        ["rn", "f16", "f32"] => |a| map(a, f16::from_f32),
        ["rn", "bf16", "f32"] => |a| map(a, bf16::from_f32),
        ["rn", "f16", "f64"] => |a| map(a, f16::from_f64),
        ["rn", "bf16", "f64"] => |a| map(a, bf16::from_f64),
        ["sat", "f32", "f32"] => |a| map(a, |a: f32| if a > 0.0 { a.min(1.0) } else { 0.0 }),
        ["rni", "f32", "f32"] => |a| map(a, f32::round_ties_even),
        ["rni", "f64", "f64"] => |a| map(a, f64::round_ties_even),
        ["rzi", "f32", "f32"] => |a| map(a, f32::trunc),
        ["rzi", "f64", "f64"] => |a| map(a, f64::trunc),
        ["rmi", "f32", "f32"] => |a| map(a, f32::floor),
        ["rmi", "f64", "f64"] => |a| map(a, f64::floor),
        ["rpi", "f32", "f32"] => |a| map(a, f32::ceil),
        ["rpi", "f64", "f64"] => |a| map(a, f64::ceil),
        // Saturating, and 0 of a NaN, as the device's.
        ["rzi", "s32", "f32"] => |a| map(a, |a: f32| a as i32),
        ["rzi", "u32", "f32"] => |a| map(a, |a: f32| a as u32),
        ["rzi", "s64", "f32"] => |a| map(a, |a: f32| a as i64),
        ["rzi", "s32", "f64"] => |a| map(a, |a: f64| a as i32),
        ["rzi", "u32", "f64"] => |a| map(a, |a: f64| a as u32),
        ["rzi", "s64", "f64"] => |a| map(a, |a: f64| a as i64),
        ["rzi", "u64", "f64"] => |a| map(a, |a: f64| a as u64),
        ["rni", "s32", "f64"] => |a| map(a, |a: f64| a.round_ties_even() as i32),
        _ => return None,
    })
}

/// The comparison of `setp.lt.s32` and the like. With u it is also true if one is NaN, which no order has.
pub(crate) fn comparison(how: &str, of: &str) -> Option<Comparison> {
    macro_rules! of_type {
        ($holds:expr) => {
            match of {
                "s16" => |a, b| compare::<i16>(a, b, $holds),
                "s32" => |a, b| compare::<i32>(a, b, $holds),
                "s64" => |a, b| compare::<i64>(a, b, $holds),
                "u16" | "b16" => |a, b| compare::<u16>(a, b, $holds),
                "u32" | "b32" => |a, b| compare::<u32>(a, b, $holds),
                "u64" | "b64" => |a, b| compare::<u64>(a, b, $holds),
                "f16" => |a, b| compare::<f16>(a, b, $holds),
                "bf16" => |a, b| compare::<bf16>(a, b, $holds),
                "f32" => |a, b| compare::<f32>(a, b, $holds),
                "f64" => |a, b| compare::<f64>(a, b, $holds),
                _ => return None,
            }
        };
    }
    Some(match how {
        "eq" => of_type!(|order| order == Some(Equal)),
        "ne" => of_type!(|order| matches!(order, Some(Less | Greater))),
        "lt" | "lo" => of_type!(|order| order == Some(Less)),
        "le" | "ls" => of_type!(|order| matches!(order, Some(Less | Equal))),
        "gt" | "hi" => of_type!(|order| order == Some(Greater)),
        "ge" | "hs" => of_type!(|order| matches!(order, Some(Greater | Equal))),
        "equ" => of_type!(|order| matches!(order, None | Some(Equal))),
        "neu" => of_type!(|order| order != Some(Equal)),
        "ltu" => of_type!(|order| matches!(order, None | Some(Less))),
        "leu" => of_type!(|order| order != Some(Greater)),
        "gtu" => of_type!(|order| matches!(order, None | Some(Greater))),
        "geu" => of_type!(|order| order != Some(Less)),
        "nan" => of_type!(|order| order.is_none()),
        "num" => of_type!(|order| order.is_some()),
        _ => return None,
    })
}
