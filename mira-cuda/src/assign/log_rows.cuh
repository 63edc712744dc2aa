// A pass in the log domain and in f64: slow, and right whatever the logits and weights span. Leaves `log Σ_i W_ij` as LOG_MARGINAL.
// Logits are taken relative to the largest of their row, exponents relative to the largest of theirs: large ones cost no digits.
// Between the two halves all blocks wait for each other: a block has its rows' totals to find, and then its columns' sums.

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
        sum_columns(a);
    }

    // A lane has a column of a tile; parts of the rows go to different warps where there are fewer tiles than warps, as in columns.cuh.
    DEVICE void sum_columns(const double* a) {
        const AssignParams& params = context.params;
        const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, parts = 1 << params.parts_log2, part = warp % parts;
        const int first = context.first_column(), end = context.end_column(), tile = warp >> params.parts_log2;
        double* log_marginal = context.vector(LOG_MARGINAL);
        if (parts == 1) {
            // A thread's own columns, as they are between the passes.
            for (int j = first + threadIdx.x; j < end; j += THREADS) log_marginal[j] = sum_of(j, a, 0, 1).value();
            return;
        }
        // One tile a warp. The parts' sums relative to the highest of all, one of them after the other.
        const int local = tile * LANES + lane, j = first + local;
        const bool here = j < end;
        double* of_column = context.slice_sums() + local;
        LogSum mine;
        if (here) {
            mine = sum_of(j, a, part, parts);
            of_column[part * params.slice] = mine.highest;
        }
        __syncthreads();
        double highest = -INFINITY_F64;
        for (int p = 0; here && p < parts; p++) highest = fmax(highest, of_column[p * params.slice]);
        __syncthreads();
        if (here) of_column[part * params.slice] = mine.sum > 0.0 ? mine.sum * exp(mine.highest - highest) : 0.0;
        __syncthreads();
        if (here && part == 0) {
            double sum = 0.0;
            for (int p = 0; p < parts; p++) sum += of_column[p * params.slice];
            log_marginal[j] = sum > 0.0 ? highest + log(sum) : -INFINITY_F64;
        }
        __syncthreads();
    }

    // Over every `step`-th row from `first` on, several at once: one after another their exponentials' latencies would be all the time this takes.
    DEVICE LogSum sum_of(int j, const double* a, int first, int step) {
        constexpr int AT_ONCE = 4;
        const AssignParams& params = context.params;
        const double weight = a[j];
        LogSum sum;
#pragma unroll 1
        for (long long row = first; row < params.batch; row += AT_ONCE * step) {
            double x[AT_ONCE];
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++) x[i] = row + i * step < params.batch ? term((int)row + i * step, j, weight) : -INFINITY_F64;
            sum.add_all(x);
            if (pass != PASS_WRITE) continue;
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++) {
                if (row + i * step >= params.batch) continue;
                store_probability(params, context.assignment(), (row + i * step) * params.assignment_stride + j, (float)exp(x[i]));
            }
        }
        return sum;
    }

    // What an element adds to its column: the logarithm of its label, or its logit in natural exponents.
    DEVICE double term(int row, int j, double weight) const {
        if (pass == PASS_COLUMNS) return logit(row, j) * (context.params.scale * LN_2);
        const double x = exponent(row, j, context.row_shift()[row], weight);
        return x - context.row_highest()[row] - context.row_log()[row];
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
