//! How a problem's rows and columns are dealt out to blocks, and their shared memory among what they keep there.

use mira_core::Shape;

use super::{EXCHANGE, Hardware, MAX_ROWS_PER_BLOCK, NUM_KERNELS, Ranks, WARP};
use crate::params::{Control, MAX_PROBLEMS, NUM_HISTORY, NUM_SCALARS};

/// Columns a thread that the kernels for short rows have room for.
pub(super) const SHORT: [usize; 5] = [1, 2, 4, 6, 8];
/// Columns a thread of those for rows that several blocks share, and rows a group: of a whole assignment, and of a pass over ranks, which has fewer
/// registers for them. Longer rows have the last kernel.
pub(super) const WIDE: [(usize, [usize; 2]); 2] = [(6, [4, 3]), (8, [3, 2])];
/// Groups of rows that a block of those has on the way, if shared memory has room.
const DEPTH: usize = 3;
/// Bytes that such a block tells its team at once: 8 groups of 4 rows.
pub(super) const ENTRIES: usize = 8 * 4 * 32;

/// Bytes of a word that is waited for: 32 bits, and their tag.
pub(super) const TAGGED: usize = 8;
/// Columns whose words or f64 fill two sectors of memory.
const COLUMNS_TOGETHER: usize = 8;

/// What blocks of a team find out of two groups of rows, in f64.
const FOUND: usize = 2 * 8;

/// What blocks note of rows, in f64: in the exchange, if a fourth of that is room enough.
const NOTES: usize = 8 * 5;

/// How teams of blocks share long rows; by default they do not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wide {
    /// In [`WIDE`].
    pub(super) kernel: usize,
    /// Blocks of a team, each with `segment_columns` of every row, the last one with what is left.
    pub(super) segments: usize,
    pub(super) segment_columns: usize,
    pub(super) teams: usize,
    /// Shared memory for a row's elements, for a group of rows, and for `depth` groups on the way.
    row_bytes: usize,
    group_bytes: usize,
    pub(super) depth: usize,
    ring: usize,
}

impl Wide {
    /// None if there are not enough blocks for a team.
    fn new(columns: usize, threads: usize, blocks: usize, over_ranks: bool) -> Option<Self> {
        let segments = columns.div_ceil(WIDE[WIDE.len() - 1].0 * threads);
        let segment_columns = columns.div_ceil(segments).next_multiple_of(WARP);
        let kernel = WIDE.iter().position(|(c, _)| segment_columns <= c * threads)?;
        let teams = blocks / segments;
        let (columns_of_thread, rows) = WIDE[kernel];
        let row_bytes = 4 * columns_of_thread * threads;
        let group_bytes = rows[usize::from(over_ranks)] * row_bytes;
        let wide = Self {
            kernel,
            segments,
            segment_columns,
            teams,
            row_bytes,
            group_bytes,
            ..Self::default()
        };
        (teams > 0).then_some(wide)
    }
}

/// How rows and columns are dealt out to blocks, and shared memory among what they keep there; sizes are in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// In [`ASSIGN`] and [`OVER_RANKS`].
    pub(super) kernel: usize,
    /// Of each problem.
    pub(super) blocks: usize,
    /// Columns of a block between passes.
    pub(super) slice: usize,
    pub(super) parts_log2: u32,
    pub(super) at_history: usize,
    pub(super) at_chip: usize,
    pub(super) rows_per_block: usize,
    pub(super) rows_on_chip: usize,
    /// Of K-vectors.
    pub(super) row_length: usize,
    /// Of a column's weight, and of its sum over a row block: in f32 or with a tag.
    pub(super) word: usize,
    pub(super) wide: Wide,
    pub(super) shared_bytes: usize,
}

