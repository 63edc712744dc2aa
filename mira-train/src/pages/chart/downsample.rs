//! Long curves as few points: the mean of each bucket, and how far the values in it reach.

/// Neighbouring points as one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bucket {
    /// Mean position.
    pub(crate) x: f64,
    /// Mean value; NaN if there is none.
    pub(crate) mean: f64,
    /// Smallest value.
    pub(crate) low: f64,
    /// Largest value.
    pub(crate) high: f64,
    /// How many values there are.
    pub(crate) num_values: usize,
}

/// At most `max_buckets` buckets of equally many points; values that are not finite count as absent.
pub(crate) fn downsample(points: &[(f64, f64)], max_buckets: usize) -> Vec<Bucket> {
    let num_buckets = points.len().min(max_buckets.max(1));
    let start = |i: usize| i * points.len() / num_buckets;
    (0..num_buckets).map(|i| bucket(&points[start(i)..start(i + 1)])).collect()
}

fn bucket(points: &[(f64, f64)]) -> Bucket {
    let x = points.iter().map(|p| p.0).sum::<f64>() / points.len() as f64;
    let (mut sum, mut low, mut high, mut num_values) = (0.0, f64::INFINITY, f64::NEG_INFINITY, 0);
    for &(_, y) in points.iter().filter(|p| p.1.is_finite()) {
        sum += y;
        low = low.min(y);
        high = high.max(y);
        num_values += 1;
    }
    if num_values == 0 {
        return Bucket { x, mean: f64::NAN, low: f64::NAN, high: f64::NAN, num_values };
    }
    Bucket { x, mean: sum / num_values as f64, low, high, num_values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_bounds_of_each_bucket() {
        let points: Vec<_> = (0..1000).map(|i| (f64::from(i), f64::from(i % 2))).collect();
        let buckets = downsample(&points, 10);
        assert_eq!(buckets.len(), 10);
        assert_eq!(buckets[0], Bucket { x: 49.5, mean: 0.5, low: 0.0, high: 1.0, num_values: 100 });
        assert_eq!(buckets.iter().map(|b| b.num_values).sum::<usize>(), 1000);
    }

    #[test]
    fn short_curves_stay_and_absent_values_leave_gaps() {
        let buckets = downsample(&[(0.0, 5.0), (1.0, f64::NAN), (2.0, 7.0)], 10);
        assert_eq!(buckets.iter().map(|b| b.num_values).collect::<Vec<_>>(), [1, 0, 1]);
        assert!(buckets[1].mean.is_nan());
        assert_eq!((buckets[2].x, buckets[2].mean), (2.0, 7.0));
        assert!(downsample(&[], 10).is_empty());
    }
}
