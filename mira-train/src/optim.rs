//! Optimisers over one flat vector of parameters, and the teacher's moving average.
//!
//! Results have the same bits on any number of threads: a segment is one thread's, and norms are sums of f64 in a fixed order.

use std::ops::Range;

use rayon::prelude::*;

use crate::recipe::{self, OptimizerKind};

mod update;

use update::{AdamW, Lars, Sgd};

/// Where one tensor lies in the flat vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Positions.
    pub range: Range<usize>,
    /// Whether it has more than one dimension, so that weight decay and the trust ratio apply.
    pub regularised: bool,
}

/// Why a saved state does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another optimiser's state.
    #[error(
        "the saved optimiser state holds {got:?}, expected {expected:?}; resume with the recipe it was saved with"
    )]
    Names {
        /// Names in the state.
        got: Vec<String>,
        /// This optimiser's.
        expected: Vec<&'static str>,
    },
    /// A state of another network.
    #[error(
        "the saved optimiser state `{name}` has {got} values, expected {expected}; resume with the network it was saved with"
    )]
    Length {
        /// Which vector.
        name: String,
        /// Its length.
        got: usize,
        /// Number of parameters.
        expected: usize,
    },
}

/// One tensor's part of everything.
struct Part<'a> {
    parameters: &'a mut [f32],
    gradients: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    num_steps: &'a mut f32,
    regularised: bool,
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    Sgd(Sgd),
    Lars(Lars),
    AdamW(AdamW),
}

/// SGD, LARS or `AdamW`, and its state.
#[derive(Clone, Debug)]
pub struct Optimizer {
    rule: Rule,
    /// Momentum, or Adam's first moment.
    first: Vec<f32>,
    /// Adam's second moment; empty otherwise.
    second: Vec<f32>,
    /// Steps each segment took; exact up to 2²⁴, and beyond that Adam's bias corrections are 1.
    segment_steps: Vec<f32>,
}

impl Optimizer {
    /// An optimiser whose state is zero; settings that are absent have their kind's default.
    pub fn new(settings: &recipe::Optimizer, num_parameters: usize) -> Self {
        let momentum = settings.momentum.unwrap_or(0.9);
        let rule = match settings.kind {
            OptimizerKind::Sgd => {
                Rule::Sgd(Sgd { momentum, nesterov: settings.nesterov.unwrap_or(false) })
            }
            OptimizerKind::Lars => {
                let trust_coefficient = settings.trust_coefficient.unwrap_or(0.001);
                Rule::Lars(Lars { momentum, trust_coefficient })
            }
            OptimizerKind::Adamw => Rule::AdamW(AdamW {
                betas: settings.betas.unwrap_or([0.9, 0.999]),
                epsilon: settings.epsilon.unwrap_or(1e-8),
            }),
        };
        let second = if matches!(rule, Rule::AdamW(_)) { num_parameters } else { 0 };
        Self {
            rule,
            first: vec![0.0; num_parameters],
            second: vec![0.0; second],
            segment_steps: Vec::new(),
        }
    }

    /// One step down the gradients, in place; segment i does not move, nor does its state, where `frozen(i)`.
    ///
    /// With g the gradient, λ the weight decay and regularised segments only decayed:
    /// - SGD: g ← g + λp, b ← μb + g, p ← p − lr·b (Nesterov: p − lr·(g + μb)), as `PyTorch`;
    /// - LARS: g ← g + λp, g ← g·η‖p‖/‖g‖ for regularised segments where both norms are positive, then as SGD;
    /// - `AdamW`: p ← (1 − lr·λ)p, then Adam's step, as `PyTorch`.
    ///
    /// # Panics
    /// If the vectors are not as long as the state, or the segments overlap, are out of order or out of bounds.
    pub fn step(
        &mut self,
        parameters: &mut [f32],
        gradients: &[f32],
        segments: &[Segment],
        frozen: &dyn Fn(usize) -> bool,
        lr: f64,
        weight_decay: f64,
    ) {
        assert_eq!(parameters.len(), self.first.len(), "parameters and state");
        assert_eq!(gradients.len(), self.first.len(), "gradients and state");
        self.segment_steps.resize(segments.len(), 0.0);
        let (mut parameters, mut gradients) = (parameters, gradients);
        let (mut first, mut second) = (&mut self.first[..], &mut self.second[..]);
        let mut parts = Vec::with_capacity(segments.len());
        let mut position = 0;
        for (i, (segment, num_steps)) in segments.iter().zip(&mut self.segment_steps).enumerate() {
            let (gap, length) = (segment.range.start - position, segment.range.len());
            position = segment.range.end;
            let part = Part {
                parameters: take_mut(&mut parameters, gap, length),
                gradients: take(&mut gradients, gap, length),
                first: take_mut(&mut first, gap, length),
                second: if second.is_empty() {
                    &mut []
                } else {
                    take_mut(&mut second, gap, length)
                },
                num_steps,
                regularised: segment.regularised,
            };
            if !frozen(i) {
                parts.push(part);
            }
        }
        let rule = self.rule;
        parts.into_par_iter().for_each(|part| {
            *part.num_steps += 1.0;
            let weight_decay = if part.regularised { weight_decay } else { 0.0 };
            match rule {
                Rule::Sgd(sgd) => sgd.step(part, lr, weight_decay),
                Rule::Lars(lars) => lars.step(part, lr, weight_decay),
                Rule::AdamW(adamw) => adamw.step(part, lr, weight_decay),
            }
        });
    }

