//! The row kernels: build the kernel matrix, sweep over it, write the assignment. One call handles one block of rows.
//!
//! Rows go through in groups of up to [`GROUP`]: the weights and the block's column sums are loaded once a group, and a group is small
//! enough to be still in a cache when its row totals are known. Row totals are flushed to f64 every [`FLUSH`] columns, so their
//! error does not grow with K; column sums of a block (at most 64 rows) are f32 and are added up over blocks in f64.

#![allow(clippy::needless_range_loop)] // registers of several rows are indexed together

use mira_core::Error;
use ndarray::ArrayView2;
use num_traits::{AsPrimitive, Float, Zero};

use crate::element::{Logit, Real};
use crate::exp::{Scale, exp2_split, split, split_scalar};
use crate::simd::{Isa, Kernel, LANES, prefetch, prefetch_write};
use crate::vector::Vector;

/// Most rows swept together, and the bytes of kernel they may have: what the second half of a sweep reads again, from L2 or, where
/// rows are long, from L3. (Smaller groups that stay in L2 are slower there: they load weights and sums for every row.)
const GROUP: usize = 8;
const GROUP_BYTES: usize = 4 << 20;

/// Rows to sweep together, a power of two: fewer the longer they are.
fn group_size<A>(columns: usize) -> usize {
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

/// Writable rows, shared between threads that touch disjoint ones.
#[derive(Debug)]
pub(crate) struct Rows<A> {
    first: *mut A,
    stride: isize,
    columns: usize,
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
pub(crate) struct BlockStats {
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
    fn total(&mut self, total: f64) {
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
const fn whole<V: Vector>(columns: usize) -> usize {
    columns - columns % V::LEN
}

/// `Σ_j w_j k_ij` of R rows. `weights` are padded.
///
/// Meanwhile the first quarter of the next group, `ahead` elements further on, is fetched; the second half of the sweep fetches the
/// rest. Left to itself, memory would be idle while a group is read again from the cache.
#[inline(always)]
fn totals<V: Vector, const R: usize>(
    rows: &[&mut [V::Scalar]; R],
    weights: &[V::Scalar],
    ahead: isize,
) -> [f64; R] {
    let zero = V::splat(V::Scalar::zero());
    let columns = rows[0].len();
    let whole = whole::<V>(columns);
    let from: [*const V::Scalar; R] = std::array::from_fn(|r| rows[r].as_ptr());
    let mut totals = [0.0; R];
    let mut start = 0;
    while start < whole {
        let end = (start + FLUSH).min(whole);
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

/// `sums_j += Σ_r c_r k_rj` over R rows, while fetching those `ahead` elements further on. `sums` are padded.
#[inline(always)]
fn add_rows<V: Vector, const R: usize>(
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
            let mut sum = V::load(to.add(at));
            for r in 0..R {
                sum = V::load(from[r].add(at)).mul_add(factors[r], sum);
            }
            for row in &from[R / 4..] {
                prefetch(row.wrapping_add(at).wrapping_offset(ahead));
            }
            sum.store(to.add(at));
        }
        at += V::LEN;
    }
    if whole < columns {
        let mut sum: V = load(sums, whole, V::Scalar::zero());
        for r in 0..R {
            sum = load::<V>(rows[r], whole, V::Scalar::zero()).mul_add(factors[r], sum);
        }
        store(sums, whole, sum);
    }
}

/// Turns R rows of kernel into R rows of assignment and adds them to the column sums, while fetching the rows
/// `ahead` elements further on. `weights` and `sums` are padded.
#[inline(always)]
fn write_rows<V: Vector, const R: usize>(
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
            let mut group = V::splat(zero);
            for r in 0..R {
                let probability = V::load(row[r].add(at)).mul(w).mul(inverse[r]);
                group = group.add(probability);
                probability.store(row[r].add(at));
            }
            for row in &row[R / 4..] {
                prefetch(row.wrapping_add(at).wrapping_offset(ahead));
            }
            let to = sums.as_mut_ptr().add(at);
            V::load(to).add(group).store(to);
        }
        at += V::LEN;
    }
    if whole < columns {
        let w: V = load(weights, whole, zero);
        let mut group: V = load(sums, whole, zero);
        for r in 0..R {
            let probability = load::<V>(rows[r], whole, zero).mul(w).mul(inverse[r]);
            group = group.add(probability);
            store(rows[r], whole, probability);
        }
        store(sums, whole, group);
    }
}

/// One pass over built rows.
pub(crate) struct SweepBlock<'a, A> {
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
        let totals = totals::<A::Vector<I>, R>(&rows, self.weights, ahead);
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

/// What a build sums up on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuildSums {
    /// A sweep at the given weights: `Σ_i k_ij / Σ_l w_l k_il`.
    Sweep,
    /// A write at the given weights.
    Write,
    /// The columns of the unnormalised kernel, `Σ_i exp(S_ij/ε)`, relative to the block's largest row shift.
    Columns,
}

/// Reads logits, makes the kernel rows `k = 2^(s·c − M)` in the output, and does one pass over them.
pub(crate) struct BuildBlock<'a, L, A> {
    pub(crate) logits: ArrayView2<'a, L>,
    pub(crate) scale: Scale<A>,
    /// Scale of `S/τ`, if the objective is wanted.
    pub(crate) partition: Option<Scale<A>>,
    pub(crate) kind: BuildSums,
    pub(crate) pass: SweepBlock<'a, A>,
}

