//! The two directions in which features vary most: principal components, by subspace iteration on the data itself.
//!
//! With X the centred n×d features, Q ← orth(Xᵀ X Q) converges to the leading eigenvectors of the covariance Xᵀ X / n without that
//! d×d matrix ever being made; a Rayleigh–Ritz step on the small Qᵀ Xᵀ X Q orders them.

mod small;

use super::Error;

/// Features looked at; beyond, every so-manieth row.
pub const MAX_ROWS: usize = 2048;
/// Directions iterated; those beyond two make the two converge faster.
const BLOCK: usize = 6;
const MAX_ITERATIONS: usize = 30;
/// Relative change of both variances at which the iteration ends.
const TOLERANCE: f64 = 1e-6;

/// What is to be projected.
#[derive(Clone, Copy, Debug)]
pub struct Projection<'a> {
    /// n rows of `dim` features.
    pub features: &'a [f32],
    /// d.
    pub dim: usize,
    /// A class for each row; `None` or a missing one: not known.
    pub labels: &'a [Option<u32>],
    /// Names of the classes.
    pub class_names: &'a [String],
}

/// Features in their first two principal components.
#[derive(Clone, Debug)]
pub struct Pca {
    /// The rows that were looked at.
    pub rows: Vec<usize>,
    /// Their coordinates.
    pub points: Vec<[f32; 2]>,
    /// The part of the variance each component explains, 0–1, larger first.
    pub explained: [f64; 2],
}

/// The first two principal components of features; the largest entry of each direction is positive.
///
/// Of more than [`MAX_ROWS`] rows it looks at evenly spaced ones.
///
/// # Errors
/// [`Error::Features`] where they are not a matrix of at least two rows of finite numbers.
pub fn pca(features: &[f32], dim: usize) -> Result<Pca, Error> {
    let refused = |problem| Error::Features { num_values: features.len(), dim, problem };
    if dim == 0 || !features.len().is_multiple_of(dim) {
        return Err(refused("they are no whole number of rows; give n × dim of them"));
    }
    let num_features = features.len() / dim;
    if num_features < 2 {
        return Err(refused("two rows or more are needed"));
    }
    let n = num_features.min(MAX_ROWS);
    let rows: Vec<usize> = (0..n).map(|i| i * num_features / n).collect();
    let centred = centred(features, dim, &rows);
    let total: f64 = centred.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    if !total.is_finite() {
        return Err(refused("not all are finite; look for an overflow in the encoder"));
    }
    let (directions, variances) = leading(&centred, dim);
    let points = centred.chunks_exact(dim).map(|row| {
        let along = |j: usize| directions.get(j).map_or(0.0, |q| dot(row, q));
        [along(0), along(1)]
    });
    let part = |j: usize| {
        let variance = variances.get(j).copied().unwrap_or(0.0);
        if total > 0.0 { (variance / total).clamp(0.0, 1.0) } else { 0.0 }
    };
    Ok(Pca { points: points.collect(), explained: [part(0), part(1)], rows })
}

/// The rows less their mean.
fn centred(features: &[f32], dim: usize, rows: &[usize]) -> Vec<f32> {
    let row = |i: usize| &features[i * dim..(i + 1) * dim];
    let mut mean = vec![0.0_f64; dim];
    for &i in rows {
        for (m, &v) in mean.iter_mut().zip(row(i)) {
            *m += f64::from(v);
        }
    }
    for m in &mut mean {
        *m /= rows.len() as f64;
    }
    let difference = |(&v, m): (&f32, &f64)| (f64::from(v) - m) as f32;
    rows.iter().flat_map(|&i| row(i).iter().zip(&mean).map(difference)).collect()
}

/// Unit directions of the largest sums of squares, and these sums.
fn leading(x: &[f32], dim: usize) -> (Vec<Vec<f32>>, Vec<f64>) {
    let block = BLOCK.min(dim);
    // Any start will do that is not orthogonal to the answer; a fixed one makes the picture reproducible.
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut q: Vec<Vec<f32>> = (0..block).map(|_| (0..dim).map(|_| noise()).collect()).collect();
    orthonormalise(&mut q);
    let mut variances = vec![0.0; block];
    for _ in 0..MAX_ITERATIONS {
        // z = XᵀXq, and the projections' Gram matrix qᵀXᵀXq.
        let mut z = vec![vec![0.0_f32; dim]; block];
        let mut gram = vec![vec![0.0_f64; block]; block];
        let mut along = vec![0.0_f32; block];
        for row in x.chunks_exact(dim) {
            for (a, q) in along.iter_mut().zip(&q) {
                *a = dot(row, q);
            }
            for (i, (z, &a)) in z.iter_mut().zip(&along).enumerate() {
                z.iter_mut().zip(row).for_each(|(z, &v)| *z += a * v);
                for (g, &b) in gram[i].iter_mut().zip(&along) {
                    *g += f64::from(a) * f64::from(b);
                }
            }
        }
        let (values, rotation) = small::eigen(gram);
        let close = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * values[0].abs();
        let is_done = values.iter().zip(&variances).take(2).all(|(&a, &b)| close(a, b));
        variances = values;
        // The answer of this round is q turned by the rotation; z turned is the next round's start.
        if is_done {
            q = turned(&q, &rotation);
            break;
        }
        q = turned(&z, &rotation);
        orthonormalise(&mut q);
    }
    for q in &mut q {
        let largest = q.iter().fold(0.0_f32, |m, &v| if v.abs() > m.abs() { v } else { m });
        if largest < 0.0 {
            for v in q {
                *v = -*v;
            }
        }
    }
    (q, variances)
}

