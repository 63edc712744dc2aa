//! Proven distances to the optimum, in O(K), from the last sweep alone.
//!
//! # MIRA
//! For any column weights `a` put `log u = −((1−β)/β) a`, normalised to `Σu = 1`, and let `w̄` be the marginal of the assignment
//! `W ∝ e^a k`. With `r = log w̄ − log u`, `span(x) = max x − min x`:
//!
//! ```text
//! F(W) − F(W*)                        ≤ β KL(w̄ ‖ u)                    (duality gap, exact)
//! mean_i KL(w_i ‖ w*_i)               ≤ (β/(1−β)) KL(w̄ ‖ u)
//! max_ij |log w_ij − log w*_ij|       ≤ (β/(1−β)) span(r)
//! ```
//!
//! The first is Fenchel duality with `Σ w̄ log w̄ = max_u Σ w̄ log u`; the second the identity
//! `F(W) − F(W*) = (1−β) mean KL(w_i‖w*_i) + β KL(w̄‖w̄*)`; the third holds because the sweep is a β-contraction in the span seminorm.
//! For β = 0, where the optimum has `a = 0`, they are `span(a)²/8`, the same, and `span(a)`: by Hoeffding's lemma, as `W` is the optimum tilted by `e^a`.
//!
//! # Sinkhorn–Knopp
//! With potentials `f = ε a`, marginal `w̄` and `R` the largest span of a row of logits (which bounds span(f*)):
//!
//! ```text
//! D* − D(f)                 ≤ ½ ‖w̄ − 1/K‖₁ (span(f) + R)            (concavity of the dual)
//! mean_i KL(w*_i ‖ w_i)     = (D* − D(f))/ε
//! max_ij |log w_ij − log w*_ij| ≤ span(log K w̄) / (1 − tanh²(R/2ε))  (Birkhoff's contraction; Franklin and Lorenz 1989)
//! ```
//!
//! [`verify`](crate::verify()) gives the tighter gap of the assignment rounded to the transport polytope (Altschuler, Weed and Rigollet 2017).

/// How far an assignment is from the method's optimum; each field is an upper bound, proven in the module's documentation.
///
/// The bounds speak of the assignment in exact arithmetic; what rounding can add to the per-element bound is stated beside them.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
// Formats such as JSON have no infinity: what is not known is absent there (`null`).
pub struct Certificate {
    /// Suboptimality: `≥ F(W) − F(W*)` in nats for MIRA; `≥ D* − D(f)` in units of the logits for Sinkhorn–Knopp; 0 for softmax.
    #[cfg_attr(feature = "serde", serde(with = "bound"))]
    pub duality_gap: f64,
    /// `≥ mean_i KL(w_i ‖ w*_i)` in nats (for Sinkhorn–Knopp the other direction, `mean_i KL(w*_i ‖ w_i)`).
    #[cfg_attr(feature = "serde", serde(with = "bound"))]
    pub label_kl_bound: f64,
    /// `≥ max_ij |log w_ij − log w*_ij|` over elements that do not underflow the output's type; may be infinite for Sinkhorn–Knopp.
    #[cfg_attr(feature = "serde", serde(with = "bound"))]
    pub log_ratio_bound: f64,
    /// `‖w̄ − target‖₁` of the marginal as it was computed, where the target is 1/K for Sinkhorn–Knopp, `u` for MIRA; 0 for softmax. Of labels in an
    /// arithmetic of unit roundoff u it may be off by 8u.
    #[cfg_attr(feature = "serde", serde(with = "bound"))]
    pub marginal_error: f64,
    /// What rounding may add to `log_ratio_bound`, by the statistical model of [`rounding_allowance`];
    /// [`verify`](crate::verify()) states a worst case of its own instead.
    #[cfg_attr(feature = "serde", serde(with = "bound"))]
    pub rounding_allowance: f64,
}

/// A bound in a file: a number, or none for `+∞`.
#[cfg(feature = "serde")]
mod bound {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    // By reference, as serde has it.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(super) fn serialize<S: Serializer>(bound: &f64, to: S) -> Result<S::Ok, S::Error> {
        Some(*bound).filter(|b| b.is_finite()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(from)?.unwrap_or(f64::INFINITY))
    }
}

