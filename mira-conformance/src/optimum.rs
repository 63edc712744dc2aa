//! The true optimum, by Newton's method on the optimality condition: neither the library's iteration nor its certificates are involved.

use crate::definitions::{log_assignment, log_marginal, sinkhorn_dual, span};
use crate::problem::Problem;

/// A point whose distance from optimality is `residual`.
#[derive(Clone, Debug)]
pub struct Optimum {
    /// `a`, natural logarithms of the column weights.
    pub log_weights: Vec<f64>,
    /// `log W` there, B × K.
    pub log_w: Vec<f64>,
    /// `log w̄` there.
    pub log_marginal: Vec<f64>,
    /// Span of the optimality condition's residual: 0 at the optimum, the arithmetic's noise where Newton's method has ended.
    pub residual: f64,
}

impl Optimum {
    fn at(problem: &Problem, epsilon: f64, log_weights: Vec<f64>, condition: Condition) -> Self {
        let log_w = log_assignment(&problem.logits, epsilon, &log_weights);
        let log_marginal = log_marginal(&log_w, log_weights.len());
        let mut point = Self { log_weights, log_w, log_marginal, residual: 0.0 };
        point.residual = span(&point.condition(condition));
        point
    }

    /// Constant in j at the optimum; −∞ for prototypes forbidden everywhere.
    fn condition(&self, condition: Condition) -> Vec<f64> {
        let pairs = self.log_marginal.iter().zip(&self.log_weights);
        pairs
            .map(|(l, a)| if *l > f64::NEG_INFINITY { l + a * condition.slope } else { *l })
            .collect()
    }

    /// The Newton step for `log w̄_j(a) + s a_j = const`: `(diag(1 + s) − M) δ = −(residual)` with
    /// `M_jl = Σ_i w_ij w_il / Σ_i w_ij`, which has rows that sum to 1.
    fn newton_step(&self, condition: Condition) -> Vec<f64> {
        let k = self.log_weights.len();
        let residual = self.condition(condition);
        let active: Vec<usize> = (0..k).filter(|&j| residual[j] > f64::NEG_INFINITY).collect();
        let n = active.len();
        let batch = (self.log_w.len() / k) as f64;
        let mean = active.iter().map(|&j| residual[j]).sum::<f64>() / n as f64;
        let w: Vec<f64> = self.log_w.iter().map(|l| l.exp()).collect();
        let mut system = vec![0.0; n * (n + 1)];
        for (r, &j) in active.iter().enumerate() {
            let row = &mut system[r * (n + 1)..(r + 1) * (n + 1)];
            row[r] = 1.0 + condition.slope;
            row[n] = mean - residual[j];
            let log_mass = self.log_marginal[j] + batch.ln();
            for (w, log_w) in w.chunks_exact(k).zip(self.log_w.chunks_exact(k)) {
                let share = (log_w[j] - log_mass).exp();
                if share > 0.0 {
                    for (entry, &l) in row.iter_mut().zip(&active) {
                        *entry -= share * w[l];
                    }
                }
            }
            if condition.slope == 0.0 {
                // Constants are in the kernel of I − M: a rank-one term fixes the gauge.
                row[..n].iter_mut().for_each(|entry| *entry += 1.0 / n as f64);
            }
        }
        let mut step = vec![0.0; k];
        for (&j, x) in active.iter().zip(solve(&mut system, n)) {
            step[j] = x;
        }
        step
    }

    fn moved(&self, step: &[f64], length: f64) -> Vec<f64> {
        self.log_weights.iter().zip(step).map(|(a, d)| a + length * d).collect()
    }
}

/// `log w̄_j + slope · a_j = const`: slope `(1−β)/β` for MIRA (`a = −(β/(1−β)) log u`), 0 for Sinkhorn–Knopp.
#[derive(Clone, Copy)]
struct Condition {
    slope: f64,
}

