//! The row kernels: sweep over the kernel matrix, write the assignment. One call handles one block of rows.
//!
//! Rows go through in groups of up to [`GROUP`]: the weights and the block's column sums are loaded once a group, and a group is small
//! enough to be still in a cache when its row totals are known. Row totals are flushed to f64 every [`FLUSH`] columns, so their
//! error does not grow with K, and every [`FLUSH_OF_LABELS`] where they are written; column sums of a block (at most 64 rows) are f32 and are added up over blocks in f64.

#![allow(clippy::needless_range_loop)] // registers of several rows are indexed together

use num_traits::{AsPrimitive, Zero};

use crate::element::Real;
use mira_simd::{Isa, Kernel, LANES, Vector, prefetch};

/// Most rows swept together, and the bytes of kernel they may have: what the second half of a sweep reads again, from L2 or, where
/// rows are long, from L3. (Smaller groups that stay in L2 are slower there: they load weights and sums for every row.)
pub(crate) const GROUP: usize = 8;
const GROUP_BYTES: usize = 4 << 20;

/// Rows to sweep together, a power of two: fewer the longer they are.
pub(crate) fn group_size<A>(columns: usize) -> usize {
    let rows = GROUP_BYTES / (columns * size_of::<A>());
    if rows >= GROUP {
        GROUP
    } else if rows >= 2 {
        2
    } else {
        1
    }
}

/// Columns between flushes of a row total to f64.
const FLUSH: usize = 64 * LANES;
/// The same where the total is what labels are divided by: terms that are alike are rounded alike when they are added up one after the other.
pub(crate) const FLUSH_OF_LABELS: usize = 4 * LANES;

/// Writable rows, shared between threads that touch disjoint ones.
#[derive(Debug)]
pub(crate) struct Rows<A> {
    first: *mut A,
    pub(crate) stride: isize,
    pub(crate) columns: usize,
}

impl<A> Clone for Rows<A> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<A> Copy for Rows<A> {}

// SAFETY: `Rows` only hands out rows through an unsafe method whose contract is disjointness.
unsafe impl<A: Send> Send for Rows<A> {}
// SAFETY: as above.
unsafe impl<A: Send> Sync for Rows<A> {}

impl<A> Rows<A> {
    /// # Safety
    /// Rows of `columns` elements, `stride` apart from `first`, must be valid for reads and writes as long as the value is used.
    pub(crate) unsafe fn new(first: *mut A, stride: isize, columns: usize) -> Self {
        Self { first, stride, columns }
    }

    /// # Safety
    /// Row `i` must exist and no other reference to it may be alive.
    #[inline(always)]
    pub(crate) unsafe fn row<'a>(self, i: usize) -> &'a mut [A] {
        // SAFETY: by this function's contract and `new`'s.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.first.offset(i.cast_signed() * self.stride),
                self.columns,
            )
        }
    }
}

/// What one block of rows reports.
#[derive(Clone, Copy, Debug)]
pub struct BlockStats {
    /// Smallest and largest row total `Σ_l w_l k_il`.
    pub(crate) min_total: f64,
    pub(crate) max_total: f64,
    /// Smallest log2 of a kernel element (of the finite ones); set by a build.
    pub(crate) lowest_exponent: f64,
    /// Largest |log2| met; set by a build.
    pub(crate) largest_argument: f64,
    /// Largest `max − min` of a row of logits; `+∞` with −∞ entries. Set by a build.
    pub(crate) row_span: f64,
    /// Σ over rows of `ln Σ_l e^{a_l + S_il/ε}`.
    pub(crate) sum_log_row: f64,
    /// Σ over rows of `ln Σ_l exp(S_il/τ)`, where asked for.
    pub(crate) sum_log_partition: f64,
    /// Row shift that the column sums of a `Columns` build are relative to.
    pub(crate) shift: f64,
}

impl Default for BlockStats {
    fn default() -> Self {
        Self {
            min_total: f64::INFINITY,
            max_total: 0.0,
            lowest_exponent: f64::INFINITY,
            largest_argument: 0.0,
            row_span: 0.0,
            sum_log_row: 0.0,
            sum_log_partition: 0.0,
            shift: f64::NEG_INFINITY,
        }
    }
}

impl BlockStats {
    #[inline(always)]
    pub(crate) fn total(&mut self, total: f64) {
        self.min_total = self.min_total.min(total);
        self.max_total = self.max_total.max(total);
    }
}

/// The vector at `at`; short at the end of a row, filled up with `padding`.
#[inline(always)]
pub(crate) fn load<V: Vector>(row: &[V::Scalar], at: usize, padding: V::Scalar) -> V {
    if at + V::LEN <= row.len() {
        // SAFETY: in bounds by the check.
        return unsafe { V::load(row.as_ptr().add(at)) };
    }
    let mut rest = [padding; LANES];
    rest[..row.len() - at].copy_from_slice(&row[at..]);
    // SAFETY: no vector has more than LANES elements.
    unsafe { V::load(rest.as_ptr()) }
}