/// Range of one row of logits.
struct Range<W> {
    low: W,
    high: W,
    finite: bool,
}

#[inline(always)]
fn range<L: Logit, I: Isa>(row: &[L]) -> Range<L::Wide> {
    type V<L, I> = <<L as Logit>::Wide as Real>::Vector<I>;
    let zero = V::<L, I>::splat(L::Wide::zero());
    let mut low = V::<L, I>::splat(L::Wide::infinity());
    let mut high = V::<L, I>::splat(L::Wide::neg_infinity());
    // 0·x is NaN for NaN and infinities, and stays NaN in a sum.
    let mut poison = zero;
    let mut at = 0;
    while at < row.len() {
        // The last logit again is no padding that would show.
        let s: V<L, I> = load_wide(row, at, row[row.len() - 1]);
        low = s.min(low);
        high = s.max(high);
        poison = s.mul_add(zero, poison);
        at += V::<L, I>::LEN;
    }
    let (low, high) = (low.to_array(), high.to_array());
    let lanes = 0..V::<L, I>::LEN;
    let mut all = Range { low: low[0], high: high[0], finite: poison.sum() == 0.0 };
    for l in lanes {
        all.low = if low[l] < all.low { low[l] } else { all.low };
        all.high = if high[l] > all.high { high[l] } else { all.high };
    }
    all
}

/// Logits widened to the vector's element type; must be exact.
#[inline(always)]
fn load_wide<L: Logit, V: Vector>(row: &[L], at: usize, padding: L) -> V {
    let count = V::LEN.min(row.len() - at);
    if L::IS_PLAIN && L::Wide::IS_F32 == V::Scalar::IS_F32 && count == V::LEN {
        // SAFETY: L and V::Scalar are the same type (both f32 or both f64), and LEN elements are in bounds.
        return unsafe { V::load(row.as_ptr().add(at).cast()) };
    }
    let mut wide = [V::Scalar::zero(); LANES];
    if count == V::LEN {
        for (wide, s) in wide.iter_mut().zip(&row[at..at + V::LEN]) {
            *wide = V::Scalar::from_wide(s.widen());
        }
    } else {
        wide.fill(V::Scalar::from_wide(padding.widen()));
        for (wide, s) in wide.iter_mut().zip(&row[at..]) {
            *wide = V::Scalar::from_wide(s.widen());
        }
    }
    // SAFETY: no vector has more than LANES elements.
    unsafe { V::load(wide.as_ptr()) }
}

/// `s·c = n + f` of at most LEN logits, with those below `floor` counted as `floor`.
#[inline(always)]
fn split_logits<L: Logit, V: Vector, I: Isa>(
    logits: &[L],
    floor: L::Wide,
    scale: Scale<V::Scalar>,
) -> (V, V) {
    if I::FMA && (!V::Scalar::IS_F32 || L::Wide::IS_F32) {
        let s: V = load_wide(logits, 0, logits[logits.len() - 1]);
        return split(s.max(V::splat(V::Scalar::from_wide(floor))), scale);
    }
    let (mut n, mut f) = ([V::Scalar::zero(); LANES], [V::Scalar::zero(); LANES]);
    for (l, s) in logits.iter().enumerate() {
        let s = s.widen();
        (n[l], f[l]) = split_scalar((if s > floor { s } else { floor }).as_(), scale);
    }
    // SAFETY: no vector has more than LANES elements.
    unsafe { (V::load(n.as_ptr()), V::load(f.as_ptr())) }
}

