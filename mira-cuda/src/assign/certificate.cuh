// How far the last run's assignment is from the optimum, from the K-vectors and the control that it left: mira-core's Summary::new,
// where the equations are (certificate.rs), in f64 as there. One block a problem; ranks hold the same vectors, and each computes all of it.

#pragma once
#include "context.cuh"

// KL(p ‖ q)'s term of one prototype, without losing its digits where p and q are close.
DEVICE double divergence(double log_p, double log_q) {
    const double p = exp(log_p), d = log_q - log_p;
    if (d > 1.0) return exp(log_q) - p * (1.0 + d); // e^d may overflow where p underflows
    const bool is_small = fabs(d) < 1e-4;
    return p * (is_small ? d * d * (0.5 + d * (1.0 / 6.0 + d / 24.0)) : expm1(d) - d);
}

struct Certifier {
    Context& context;
    const AssignParams& params;
    const bool is_mira, is_sinkhorn;
    const double relaxation; // (1−β)/β: log u = −a (1−β)/β, not normalised; 0 for β = 0, where u does not matter

    DEVICE Certifier(Context& context)
        : context(context), params(context.params), is_mira(params.method == MIRA), is_sinkhorn(params.method == SINKHORN),
          relaxation(is_mira && params.beta > 0.0 ? (1.0 - params.beta) / params.beta : 0.0) {}

    DEVICE double weight(int j) const { return context.vector(LOG_WEIGHTS)[j]; }
    DEVICE double log_marginal(int j) const { return context.vector(LOG_MARGINAL)[j]; }
    // Prototypes that are forbidden in every row take no part.
    DEVICE bool is_active(int j) const { return log_marginal(j) > -INFINITY_F64; }

    enum Extreme { MARGINAL, LOG_U, EXPONENT, WEIGHT, NEGATIVE_WEIGHT, RESIDUAL_HIGH, NEGATIVE_RESIDUAL, ACTIVE_WEIGHT, NEGATIVE_ACTIVE_WEIGHT, FORBIDDEN, NUM_EXTREMES };

    DEVICE void run() {
        double maxima[NUM_EXTREMES], highest[NUM_EXTREMES];
        for (int i = 0; i < NUM_EXTREMES; i++) maxima[i] = -INFINITY_F64;
        for (int j = threadIdx.x; j < params.columns; j += THREADS) look(j, maxima);
        over_block<Max>(context.exchange, maxima, highest);

        // Masses of the marginal and of u relative to their highest, entropy, distance from uniform, Σ w̄ a.
        double sums[5] = {}, totals[5];
        for (int j = threadIdx.x; j < params.columns; j += THREADS) {
            const double m = log_marginal(j), marginal = exp(m), a = weight(j);
            sums[3] += fabs(marginal - 1.0 / params.columns);
            if (!is_active(j)) continue;
            sums[0] += exp(m - highest[MARGINAL]);
            sums[1] += exp(-a * relaxation - highest[LOG_U]);
            sums[2] += marginal * m;
            sums[4] += marginal * a;
        }
        over_block<Sum>(context.exchange, sums, totals);
        Summary summary = {};
        summary.marginal_entropy = fmax(-totals[2], 0.0);
        summary.largest_exponent = fmax(highest[EXPONENT], 0.0);
        // The centring's weights are a quotient, which is rounded, and logits are added to them.
        summary.rounding_allowance = 8.0 * params.unit_roundoff + (params.method == CENTERED ? 8.0 * UNIT_ROUNDOFF_F64 * fmax(highest[EXPONENT], 0.0) : 0.0);
        if (is_mira) {
            mira(summary, highest, highest[MARGINAL] + log(totals[0]), highest[LOG_U] + log(totals[1]));
        } else if (is_sinkhorn) {
            sinkhorn(summary, highest, totals[3]);
            summary.weight_term = totals[4];
        }
        if (params.objective) summary.mean_log_partition = mean_over_rows();
        if (threadIdx.x == 0) *context.summary() = summary;
    }

    DEVICE double mean_over_rows() {
        double sums[1] = {}, totals[1];
        for (int i = threadIdx.x; i < params.batch; i += THREADS) sums[0] += context.row_log()[i];
        over_block<Sum>(context.exchange, sums, totals);
        return totals[0] / params.batch;
    }

    DEVICE void look(int j, double (&maxima)[NUM_EXTREMES]) const {
        const double a = weight(j), m = log_marginal(j);
        const auto raise = [&](Extreme which, double value) { maxima[which] = fmax(maxima[which], value); };
        raise(WEIGHT, a);
        raise(NEGATIVE_WEIGHT, -a);
        if (!is_active(j)) {
            raise(FORBIDDEN, 1.0);
            return;
        }
        const double log_u = -a * relaxation, residual = is_mira ? m - log_u : m;
        raise(MARGINAL, m);
        raise(LOG_U, log_u);
        if (m > LOG_NO_LABEL) raise(EXPONENT, fmax(fabs(a), fabs(m)));
        if (!is_mira || !is_lost(residual, log_u, m, m)) {
            raise(RESIDUAL_HIGH, residual);
            raise(NEGATIVE_RESIDUAL, -residual);
        }
        raise(ACTIVE_WEIGHT, a);
        raise(NEGATIVE_ACTIVE_WEIGHT, -a);
    }