impl Certificate {
    /// The certificate of a closed form (softmax): nothing to converge.
    pub(crate) fn exact(rounding_allowance: f64) -> Self {
        Self {
            duality_gap: 0.0,
            label_kl_bound: 0.0,
            log_ratio_bound: 0.0,
            marginal_error: 0.0,
            rounding_allowance,
        }
    }
}

/// What rounding in an arithmetic of unit roundoff `u` may add to MIRA's per-element bound:
/// `(8 u + 4 · 2⁻⁵³ e) (1 + β/(1−β))`, where `e` is the largest magnitude of the exponents, see [`largest_exponent`]. (To
/// Sinkhorn–Knopp's, with `1/(1 − tanh²(R/2ε))` for β/(1−β).)
///
/// A model, not a proof: an element passes through about eight roundings (exponential, weight, row sum, division), a marginal is a
/// mean of many such with independent signs, and the bound multiplies two marginals' errors by β/(1−β). Logarithms of weights and marginals are
/// kept in f64, which rounds them in proportion to their size; that shows in f64 only. It takes the exponents `S/ε` for exact, as the CPU
/// backend's kernel has them; oracle and log domain, which compute them in f64, add `4 · 2⁻⁵³ e` for those, e at most 745.
/// Independent signs are what the model assumes, which holds of rows that differ: a backend must not round sums of equal rows all in the same direction.
/// The soundness check (`just certificate-soundness`) holds it against the f64 oracle on many random problems.
pub fn rounding_allowance(beta: f64, unit_roundoff: f64, largest_exponent: f64) -> f64 {
    amplified_allowance(beta / (1.0 - beta), unit_roundoff, largest_exponent)
}

/// What rounding of the exponents of elements themselves may add where they are computed in f64: `4 · 2⁻⁵³ e`, of elements that do not
/// underflow, so that `e` is at most 745, nor further below the largest of their row than its `span`.
pub(crate) fn exponents_allowance(span: f64) -> f64 {
    const LARGEST: f64 = 745.2; // −log of the smallest number above 0
    2.0 * f64::EPSILON * span.min(LARGEST)
}

/// The same for a bound that multiplies the errors of marginals by `amplification`.
fn amplified_allowance(amplification: f64, unit_roundoff: f64, largest_exponent: f64) -> f64 {
    let of_logarithms = 4.0 * 0.5 * f64::EPSILON * largest_exponent;
    (8.0 * unit_roundoff + of_logarithms) * (1.0 + amplification)
}

/// What Sinkhorn–Knopp's per-element bound multiplies errors of marginals by: `1/(1 − tanh²(R/2ε)) = cosh²(R/2ε)`; `+∞` once it overflows.
pub(crate) fn sinkhorn_amplification(epsilon: f64, row_span: f64) -> f64 {
    let cosh = (row_span / (2.0 * epsilon)).cosh();
    cosh * cosh
}

/// The logarithm of a marginal below which no label is a number of f64, with 2^40 rows or fewer: with the smallest one, e^−745, a mean of so many is larger.
const LOG_NO_LABEL: f64 = -800.0;

/// The largest magnitude of the log weights and log marginals of prototypes that are neither forbidden nor, as with those that are masked by a large
/// negative number, so far off that each of their labels is 0, which rounding does not touch.
pub fn largest_exponent(log_weights: &[f64], log_marginal: &[f64]) -> f64 {
    let active = log_weights.iter().zip(log_marginal).filter(|(_, m)| **m > LOG_NO_LABEL);
    active.fold(0.0, |largest: f64, (a, m)| largest.max(a.abs()).max(m.abs()))
}

/// Nothing is proven.
const UNKNOWN: Certificate = Certificate {
    duality_gap: f64::INFINITY,
    label_kl_bound: f64::INFINITY,
    log_ratio_bound: f64::INFINITY,
    marginal_error: f64::INFINITY,
    rounding_allowance: f64::INFINITY,
};