#[inline(always)]
pub(crate) fn store<V: Vector>(row: &mut [V::Scalar], at: usize, vector: V) {
    if at + V::LEN <= row.len() {
        // SAFETY: in bounds by the check.
        return unsafe { vector.store(row.as_mut_ptr().add(at)) };
    }
    let rest = row.len() - at;
    row[at..].copy_from_slice(&vector.to_array()[..rest]);
}

/// Columns that fill whole vectors; the rest of a row goes through [`load`] and [`store`].
#[inline(always)]
pub(crate) const fn whole<V: Vector>(columns: usize) -> usize {
    columns - columns % V::LEN
}

/// `Σ_j w_j k_ij` of R rows, flushed every `flush` columns. `weights` are padded.
///
/// Meanwhile the first quarter of the next group, `ahead` elements further on, is fetched; the second half of the sweep fetches the
/// rest. Left to itself, memory would be idle while a group is read again from the cache.
#[inline(always)]
fn totals<V: Vector, const R: usize>(
    rows: &[&mut [V::Scalar]; R],
    weights: &[V::Scalar],
    flush: usize,
    ahead: isize,
) -> [f64; R] {
    let zero = V::splat(V::Scalar::zero());
    let columns = rows[0].len();
    let whole = whole::<V>(columns);
    let from: [*const V::Scalar; R] = std::array::from_fn(|r| rows[r].as_ptr());
    let mut totals = [0.0; R];
    let mut start = 0;
    while start < whole {
        let end = (start + flush).min(whole);
        let mut sums = [zero; R];
        let mut at = start;
        while at < end {
            // SAFETY: `at + LEN` is at most `whole`, which is at most the length of each row and of the weights.
            unsafe {
                let w = V::load(weights.as_ptr().add(at));
                for r in 0..R {
                    sums[r] = V::load(from[r].add(at)).mul_add(w, sums[r]);
                }
                for row in &from[..R / 4] {
                    prefetch(row.wrapping_add(at).wrapping_offset(ahead));
                }
            }
            at += V::LEN;
        }
        for r in 0..R {
            totals[r] += sums[r].sum();
        }
        start = end;
    }
    if whole < columns {
        let w: V = load(weights, whole, V::Scalar::zero());
        for r in 0..R {
            totals[r] += load::<V>(rows[r], whole, V::Scalar::zero()).mul(w).sum();
        }
    }
    totals
}

/// `Σ_r terms_r` in pairs, pairs of pairs, and so on: rows that are alike then add up exactly, where in a row every third and fifth of them would be
/// rounded the same way in all blocks of the batch, which no mean evens out.
#[inline(always)]
fn in_pairs<V: Vector, const R: usize>(mut terms: [V; R]) -> V {
    let mut step = 1;
    while step < R {
        let mut at = 0;
        while at + step < R {
            terms[at] = terms[at].add(terms[at + step]);
            at += 2 * step;
        }
        step *= 2;
    }
    terms[0]
}

/// `sums_j += Σ_r c_r k_rj` over R rows, while fetching those `ahead` elements further on. `sums` are padded. (Rows one after the other, which
/// is faster: what is certified is what the last write sums, in [`write_rows`].)
#[inline(always)]
pub(crate) fn add_rows<V: Vector, const R: usize>(
    rows: &[&mut [V::Scalar]; R],
    factors: [V::Scalar; R],
    sums: &mut [V::Scalar],
    ahead: isize,
) {
    let columns = rows[0].len();
    let whole = whole::<V>(columns);
    let from: [*const V::Scalar; R] = std::array::from_fn(|r| rows[r].as_ptr());
    let to = sums.as_mut_ptr();
    let factors = factors.map(V::splat);
    let mut at = 0;
    while at < whole {
        // SAFETY: `at + LEN` is at most `whole`, which is at most the length of each row and of the sums.
        unsafe {
            let mut group = V::load(from[0].add(at)).mul(factors[0]);
            for r in 1..R {
                group = V::load(from[r].add(at)).mul_add(factors[r], group);
            }
            for row in &from[R / 4..] {
                prefetch(row.wrapping_add(at).wrapping_offset(ahead));
            }
            V::load(to.add(at)).add(group).store(to.add(at));
        }
        at += V::LEN;
    }
    if whole < columns {
        let mut group = load::<V>(rows[0], whole, V::Scalar::zero()).mul(factors[0]);
        for r in 1..R {
            group = load::<V>(rows[r], whole, V::Scalar::zero()).mul_add(factors[r], group);
        }
        let sum: V = load(sums, whole, V::Scalar::zero());
        store(sums, whole, sum.add(group));
    }
}

