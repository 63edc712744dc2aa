//! Anderson acceleration of a fixed-point map on K-vectors (Walker and Ni 2011, type II), with everything it needs allocated once.
//!
//! Given iterates `x` and residuals `f = G(x) − x`, the next iterate is `G(x) − Σ_i θ_i ΔG_i` with θ minimising the weighted norm
//! `‖f − Σ_i θ_i ΔF_i‖`. The weights are fixed between resets, which lets the Gram matrix be kept instead of recomputed.

/// History of at most `DEPTH` differences.
pub(crate) const DEPTH: usize = 5;

/// Tikhonov term relative to the Gram matrix's diagonal: below it, differences are noise.
const REGULARISATION: f64 = 1e-10;

#[derive(Clone, Debug)]
pub(crate) struct Anderson {
    len: usize,
    /// `√weight_j`, times 0 for entries that take no part.
    root_weights: Vec<f64>,
    /// Row `i`: the i-th slot's weighted, centred ΔF.
    delta_f: Vec<f64>,
    /// Row `i`: the i-th slot's ΔG.
    delta_g: Vec<f64>,
    previous_f: Vec<f64>,
    previous_g: Vec<f64>,
    weighted_f: Vec<f64>,
    gram: [[f64; DEPTH]; DEPTH],
    /// Filled slots, and the slot to overwrite next.
    filled: usize,
    next: usize,
    primed: bool,
}

impl Anderson {
    pub(crate) fn new(len: usize) -> Self {
        Self {
            len,
            root_weights: vec![0.0; len],
            delta_f: vec![0.0; len * DEPTH],
            delta_g: vec![0.0; len * DEPTH],
            previous_f: vec![0.0; len],
            previous_g: vec![0.0; len],
            weighted_f: vec![0.0; len],
            gram: [[0.0; DEPTH]; DEPTH],
            filled: 0,
            next: 0,
            primed: false,
        }
    }

    /// Forgets the history and fixes new weights (not necessarily normalised; 0 leaves an entry out).
    pub(crate) fn reset(&mut self, weights: impl Iterator<Item = f64>) {
        for (root, weight) in self.root_weights.iter_mut().zip(weights) {
            *root = weight.sqrt();
        }
        self.filled = 0;
        self.next = 0;
        self.primed = false;
    }

    /// Takes the residual `f` and image `g` at the current iterate and overwrites `next_x` with the accelerated next iterate
    /// (`g` itself while there is no history).
    pub(crate) fn step(&mut self, f: &[f64], g: &[f64], next_x: &mut [f64]) {
        let len = self.len;
        // A constant added to f is a change of gauge, not of the assignment: take it out by the weighted mean.
        center(f, &self.root_weights, &mut self.weighted_f);
        if self.primed {
            let slot = self.next;
            let row = slot * len..(slot + 1) * len;
            for (d, (f, p)) in self.delta_f[row.clone()]
                .iter_mut()
                .zip(self.weighted_f.iter().zip(&self.previous_f))
            {
                *d = f - p;
            }
            for (d, (g, p)) in
                self.delta_g[row.clone()].iter_mut().zip(g.iter().zip(&self.previous_g))
            {
                *d = g - p;
            }
            self.next = (slot + 1) % DEPTH;
            self.filled = (self.filled + 1).min(DEPTH);
            for other in 0..self.filled {
                let value =
                    dot(&self.delta_f[row.clone()], &self.delta_f[other * len..(other + 1) * len]);
                self.gram[slot][other] = value;
                self.gram[other][slot] = value;
            }
        }
        self.previous_f.copy_from_slice(&self.weighted_f);
        self.previous_g.copy_from_slice(g);
        self.primed = true;
        next_x.copy_from_slice(g);
        if self.filled == 0 {
            return;
        }
        let mut rhs = [0.0; DEPTH];
        for (i, r) in rhs.iter_mut().enumerate().take(self.filled) {
            *r = dot(&self.delta_f[i * len..(i + 1) * len], &self.weighted_f);
        }
        let Some(theta) = solve(&self.gram, &rhs, self.filled) else {
            return;
        };
        for (i, theta) in theta.into_iter().enumerate().take(self.filled) {
            for (x, d) in next_x.iter_mut().zip(&self.delta_g[i * len..(i + 1) * len]) {
                *x -= theta * d;
            }
        }
    }
}