/// Whether what a prototype's weight and marginal differ by is no more than their rounding, of one whose labels are all 0: then it is not known,
/// and, as the prototype has no share in any row, says nothing of the others. The difference is of the weight and `scale` times the marginal, in logarithms.
pub(crate) fn is_lost(difference: f64, log_weight: f64, log_marginal: f64, scale: f64) -> bool {
    let size = log_weight.abs().max(scale * log_marginal.abs());
    log_marginal < LOG_NO_LABEL && difference.abs() <= 8.0 * f64::EPSILON * size
}

/// `max − min` over the entries that are not −∞ or +∞; 0 for fewer than two, +∞ if one is NaN.
pub(crate) fn span(values: impl Iterator<Item = f64>) -> f64 {
    let mut is_number = true;
    let (low, high) = values
        .filter(|x| !x.is_infinite())
        .inspect(|x| is_number &= !x.is_nan())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    match (is_number, high >= low) {
        (false, _) => f64::INFINITY,
        (true, true) => high - low,
        (true, false) => 0.0,
    }
}

/// What is no number proves nothing.
pub(crate) fn or_unknown(bound: f64) -> f64 {
    if bound.is_nan() { f64::INFINITY } else { bound }
}

/// `log Σ e^x`, ignoring −∞.
pub(crate) fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let max = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        return max;
    }
    max + sum(values.map(|x| (x - max).exp())).ln()
}

/// A sum whose error does not grow with the number of terms: what each addition loses is added up as well (Neumaier 1974). Equal terms one after
/// the other would all be rounded the same way.
pub(crate) fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0f64, 0.0f64);
    for x in values {
        let next = sum + x;
        lost += if sum.abs() >= x.abs() { (sum - next) + x } else { (x - next) + sum };
        sum = next;
    }
    sum + lost
}

/// `KL(p ‖ q)` of two distributions given by their logarithms; non-negative term by term, so that rounding cannot make it
/// negative. Entries with `log p = −∞` count `q`.
pub(crate) fn kl_divergence(
    log_p: impl Iterator<Item = f64>,
    log_q: impl Iterator<Item = f64>,
) -> f64 {
    log_p
        .zip(log_q)
        .map(|(lp, lq)| {
            if lp == f64::NEG_INFINITY {
                return lq.exp();
            }
            let (p, d) = (lp.exp(), lq - lp);
            // p (e^d − 1 − d): the difference of two nearly equal numbers when d is small.
            if d > 1.0 {
                // e^d may overflow where p underflows; their product is q.
                return lq.exp() - p * (1.0 + d);
            }
            p * if d.abs() < 1e-4 {
                d * d * (0.5 + d * (1.0 / 6.0 + d / 24.0))
            } else {
                d.exp_m1() - d
            }
        })
        .sum()
}

/// The MIRA certificate at column weights `log_weights` whose assignment has the (global) marginal `exp(log_marginal)`.
///
/// Prototypes with a log marginal of −∞ are forbidden in every row and take no part. `log_weights` may carry any additive constant.
///
/// # Panics
/// If the slices differ in length (debug builds).
pub fn mira_certificate(
    beta: f64,
    log_weights: &[f64],
    log_marginal: &[f64],
    unit_roundoff: f64,
) -> Certificate {
    debug_assert_eq!(log_weights.len(), log_marginal.len());
    let exponent = largest_exponent(log_weights, log_marginal);
    let allowance = rounding_allowance(beta, unit_roundoff, exponent);
    if beta == 0.0 {
        // Softmax: any weights, as of a warm start, lead away from it.
        let active = log_weights.iter().zip(log_marginal).filter(|(_, m)| **m > f64::NEG_INFINITY);
        let span = span(active.map(|(a, _)| *a));
        let kl = span * span / 8.0;
        return Certificate {
            duality_gap: kl,
            label_kl_bound: kl,
            log_ratio_bound: span,
            ..Certificate::exact(allowance)
        };
    }
    let gamma = beta / (1.0 - beta);
    // Both normalised, so that KL is one of distributions. `a` of a forbidden prototype is arbitrary: u = w̄ = 0 there.
    let log_mass = log_sum_exp(log_marginal.iter().copied());
    if !log_mass.is_finite() {
        // No marginal of rows that sum to 1.
        return Certificate { rounding_allowance: allowance, ..UNKNOWN };
    }
    let unnormalised = || {
        log_weights
            .iter()
            .zip(log_marginal)
            .map(|(a, &m)| if m == f64::NEG_INFINITY { m } else { -a / gamma })
    };
    let log_u_mass = log_sum_exp(unnormalised());
    let log_u = || unnormalised().map(|x| x - log_u_mass);
    let log_p = || log_marginal.iter().map(|m| m - log_mass);
    // The quotient by a tiny γ may be infinite.
    let kl = or_unknown(kl_divergence(log_p(), log_u()));
    // γ r, up to a constant, without that quotient.
    let amplified = |(&a, &m): (&f64, &f64)| {
        let known = m > f64::NEG_INFINITY && !is_lost(a + gamma * m, a, m, gamma);
        if known { a + gamma * m } else { f64::NEG_INFINITY }
    };
    Certificate {
        duality_gap: beta * kl,
        label_kl_bound: gamma * kl,
        log_ratio_bound: span(log_weights.iter().zip(log_marginal).map(amplified)),
        marginal_error: or_unknown(
            log_p().zip(log_u()).map(|(m, u)| (m.exp() - u.exp()).abs()).sum(),
        ),
        rounding_allowance: allowance,
    }
}

