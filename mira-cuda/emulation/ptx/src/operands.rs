//! Names, numbers and modifiers of single instructions.

use crate::program::{Named, Special, Strength};

pub(crate) fn special(text: &str) -> Option<Special> {
    Some(match text {
        "%tid.x" => Special::ThreadX,
        "%ntid.x" => Special::ThreadsX,
        "%ctaid.x" => Special::BlockX,
        "%ctaid.y" => Special::BlockY,
        "%nctaid.x" => Special::BlocksX,
        "%nctaid.y" => Special::BlocksY,
        "%laneid" => Special::Lane,
        "%clock64" => Special::Clock,
        "%tid.y" | "%tid.z" | "%ctaid.z" => Special::Constant(0),
        "%ntid.y" | "%ntid.z" | "%nctaid.z" => Special::Constant(1),
        _ => return None,
    })
}

/// Its bits: `-3`, `0x10`, `0f3F800000`, `0d3FF0000000000000`.
pub(crate) fn constant(text: &str) -> Option<u64> {
    let hex = |digits: &str| u64::from_str_radix(digits, 16).ok();
    if let Some(digits) = text.strip_prefix("0f").or_else(|| text.strip_prefix("0F")) {
        return hex(digits);
    }
    if let Some(digits) = text.strip_prefix("0d").or_else(|| text.strip_prefix("0D")) {
        return hex(digits);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return hex(digits.trim_end_matches('U'));
    }
    let text = text.trim_end_matches('U');
    text.parse::<i64>().map(|n| n as u64).or_else(|_| text.parse::<u64>()).ok()
}

pub(crate) fn named(parts: &[&str]) -> Named {
    let has = |name| parts.contains(&name);
    if has("global") {
        Named::Global
    } else if has("shared") {
        Named::Shared
    } else if has("param") {
        Named::Kernel // unless the address names something else
    } else {
        Named::Generic
    }
}

pub(crate) fn strength(parts: &[&str], default: Strength) -> Strength {
    let has = |name| parts.contains(&name);
    if has("acq_rel") {
        Strength::AcquireRelease
    } else if has("acquire") {
        Strength::Acquire
    } else if has("release") {
        Strength::Release
    } else if has("relaxed") || has("volatile") {
        Strength::Relaxed
    } else {
        default
    }
}
