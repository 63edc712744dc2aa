// A pass in the log domain and in f64: slow, and right whatever the logits and weights span. Leaves `log Σ_i W_ij` as LOG_MARGINAL.

#pragma once
#include "context.cuh"
#include "log_sum.cuh"

struct LogPass {
    Context& context;
    const int pass;

    DEVICE LogPass(Context& context) : context(context), pass(context.control().pass) {}

    DEVICE double logit(int row, int column) const {
        const long long at = (long long)row * context.params.logits_stride + column;
        return (double)load_logit(context.params, context.logits(), at) * (context.params.scale * LN_2);
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
                const double x = logit(row, j);
                if (pass == PASS_COLUMNS) {
                    sum.add(x);
                    continue;
                }
                const double log_probability = x + (a[j] - context.row_log()[row]);
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
        double mine[1] = {-INFINITY_F64}, highest[1], sum[1] = {0}, total[1];
        for (int j = threadIdx.x; j < params.columns; j += THREADS) mine[0] = fmax(mine[0], logit(row, j) + a[j]);
        over_block<Max>(context.exchange, mine, highest);
        for (int j = threadIdx.x; j < params.columns; j += THREADS) sum[0] += exp(logit(row, j) + a[j] - highest[0]);
        over_block<Sum>(context.exchange, sum, total);
        const double log_row = highest[0] + log(total[0]);
        if (threadIdx.x == 0) context.row_log()[row] = log_row;
        return log_row;
    }
};