/// The Sinkhorn–Knopp certificate; `row_span` is the largest `max_j S_ij − min_j S_ij` over the rows, `+∞` if some logits are −∞.
///
/// # Panics
/// If the slices differ in length (debug builds).
pub fn sinkhorn_certificate(
    epsilon: f64,
    row_span: f64,
    log_weights: &[f64],
    log_marginal: &[f64],
    unit_roundoff: f64,
) -> Certificate {
    debug_assert_eq!(log_weights.len(), log_marginal.len());
    let uniform = 1.0 / log_marginal.len() as f64;
    let marginal_error = or_unknown(log_marginal.iter().map(|m| (m.exp() - uniform).abs()).sum());
    let potential_span = epsilon * span(log_weights.iter().copied());
    // Not left to 0 · ∞: forbidden entries have an infinite span, and a marginal that is exact is so with them, too.
    let duality_gap = if log_marginal.len() == 1 || marginal_error == 0.0 {
        0.0
    } else {
        0.5 * marginal_error * (potential_span + row_span)
    };
    let amplification = sinkhorn_amplification(epsilon, row_span);
    let residual = if log_marginal.contains(&f64::NEG_INFINITY) || marginal_error.is_infinite() {
        f64::INFINITY
    } else {
        span(log_marginal.iter().copied())
    };
    let duality_gap = or_unknown(duality_gap);
    Certificate {
        duality_gap,
        label_kl_bound: or_unknown(duality_gap / epsilon),
        log_ratio_bound: if residual == 0.0 { 0.0 } else { or_unknown(residual * amplification) },
        marginal_error,
        // A single prototype has nothing to be wrong about.
        rounding_allowance: amplified_allowance(
            if log_marginal.len() == 1 { 0.0 } else { amplification },
            unit_roundoff,
            largest_exponent(log_weights, log_marginal),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two logarithms near `e` that are stored in f64, each off by half a unit in its last place, make a span wrong by a whole one.
    #[test]
    fn the_allowance_covers_how_logarithms_are_stored() {
        for e in [1.0f64, 30.0, 700.0] {
            let unit_in_last_place = f64::from_bits(e.to_bits() + 1) - e;
            for (beta, u) in [(0.0, 2f64.powi(-53)), (0.9, 2f64.powi(-53)), (0.5, 2f64.powi(-24))] {
                let span = beta / (1.0 - beta) * unit_in_last_place;
                assert!(rounding_allowance(beta, u, e) >= span, "e = {e}, β = {beta}");
            }
        }
    }

    #[test]
    fn kl_is_exact_where_it_is_small_and_where_it_is_not() {
        // KL of two-point distributions, by the definition with p, q far apart.
        let (p, q) = ([0.9f64, 0.1], [0.2f64, 0.8]);
        let definition: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
        let ours = kl_divergence(p.iter().map(|x| x.ln()), q.iter().map(|x| x.ln()));
        assert!((ours - definition).abs() < 1e-15);
        // KL(p ‖ p + δ(1, −1)) = δ²/2 (1/p₁ + 1/p₂) + O(δ³); the definition would lose every digit at δ = 1e-9.
        let delta = 1e-9;
        let ours = kl_divergence(
            [0.5f64.ln(), 0.5f64.ln()].into_iter(),
            [(0.5f64 + delta).ln(), (0.5f64 - delta).ln()].into_iter(),
        );
        assert!((ours / (2.0 * delta * delta) - 1.0).abs() < 1e-6, "{ours:e}");
    }

    #[test]
    fn divergences_and_gaps_are_numbers_where_something_is_infinite() {
        let (tiny, certain) = (-2000.0, 0.0);
        let kl = kl_divergence([certain, tiny].into_iter(), [tiny, certain].into_iter());
        assert!((kl - 2000.0).abs() < 1e-9, "{kl}");
        let half = 0.5f64.ln();
        let exact = sinkhorn_certificate(0.1, f64::INFINITY, &[0.0, 0.0], &[half, half], 0.0);
        assert_eq!(
            (exact.duality_gap, exact.label_kl_bound, exact.log_ratio_bound),
            (0.0, 0.0, 0.0)
        );
    }

    #[test]
    fn what_is_no_number_is_no_bound() {
        assert_eq!(span([0.0, f64::NAN, 1.0].into_iter()), f64::INFINITY);
        assert_eq!(span([f64::NAN].into_iter()), f64::INFINITY);
        assert_eq!(span([f64::NEG_INFINITY, 2.0].into_iter()), 0.0);
        let half = 0.5f64.ln();
        // γ is so small that −a/γ is infinite.
        let tiny = mira_certificate(1e-308, &[10.0, -10.0], &[half, half], 0.0);
        assert!((tiny.log_ratio_bound - 20.0).abs() < 1e-12, "{tiny:?}");
        assert!(tiny.duality_gap >= 0.0 && tiny.label_kl_bound >= 0.0, "{tiny:?}");
        let broken = mira_certificate(0.5, &[0.0, f64::NAN], &[half, half], 0.0);
        let Certificate { duality_gap, label_kl_bound, log_ratio_bound, marginal_error, .. } =
            broken;
        for bound in [duality_gap, label_kl_bound, log_ratio_bound, marginal_error] {
            assert_eq!(bound, f64::INFINITY, "{broken:?}");
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn unknown_bounds_come_back_from_json() {
        let unknown = Certificate { log_ratio_bound: f64::INFINITY, ..Certificate::exact(1e-7) };
        let text = serde_json::to_string(&unknown).unwrap();
        assert!(text.contains("\"log_ratio_bound\":null"), "{text}");
        assert_eq!(serde_json::from_str::<Certificate>(&text).unwrap(), unknown);
    }

    /// Softmax tilted by e^a, by the definitions.
    #[test]
    fn weights_where_there_should_be_none_are_told() {
        let (logits, a) = ([[0.4, 1.0, -0.2], [0.0, -1.0, 0.3]], [1.5, -0.5, 0.25]);
        let softmax = |row: &[f64; 3], a: &[f64; 3]| {
            let x: Vec<f64> = row.iter().zip(a).map(|(s, a)| s + a).collect();
            let mass = log_sum_exp(x.iter().copied());
            x.into_iter().map(|x| x - mass).collect::<Vec<f64>>()
        };
        let (mut ratio, mut kl, mut marginal) = (0.0f64, 0.0, [0.0; 3]);
        for row in &logits {
            let (w, best) = (softmax(row, &a), softmax(row, &[0.0; 3]));
            for (j, (w, best)) in w.iter().zip(&best).enumerate() {
                ratio = ratio.max((w - best).abs());
                kl += w.exp() * (w - best) / 2.0;
                marginal[j] += w.exp() / 2.0;
            }
        }
        let found = mira_certificate(0.0, &a, &marginal.map(f64::ln), 0.0);
        assert!((found.log_ratio_bound - 2.0).abs() < 1e-15 && ratio <= 2.0, "{found:?}");
        assert!(found.label_kl_bound >= kl && found.label_kl_bound <= 4.0 * kl, "{found:?}, {kl}");
        assert_eq!(found.duality_gap, found.label_kl_bound);
        let none = mira_certificate(0.0, &[3.0; 3], &marginal.map(f64::ln), 0.0);
        assert_eq!((none.duality_gap, none.log_ratio_bound), (0.0, 0.0));
    }

    #[test]
    fn sums_lose_nothing_of_terms_that_are_alike() {
        let third = 1.0 / 3.0;
        assert_eq!(sum(std::iter::repeat_n(third, 3000)), 1000.0);
        assert_eq!(sum([1e100, 1.0, -1e100, 3.0].into_iter()), 4.0);
        assert_eq!(sum(std::iter::empty()), 0.0);
    }

    #[test]
    fn certificates_do_not_depend_on_the_gauge_of_the_weights() {
        let (a, m) = ([0.3, -0.2, 0.9], [0.2f64.ln(), 0.5f64.ln(), 0.3f64.ln()]);
        let shifted: Vec<f64> = a.iter().map(|x| x + 7.0).collect();
        let (one, two) =
            (mira_certificate(0.6, &a, &m, 0.0), mira_certificate(0.6, &shifted, &m, 0.0));
        assert!((one.duality_gap - two.duality_gap).abs() < 1e-12);
        assert!((one.log_ratio_bound - two.log_ratio_bound).abs() < 1e-12);
        assert!(one.duality_gap > 0.0);
        // But large numbers are rounded more coarsely.
        assert!(two.rounding_allowance > one.rounding_allowance);
    }

    /// A backend that returns no sums, or a transport that loses them, must not have its answer certified.
    #[test]
    fn sums_that_are_none_prove_nothing() {
        let never = f64::NEG_INFINITY;
        for marginal in [[never, never], [f64::INFINITY; 2], [f64::NAN; 2], [f64::NAN, -0.7]] {
            for beta in [0.5, 0.9] {
                let found = mira_certificate(beta, &[0.3, 0.0], &marginal, 0.0);
                for bound in [found.duality_gap, found.label_kl_bound, found.log_ratio_bound] {
                    assert_eq!(bound, f64::INFINITY, "{marginal:?}: {found:?}");
                }
            }
            let found = sinkhorn_certificate(0.05, 1.0, &[0.0, 0.0], &marginal, 0.0);
            let Certificate { duality_gap, label_kl_bound, log_ratio_bound, .. } = found;
            let bounds = [duality_gap, label_kl_bound, log_ratio_bound, found.marginal_error];
            assert!(bounds.iter().all(|bound| !bound.is_nan() && *bound > 0.0), "{found:?}");
        }
    }

    #[test]
    fn what_no_label_shows_is_not_in_the_allowance_nor_in_the_bound() {
        let (far, near) = ([0.1, 1e20, -0.1], [0.1, -0.1]);
        let marginal = |l: f64| [0.4f64.ln(), l, 0.6f64.ln()];
        let without = mira_certificate(0.5, &near, &[0.4f64.ln(), 0.6f64.ln()], 1e-8);
        let with = mira_certificate(0.5, &far, &marginal(-1e20), 1e-8);
        assert_eq!(with.log_ratio_bound, without.log_ratio_bound);
        assert!((with.rounding_allowance - without.rounding_allowance).abs() < 1e-20);
        // One that should be used, and whose weight says otherwise, is not overlooked.
        let with = mira_certificate(0.5, &[0.1, -1e20, -0.1], &marginal(-1e20), 1e-8);
        assert!(with.log_ratio_bound > 1e20, "{with:?}");
    }

    #[test]
    fn forbidden_prototypes_take_no_part() {
        let with = mira_certificate(
            0.5,
            &[0.1, 55.0, -0.1],
            &[0.4f64.ln(), f64::NEG_INFINITY, 0.6f64.ln()],
            0.0,
        );
        let without = mira_certificate(0.5, &[0.1, -0.1], &[0.4f64.ln(), 0.6f64.ln()], 0.0);
        assert!((with.duality_gap - without.duality_gap).abs() < 1e-15);
        assert!((with.log_ratio_bound - without.log_ratio_bound).abs() < 1e-15);
        assert!((with.rounding_allowance - without.rounding_allowance).abs() < 1e-30);
    }
}