impl Layout {
    pub(super) fn new(
        shape: Shape,
        num_problems: usize,
        hardware: Hardware,
        ranks: Option<Ranks>,
    ) -> Self {
        let (batch, columns) = (shape.batch(), shape.num_prototypes());
        let threads = hardware.threads as usize;
        let resident_of = |multiprocessors: u32| {
            (multiprocessors as usize / num_problems.clamp(1, MAX_PROBLEMS)).max(1)
        };
        // K-vectors are dealt out alike on all ranks, whatever their rows and devices, so that sums over columns have the same bits.
        let resident = resident_of(hardware.multiprocessors);
        let common = ranks.map_or(resident, |r| resident_of(r.multiprocessors).min(resident));
        let short = SHORT.iter().position(|c| columns <= c * threads);
        // Where a block has several row blocks, all have as many.
        let rows =
            |blocks: usize| batch.div_ceil(blocks * batch.div_ceil(blocks * MAX_ROWS_PER_BLOCK));
        let blocks = match short {
            // Small problems: enough blocks that nobody has many columns between the passes.
            Some(_) if ranks.is_none() => {
                batch.div_ceil(rows(resident)).max(columns.div_ceil(2 * WARP)).min(resident)
            }
            _ => common,
        };
        // They are read in pairs, and whole sectors of memory.
        let slice = columns.div_ceil(blocks).next_multiple_of(COLUMNS_TOGETHER);
        // Nobody is without rows and columns, since nobody would wait for it.
        let blocks = match short {
            Some(_) if ranks.is_none() => {
                batch.div_ceil(rows(resident)).max(columns.div_ceil(slice)).min(resident)
            }
            _ => blocks,
        };
        let warps = threads / WARP;
        let parts_log2 = (warps / slice.div_ceil(WARP)).max(1).ilog2();
        let exchange = warps * EXCHANGE;
        let notes = if exchange / 4 >= NOTES { 0 } else { NOTES };
        let f64s =
            NUM_SCALARS + MAX_ROWS_PER_BLOCK / 2 + FOUND + notes + exchange + (slice << parts_log2);
        let fixed = size_of::<Control>() + 8 * f64s;
        let room = (hardware.shared_memory as usize).saturating_sub(fixed);
        // A run over ranks ends and begins again with every launch. Rows on chip save more than this, so they have most of the room.
        let history = 8 * NUM_HISTORY * slice;
        let on_chip = ranks.is_none() && history <= room / 4;
        let (at_history, history) = if on_chip { (fixed, history) } else { (0, 0) };
        let at_chip = (fixed + history).next_multiple_of(16);
        let room = (hardware.shared_memory as usize).saturating_sub(at_chip);

        // Nothing stays on chip from launch to launch.
        let kept = |rows: usize, room: usize, row_bytes: usize| match ranks {
            None => rows.min(room / row_bytes),
            Some(_) => 0,
        };
        let wide = || Wide::new(columns, threads, common, ranks.is_some());
        let (kernel, rows_per_block, rows_on_chip, wide) = if let Some(short) = short {
            let rows = rows(resident);
            (short, rows, kept(rows, room, 4 * SHORT[short] * threads), Wide::default())
        } else if let Some(wide) = wide().filter(|w| room >= w.group_bytes) {
            let rows = rows(wide.teams);
            let all = kept(rows, room, wide.row_bytes);
            if all == rows && batch <= rows * wide.teams {
                (SHORT.len() + wide.kernel, rows, all, Wide { depth: DEPTH, ..wide })
            } else {
                let depth = (room / wide.group_bytes).min(DEPTH);
                let kept = kept(rows, room - depth * wide.group_bytes, wide.row_bytes);
                let ring = depth * wide.group_bytes;
                (SHORT.len() + wide.kernel, rows, kept, Wide { depth, ring, ..wide })
            }
        } else {
            (NUM_KERNELS - 1, batch.min(MAX_ROWS_PER_BLOCK), 0, Wide::default())
        };
        let row_length =
            short.map_or(columns.next_multiple_of(threads), |short| SHORT[short] * threads);
        let row_bytes = if short.is_some() { 4 * row_length } else { wide.row_bytes };
        Self {
            kernel,
            blocks,
            slice,
            parts_log2,
            at_history,
            at_chip,
            rows_per_block,
            rows_on_chip,
            row_length,
            word: if short.is_some() { TAGGED } else { 4 },
            wide,
            shared_bytes: at_chip + rows_on_chip * row_bytes + wide.ring,
        }
    }
}
