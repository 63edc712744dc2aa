// A pass in the log domain and in f64: slow, and right whatever the logits and weights span. Leaves `log Σ_i W_ij` as LOG_MARGINAL.
// Logits are taken relative to the largest of their row, exponents relative to the largest of theirs: large ones cost no digits.

#pragma once
#include "context.cuh"
#include "log_sum.cuh"

struct LogPass {
    Context& context;
    const int pass;

    DEVICE LogPass(Context& context) : context(context), pass(context.control().pass) {}

    DEVICE double logit(int row, int column) const {
        return (double)load_logit(context.params, context.logits(), (long long)row * context.params.logits_stride + column);
    }

    // `(s − top)/ε + a`, by one rounding wherever it is computed: the same number again is taken from it.
    DEVICE double exponent(int row, int column, double top, double a) const {
        return fma(logit(row, column) - top, context.params.scale * LN_2, a);
    }

    DEVICE void run() {
        const AssignParams& params = context.params;
        const double* a = context.vector(LOG_WEIGHTS);
        double log_row = 0;
        if (pass != PASS_COLUMNS) {
            for (int row = context.block(); row < params.batch; row += context.blocks()) log_row += total(row, a);
        }
        if (threadIdx.x == 0) {
            // The middle of the weights is added where logs of linear passes are, which are relative to it.
            context.own(LOG_ROW) = log_row - (blockIdx.x == 0 ? context.control().middle * params.batch : 0.0);
        }
        context.all_blocks();
        for (int j = context.first_column() + threadIdx.x; j < context.end_column(); j += THREADS) {
            LogSum sum;
            for (int row = 0; row < params.batch; row++) {
                if (pass == PASS_COLUMNS) {
                    sum.add(logit(row, j) * (params.scale * LN_2));
                    continue;
                }
                const double x = exponent(row, j, context.row_shift()[row], a[j]);
                const double log_probability = x - context.row_highest()[row] - context.row_log()[row];
                sum.add(log_probability);
                if (pass == PASS_WRITE) {
                    const long long at = (long long)row * params.assignment_stride + j;
                    store_probability(params, context.assignment(), at, (float)exp(log_probability));
                }
            }
            context.vector(LOG_MARGINAL)[j] = sum.value();
        }
    }

    // `log Σ_l e^(a_l + s_l/ε)` of a row.
    DEVICE double total(int row, const double* a) {
        const AssignParams& params = context.params;
        double mine[1] = {-INFINITY_F64}, top[1], highest[1], sum[1] = {0}, total[1];
        for (int j = threadIdx.x; j < params.columns; j += THREADS) mine[0] = fmax(mine[0], logit(row, j));
        over_block<Max>(context.exchange, mine, top);
        mine[0] = -INFINITY_F64;
        for (int j = threadIdx.x; j < params.columns; j += THREADS) mine[0] = fmax(mine[0], exponent(row, j, top[0], a[j]));
        over_block<Max>(context.exchange, mine, highest);
        for (int j = threadIdx.x; j < params.columns; j += THREADS) sum[0] += exp(exponent(row, j, top[0], a[j]) - highest[0]);
        over_block<Sum>(context.exchange, sum, total);
        const double log_sum = log(total[0]);
        if (threadIdx.x == 0) {
            context.row_shift()[row] = (float)top[0]; // exactly: it is a logit
            context.row_highest()[row] = highest[0];
            context.row_log()[row] = log_sum;
        }
        return top[0] * (params.scale * LN_2) + highest[0] + log_sum;
    }
};