/// Turns R rows of kernel into R rows of assignment and adds them to the column sums, while fetching the rows
/// `ahead` elements further on. `weights` and `sums` are padded.
#[inline(always)]
pub(crate) fn write_rows<V: Vector, const R: usize>(
    rows: &mut [&mut [V::Scalar]; R],
    weights: &[V::Scalar],
    inverse: [V::Scalar; R],
    sums: &mut [V::Scalar],
    ahead: isize,
) {
    let zero = V::Scalar::zero();
    let columns = rows[0].len();
    let whole = whole::<V>(columns);
    let row: [*mut V::Scalar; R] = std::array::from_fn(|r| rows[r].as_mut_ptr());
    let inverse = inverse.map(V::splat);
    let mut at = 0;
    while at < whole {
        // SAFETY: `at + LEN` is at most `whole`, which is at most the length of each row, the weights and the sums.
        unsafe {
            let w = V::load(weights.as_ptr().add(at));
            let mut terms = [V::splat(zero); R];
            for r in 0..R {
                terms[r] = V::load(row[r].add(at)).mul(w).mul(inverse[r]);
                terms[r].store(row[r].add(at));
            }
            for row in &row[R / 4..] {
                prefetch(row.wrapping_add(at).wrapping_offset(ahead));
            }
            let to = sums.as_mut_ptr().add(at);
            V::load(to).add(in_pairs(terms)).store(to);
        }
        at += V::LEN;
    }
    if whole < columns {
        let w: V = load(weights, whole, zero);
        let mut terms = [V::splat(zero); R];
        for r in 0..R {
            terms[r] = load::<V>(rows[r], whole, zero).mul(w).mul(inverse[r]);
            store(rows[r], whole, terms[r]);
        }
        let sum: V = load(sums, whole, zero);
        store(sums, whole, sum.add(in_pairs(terms)));
    }
}

/// One pass over built rows.
#[derive(Debug)]
pub struct SweepBlock<'a, A> {
    pub(crate) rows: Rows<A>,
    pub(crate) first: usize,
    /// Per row of the block: `ln Σ e^{a + S/ε}` at the weights already in the kernel.
    pub(crate) log_rows: &'a mut [f64],
    pub(crate) weights: &'a [A],
    /// The block's column sums: of `k/total` for a sweep, of the assignment for a write.
    pub(crate) sums: &'a mut [A],
    pub(crate) write: bool,
}

impl<A: Real> SweepBlock<'_, A> {
    #[inline(always)]
    fn group<I: Isa, const R: usize>(&mut self, at: usize, stats: &mut BlockStats) {
        // SAFETY: every block has its own rows, every group its own within the block.
        let mut rows: [&mut [A]; R] =
            std::array::from_fn(|r| unsafe { self.rows.row(self.first + at + r) });
        let ahead = R.cast_signed() * self.rows.stride;
        let flush = if self.write { FLUSH_OF_LABELS } else { FLUSH };
        let totals = totals::<A::Vector<I>, R>(&rows, self.weights, flush, ahead);
        let inverse = totals.map(|t| A::from_f64(1.0 / t));
        for total in totals {
            stats.total(total);
        }
        if self.write {
            write_rows::<A::Vector<I>, R>(&mut rows, self.weights, inverse, self.sums, ahead);
            for r in 0..R {
                self.log_rows[at + r] += totals[r].ln();
                stats.sum_log_row += self.log_rows[at + r];
            }
        } else {
            add_rows::<A::Vector<I>, R>(&rows, inverse, self.sums, ahead);
        }
    }
}

impl<A: Real> Kernel for SweepBlock<'_, A> {
    type Output = BlockStats;
    #[inline(always)]
    fn run<I: Isa>(mut self) -> BlockStats {
        let mut stats = BlockStats::default();
        self.sums.fill(A::zero());
        let group = group_size::<A>(self.rows.columns);
        let mut at = 0;
        while at < self.log_rows.len() {
            let left = self.log_rows.len() - at;
            if group >= GROUP && left >= GROUP {
                self.group::<I, GROUP>(at, &mut stats);
                at += GROUP;
            } else if group >= 2 && left >= 2 {
                self.group::<I, 2>(at, &mut stats);
                at += 2;
            } else {
                self.group::<I, 1>(at, &mut stats);
                at += 1;
            }
        }
        stats
    }
}

/// Adds up the blocks' column sums in f64, in block order, times a factor per column.
#[derive(Debug)]
pub struct Reduce<'a, A> {
    /// Blocks × padded columns.
    pub(crate) partials: &'a [A],
    pub(crate) padded: usize,
    /// First column of this part.
    pub(crate) first: usize,
    pub(crate) factors: Option<&'a [A]>,
    pub(crate) sums: &'a mut [f64],
}

impl<A: Real> Kernel for Reduce<'_, A> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        for (at, sums) in self.sums.chunks_mut(LANES).enumerate() {
            // Fixed-size arrays, which become vectors.
            let lanes = |row: &[A]| -> [f64; LANES] {
                let row =
                    row[self.first + at * LANES..].first_chunk::<LANES>().expect("rows are padded");
                row.map(AsPrimitive::as_)
            };
            let mut total = [0.0f64; LANES];
            for block in self.partials.chunks_exact(self.padded) {
                let part = lanes(block);
                for l in 0..LANES {
                    total[l] += part[l];
                }
            }
            if let Some(factors) = self.factors {
                let factors = lanes(factors);
                for l in 0..LANES {
                    total[l] *= factors[l];
                }
            }
            let len = sums.len();
            sums.copy_from_slice(&total[..len]);
        }
    }
}
