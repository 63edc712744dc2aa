//! What is held against a backend, straight from its definition: nothing of the library judges itself.

use crate::problem::Problem;

/// `log Σ e^x`.
pub fn log_sum_exp(x: &[f64]) -> f64 {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        return max;
    }
    max + x.iter().map(|x| (x - max).exp()).sum::<f64>().ln()
}

/// `log W_ij` with `W_ij ∝ exp(a_j + S_ij/ε)`. Rows are normalised after their largest exponent is taken off, which may be in the
/// thousands: their sums are then 1 to a few ulps, and objectives, which are stationary only among rows that sum to 1, exact
/// to second order in the exponents' rounding.
pub fn log_assignment(logits: &[f64], epsilon: f64, a: &[f64]) -> Vec<f64> {
    let mut log_w = Vec::with_capacity(logits.len());
    for row in logits.chunks_exact(a.len()) {
        let x: Vec<f64> = row.iter().zip(a).map(|(s, a)| s / epsilon + a).collect();
        let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let shifted: Vec<f64> = x.iter().map(|x| x - max).collect();
        let log_sum = log_sum_exp(&shifted);
        log_w.extend(shifted.iter().map(|x| x - log_sum));
    }
    log_w
}

/// `log w̄_j`.
pub fn log_marginal(log_w: &[f64], k: usize) -> Vec<f64> {
    let batch = log_w.len() / k;
    (0..k)
        .map(|j| {
            let column: Vec<f64> = (0..batch).map(|i| log_w[i * k + j]).collect();
            log_sum_exp(&column) - (batch as f64).ln()
        })
        .collect()
}

/// `e^x`, element by element.
pub fn exp(x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| x.exp()).collect()
}

/// `w̄_j = (1/B) Σ_i w_ij`.
pub fn marginal(assignment: &[f64], k: usize) -> Vec<f64> {
    let batch = (assignment.len() / k) as f64;
    (0..k).map(|j| assignment.iter().skip(j).step_by(k).sum::<f64>() / batch).collect()
}

/// The largest total variation `½ Σ_j |x_ij − y_ij|` of any row; infinite where something is not finite.
pub fn total_variation(x: &[f64], y: &[f64], k: usize) -> f64 {
    assert_eq!(x.len(), y.len());
    x.chunks_exact(k)
        .zip(y.chunks_exact(k))
        .map(|(x, y)| 0.5 * x.iter().zip(y).map(|(x, y)| (x - y).abs()).sum::<f64>())
        .map(|tv| if tv.is_finite() { tv } else { f64::INFINITY })
        .fold(0.0, f64::max)
}

/// `KL(p ‖ q) = Σ p log(p/q)`, both given by their logarithms. Adding `Σ (q − p) = 0` keeps the digits of a small divergence.
pub fn kl(log_p: &[f64], log_q: &[f64]) -> f64 {
    let term = |p: f64, q: f64| match q - p {
        _ if p == f64::NEG_INFINITY => q.exp(),
        d if d < 1.0 => p.exp() * (d.exp_m1() - d),
        d => q.exp() - p.exp() * (1.0 + d),
    };
    log_p.iter().zip(log_q).map(|(&p, &q)| term(p, q)).sum()
}

/// `mean_i KL(w_i ‖ v_i)` of assignments given by their logarithms.
pub fn mean_kl(log_w: &[f64], log_v: &[f64], k: usize) -> f64 {
    let batch = (log_w.len() / k) as f64;
    log_w.chunks_exact(k).zip(log_v.chunks_exact(k)).map(|(w, v)| kl(w, v)).sum::<f64>() / batch
}

/// `max_ij |log w_ij − log v_ij|` over elements of which neither logarithm is below `floor`; 0 where there are none.
pub fn worst_log_ratio(log_w: &[f64], log_v: &[f64], floor: f64) -> f64 {
    let pairs = log_w.iter().zip(log_v).filter(|(w, v)| **w >= floor && **v >= floor);
    pairs.map(|(w, v)| (w - v).abs()).fold(0.0, f64::max)
}

/// `F(W) = −(1/B) Σ w log p + ((1−β)/B) Σ w log w + β Σ w̄ log w̄` (Eq. 4), term by term.
pub fn mira_objective(problem: &Problem, log_w: &[f64]) -> f64 {
    let k = problem.num_prototypes();
    let log_p = log_assignment(&problem.logits, problem.temperature, &vec![0.0; k]);
    let batch = problem.shape.batch() as f64;
    let (mut cross, mut negative_entropy) = (0.0, 0.0);
    for (lw, lp) in log_w.iter().zip(&log_p).filter(|(lw, _)| **lw > f64::NEG_INFINITY) {
        cross -= lw.exp() * lp / batch;
        negative_entropy += lw.exp() * lw / batch;
    }
    let of_marginal: f64 = log_marginal(log_w, k)
        .iter()
        .filter(|l| **l > f64::NEG_INFINITY)
        .map(|l| l.exp() * l)
        .sum();
    cross + (1.0 - problem.beta) * negative_entropy + problem.beta * of_marginal
}

/// Sinkhorn–Knopp's concave dual `D(f) = Σ_j f_j/K − (ε/B) Σ_i log Σ_j exp((S_ij + f_j)/ε)` at `f = ε a`; the minimum of
/// `−(1/B) Σ w S + (ε/B) Σ w log w` is its maximum.
pub fn sinkhorn_dual(problem: &Problem, a: &[f64]) -> f64 {
    let (k, epsilon) = (problem.num_prototypes(), problem.temperature);
    let row_terms: f64 = problem
        .logits
        .chunks_exact(k)
        .map(|row| {
            let x: Vec<f64> = row.iter().zip(a).map(|(s, a)| s / epsilon + a).collect();
            log_sum_exp(&x)
        })
        .sum();
    epsilon * (a.iter().sum::<f64>() / k as f64 - row_terms / problem.shape.batch() as f64)
}

/// `−(1/B) Σ w S + (ε/B) Σ w log w`.
pub fn sinkhorn_objective(problem: &Problem, log_w: &[f64]) -> f64 {
    let sum: f64 = log_w
        .iter()
        .zip(&problem.logits)
        .filter(|(l, _)| **l > f64::NEG_INFINITY)
        .map(|(l, s)| l.exp() * (problem.temperature * l - s))
        .sum();
    sum / problem.shape.batch() as f64
}

/// `max − min` of the finite entries.
pub fn span(x: &[f64]) -> f64 {
    let finite = || x.iter().copied().filter(|x| x.is_finite());
    (finite().fold(f64::NEG_INFINITY, f64::max) - finite().fold(f64::INFINITY, f64::min)).max(0.0)
}

/// First-order worst case of what float64 rounding does to a log-probability computed here: a sum of `B + K` terms whose exponents
/// are as large as logits and weights together.
pub fn f64_noise(problem: &Problem, epsilon: f64, a: &[f64]) -> f64 {
    let largest =
        problem.logits.iter().filter(|s| s.is_finite()).fold(0.0f64, |m, s| m.max(s.abs()));
    let terms = (problem.shape.batch() + problem.num_prototypes()) as f64;
    f64::EPSILON * (terms + 4.0 * (largest / epsilon + span(a)) + 16.0)
}
