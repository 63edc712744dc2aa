//! The first pass: from logits to kernel rows, and one sweep or write over them while they are in cache.

#![allow(clippy::needless_range_loop)] // registers of several rows are indexed together

use mira_core::{Error, is_too_large};
use ndarray::ArrayView2;
use num_traits::{AsPrimitive, Float, Zero};

use crate::element::{Logit, Real};
use crate::exp::{Scale, exp2_split, split, split_scalar};
use crate::rows::{
    BlockStats, FLUSH_OF_LABELS, GROUP, SweepBlock, add_rows, group_size, load, store, whole,
    write_rows,
};
use mira_simd::{Isa, Kernel, LANES, Scalar, Vector, prefetch, prefetch_write};

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
#[derive(Debug)]
pub struct BuildBlock<'a, L, A> {
    pub(crate) logits: ArrayView2<'a, L>,
    pub(crate) epsilon: f64,
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
    type V<L, I> = <<L as Logit>::Wide as Scalar>::Vector<I>;
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
#[inline(always)]
fn examine<L: Logit, I: Isa>(row: &[L], index: usize) -> Result<f64, Error> {
    type V<L, I> = <<L as Logit>::Wide as Scalar>::Vector<I>;
    let (infinity, none) = (L::Wide::infinity(), L::Wide::neg_infinity());
    // Without branches, so that compilers make vectors of it.
    let mut lowest = [infinity; LANES];
    let mut is_valid = true;
    let mut at = 0;
    while at < row.len() {
        let logits = load_wide::<L, V<L, I>>(row, at, row[row.len() - 1]).to_array();
        for (low, s) in lowest.iter_mut().zip(&logits[..V::<L, I>::LEN]) {
            is_valid &= *s < infinity;
            let s = if *s > none { *s } else { infinity };
            *low = if s < *low { s } else { *low };
        }
        at += V::<L, I>::LEN;
    }
    if !is_valid {
        return Err(invalid(row, index));
    }
    let lowest: f64 = lowest.iter().fold(infinity, |low, s| if *s < low { *s } else { low }).as_();
    if lowest < f64::INFINITY { Ok(lowest) } else { Err(Error::AllForbidden { row: index }) }
}

/// What is wrong with a row that has a NaN or +∞.
#[cold]
fn invalid<L: Logit>(row: &[L], index: usize) -> Error {
    let is_invalid = |value: f64| value.is_nan() || value == f64::INFINITY;
    let column = row.iter().position(|s| is_invalid(s.as_())).expect("it has one");
    Error::NonFiniteLogit { row: index, column, value: row[column].as_() }
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
        let end = (start + FLUSH_OF_LABELS).min(whole);
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
        let low = if range.finite {
            range.low.as_()
        } else {
            examine::<L, I>(logits, self.pass.first + at)?
        };
        stats.row_span = stats.row_span.max(if range.finite { high - low } else { f64::INFINITY });
        let (top, bottom) = (self.scale.log2(high), self.scale.log2(low));
        if is_too_large(high, self.epsilon) || is_too_large(low, self.epsilon) {
            let too_large = |s: &L| {
                let value: f64 = s.as_();
                value.is_finite() && is_too_large(value, self.epsilon)
            };
            let column = logits.iter().position(too_large).expect("the highest or the lowest");
            let (row, value) = (self.pass.first + at, logits[column].as_());
            return Err(Error::LogitOverflow { row, column, value, epsilon: self.epsilon });
        }
        let shift = top.round();
        stats.lowest_exponent = stats.lowest_exponent.min(bottom - shift - 1.0);
        stats.largest_argument = stats.largest_argument.max(top.abs().max(bottom.abs()));
        // The lowest logit whose kernel element does not underflow, a little lower: forbidden ones become 0 through it.
        let lowest: f64 = L::Wide::min_value().as_();
        let underflow = |shift: f64, scale: Scale<A>| {
            let underflow = (shift + A::MIN_EXPONENT - 2.0) / scale.log2(1.0);
            underflow - 1e-6 * underflow.abs()
        };
        let floor = |shift, scale| L::Wide::from_f64(underflow(shift, scale).max(lowest));
        let widest = self.partition.unwrap_or(self.scale);
        if !range.finite && underflow(widest.log2(high).round(), widest) < lowest {
            // At such temperatures no number stands for a forbidden entry.
            stats.largest_argument = f64::INFINITY;
        }
        if stats.largest_argument > A::MAX_EXPONENT_ARGUMENT {
            // The pass is void (see `largest_argument`); the log domain takes over.
            return Ok((f64::NAN, shift));
        }
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

    /// The pass over the `R` rows from `at` on, which are built: their totals and log2 shifts.
    #[inline(always)]
    fn pass_over<I: Isa, const R: usize>(
        &mut self,
        at: usize,
        totals: [f64; GROUP],
        shifts: [f64; GROUP],
        stats: &mut BlockStats,
    ) {
        let (totals, shifts): ([f64; R], [f64; R]) =
            (std::array::from_fn(|r| totals[r]), std::array::from_fn(|r| shifts[r]));
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
            return;
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
            let count = match group.min(left) {
                GROUP.. => GROUP,
                2.. => 2,
                _ => 1,
            };
            // Here for groups of all sizes: what builds a row is most of the code.
            let (mut totals, mut shifts) = ([0.0; GROUP], [0.0; GROUP]);
            for r in 0..count {
                (totals[r], shifts[r]) = self.row::<I>(at + r, &mut stats)?;
            }
            if stats.largest_argument <= A::MAX_EXPONENT_ARGUMENT {
                match count {
                    GROUP => self.pass_over::<I, GROUP>(at, totals, shifts, &mut stats),
                    2 => self.pass_over::<I, 2>(at, totals, shifts, &mut stats),
                    _ => self.pass_over::<I, 1>(at, totals, shifts, &mut stats),
                }
            }
            at += count;
        }
        Ok(stats)
    }
}