/// `out = root_weights · (f − weighted mean of f)`.
fn center(f: &[f64], root_weights: &[f64], out: &mut [f64]) {
    let (mut sum, mut mass) = (0.0, 0.0);
    for (f, r) in f.iter().zip(root_weights) {
        sum += r * r * f;
        mass += r * r;
    }
    let mean = if mass > 0.0 { sum / mass } else { 0.0 };
    for (o, (f, r)) in out.iter_mut().zip(f.iter().zip(root_weights)) {
        *o = r * (f - mean);
    }
}

/// Dot product with four accumulators: the order is fixed, so the bits are.
fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut lanes = [0.0; 4];
    let (xs, x_rest) = x.as_chunks::<4>();
    let (ys, y_rest) = y.as_chunks::<4>();
    for (x, y) in xs.iter().zip(ys) {
        for l in 0..4 {
            lanes[l] += x[l] * y[l];
        }
    }
    let rest: f64 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]) + rest
}

/// Cholesky solution of the regularised normal equations; `None` if they are singular or not finite.
fn solve(gram: &[[f64; DEPTH]; DEPTH], rhs: &[f64; DEPTH], n: usize) -> Option<[f64; DEPTH]> {
    let largest = (0..n).map(|i| gram[i][i]).fold(0.0, f64::max);
    let ridge = REGULARISATION * largest;
    let mut lower = [[0.0; DEPTH]; DEPTH];
    for i in 0..n {
        for j in 0..=i {
            let known: f64 = lower[i].iter().zip(&lower[j]).take(j).map(|(a, b)| a * b).sum();
            let value = gram[i][j] + if i == j { ridge } else { 0.0 } - known;
            if i == j {
                if !(value > 0.0 && value.is_finite()) {
                    return None;
                }
                lower[i][i] = value.sqrt();
            } else {
                lower[i][j] = value / lower[j][j];
            }
        }
    }
    let mut x = *rhs;
    for i in 0..n {
        for k in 0..i {
            x[i] -= lower[i][k] * x[k];
        }
        x[i] /= lower[i][i];
    }
    for i in (0..n).rev() {
        for k in i + 1..n {
            x[i] -= lower[k][i] * x[k];
        }
        x[i] /= lower[i][i];
    }
    x[..n].iter().all(|v| v.is_finite()).then_some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_a_linear_map_in_dimension_many_steps() {
        // G(x) = M x + b with M symmetric, eigenvalues 0.9, 0.5, 0.1 on the space orthogonal to (1, 1, 1, 1).
        let directions = [[1.0, -1.0, 0.0, 0.0], [1.0, 1.0, -2.0, 0.0], [1.0, 1.0, 1.0, -3.0]];
        let eigenvalues = [0.9, 0.5, 0.1];
        let b = [1.0, -2.0, 0.5, 3.0];
        let map = |x: &[f64]| -> Vec<f64> {
            let mut out = b.to_vec();
            for (d, lambda) in directions.iter().zip(eigenvalues) {
                let norm: f64 = d.iter().map(|v| v * v).sum();
                let c: f64 = d.iter().zip(x).map(|(d, x)| d * x).sum::<f64>() * lambda / norm;
                for (o, d) in out.iter_mut().zip(d) {
                    *o += c * d;
                }
            }
            out
        };
        let mut anderson = Anderson::new(4);
        anderson.reset([1.0; 4].into_iter());
        let mut x = vec![0.0; 4];
        let mut residual = f64::INFINITY;
        for _ in 0..5 {
            let g = map(&x);
            let f: Vec<f64> = g.iter().zip(&x).map(|(g, x)| g - x).collect();
            let mean = f.iter().sum::<f64>() / 4.0;
            residual = f.iter().map(|f| (f - mean).abs()).fold(0.0, f64::max);
            let mut next = vec![0.0; 4];
            anderson.step(&f, &g, &mut next);
            x = next;
        }
        // Plain iteration would still be at 0.9⁴ ≈ 0.66 of its start; three directions are eliminated after four steps.
        assert!(residual < 1e-6, "{residual:e}");
    }
}