/// Each column of the rotation as a combination of directions.
fn turned(q: &[Vec<f32>], rotation: &[Vec<f64>]) -> Vec<Vec<f32>> {
    (0..q.len())
        .map(|j| {
            let mut sum = vec![0.0_f32; q[0].len()];
            for (q, r) in q.iter().zip(rotation) {
                sum.iter_mut().zip(q).for_each(|(s, &v)| *s += r[j] as f32 * v);
            }
            sum
        })
        .collect()
}

/// Gram–Schmidt, twice for accuracy; a direction that vanishes becomes zero.
fn orthonormalise(q: &mut [Vec<f32>]) {
    for j in 0..q.len() {
        let (before, rest) = q.split_at_mut(j);
        let this = &mut rest[0];
        // A length of one first: squares of tiny or huge entries would leave f32.
        scale_to_one(this, 0.0);
        for _ in 0..2 {
            for other in before.iter() {
                let along = dot(this, other);
                this.iter_mut().zip(other).for_each(|(v, &o)| *v -= along * o);
            }
        }
        scale_to_one(this, 1e-5);
    }
}

fn scale_to_one(q: &mut [f32], at_least: f64) {
    let length = q.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    let factor = if length > at_least { 1.0 / length } else { 0.0 };
    for v in q {
        *v = (f64::from(*v) * factor) as f32;
    }
}

/// Sums in eight lanes, which the compiler makes a vector of.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let (a_parts, b_parts) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_parts.remainder().iter().zip(b_parts.remainder()).map(|(x, y)| x * y).sum();
    for (a, b) in a_parts.zip(b_parts) {
        for i in 0..8 {
            lanes[i] += a[i] * b[i];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_on_a_line_have_one_component() {
        // t · (3, 4, 0) / 5 + (7, −2, 1), t = −2, −1, 0, 1, 2: largest entry positive, so t itself comes back.
        let features: Vec<f32> =
            (-2..=2).flat_map(|t| [0.6 * t as f32 + 7.0, 0.8 * t as f32 - 2.0, 1.0]).collect();
        let pca = pca(&features, 3).unwrap();
        for (t, p) in (-2..=2).zip(&pca.points) {
            assert!((p[0] - t as f32).abs() < 1e-5 && p[1].abs() < 1e-4, "{:?}", pca.points);
        }
        assert!((pca.explained[0] - 1.0).abs() < 1e-6 && pca.explained[1] < 1e-6);
    }

    #[test]
    fn the_variances_of_a_known_covariance() {
        // Points ± aᵢ eᵢ: the covariance is diagonal, its eigenvalues are proportional to aᵢ².
        let (dim, lengths) = (50, |i: usize| match i {
            17 => 9.0_f32,
            3 => -6.0,
            _ => 1.0,
        });
        let mut features = Vec::new();
        for i in 0..dim {
            for sign in [1.0, -1.0] {
                let mut row = vec![10.0_f32; dim];
                row[i] += sign * lengths(i);
                features.extend(row);
            }
        }
        let total = 81.0 + 36.0 + 48.0;
        let pca = pca(&features, dim).unwrap();
        assert!((pca.explained[0] - 81.0 / total).abs() < 1e-5, "{:?}", pca.explained);
        assert!((pca.explained[1] - 36.0 / total).abs() < 1e-5, "{:?}", pca.explained);
        assert!((pca.points[34][0] - 9.0).abs() < 1e-3 && (pca.points[35][0] + 9.0).abs() < 1e-3);
        assert!((pca.points[6][1] + 6.0).abs() < 1e-3, "{:?}", pca.points[6]);
    }

    #[test]
    fn equal_features_and_bad_ones() {
        let same = pca(&[2.0; 40], 4).unwrap();
        assert_eq!(same.explained, [0.0, 0.0]);
        assert!(same.points.iter().flatten().all(|v| *v == 0.0));
        for (features, dim) in
            [(&[1.0_f32; 7][..], 2), (&[1.0; 4], 0), (&[1.0; 4], 4), (&[f32::NAN; 4], 2)]
        {
            assert!(matches!(pca(features, dim), Err(Error::Features { .. })));
        }
        assert!(pca(&[1.0, 2.0, 5.0], 1).is_ok());
    }

    #[test]
    fn many_rows_are_thinned_evenly() {
        let features: Vec<f32> = (0..10_000).map(|i| i as f32).collect();
        let pca = pca(&features, 1).unwrap();
        assert_eq!(pca.rows.len(), MAX_ROWS);
        assert!(pca.rows.windows(2).all(|w| (4..=5).contains(&(w[1] - w[0]))));
    }
}
