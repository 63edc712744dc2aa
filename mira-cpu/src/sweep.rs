//! One rank's rows on the CPU: the [`Sweep`] that the driver of `mira-core` iterates.
//!
//! The first pass builds the kernel into the output array; later ones sweep over it. A write turns the kernel into the
//! assignment at the current weights, in place. That is no dead end: an assignment is a kernel too, with those weights
//! multiplied in, so a sweep may follow at weights relative to them (`reference`).

use mira_core::{Domain, Error, Pass, PassInfo, Sweep};
use ndarray::{ArrayView2, Axis, Slice};

use crate::build::{BuildBlock, BuildSums};
use crate::compiled;
use crate::element::{Logit, Real};
use crate::exp::{Scale, Weights};
use crate::log_domain::{LogBlock, Target};
use crate::parallel::{Disjoint, Team};
use crate::rows::{BlockStats, Reduce, Rows, SweepBlock};
use crate::workspace::Memory;
use mira_simd::padded;

/// Columns summed over blocks by one task.
const REDUCE_COLUMNS: usize = 2048;

/// log2 of how far above the smallest normal number an element must stay in a written assignment.
const MARGIN: f64 = 6.0;

pub(crate) struct CpuSweep<'a, L, A> {
    pub(crate) team: &'a Team,
    pub(crate) logits: ArrayView2<'a, L>,
    pub(crate) rows: Rows<A>,
    pub(crate) block_rows: usize,
    pub(crate) epsilon: f64,
    /// τ, if the objective of MIRA is wanted.
    pub(crate) partition_temperature: Option<f64>,
    pub(crate) memory: &'a mut Memory<A>,
    /// The kernel stands in the output.
    pub(crate) built: bool,
    /// Lower bound on log2 of the kernel elements that are not 0.
    pub(crate) lowest_exponent: f64,
    pub(crate) sum_log_partition: Option<f64>,
    /// The next sweep goes through the blocks from the last to the first.
    pub(crate) backwards: bool,
}

/// log2 of the extremes of the weights.
struct WeightRange {
    low: f64,
    high: f64,
}