/// The slow look at a row that is not all finite: an error, or the lowest finite logit of a row with forbidden entries.
#[cold]
fn examine<L: Logit>(row: &[L], index: usize) -> Result<f64, Error> {
    let mut lowest = f64::INFINITY;
    for (column, value) in row.iter().enumerate() {
        let value: f64 = value.as_();
        if value.is_nan() || value == f64::INFINITY {
            return Err(Error::NonFiniteLogit { row: index, column, value });
        }
        if value > f64::NEG_INFINITY {
            lowest = lowest.min(value);
        }
    }
    if lowest < f64::INFINITY { Ok(lowest) } else { Err(Error::AllForbidden { row: index }) }
}

/// `k_j = 2^(s_j·c − shift)` into `out`; returns `Σ w_j k_j`. Logits below `floor` (forbidden ones) count as `floor`, where the
/// result is 0. `weights` are padded. Meanwhile the next row's logits (`ahead` elements further on) and its place are fetched.
#[inline(always)]
#[allow(clippy::too_many_arguments)] // one call site
fn build_row<L: Logit, V: Vector, I: Isa>(
    logits: &[L],
    ahead: (isize, isize),
    floor: L::Wide,
    shift: V::Scalar,
    scale: Scale<V::Scalar>,
    weights: &[V::Scalar],
    out: &mut [V::Scalar],
) -> f64 {
    let shift = V::splat(shift);
    let whole = whole::<V>(logits.len());
    let mut total = 0.0;
    let mut start = 0;
    while start < whole {
        let end = (start + FLUSH).min(whole);
        let mut sum = V::splat(V::Scalar::zero());
        let mut at = start;
        while at < end {
            let (n, f) = split_logits::<L, V, I>(&logits[at..at + V::LEN], floor, scale);
            let kernel = exp2_split(f, n.sub(shift));
            // SAFETY: `at + LEN` is at most `whole`, which is at most the length of the weights and of `out`.
            unsafe {
                sum = kernel.mul_add(V::load(weights.as_ptr().add(at)), sum);
                kernel.store(out.as_mut_ptr().add(at));
            }
            prefetch(logits.as_ptr().wrapping_add(at).wrapping_offset(ahead.0));
            prefetch_write(out.as_ptr().wrapping_add(at).wrapping_offset(ahead.1));
            at += V::LEN;
        }
        total += sum.sum();
        start = end;
    }
    if whole < logits.len() {
        let (n, f) = split_logits::<L, V, I>(&logits[whole..], floor, scale);
        let kernel = exp2_split(f, n.sub(shift));
        // What stands beyond the row's end meets weights of 0.
        total += kernel.mul(load(weights, whole, V::Scalar::zero())).sum();
        store(out, whole, kernel);
    }
    total
}

/// `Σ_j 2^(s_j·c − shift)` without storing.
#[inline(always)]
fn partition_row<L: Logit, V: Vector, I: Isa>(
    logits: &[L],
    floor: L::Wide,
    shift: V::Scalar,
    scale: Scale<V::Scalar>,
) -> f64 {
    let shift = V::splat(shift);
    let mut total = 0.0;
    let mut at = 0;
    while at < logits.len() {
        let end = (at + V::LEN).min(logits.len());
        let (n, f) = split_logits::<L, V, I>(&logits[at..end], floor, scale);
        let terms = exp2_split(f, n.sub(shift));
        if at + V::LEN <= logits.len() {
            total += terms.sum();
        } else {
            let rest = logits.len() - at;
            total += terms.to_array()[..rest].iter().map(|x| x.as_()).sum::<f64>();
        }
        at += V::LEN;
    }
    total
}

