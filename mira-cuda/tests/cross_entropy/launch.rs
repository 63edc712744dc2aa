//! A launch under emulation, in guarded memory, with everything around the results watched.

use mira_cuda::cross_entropy::{CrossEntropyBuffers, CrossEntropyPlan, Matrix};
use mira_cuda::plan::Hardware;
use mira_cuda_emulation::{Element, Guarded, launch};

use crate::reference::{Answer, Problem, Stored};

/// Three multiprocessors, so that blocks have several rows.
pub(crate) const SMALL: Hardware =
    Hardware { multiprocessors: 3, shared_memory: 12 << 10, threads: 64 };

/// Where the gradient goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gradient {
    None,
    Apart,
    InPlace,
}

/// How a problem is laid out and run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Elements between rows of logits, assignment and gradient.
    pub(crate) gaps: [usize; 3],
    pub(crate) gradient: Gradient,
    pub(crate) row_losses: bool,
    pub(crate) seed: u64,
}

impl Default for Layout {
    fn default() -> Self {
        Self { gaps: [0; 3], gradient: Gradient::Apart, row_losses: true, seed: 1 }
    }
}

/// All that a launch needs beside its matrices. The workspace is used again and again.
pub(crate) struct Emulated {
    pub(crate) plan: CrossEntropyPlan,
    pub(crate) kernel: String,
    workspace: Guarded<u8>,
}

/// Every kernel that can compute the problem, planned for `hardware`.
pub(crate) fn alternatives<L: Stored, A: Stored>(
    problem: &Problem,
    hardware: Hardware,
) -> Vec<Emulated> {
    let (tau, scale) = (problem.temperature, problem.scale);
    let dtypes = (L::DTYPE, A::DTYPE);
    let plans = CrossEntropyPlan::alternatives(problem.shape(), dtypes, tau, scale, hardware);
    plans.unwrap().into_iter().map(Emulated::new).collect()
}

impl Emulated {
    pub(crate) fn new(plan: CrossEntropyPlan) -> Self {
        let mut workspace = Guarded::poisoned(plan.workspace_bytes);
        workspace.as_mut_slice()[..4].fill(0);
        Self { kernel: plan.kernel.to_owned(), plan, workspace }
    }

    /// # Errors
    /// A launch that failed, or a write to where nothing should be written.
    pub(crate) fn run<L: Stored, A: Stored>(
        &mut self,
        problem: &Problem,
        layout: Layout,
    ) -> Result<Answer, String> {
        let (rows, columns) = (problem.rows, problem.columns);
        let mut logits = spread::<L>(&problem.logits, columns, layout.gaps[0]);
        let mut weights = spread::<A>(&problem.weights, columns, layout.gaps[1]);
        let gradient_gap = layout.gaps[if layout.gradient == Gradient::InPlace { 0 } else { 2 }];
        let fresh = Guarded::<L>::poisoned(rows * (columns + gradient_gap));
        let (mut gradient, mut row_losses) = (fresh.clone(), Guarded::<f32>::poisoned(rows));
        let mut loss = Guarded::<f64>::poisoned(1);
        let (logits_before, weights_before) = (bytes(&logits), bytes(&weights));

        let stride = |gap| columns + gap;
        let logits_at = Matrix { address: address(&mut logits), stride: stride(layout.gaps[0]) };
        let params = self.plan.params(&CrossEntropyBuffers {
            logits: logits_at,
            assignment: Matrix { address: address(&mut weights), stride: stride(layout.gaps[1]) },
            gradient: match layout.gradient {
                Gradient::None => None,
                Gradient::InPlace => Some(logits_at),
                Gradient::Apart => {
                    Some(Matrix { address: address(&mut gradient), stride: stride(gradient_gap) })
                }
            },
            row_losses: layout.row_losses.then(|| address(&mut row_losses)),
            loss: address(&mut loss),
            workspace: address(&mut self.workspace),
        });
        let params = params.map_err(|e| e.to_string())?;
        let (grid, shared) = ((self.plan.blocks, 1), self.plan.shared_bytes);
        // SAFETY: the addresses are those of arrays of the sizes that the plan was made for, with room for one element too many.
        unsafe { launch(&self.kernel, grid, self.plan.threads, shared, &params, layout.seed) }
            .map_err(|e| e.to_string())?;

        let overruns = [
            ("logits", logits.check()),
            ("assignment", weights.check()),
            ("gradient", gradient.check()),
            ("rows' losses", row_losses.check()),
            ("loss", loss.check()),
            ("workspace", self.workspace.check()),
        ];
        for (what, checked) in overruns {
            checked.map_err(|e| format!("{what}: {e}"))?;
        }
        if bytes(&weights) != weights_before {
            return Err("the assignment was written to".into());
        }
        if layout.gradient != Gradient::InPlace && bytes(&logits) != logits_before {
            return Err("the logits were written to".into());
        }
        if self.workspace.as_slice()[..4] != [0; 4] {
            return Err("the counter of arrivals is not back at 0".into());
        }
        let written = if layout.gradient == Gradient::InPlace { &logits } else { &gradient };
        let fresh = bytes(&fresh);
        for (i, (row, before)) in bytes(written)
            .chunks(stride(gradient_gap) * size_of::<L>())
            .zip(fresh.chunks(stride(gradient_gap) * size_of::<L>()))
            .enumerate()
        {
            let end = columns * size_of::<L>();
            if row[end..] != before[end..] {
                return Err(format!("a write behind row {i} of the gradient"));
            }
        }
        Ok(Answer {
            loss: loss.as_slice()[0],
            row_losses: row_losses.as_slice().iter().map(|l| f64::from(*l)).collect(),
            gradient: gather(written.as_slice(), columns, gradient_gap),
        })
    }
}

/// Rows with fresh memory behind each.
fn spread<T: Stored>(values: &[f64], columns: usize, gap: usize) -> Guarded<T> {
    let stride = columns + gap;
    let mut array = Guarded::<T>::poisoned(values.len() / columns * stride);
    for (to, from) in array.as_mut_slice().chunks_mut(stride).zip(values.chunks(columns)) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = T::stored(*from);
        }
    }
    array
}

fn gather<T: Stored>(values: &[T], columns: usize, gap: usize) -> Vec<f64> {
    let rows = values.chunks(columns + gap);
    rows.flat_map(|row| row[..columns].iter().map(|x| (*x).into())).collect()
}

fn address<T: Element>(array: &mut Guarded<T>) -> u64 {
    array.as_mut_ptr().addr() as u64
}

fn bytes<T: Element>(array: &Guarded<T>) -> Vec<u8> {
    let values = array.as_slice();
    // SAFETY: plain numbers without padding.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }.to_vec()
}

/// Calls `$body` with each pair of types that the kernels take as `L` and `A`.
#[macro_export]
macro_rules! for_all_types {
    ($call:ident ($($arg:expr),*)) => {{
        use half::{bf16, f16};
        $call::<f32, f32>($($arg),*);
        $call::<f16, f32>($($arg),*);
        $call::<bf16, f32>($($arg),*);
        $call::<f32, bf16>($($arg),*);
        $call::<f16, bf16>($($arg),*);
        $call::<bf16, bf16>($($arg),*);
    }};
}