    /// Steps taken by the segment that took most.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole and not negative
    pub fn num_steps(&self) -> u64 {
        self.segment_steps.iter().fold(0.0, |a: f32, &b| a.max(b)) as u64
    }

    /// Everything [`Optimizer::restore`] needs, by name.
    pub fn state(&self) -> Vec<(&'static str, &[f32])> {
        let mut state = vec![(self.names()[0], &self.first[..])];
        if !self.second.is_empty() {
            state.push((self.names()[1], &self.second[..]));
        }
        state.push(("segment_steps", &self.segment_steps[..]));
        state
    }

    /// Continues from a saved state, in any order; a failure changes nothing.
    ///
    /// # Errors
    /// [`Error::Names`] for another optimiser's state, [`Error::Length`] for another network's.
    pub fn restore(&mut self, state: &[(String, Vec<f32>)]) -> Result<(), Error> {
        let names = self.names();
        let found = |name: &str| state.iter().find(|(n, _)| n == name).map(|(_, values)| values);
        let all = names.iter().map(|name| found(name)).collect::<Option<Vec<_>>>();
        let Some(values) = all.filter(|values| values.len() == state.len()) else {
            let got = state.iter().map(|(name, _)| name.clone()).collect();
            return Err(Error::Names { got, expected: names.to_vec() });
        };
        let (moments, steps) = values.split_at(values.len() - 1);
        for (name, moment) in names.iter().zip(moments) {
            let expected = self.first.len();
            if moment.len() != expected {
                return Err(Error::Length { name: (*name).into(), got: moment.len(), expected });
            }
        }
        self.first.copy_from_slice(moments[0]);
        if let Some(second) = moments.get(1) {
            self.second.copy_from_slice(second);
        }
        self.segment_steps.clone_from(steps[0]);
        Ok(())
    }

    fn names(&self) -> &'static [&'static str] {
        match self.rule {
            Rule::AdamW(_) => &["first_moment", "second_moment", "segment_steps"],
            Rule::Sgd(_) | Rule::Lars(_) => &["momentum", "segment_steps"],
        }
    }
}

#[allow(clippy::mut_mut)] // the rest shrinks in the caller
/// Skips `gap` elements and splits off the next `length`.
fn take_mut<'a>(rest: &mut &'a mut [f32], gap: usize, length: usize) -> &'a mut [f32] {
    let (_, tail) = std::mem::take(rest).split_at_mut(gap);
    let (part, tail) = tail.split_at_mut(length);
    *rest = tail;
    part
}

fn take<'a>(rest: &mut &'a [f32], gap: usize, length: usize) -> &'a [f32] {
    let (part, tail) = rest[gap..].split_at(length);
    *rest = tail;
    part
}

/// The teacher's step, teacher ← m·teacher + (1 − m)·student, with momentum m in [0, 1].
///
/// A teacher equal to its student stays so exactly, as does any teacher at m = 1; m = 0 copies.
///
/// # Panics
/// If the two differ in length.
pub fn ema(teacher: &mut [f32], student: &[f32], momentum: f64) {
    const CHUNK: usize = 1 << 16;
    assert_eq!(teacher.len(), student.len(), "teacher and student");
    if momentum == 0.0 {
        teacher.copy_from_slice(student);
        return;
    }
    #[allow(clippy::cast_possible_truncation)] // the arithmetic is f32
    let step = (1.0 - momentum) as f32;
    teacher.par_chunks_mut(CHUNK).zip(student.par_chunks(CHUNK)).for_each(|(teacher, student)| {
        for (t, &s) in teacher.iter_mut().zip(student) {
            *t += step * (s - *t);
        }
    });
}