impl<L: Logit, A: Real> BuildBlock<'_, L, A> {
    /// Builds row `at` of the block and returns its total and its log2 shift.
    #[inline(always)]
    fn row<I: Isa>(&mut self, at: usize, stats: &mut BlockStats) -> Result<(f64, f64), Error> {
        let view = self.logits.row(at);
        let logits = view.to_slice().expect("rows are contiguous: checked on entry");
        let range = range::<L, I>(logits);
        let high: f64 = range.high.as_();
        let low =
            if range.finite { range.low.as_() } else { examine(logits, self.pass.first + at)? };
        stats.row_span = stats.row_span.max(if range.finite { high - low } else { f64::INFINITY });
        let (top, bottom) = (self.scale.log2(high), self.scale.log2(low));
        let shift = top.round();
        stats.lowest_exponent = stats.lowest_exponent.min(bottom - shift - 1.0);
        stats.largest_argument = stats.largest_argument.max(top.abs().max(bottom.abs()));
        if stats.largest_argument > A::MAX_EXPONENT_ARGUMENT {
            // The pass is void (see `largest_argument`); the log domain takes over.
            return Ok((f64::NAN, shift));
        }
        // The lowest logit whose kernel element does not underflow, a little lower: forbidden ones become 0 through it.
        let floor = |shift: f64, scale: Scale<A>| {
            let underflow = (shift + A::MIN_EXPONENT - 2.0) / scale.log2(1.0);
            L::Wide::from_f64((underflow - 1e-6 * underflow.abs()).max(-3e38))
        };
        // SAFETY: every block has its own rows, and no other reference to this one is alive.
        let out = unsafe { self.pass.rows.row(self.pass.first + at) };
        let total = build_row::<L, A::Vector<I>, I>(
            logits,
            (self.logits.strides()[0], self.pass.rows.stride),
            floor(shift, self.scale),
            A::from_f64(shift),
            self.scale,
            self.pass.weights,
            out,
        );
        self.pass.log_rows[at] = shift * std::f64::consts::LN_2;
        if let Some(scale) = self.partition {
            let shift = scale.log2(high).round();
            let floor = floor(shift, scale);
            let sum = partition_row::<L, A::Vector<I>, I>(logits, floor, A::from_f64(shift), scale);
            stats.sum_log_partition += shift * std::f64::consts::LN_2 + sum.ln();
        }
        Ok((total, shift))
    }

    #[inline(always)]
    fn group<I: Isa, const R: usize>(
        &mut self,
        at: usize,
        stats: &mut BlockStats,
    ) -> Result<(), Error> {
        let mut totals = [0.0; R];
        let mut shifts = [0.0; R];
        for r in 0..R {
            (totals[r], shifts[r]) = self.row::<I>(at + r, stats)?;
        }
        if stats.largest_argument > A::MAX_EXPONENT_ARGUMENT {
            return Ok(());
        }
        // SAFETY: every block has its own rows, and the references of `row` are gone.
        let mut rows: [&mut [A]; R] =
            std::array::from_fn(|r| unsafe { self.pass.rows.row(self.pass.first + at + r) });
        if self.kind == BuildSums::Columns {
            let highest = shifts.iter().copied().fold(stats.shift, f64::max);
            if highest > stats.shift {
                let factor = A::from_f64((stats.shift - highest).exp2());
                for sum in self.pass.sums.iter_mut() {
                    *sum = *sum * factor;
                }
                stats.shift = highest;
            }
            let factors = shifts.map(|s| A::from_f64((s - highest).exp2()));
            add_rows::<A::Vector<I>, R>(&rows, factors, self.pass.sums, 0);
            return Ok(());
        }
        for total in totals {
            stats.total(total);
        }
        let inverse = totals.map(|t| A::from_f64(1.0 / t));
        if self.kind == BuildSums::Write {
            write_rows::<A::Vector<I>, R>(&mut rows, self.pass.weights, inverse, self.pass.sums, 0);
            for r in 0..R {
                self.pass.log_rows[at + r] += totals[r].ln();
                stats.sum_log_row += self.pass.log_rows[at + r];
            }
        } else {
            add_rows::<A::Vector<I>, R>(&rows, inverse, self.pass.sums, 0);
        }
        Ok(())
    }
}

impl<L: Logit, A: Real> Kernel for BuildBlock<'_, L, A> {
    type Output = Result<BlockStats, Error>;
    #[inline(always)]
    fn run<I: Isa>(mut self) -> Self::Output {
        let mut stats = BlockStats::default();
        self.pass.sums.fill(A::zero());
        let group = group_size::<A>(self.pass.rows.columns);
        let mut at = 0;
        while at < self.pass.log_rows.len() {
            let left = self.pass.log_rows.len() - at;
            if group >= GROUP && left >= GROUP {
                self.group::<I, GROUP>(at, &mut stats)?;
                at += GROUP;
            } else if group >= 2 && left >= 2 {
                self.group::<I, 2>(at, &mut stats)?;
                at += 2;
            } else {
                self.group::<I, 1>(at, &mut stats)?;
                at += 1;
            }
        }
        Ok(stats)
    }
}

/// Adds up the blocks' column sums in f64, in block order, times a factor per column.
pub(crate) struct Reduce<'a, A> {
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