impl<L: Logit, A: Real> CpuSweep<'_, L, A> {
    fn num_blocks(&self) -> usize {
        self.memory.stats.len()
    }

    fn padded(&self) -> usize {
        padded(self.memory.reference.len())
    }

    fn block(&self, block: usize) -> ArrayView2<'_, L> {
        let first = block * self.block_rows;
        let end = (first + self.block_rows).min(self.logits.nrows());
        self.logits.slice_axis(Axis(0), Slice::from(first..end))
    }

    /// Sets the weights relative to those in the kernel; `None` if they exceed the arithmetic's exponents.
    fn set_weights(&mut self, log_weights: &[f64]) -> Option<WeightRange> {
        let Memory { reference, weights, .. } = &mut *self.memory;
        let (low, high) = log_weights
            .iter()
            .zip(reference.iter())
            .map(|(a, r)| (a - r) * std::f64::consts::LOG2_E)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), a| (low.min(a), high.max(a)));
        // Half the exponent range for the weights, the other half for the kernel.
        if low.min(-high) < 0.5 * A::MIN_EXPONENT {
            return None;
        }
        A::weights(Weights { exponents: log_weights, reference, out: weights });
        Some(WeightRange { low, high })
    }

    /// Builds the kernel with one pass of the given kind over it.
    fn build(&mut self, kind: BuildSums) -> Result<BlockStats, Error> {
        let (padded, block_rows) = (self.padded(), self.block_rows);
        let partials = Disjoint::new(&mut self.memory.partials);
        let log_rows = Disjoint::new(&mut self.memory.log_rows);
        let stats = Disjoint::new(&mut self.memory.stats);
        let errors = Disjoint::new(&mut self.memory.errors);
        let this = &*self;
        let scale = Scale::new(this.epsilon);
        let partition = this.partition_temperature.map(Scale::new);
        this.team.for_each_block(this.num_blocks(), |block| {
            // SAFETY: each block takes its own part of each slice and its own rows.
            let (sums, log_rows, stats, error) = unsafe {
                (
                    partials.part(block * padded, padded),
                    log_rows.part(block * block_rows, block_rows),
                    stats.part(block, 1),
                    errors.part(block, 1),
                )
            };
            let pass = SweepBlock {
                rows: this.rows,
                first: block * block_rows,
                log_rows,
                weights: &this.memory.weights,
                sums,
                write: kind == BuildSums::Write,
            };
            let logits = this.block(block);
            error[0] = match A::build(BuildBlock {
                logits,
                epsilon: this.epsilon,
                scale,
                partition,
                kind,
                pass,
            }) {
                Ok(done) => {
                    stats[0] = done;
                    None
                }
                Err(error) => Some(error),
            };
        });
        if let Some(error) = self.memory.errors.iter_mut().find_map(Option::take) {
            return Err(error);
        }
        let stats = self.merged();
        self.built = stats.largest_argument <= A::MAX_EXPONENT_ARGUMENT;
        self.lowest_exponent = stats.lowest_exponent;
        self.sum_log_partition =
            self.partition_temperature.map(|_| stats.sum_log_partition).filter(|_| self.built);
        Ok(stats)
    }

    fn sweep(&mut self, write: bool) -> BlockStats {
        let (padded, block_rows) = (self.padded(), self.block_rows);
        let partials = Disjoint::new(&mut self.memory.partials);
        let log_rows = Disjoint::new(&mut self.memory.log_rows);
        let stats = Disjoint::new(&mut self.memory.stats);
        let this = &*self;
        let (num_blocks, backwards) = (this.num_blocks(), this.backwards);
        this.team.for_each_block(num_blocks, |block| {
            let block = if backwards { num_blocks - 1 - block } else { block };
            // SAFETY: each block takes its own part of each slice and its own rows.
            let (sums, log_rows, stats) = unsafe {
                (
                    partials.part(block * padded, padded),
                    log_rows.part(block * block_rows, block_rows),
                    stats.part(block, 1),
                )
            };
            stats[0] = A::sweep(SweepBlock {
                rows: this.rows,
                first: block * block_rows,
                log_rows,
                weights: &this.memory.weights,
                sums,
                write,
            });
        });
        // Back and forth: what the last pass left in the cache is what the next one reads first.
        self.backwards = !self.backwards;
        self.merged()
    }

    /// The blocks' statistics in one, in block order.
    fn merged(&self) -> BlockStats {
        self.memory.stats.iter().fold(BlockStats::default(), |all, one| BlockStats {
            min_total: all.min_total.min(one.min_total),
            max_total: all.max_total.max(one.max_total),
            lowest_exponent: all.lowest_exponent.min(one.lowest_exponent),
            largest_argument: all.largest_argument.max(one.largest_argument),
            row_span: all.row_span.max(one.row_span),
            sum_log_row: all.sum_log_row + one.sum_log_row,
            sum_log_partition: all.sum_log_partition + one.sum_log_partition,
            shift: all.shift.max(one.shift),
        })
    }

    /// Adds up the blocks' sums, times the weights unless a write has done that.
    fn reduce(&mut self, weighted: bool, sums: &mut [f64]) {
        let (padded, memory) = (self.padded(), &*self.memory);
        let len = sums.len();
        let out = Disjoint::new(sums);
        self.team.for_each_block(len.div_ceil(REDUCE_COLUMNS), |task| {
            // SAFETY: each task takes its own columns.
            let sums = unsafe { out.part(task * REDUCE_COLUMNS, REDUCE_COLUMNS) };
            A::reduce(Reduce {
                partials: &memory.partials,
                padded,
                first: task * REDUCE_COLUMNS,
                factors: weighted.then_some(&memory.weights[..]),
                sums,
            });
        });
    }

    fn linear_pass(
        &mut self,
        log_weights: &[f64],
        pass: Pass,
        sums: &mut [f64],
    ) -> Result<PassInfo, Error> {
        const VOID: PassInfo = PassInfo { lost_mass: f64::INFINITY, sum_log_row: 0.0 };
        if !self.built {
            self.memory.reference.fill(0.0);
        }
        let Some(range) = self.set_weights(log_weights) else {
            return Ok(VOID);
        };
        let write = pass == Pass::Write;
        let stats = if self.built {
            self.sweep(write)
        } else {
            let stats = self.build(if write { BuildSums::Write } else { BuildSums::Sweep })?;
            if !self.built {
                return Ok(VOID);
            }
            stats
        };
        self.reduce(!write, sums);
        // Elements of the kernel times the weight below 2^MIN are lost or imprecise; after division by the row total each is at
        // most `lost`.
        let lowest_product = self.lowest_exponent + range.low.min(0.0);
        let imprecise = (A::MIN_EXPONENT + range.high.max(0.0)).exp2();
        let underflows = lowest_product < A::MIN_EXPONENT;
        let lost = if underflows { imprecise / stats.min_total } else { 0.0 };
        // So are quotients by the row total, which weights are multiplied to afterwards.
        let quotients_underflow = lowest_product - stats.max_total.log2() < A::MIN_EXPONENT;
        let lost_of_sums = if quotients_underflow { lost.max(imprecise) } else { lost };
        if write {
            self.memory.reference.copy_from_slice(log_weights);
            self.lowest_exponent = lowest_product - stats.max_total.log2();
            if underflows && (lost.is_nan() || lost.log2() >= A::MIN_EXPONENT + MARGIN) {
                return Ok(VOID);
            }
        }
        Ok(PassInfo {
            lost_mass: lost_of_sums * self.logits.nrows() as f64,
            sum_log_row: stats.sum_log_row,
        })
    }

    fn log_pass(
        &mut self,
        log_weights: Option<&[f64]>,
        write: bool,
        log_sums: &mut [f64],
    ) -> Result<PassInfo, Error> {
        let (k, num_blocks, block_rows) = (log_sums.len(), self.num_blocks(), self.block_rows);
        let mut scratch = std::mem::take(&mut self.memory.log_domain);
        let (log2_weights, per_block) = scratch.split_at_mut(k);
        if let Some(log_weights) = log_weights {
            for (out, a) in log2_weights.iter_mut().zip(log_weights) {
                *out = a * std::f64::consts::LOG2_E;
            }
        }
        let (log2_weights, parts) = (&*log2_weights, Disjoint::new(per_block));
        let stats = Disjoint::new(&mut self.memory.stats);
        let errors = Disjoint::new(&mut self.memory.errors);
        let this = &*self;
        // Where the kernel could not be built, the objective's part is made here, once.
        let partition_temperature =
            this.partition_temperature.filter(|_| this.sum_log_partition.is_none());
        this.team.for_each_block(num_blocks, |block| {
            // SAFETY: each block takes its own part of each slice and its own rows.
            let (row, maxima, sums, stats, error) = unsafe {
                (
                    parts.part((3 * block) * k, k),
                    parts.part((3 * block + 1) * k, k),
                    parts.part((3 * block + 2) * k, k),
                    stats.part(block, 1),
                    errors.part(block, 1),
                )
            };
            let first = block * block_rows;
            let result = A::log_domain(LogBlock {
                logits: this.block(block),
                first,
                epsilon: this.epsilon,
                partition_temperature,
                log2_weights: log_weights.map(|_| log2_weights),
                write: write.then_some(Target { rows: this.rows, first }),
                row,
                maxima,
                sums,
            });
            let all = result.as_ref().copied().unwrap_or_default();
            stats[0].sum_log_row = all.rows * std::f64::consts::LN_2;
            stats[0].sum_log_partition = all.partition * std::f64::consts::LN_2;
            error[0] = result.err();
        });
        let failed = self.memory.errors.iter_mut().find_map(Option::take);
        if failed.is_none() {
            for (j, out) in log_sums.iter_mut().enumerate() {
                let block =
                    |b: usize| (per_block[(3 * b + 1) * k + j], per_block[(3 * b + 2) * k + j]);
                let max = (0..num_blocks).map(|b| block(b).0).fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = (0..num_blocks)
                    .map(block)
                    .filter(|(m, _)| *m > f64::NEG_INFINITY)
                    .map(|(m, s)| s * (m - max).exp2())
                    .sum();
                *out = (max + sum.log2()) * std::f64::consts::LN_2;
            }
        }
        self.memory.log_domain = scratch;
        // Whatever the output holds now, it is no kernel.
        self.built = false;
        if partition_temperature.is_some() {
            self.sum_log_partition = Some(self.merged().sum_log_partition);
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(PassInfo { lost_mass: 0.0, sum_log_row: self.merged().sum_log_row }),
        }
    }
}

