//! Where an axis has its ticks and what they are called.

use crate::text::thousands;

/// Ticks at multiples of 1, 2 or 5 × 10ⁿ that span `low..=high`, about `target` steps of them; the first and last may lie outside.
pub(crate) fn spanning(low: f64, high: f64, target: usize) -> Ticks {
    let (low, high) = widened(low, high);
    let step = nice_step((high - low) / target.max(1) as f64);
    // Rounding must not add a step beyond a bound that is a tick itself.
    let first = (low / step + 1e-9).floor();
    let last = (high / step - 1e-9).ceil();
    Ticks::new(first, last, step)
}

/// The same steps, only those within `low..=high`.
pub(crate) fn within(low: f64, high: f64, target: usize) -> Ticks {
    let (low, high) = widened(low, high);
    let step = nice_step((high - low) / target.max(1) as f64);
    Ticks::new((low / step - 1e-9).ceil(), (high / step + 1e-9).floor(), step)
}

/// A range that is not empty: a single value gets room on both sides.
pub(crate) fn widened(low: f64, high: f64) -> (f64, f64) {
    if !low.is_finite() || !high.is_finite() || low > high {
        return (0.0, 1.0);
    }
    let room = low.abs().max(high.abs()).max(1e-12);
    if high - low > room * 1e-6 { (low, high) } else { (low - room * 0.05, high + room * 0.05) }
}

/// The smallest of 1, 2, 5 × 10ⁿ that is no less than `at_least`.
fn nice_step(at_least: f64) -> f64 {
    let power = 10_f64.powf(at_least.log10().floor());
    let found =
        [1.0, 2.0, 5.0].map(|m| m * power).into_iter().find(|s| *s >= at_least * (1.0 - 1e-9));
    found.unwrap_or(10.0 * power)
}

/// Evenly spaced values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ticks {
    pub(crate) values: Vec<f64>,
    pub(crate) step: f64,
}

impl Ticks {
    fn new(first: f64, last: f64, step: f64) -> Self {
        let num_ticks = ((last - first) as usize).min(100);
        let values = (0..=num_ticks).map(|i| (first + i as f64) * step).collect();
        Self { values, step }
    }
}

/// How the numbers of an axis are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Plain,
    /// A part of one, as per cent.
    Percent,
}

impl Format {
    /// A tick's name: as many decimals as its step needs.
    pub(crate) fn tick(self, value: f64, step: f64) -> String {
        let (value, step) = self.scaled(value, step);
        let sign = if self == Self::Percent { "\u{a0}%" } else { "" };
        if value == 0.0 || value.abs() < step * 1e-6 {
            return format!("0{sign}");
        }
        if step < 1e-4 || value.abs() >= 1e7 {
            // Decimals of the mantissa: the distance between the powers of ten of the value and the step.
            let digits =
                (value.abs().log10().floor() - (step * (1.0 + 1e-9)).log10().floor()).max(0.0);
            return format!("{value:.*e}", digits as usize) + sign;
        }
        let decimals = (-(step * (1.0 + 1e-9)).log10().floor()).max(0.0) as usize;
        thousands(&format!("{value:.decimals$}")) + sign
    }

    /// A single value, to four significant digits or so.
    pub(crate) fn value(self, value: f64) -> String {
        if !value.is_finite() {
            return "none".into();
        }
        if self == Self::Percent {
            return format!("{:.1}\u{a0}%", value * 100.0).replace('-', "−");
        }
        let size = value.abs();
        if size != 0.0 && !(1e-4..1e7).contains(&size) {
            return format!("{value:.2e}");
        }
        let decimals =
            if size == 0.0 { 0 } else { (3.0 - size.log10().floor()).clamp(0.0, 7.0) as usize };
        let fixed = format!("{value:.decimals$}");
        let short = if fixed.contains('.') {
            fixed.trim_end_matches('0').trim_end_matches('.')
        } else {
            &fixed
        };
        thousands(short)
    }

    fn scaled(self, value: f64, step: f64) -> (f64, f64) {
        if self == Self::Percent { (value * 100.0, step * 100.0) } else { (value, step) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_ticks(ticks: &Ticks, expected: &[f64]) {
        assert_eq!(ticks.values.len(), expected.len(), "{ticks:?}");
        for (a, b) in ticks.values.iter().zip(expected) {
            assert!((a - b).abs() < 1e-9 * ticks.step.max(b.abs()), "{ticks:?}");
        }
    }

    #[test]
    fn ticks_are_round_and_span_the_range() {
        assert_ticks(&spanning(0.0, 1.0, 5), &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_ticks(&spanning(0.3, 4.8, 5), &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_ticks(&spanning(-7.0, 13.0, 4), &[-10.0, -5.0, 0.0, 5.0, 10.0, 15.0]);
        assert_ticks(&spanning(0.0, 3e-5, 3), &[0.0, 1e-5, 2e-5, 3e-5]);
        assert_ticks(&within(0.0, 9.0, 5), &[0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_ticks(&within(0.5, 3.0, 3), &[1.0, 2.0, 3.0]);
    }

    #[test]
    fn ranges_that_are_none_still_give_an_axis() {
        for (low, high) in
            [(5.0, 5.0), (0.0, 0.0), (f64::NAN, 1.0), (f64::INFINITY, 2.0), (3.0, 1.0)]
        {
            let ticks = spanning(low, high, 5);
            assert!((2..12).contains(&ticks.values.len()), "{low} {high} {ticks:?}");
            assert!(ticks.values.iter().all(|v| v.is_finite()));
        }
        let ticks = spanning(0.7, 0.7, 4);
        assert!(ticks.values[0] < 0.7 && *ticks.values.last().unwrap() > 0.7, "{ticks:?}");
    }

    #[test]
    fn tick_names_have_the_decimals_of_their_step() {
        assert_eq!(Format::Plain.tick(0.995, 0.005), "0.995");
        assert_eq!(Format::Plain.tick(1.0, 0.2), "1.0");
        assert_eq!(Format::Plain.tick(2000.0, 500.0), "2,000");
        assert_eq!(Format::Plain.tick(-1234.5, 0.5), "−1,234.5");
        assert_eq!(Format::Plain.tick(0.1 * 3.0 - 0.3, 0.1), "0");
        assert_eq!(Format::Plain.tick(2e-5, 1e-5), "2e-5");
        assert_eq!(Format::Plain.tick(1.5e-5, 5e-6), "1.5e-5");
        assert_eq!(Format::Percent.tick(0.725, 0.005), "72.5\u{a0}%");
        assert_eq!(Format::Percent.tick(0.7, 0.1), "70\u{a0}%");
    }

    #[test]
    fn values_are_short() {
        assert_eq!(Format::Plain.value(6.543_21), "6.543");
        assert_eq!(Format::Plain.value(0.9), "0.9");
        assert_eq!(Format::Plain.value(1234.56), "1,235");
        assert_eq!(Format::Plain.value(f64::NAN), "none");
        assert_eq!(Format::Percent.value(0.8235), "82.3\u{a0}%");
    }
}