/// MIRA's optimum for `0 < β < 1`. Plain sweeps contract from anywhere and Newton's method ends it, so this always arrives.
pub fn mira(problem: &Problem) -> Optimum {
    let (beta, epsilon) = (problem.beta, problem.epsilon());
    let condition = Condition { slope: (1.0 - beta) / beta };
    let at = |a| Optimum::at(problem, epsilon, a, condition);
    let mut point = at(vec![0.0; problem.num_prototypes()]);
    let mut failures = 0;
    for _ in 0..5000 {
        let newton = at(point.moved(&point.newton_step(condition), 1.0));
        if newton.residual < 0.5 * point.residual {
            point = newton;
            continue;
        }
        // `a ← β (a − log w̄)`, several times: Newton's method does not see far.
        let mut swept = at(point.log_weights.clone());
        for _ in 0..10 {
            let marginals = swept.log_marginal.iter().zip(&swept.log_weights);
            let next = marginals
                .map(|(l, a)| if *l > f64::NEG_INFINITY { beta * (a - l) } else { 0.0 })
                .collect();
            swept = at(next);
        }
        let improves = swept.residual < point.residual;
        failures = if improves { 0 } else { failures + 1 };
        if improves {
            point = swept;
        }
        if failures == 1 {
            break;
        }
    }
    point
}

/// The best dual point of Sinkhorn–Knopp found by damped Newton steps along a falling ε. Where columns hardly compete
/// (ε far below the logits' differences) the optimum may not be reached: `residual` tells.
pub fn sinkhorn(problem: &Problem) -> Optimum {
    let condition = Condition { slope: 0.0 };
    let k = problem.num_prototypes();
    let target = problem.temperature;
    let mut epsilon = target.max(span(&problem.logits));
    let mut potentials = vec![0.0; k];
    loop {
        let warmed = Problem { temperature: epsilon, ..problem.clone() };
        let start = potentials.iter().map(|f| f / epsilon).collect();
        let rounds = if epsilon == target { 60 } else { 6 };
        let point = ascend(&warmed, start, rounds, condition);
        if epsilon == target {
            return point;
        }
        potentials = point.log_weights.iter().map(|a| a * epsilon).collect();
        epsilon = (0.4 * epsilon).max(target);
    }
}

fn ascend(problem: &Problem, start: Vec<f64>, rounds: usize, condition: Condition) -> Optimum {
    let at = |a| Optimum::at(problem, problem.temperature, a, condition);
    let mut point = at(start);
    for _ in 0..rounds {
        if point.residual < 1e-13 {
            break;
        }
        let step = point.newton_step(condition);
        let value = sinkhorn_dual(problem, &point.log_weights);
        let newton =
            (0..6).map(|halvings| at(point.moved(&step, 0.5f64.powi(halvings)))).find(|p| {
                let gained = sinkhorn_dual(problem, &p.log_weights) - value;
                gained > 0.0 || (gained > -1e-14 * value.abs() && p.residual < 0.5 * point.residual)
            });
        point = newton.unwrap_or_else(|| {
            let sweep: Vec<f64> = point.log_marginal.iter().map(|l| -l).collect();
            at(point.moved(&sweep, 1.0))
        });
    }
    point
}

/// Gaussian elimination with partial pivoting of `n` rows of `n + 1`.
fn solve(system: &mut [f64], n: usize) -> Vec<f64> {
    let width = n + 1;
    for column in 0..n {
        let pivot = (column..n)
            .max_by(|&a, &b| {
                system[a * width + column].abs().total_cmp(&system[b * width + column].abs())
            })
            .expect("at least one row is left");
        for c in 0..width {
            system.swap(column * width + c, pivot * width + c);
        }
        let (above, below) = system.split_at_mut((column + 1) * width);
        let pivot_row = &above[column * width..];
        for row in below.chunks_exact_mut(width) {
            let factor = row[column] / pivot_row[column];
            if factor != 0.0 {
                for (x, p) in row[column..].iter_mut().zip(&pivot_row[column..]) {
                    *x -= factor * p;
                }
            }
        }
    }
    let mut x = vec![0.0; n];
    for r in (0..n).rev() {
        let row = &system[r * width..(r + 1) * width];
        let known: f64 = row[r + 1..n].iter().zip(&x[r + 1..]).map(|(a, x)| a * x).sum();
        x[r] = (row[n] - known) / row[r];
    }
    x
}