impl<L: Logit, A: Real> Sweep for CpuSweep<'_, L, A> {
    type Error = crate::Error;

    fn batch(&self) -> usize {
        self.logits.nrows()
    }

    fn pass(
        &mut self,
        log_weights: &[f64],
        pass: Pass,
        domain: Domain,
        sums: &mut [f64],
    ) -> Result<PassInfo, crate::Error> {
        Ok(match domain {
            Domain::Linear => self.linear_pass(log_weights, pass, sums)?,
            Domain::Log => self.log_pass(Some(log_weights), pass == Pass::Write, sums)?,
        })
    }

    fn log_column_sums(&mut self, log_sums: &mut [f64]) -> Result<f64, crate::Error> {
        self.memory.reference.fill(0.0);
        self.memory.weights.fill(A::zero());
        let stats = self.build(BuildSums::Columns)?;
        if self.built {
            // Blocks are relative to their own largest shift: bring them to a common one.
            let padded = self.padded();
            for (block, one) in self.memory.stats.iter().enumerate() {
                let factor = A::from_f64((one.shift - stats.shift).exp2());
                if factor != A::one() {
                    for x in &mut self.memory.partials[block * padded..(block + 1) * padded] {
                        *x = *x * factor;
                    }
                }
            }
            self.reduce(false, log_sums);
            // What underflowed in any addend is below 2^MIN: negligible in a column that is far above.
            let floor = (0.5 * A::MIN_EXPONENT).exp2() * self.logits.nrows() as f64;
            if log_sums.iter().all(|s| *s > floor && s.is_finite()) {
                for s in log_sums.iter_mut() {
                    *s = s.ln() + stats.shift * std::f64::consts::LN_2;
                }
                return Ok(stats.row_span);
            }
        }
        let built = self.built;
        self.log_pass(None, false, log_sums)?;
        self.built = built;
        Ok(stats.row_span)
    }

    fn logit_sums(&mut self, sums: &mut [f64]) -> Result<(), crate::Error> {
        sums.fill(0.0);
        for row in self.logits.rows() {
            for (sum, s) in sums.iter_mut().zip(row) {
                let s: f64 = s.as_();
                *sum += s;
            }
        }
        Ok(())
    }

    fn ln(&self, values: &mut [f64]) {
        compiled::ln(values);
    }

    fn sum_log_partition(&mut self) -> Option<f64> {
        self.sum_log_partition
    }
}
