//! Weights as the microkernel reads them: panels of a few vectors of output channels, one row a tap and input channel.

use mira_simd::{Isa, Kernel, Scalar, dispatch};
use rayon::prelude::*;

use super::memory::Shared;
use super::microkernel::{lanes, max_width};

/// One panel: `width` vectors of channels from `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panel {
    /// First channel.
    pub first: usize,
    /// Channels that exist; the rest of the panel is zero.
    pub channels: usize,
    /// Vectors.
    pub width: usize,
    /// Where it starts, in units of one row of one vector's elements times the depth.
    pub vectors_before: usize,
}

struct MaxWidth;
impl Kernel for MaxWidth {
    type Output = usize;
    #[inline(always)]
    fn run<I: Isa>(self) -> usize {
        max_width::<I>()
    }
}

/// The panels for `channels` output channels on this machine: as many of the widest as possible, then narrower ones.
pub(super) fn panels<T: Scalar>(channels: usize) -> Vec<Panel> {
    let mut widths = vec![4, 2, 1];
    let widest = dispatch(MaxWidth);
    widths.retain(|&width| width <= widest);
    let vectors = channels.div_ceil(lanes::<T>());
    let mut panels = Vec::new();
    let mut done = 0;
    while done < vectors {
        // A narrower panel only where the wider would be mostly empty.
        let left = vectors - done;
        let width = *widths.iter().find(|&&width| width <= left).unwrap_or(&1);
        let first = done * lanes::<T>();
        let count = (channels - first).min(width * lanes::<T>());
        panels.push(Panel { first, channels: count, width, vectors_before: done });
        done += width;
    }
    panels
}

/// Values that packed weights take.
pub(super) fn packed_len<T: Scalar>(channels: usize, depth: usize) -> usize {
    channels.next_multiple_of(lanes::<T>()) * depth
}

/// Where panel `panel` starts.
pub(super) fn panel_start<T: Scalar>(panel: &Panel, depth: usize) -> usize {
    panel.vectors_before * lanes::<T>() * depth
}

/// Rows of a task, so that also a single panel is shared out.
const BLOCK: usize = 128;

/// Packs rows of `channels` values, row r starting at `weights[row(r)]`, with consecutive channels `step` apart.
pub(super) fn pack<T: Scalar>(
    weights: &[T],
    packed: &mut [T],
    channels: usize,
    depth: usize,
    step: usize,
    row: impl Fn(usize) -> usize + Sync,
) {
    let panels = panels::<T>(channels);
    let packed = Shared::new(&mut packed[..packed_len::<T>(channels, depth)]);
    let blocks = depth.div_ceil(BLOCK);
    (0..panels.len() * blocks).into_par_iter().for_each(|task| {
        let (panel, block) = (&panels[task / blocks], task % blocks);
        let row_len = panel.width * lanes::<T>();
        let rows = block * BLOCK..depth.min((block + 1) * BLOCK);
        let start = panel_start::<T>(panel, depth) + rows.start * row_len;
        // SAFETY: each task has its own rows of its own panel.
        let out = unsafe { packed.slice(start, rows.len() * row_len) };
        if step == 1 {
            for (r, out) in rows.zip(out.chunks_exact_mut(row_len)) {
                let from = row(r) + panel.first;
                out[..panel.channels].copy_from_slice(&weights[from..from + panel.channels]);
                out[panel.channels..].fill(T::zero());
            }
        } else {
            out.fill(T::zero());
            // Neighbouring rows are neighbours in memory: walk along them.
            for c in 0..panel.channels {
                for (r, out) in rows.clone().zip(out[c..].iter_mut().step_by(row_len)) {
                    *out = weights[row(r) + (panel.first + c) * step];
                }
            }
        }
    });
}
