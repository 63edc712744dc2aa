//! How many directions a cloud of features fills, and how views and images lie in it.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView1};
use rayon::prelude::*;

/// Rows of embeddings that are looked at during training: an evenly spaced sample of more.
pub(crate) const SAMPLED_ROWS: usize = 512;
/// Rows that go into a product of matrices at once.
const BLOCK: usize = 512;

/// Effective rank: `exp(−Σ p_k log p_k)` with `p_k = σ_k / Σ σ`, σ the singular values of the rows less their mean; from 1, a line, to the
/// smaller of rows − 1 and dimensions. 0 for rows that are all the same; NaN for rows that are not finite.
///
/// Roy & Vetterli 2007; of a network's features it predicts how well they transfer (`RankMe`, Garrido et al. 2023, which does not
/// subtract the mean). Of more than `max_rows` rows an evenly spaced sample of so many is taken. Of few rows it is too low: of n rows of noise that has n
/// directions about 0.8 n (their singular values follow a quarter of a circle).
///
/// ```
/// use mira_train::eval::effective_rank;
/// let square = [1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0];
/// assert!((effective_rank(&square, 2, 512) - 2.0).abs() < 1e-6);
/// assert!((effective_rank(&[1.0, 2.0, 2.0, 4.0, 3.0, 6.0], 2, 512) - 1.0).abs() < 1e-6);
/// ```
pub fn effective_rank(rows: &[f32], dim: usize, max_rows: usize) -> f64 {
    let all = rows.len() / dim.max(1);
    let n = all.min(max_rows);
    if n == 0 {
        return 0.0;
    }
    let sampled = |i: usize| &rows[i * all / n * dim..][..dim];
    let mut mean = vec![0.0; dim];
    for i in 0..n {
        mean.iter_mut().zip(sampled(i)).for_each(|(mean, &x)| *mean += f64::from(x) / n as f64);
    }
    let centred = |range: std::ops::Range<usize>| {
        let value = |(i, c): (usize, usize)| f64::from(sampled(range.start + i)[c]) - mean[c];
        Array2::from_shape_fn((range.len(), dim), value)
    };
    // The smaller of the two products has the same eigenvalues that are not zero.
    let product = if n <= dim {
        let rows = centred(0..n);
        rows.dot(&rows.t())
    } else {
        let mut sum = Array2::zeros((dim, dim));
        for start in (0..n).step_by(BLOCK) {
            let rows = centred(start..n.min(start + BLOCK));
            general_mat_mul(1.0, &rows.t(), &rows, 1.0, &mut sum);
        }
        sum
    };
    let lower = |(i, row): (usize, ArrayView1<'_, f64>)| row.iter().take(i + 1).copied().collect();
    let gram: Vec<Vec<f64>> = product.rows().into_iter().enumerate().map(lower).collect();
    let trace: f64 = gram.iter().enumerate().map(|(i, row)| row[i]).sum();
    if !trace.is_finite() {
        return f64::NAN;
    }
    // Below rounding there is nothing.
    let floor = trace * 1e-12;
    let eigenvalues = eigenvalues(gram);
    let singular: Vec<f64> = eigenvalues.iter().filter(|&&x| x > floor).map(|x| x.sqrt()).collect();
    let total: f64 = singular.iter().sum();
    if total == 0.0 {
        return 0.0;
    }
    let entropy: f64 = singular.iter().map(|s| s / total).map(|p| -p * p.ln()).sum();
    entropy.exp()
}

/// Eigenvalues of a symmetric matrix, of which the lower triangle is given: Householder's reduction to three diagonals, then implicit QL
/// (Golub & Van Loan, §8.3).
fn eigenvalues(mut a: Vec<Vec<f64>>) -> Vec<f64> {
    let n = a.len();
    let mut off = vec![0.0; n];
    for i in (2..n).rev() {
        // Reflects row i, left of the diagonal, onto its last place there.
        let mut v: Vec<f64> = a[i][..i].to_vec();
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        if length == 0.0 {
            continue;
        }
        let last = i - 1;
        off[i] = if v[last] > 0.0 { -length } else { length };
        v[last] -= off[i];
        let squares: f64 = v.iter().map(|x| x * x).sum();
        let mut p = vec![0.0; i];
        for (r, row) in a[..i].iter().enumerate() {
            p[r] += row[..=r].iter().zip(&v).map(|(a, v)| a * v).sum::<f64>();
            let vr = v[r];
            p[..r].iter_mut().zip(row).for_each(|(p, a)| *p += a * vr);
        }
        let half: f64 =
            p.iter().zip(&v).map(|(p, v)| p * v).sum::<f64>() / squares * (2.0 / squares);
        for (p, v) in p.iter_mut().zip(&v) {
            *p = 2.0 / squares * *p - half * v;
        }
        for (r, row) in a[..i].iter_mut().enumerate() {
            let (vr, pr) = (v[r], p[r]);
            for ((a, v), p) in row.iter_mut().zip(&v).zip(&p) {
                *a -= vr * p + pr * v;
            }
        }
    }
    if n > 1 {
        off[1] = a[1][0];
    }
    let diagonal = a.iter().enumerate().map(|(i, row)| row[i]).collect();
    off.rotate_left(usize::from(n > 0));
    tridiagonal_eigenvalues(diagonal, off)
}

/// Of the matrix with this diagonal and `off[i]` between i and i + 1.
fn tridiagonal_eigenvalues(mut d: Vec<f64>, mut off: Vec<f64>) -> Vec<f64> {
    let n = d.len();
    for low in 0..n {
        // It takes one or two rounds an eigenvalue; the limit is for numbers that never settle.
        for _ in 0..60 {
            let is_small = |i: usize| off[i].abs() <= f64::EPSILON * (d[i].abs() + d[i + 1].abs());
            let end = (low..n - 1).find(|&i| is_small(i)).unwrap_or(n - 1);
            if end == low {
                break;
            }
            let g = (d[low + 1] - d[low]) / (2.0 * off[low]);
            let mut g = d[end] - d[low] + off[low] / (g + g.hypot(1.0).copysign(g));
            let (mut sine, mut cosine, mut p) = (1.0, 1.0, 0.0);
            let mut is_split = false;
            for i in (low..end).rev() {
                let (f, b) = (sine * off[i], cosine * off[i]);
                let r = f.hypot(g);
                off[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= p;
                    off[end] = 0.0;
                    is_split = true;
                    break;
                }
                (sine, cosine) = (f / r, g / r);
                g = d[i + 1] - p;
                let r = (d[i] - g) * sine + 2.0 * cosine * b;
                p = sine * r;
                d[i + 1] = g + p;
                g = cosine * r - b;
            }
            if !is_split {
                d[low] -= p;
                off[low] = g;
                off[end] = 0.0;
            }
        }
    }
    d
}

/// Alignment and uniformity of two views' embeddings on the sphere (Wang & Isola 2020): `E‖u¹ − u²‖²`, 0 where both views of every image
/// agree, and `log E exp(−2‖u_i − u_j‖²)` over pairs of images, 0 where all are the same and about −4 where they are spread evenly.
pub fn alignment_and_uniformity(first: &[f32], second: &[f32], dim: usize) -> (f64, f64) {
    let unit = |rows: &[f32]| -> Vec<f64> {
        let rows = rows.chunks_exact(dim.max(1)).take(SAMPLED_ROWS);
        rows.flat_map(|row| {
            let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(1e-12);
            row.iter().map(move |x| f64::from(*x) / length)
        })
        .collect()
    };
    let (a, b) = (unit(first), unit(second));
    let n = a.len() / dim.max(1);
    let squares = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
    let row = |all: &'_ [f64], i: usize| all[i * dim..(i + 1) * dim].to_vec();
    let alignment = squares(&a, &b) / n.max(1) as f64;
    let total: f64 = (0..n)
        .into_par_iter()
        .map(|i| {
            let here = row(&a, i);
            (0..i).map(|j| (-2.0 * squares(&here, &a[j * dim..(j + 1) * dim])).exp()).sum::<f64>()
        })
        .collect::<Vec<f64>>()
        .iter()
        .sum();
    let num_pairs = (n * n.saturating_sub(1)) as f64 / 2.0;
    (alignment, (total / num_pairs.max(1.0)).ln())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Rng};

    fn noise(n: usize) -> Vec<f32> {
        let mut rng = Rng::new(3, Purpose::Eval, [0; 3]);
        (0..n).map(|_| rng.normal()).collect()
    }

    #[test]
    fn the_rank_counts_directions_by_their_share() {
        // Two directions with singular values 3 : 1.
        let rows = [3.0, 0.0, -3.0, 0.0, 0.0, 1.0, 0.0, -1.0];
        let expected = (-(0.75 * 0.75f64.ln() + 0.25 * 0.25f64.ln())).exp();
        assert!((effective_rank(&rows, 2, SAMPLED_ROWS) - expected).abs() < 1e-9);
        // Neither scale nor place matters, nor on which side there are more.
        let moved: Vec<f32> = rows.iter().map(|x| 8.0 * x + 2.0).collect();
        assert!((effective_rank(&moved, 2, SAMPLED_ROWS) - expected).abs() < 1e-9);
        let wide: Vec<f32> =
            rows.chunks(2).flat_map(|r| [r[0], 0.0, r[1], 0.0, 0.0, 0.0]).collect();
        assert!((effective_rank(&wide, 6, SAMPLED_ROWS) - expected).abs() < 1e-9);
        assert_eq!(effective_rank(&[2.0; 12], 3, SAMPLED_ROWS), 0.0);
        assert_eq!(effective_rank(&[], 3, SAMPLED_ROWS), 0.0);
        assert!(effective_rank(&[1.0, f32::NAN, 2.0, 3.0], 2, SAMPLED_ROWS).is_nan());
        // Noise fills nearly all of its dimensions, also where only a sample of it is looked at.
        let full = effective_rank(&noise(8 * 5000), 8, SAMPLED_ROWS);
        assert!(full > 7.9 && full <= 8.0 + 1e-9, "{full}");
        // It takes more rows than directions to see all of these.
        let noise = noise(64 * 1024);
        let (few, many) = (effective_rank(&noise, 64, 64), effective_rank(&noise, 64, 512));
        assert!((40.0..58.0).contains(&few) && (62.5..64.0).contains(&many), "{few} {many}");
        assert!(effective_rank(&noise, 64, 1024) > many);
    }

    #[test]
    fn eigenvalues_of_matrices_with_known_ones() {
        // A path's second differences: 2 − 2 cos(kπ/(n + 1)).
        let path = |n: usize| -> Vec<Vec<f64>> {
            let entry = |i: usize, j: usize| match i - j {
                0 => 2.0,
                1 => -1.0,
                _ => 0.0,
            };
            (0..n).map(|i| (0..=i).map(|j| entry(i, j)).collect()).collect()
        };
        for n in [1usize, 2, 3, 40] {
            let mut got = eigenvalues(path(n));
            got.sort_by(f64::total_cmp);
            for (k, got) in got.iter().enumerate() {
                let angle = (k + 1) as f64 * std::f64::consts::PI / (n + 1) as f64;
                assert!((got - (2.0 - 2.0 * angle.cos())).abs() < 1e-12, "{k} of {n}: {got}");
            }
        }
        // Of a full one: I + 1·1ᵀ has n + 1 once and 1 otherwise; and sums of powers are traces of powers.
        let mut got = eigenvalues((0..9).map(|i| [vec![1.0; i], vec![2.0]].concat()).collect());
        got.sort_by(f64::total_cmp);
        assert!((got[8] - 10.0).abs() < 1e-12 && got[..8].iter().all(|x| (x - 1.0).abs() < 1e-12));
        let noise: Vec<f64> = noise(30 * 30).into_iter().map(f64::from).collect();
        let full = |i: usize, j: usize| noise[30 * i.max(j) + i.min(j)];
        let got = eigenvalues((0..30).map(|i| (0..=i).map(|j| full(i, j)).collect()).collect());
        let traces = [
            (0..30).map(|i| full(i, i)).sum::<f64>(),
            (0..900).map(|at| full(at / 30, at % 30).powi(2)).sum(),
        ];
        for (power, trace) in [1, 2].into_iter().zip(traces) {
            let sum: f64 = got.iter().map(|x| x.powi(power)).sum();
            assert!((sum - trace).abs() < 1e-9, "{sum} {trace}");
        }
        assert_eq!(eigenvalues(Vec::new()), [0.0; 0]);
    }

    #[test]
    fn alignment_and_uniformity_of_known_points() {
        // Four points of a square: of the six pairs two are opposite (4) and four neighbours (2).
        let square = [1.0, 0.0, 0.0, 2.0, -3.0, 0.0, 0.0, -1.0];
        let (alignment, uniformity) = alignment_and_uniformity(&square, &square, 2);
        let expected = ((2.0 * (-8.0f64).exp() + 4.0 * (-4.0f64).exp()) / 6.0).ln();
        assert!(alignment.abs() < 1e-12 && (uniformity - expected).abs() < 1e-9);
        let turned = [0.0, 1.0, -1.0, 0.0, 0.0, -1.0, 1.0, 0.0];
        assert!((alignment_and_uniformity(&square, &turned, 2).0 - 2.0).abs() < 1e-9);
        let same = alignment_and_uniformity(&[1.0; 8], &[1.0; 8], 2);
        assert!(same.0.abs() < 1e-12 && same.1.abs() < 1e-9);
        assert!(alignment_and_uniformity(&noise(8 * 64), &noise(8 * 64), 8).1 < -2.0);
    }
}