    // Of a bound that multiplies errors of marginals by `amplification`.
    DEVICE double rounding_allowance(double amplification, const double (&highest)[NUM_EXTREMES]) const {
        const double of_logarithms = 4.0 * UNIT_ROUNDOFF_F64 * fmax(highest[EXPONENT], 0.0);
        return (8.0 * params.unit_roundoff + of_logarithms) * (1.0 + amplification);
    }

    // Of the residuals, 0 for fewer than two.
    DEVICE static double residual_span(const double (&highest)[NUM_EXTREMES]) {
        return fmax(highest[RESIDUAL_HIGH] + highest[NEGATIVE_RESIDUAL], 0.0);
    }

    DEVICE void mira(Summary& summary, const double (&highest)[NUM_EXTREMES], double log_mass, double log_u_mass) {
        const double beta = params.beta, odds = beta / (1.0 - beta);
        summary.rounding_allowance = rounding_allowance(odds, highest);
        if (beta == 0.0) {
            // Softmax: any weights, as of a warm start, lead away from it.
            const double span = fmax(highest[ACTIVE_WEIGHT] + highest[NEGATIVE_ACTIVE_WEIGHT], 0.0);
            summary.duality_gap = summary.label_kl_bound = span * span / 8.0;
            summary.log_ratio_bound = span;
            return;
        }
        double sums[2] = {}, totals[2];
        for (int j = threadIdx.x; j < params.columns; j += THREADS) {
            if (!is_active(j)) continue;
            const double log_p = log_marginal(j) - log_mass, log_u = -weight(j) * relaxation - log_u_mass;
            sums[0] += divergence(log_p, log_u);
            sums[1] += fabs(exp(log_p) - exp(log_u));
        }
        over_block<Sum>(context.exchange, sums, totals);
        summary.duality_gap = beta * totals[0];
        summary.label_kl_bound = odds * totals[0];
        summary.log_ratio_bound = odds * residual_span(highest);
        summary.marginal_error = totals[1];
        summary.weight_term = log_u_mass;
    }

    DEVICE void sinkhorn(Summary& summary, const double (&highest)[NUM_EXTREMES], double marginal_error) const {
        const double epsilon = params.epsilon, row_span = context.kept_control()->row_span;
        const double potential_span = epsilon * (highest[WEIGHT] + highest[NEGATIVE_WEIGHT]);
        summary.marginal_error = marginal_error;
        // Not left to 0 · ∞.
        const bool exact = params.columns == 1 || marginal_error == 0.0;
        summary.duality_gap = exact ? 0.0 : 0.5 * marginal_error * (potential_span + row_span);
        summary.label_kl_bound = summary.duality_gap / epsilon;
        const double residual = highest[FORBIDDEN] > 0.0 ? INFINITY_F64 : residual_span(highest);
        const double root = cosh(row_span / (2.0 * epsilon)), amplification = root * root;
        summary.log_ratio_bound = residual == 0.0 ? 0.0 : residual * amplification;
        summary.rounding_allowance = rounding_allowance(params.columns == 1 ? 0.0 : amplification, highest);
    }
};

// log Σ_j e^(s_ij/τ) of each row, which MIRA's objective needs besides: one more time through the logits, a block a row. What the run kept
// there is not needed any more.
DEVICE void log_partition(Context& context) {
    const AssignParams& params = context.params;
    const float scale = (float)(LOG2_E / params.temperature);
    for (int row = context.block(); row < params.batch; row += context.blocks()) {
        float s[AT_ONCE], maxima[1] = {-INFINITY_F32}, highest[1];
        for (int first = threadIdx.x; first < params.columns; first += AT_ONCE * THREADS) {
            load_columns(params, context.logits(), row, first, s);
#pragma unroll
            for (int c = 0; c < AT_ONCE; c++) maxima[0] = fmaxf(maxima[0], s[c]);
        }
        over_block<Max>(context.exchange, maxima, highest);
        double sums[1] = {}, totals[1];
        for (int first = threadIdx.x; first < params.columns; first += AT_ONCE * THREADS) {
            load_columns(params, context.logits(), row, first, s);
            float sum = 0.0f;
#pragma unroll
            for (int c = 0; c < AT_ONCE; c++) sum += exp2f((s[c] - highest[0]) * scale);
            sums[0] += sum;
        }
        over_block<Sum>(context.exchange, sums, totals);
        if (threadIdx.x == 0) context.row_log()[row] = highest[0] / params.temperature + log(totals[0]);
    }
}
