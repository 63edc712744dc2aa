//! Weights have an additive constant to choose: which, decides what rounding does to them.

/// A range of log weights that no arithmetic's linear domain holds: f64 spans some 1,450 nats, its subnormal numbers included.
const WIDE: f64 = 1500.0;

/// Shifts `a` so that its largest and smallest value are of equal magnitude: the widest range an arithmetic's exponents can hold.
///
/// Where that is wider than any holds, as with a prototype that is masked by a large negative number instead of −∞, the middle of the range may be so far
/// from most weights that their differences are lost. Then 0 is the median by `log_marginal`, the logarithms of how much each prototype is
/// used: prototypes that matter keep their digits.
pub(crate) fn center_gauge(log_weights: &mut [f64], log_marginal: &[f64]) {
    let (low, high) = range(log_weights);
    let origin = if high - low <= WIDE {
        0.5 * (low + high)
    } else {
        median(log_weights, log_marginal, low, high)
    };
    for a in log_weights {
        *a -= origin;
    }
}

fn range(log_weights: &[f64]) -> (f64, f64) {
    // Comparisons instead of min and max, which mind NaN and so do not vectorise; weights are finite.
    let (mut low, mut high) = ([f64::INFINITY; 8], [f64::NEG_INFINITY; 8]);
    for chunk in log_weights.chunks(8) {
        for ((low, high), &a) in low.iter_mut().zip(&mut high).zip(chunk) {
            *low = if a < *low { a } else { *low };
            *high = if a > *high { a } else { *high };
        }
    }
    let low = low.into_iter().fold(f64::INFINITY, f64::min);
    let high = high.into_iter().fold(f64::NEG_INFINITY, f64::max);
    (low, high)
}

/// A weight `m` of which half of the mass is at or below it and half at or above it.
fn median(log_weights: &[f64], log_marginal: &[f64], low: f64, high: f64) -> f64 {
    let largest = log_marginal.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mass_where = |is_in: &dyn Fn(f64) -> bool| -> f64 {
        let of = |(a, l): (&f64, &f64)| if is_in(*a) { (l - largest).exp() } else { 0.0 };
        log_weights.iter().zip(log_marginal).map(of).sum()
    };
    let half = 0.5 * mass_where(&|_| true);
    // The least number that has half of the mass at or below it is one of the weights: bisected by their order as bits.
    let (mut below, mut at) = (ordinal(low), ordinal(high));
    while below < at {
        let middle = below + (at - below) / 2;
        let threshold = of_ordinal(middle);
        if mass_where(&|a| a <= threshold) >= half { at = middle } else { below = middle + 1 }
    }
    of_ordinal(at)
}

/// Whole numbers in the order of the finite numbers that they stand for.
fn ordinal(x: f64) -> u64 {
    let bits = x.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn of_ordinal(ordinal: u64) -> f64 {
    f64::from_bits(if ordinal >> 63 == 1 { ordinal & !(1 << 63) } else { !ordinal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_centred_where_an_arithmetic_may_hold_it() {
        let mut weights = [700.0, 1.0, -600.0];
        center_gauge(&mut weights, &[0.0; 3]);
        assert_eq!(weights, [650.0, -49.0, -650.0]);
    }

    #[test]
    fn weights_that_matter_keep_their_digits_whatever_one_is_masked_by() {
        for far in [1e30, -1e30, 1e299, -1e299] {
            // By number where nothing is known of the marginal, by mass where something is.
            for log_marginal in [[0.0; 5], [-1.0, -2.0, -3.0, -1.5, -1e29]] {
                let mut weights = [7.0, 7.5, 8.25, 7.125, far];
                center_gauge(&mut weights, &log_marginal);
                assert_eq!(weights[1] - weights[0], 0.5, "{far}");
                assert_eq!(weights[2] - weights[0], 1.25, "{far}");
                assert!(weights[..4].iter().all(|a| a.abs() <= 1.25), "{weights:?}");
            }
        }
        // Two that are used, three that are not.
        let mut weights = [0.5, 1e30, 1e30, 1e30, 1.0];
        center_gauge(&mut weights, &[-0.5, -1e29, f64::NEG_INFINITY, -1e29, -0.9]);
        assert_eq!([weights[0], weights[4]], [0.0, 0.5]);
    }

    #[test]
    fn numbers_and_their_ordinals_have_the_same_order() {
        let numbers = [-f64::MAX, -1.0, -f64::MIN_POSITIVE, -0.0, 0.0, 1e-300, 1.0, f64::MAX];
        let ordinals = numbers.map(ordinal);
        assert!(ordinals.is_sorted(), "{ordinals:?}");
        assert_eq!(ordinals.map(of_ordinal), numbers);
    }
}
