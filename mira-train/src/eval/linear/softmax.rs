//! Logits, loss and gradient of multinomial logistic regression, in f32 for use and in f64 for checks.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, LinalgScalar, s};
use num_traits::{AsPrimitive, Float};
use rayon::prelude::*;

/// Rows of logits made by one task.
const ROW_BLOCK: usize = 128;
/// Columns of the weights' gradient made by one task.
const COLUMN_BLOCK: usize = 256;

/// A floating-point type with a matrix product.
pub(super) trait Real: Float + LinalgScalar + AsPrimitive<f64> + Send + Sync {}
impl<T: Float + LinalgScalar + AsPrimitive<f64> + Send + Sync> Real for T {}

/// `W` (classes × dimensions) and `b` (classes).
#[derive(Clone, Debug)]
pub(super) struct Parameters<A> {
    pub(super) weights: Array2<A>,
    pub(super) bias: Vec<A>,
}

impl<A: Real> Parameters<A> {
    pub(super) fn zeros(num_classes: usize, dim: usize) -> Self {
        Self { weights: Array2::zeros((num_classes, dim)), bias: vec![A::zero(); num_classes] }
    }

    pub(super) fn are_finite(&self) -> bool {
        self.weights.iter().chain(&self.bias).all(|p| p.is_finite())
    }

    /// `x Wᵀ + b`, rows × classes.
    pub(super) fn logits(&self, x: &ArrayView2<'_, A>) -> Array2<A> {
        let mut logits = Array2::zeros((x.nrows(), self.bias.len()));
        self.fill_logits(x, &mut logits.view_mut(), |_, _| ());
        logits
    }

    /// Fills the logits block by block, and hands each finished block with its first row to `then`; the results in order.
    fn fill_logits<T: Send>(
        &self,
        x: &ArrayView2<'_, A>,
        logits: &mut ArrayViewMut2<'_, A>,
        then: impl Fn(usize, ArrayViewMut2<'_, A>) -> T + Sync,
    ) -> Vec<T> {
        let blocks: Vec<_> = logits
            .axis_chunks_iter_mut(Axis(0), ROW_BLOCK)
            .zip(x.axis_chunks_iter(Axis(0), ROW_BLOCK))
            .zip((0..).step_by(ROW_BLOCK))
            .collect();
        blocks
            .into_par_iter()
            .map(|((mut block, x), start)| {
                for mut row in block.rows_mut() {
                    row.iter_mut().zip(&self.bias).for_each(|(logit, &b)| *logit = b);
                }
                general_mat_mul(A::one(), &x, &self.weights.t(), A::one(), &mut block);
                then(start, block)
            })
            .collect()
    }
}

/// The gradient, with what is needed on the way to it.
#[derive(Debug)]
pub(super) struct Gradient<A> {
    pub(super) weights: Array2<A>,
    pub(super) bias: Vec<A>,
    /// Batch × classes: `(softmax(x Wᵀ + b) − one-hot) / B`.
    errors: Array2<A>,
}

impl<A: Real> Gradient<A> {
    pub(super) fn new(batch_size: usize, num_classes: usize, dim: usize) -> Self {
        let Parameters { weights, bias } = Parameters::zeros(num_classes, dim);
        Self { weights, bias, errors: Array2::zeros((batch_size, num_classes)) }
    }

    /// Takes the gradient at `parameters` over a batch, and returns the mean loss.
    pub(super) fn at(
        &mut self,
        parameters: &Parameters<A>,
        x: &ArrayView2<'_, A>,
        labels: &[u32],
    ) -> f64 {
        let n = x.nrows();
        let Some(per_row) = A::from(n).map(A::recip) else { return f64::NAN };
        let mut errors = self.errors.slice_mut(s![..n, ..]);
        let losses = parameters.fill_logits(x, &mut errors, |start, mut block| {
            let mut loss = 0.0;
            for (mut row, &label) in block.rows_mut().into_iter().zip(&labels[start..]) {
                let max = row.iter().fold(A::neg_infinity(), |max, &logit| max.max(logit));
                let truth = row[label as usize] - max;
                row.mapv_inplace(|logit| (logit - max).exp());
                let sum: f64 = row.iter().map(|&e| AsPrimitive::<f64>::as_(e)).sum();
                loss += sum.ln() - AsPrimitive::<f64>::as_(truth);
                let scale = A::from(sum.recip()).unwrap_or_else(A::nan) * per_row;
                row.mapv_inplace(|e| e * scale);
                row[label as usize] = row[label as usize] - per_row;
            }
            loss
        });
        let errors = errors.view();
        for (sum, column) in self.bias.iter_mut().zip(errors.columns()) {
            *sum = column.iter().fold(A::zero(), |sum, &e| sum + e);
        }
        let blocks: Vec<_> = self
            .weights
            .axis_chunks_iter_mut(Axis(1), COLUMN_BLOCK)
            .zip(x.axis_chunks_iter(Axis(1), COLUMN_BLOCK))
            .collect();
        blocks.into_par_iter().for_each(|(mut block, x)| {
            general_mat_mul(A::one(), &errors.t(), &x, A::zero(), &mut block);
        });
        losses.iter().sum::<f64>() / n as f64
    }
}
