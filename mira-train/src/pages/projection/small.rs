//! Eigenvalues of small symmetric matrices.

/// Eigenvalues, largest first, and eigenvectors as columns, by cyclic Jacobi rotations.
pub(super) fn eigen(mut a: Vec<Vec<f64>>) -> (Vec<f64>, Vec<Vec<f64>>) {
    let n = a.len();
    let mut v: Vec<Vec<f64>> =
        (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for _ in 0..30 {
        let off: f64 =
            (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i][j].powi(2)).sum();
        let all: f64 = a.iter().flatten().map(|x| x * x).sum();
        if off <= all * 1e-26 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q] != 0.0 {
                    rotate(&mut a, &mut v, p, q);
                }
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a[j][j].total_cmp(&a[i][i]));
    let values = order.iter().map(|&i| a[i][i]).collect();
    let vectors = v.iter().map(|row| order.iter().map(|&i| row[i]).collect()).collect();
    (values, vectors)
}

/// The rotation of p and q that makes a[p][q] zero.
fn rotate(a: &mut [Vec<f64>], v: &mut [Vec<f64>], p: usize, q: usize) {
    let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
    let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let (c, s) = (1.0 / t.hypot(1.0), t / t.hypot(1.0));
    let turn = |x: &mut f64, y: &mut f64| (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    for row in a.iter_mut().chain(v) {
        let (left, right) = row.split_at_mut(q);
        turn(&mut left[p], &mut right[0]);
    }
    let (upper, lower) = a.split_at_mut(q);
    upper[p].iter_mut().zip(&mut lower[0]).for_each(|(x, y)| turn(x, y));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_with_known_eigenvalues() {
        // The second-difference matrix of size 3 has the eigenvalues 2 + √2, 2 and 2 − √2.
        let a = vec![vec![2.0, -1.0, 0.0], vec![-1.0, 2.0, -1.0], vec![0.0, -1.0, 2.0]];
        let (values, vectors) = eigen(a.clone());
        let root = 2_f64.sqrt();
        for (j, expected) in [2.0 + root, 2.0, 2.0 - root].into_iter().enumerate() {
            assert!((values[j] - expected).abs() < 1e-12, "{values:?}");
            for i in 0..3 {
                let product: f64 = (0..3).map(|k| a[i][k] * vectors[k][j]).sum();
                assert!((product - expected * vectors[i][j]).abs() < 1e-10);
            }
        }
    }
}
