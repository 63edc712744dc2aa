// A pass over rows that are too long for a block's registers: row totals first, then column sums, each reading the logits.
//
// Totals: a block a row. Sums: a block takes THREADS columns of one row block at a time. Between the two every block must be done.

#pragma once
#include "context.cuh"

struct LongRowPass {
    Context& context;
    const int pass;
    const bool build;
    RowStats stats;

    DEVICE LongRowPass(Context& context)
        : context(context), pass(context.control().pass), build(!context.control().built) {}

    DEVICE float logit(int row, int column) const {
        return load_logit(context.params, context.logits(), (long long)row * context.params.logits_stride + column);
    }

    DEVICE float element(float s, float floor, float shift) const {
        return kernel_element(s, floor, shift, context.params.scale_high, context.params.scale_low);
    }

    DEVICE void run() {
        if (pass != PASS_LOGITS) {
            for (int row = context.block(); row < context.params.batch; row += context.blocks()) total(row);
        }
        stats.publish(context, build);
        context.all_blocks();
        const AssignParams& params = context.params;
        const int tiles = (params.columns + THREADS - 1) / THREADS;
        for (long long item = context.block(); item < (long long)tiles * params.row_blocks; item += context.blocks()) {
            columns((int)(item / tiles), (int)(item % tiles) * THREADS + threadIdx.x);
        }
    }

    DEVICE void total(int row) {
        const AssignParams& params = context.params;
        if (build) examine(row);
        if (pass == PASS_COLUMNS) return;
        const float shift = context.row_shift()[row], floor = lowest_logit(shift, params.scale_high);
        float sum[1] = {0.0f};
        double total[1] = {0.0};
        // Summed in f32 over as many elements as a thread of short rows has, then in f64.
        double mine[1] = {0.0};
        int since = 0;
        for (int j = threadIdx.x; j < params.columns; j += THREADS) {
            sum[0] = fmaf(element(logit(row, j), floor, shift), context.weights()[j], sum[0]);
            if (++since == 16) {
                mine[0] += sum[0];
                sum[0] = 0.0f;
                since = 0;
            }
        }
        mine[0] += sum[0];
        over_block<Sum>(context.exchange, mine, total);
        stats.lowest_total = fminf(stats.lowest_total, (float)total[0]);
        if (threadIdx.x == 0) {
            context.row_factor()[row] = (float)(1.0 / total[0]);
            if (pass == PASS_WRITE) stats.log_row += (double)logf((float)total[0]) + (double)shift * LN_2;
        }
    }

    DEVICE void examine(int row) {
        const AssignParams& params = context.params;
        float low[1] = {INFINITY_F32}, high[2] = {-INFINITY_F32, 0.0f};
        for (int j = threadIdx.x; j < params.columns; j += THREADS) {
            look_at(logit(row, j), (long long)row * params.columns + j, high[0], low[0], high[1], stats.bad);
        }
        float lowest[1], highest[2];
        over_block<Min>(context.exchange, low, lowest);
        over_block<Max>(context.exchange, high, highest);
        if (!(highest[0] >= lowest[0])) {
            stats.bad = fmin(stats.bad, no_finite_logit(params, row));
            highest[0] = lowest[0] = 0.0f;
        }
        stats.built_row(params, highest[0], lowest[0], highest[1] > 0.0f);
        if (threadIdx.x == 0) context.row_shift()[row] = (float)rint((double)highest[0] * params.scale);
        __syncthreads();
    }

    DEVICE void columns(int block, int j) {
        const AssignParams& params = context.params;
        if (j >= params.columns) return;
        const int first = block * params.rows_per_block;
        const int end = min(first + params.rows_per_block, params.batch);
        float block_shift = -INFINITY_F32;
        if (pass == PASS_COLUMNS) {
            for (int row = first; row < end; row++) block_shift = fmaxf(block_shift, context.row_shift()[row]);
            if (j == 0) context.row_factor()[block] = block_shift;
        }
        const float weight = pass == PASS_WRITE ? context.weights()[j] : 0.0f;
        float sum = 0.0f;
        for (int row = first; row < end; row++) {
            const float s = logit(row, j);
            if (pass == PASS_LOGITS) {
                sum += s;
                continue;
            }
            const float shift = context.row_shift()[row];
            const float k = element(s, lowest_logit(shift, params.scale_high), shift);
            if (pass == PASS_WRITE) {
                const float probability = k * weight * context.row_factor()[row];
                sum += probability;
                store_probability(params, context.assignment(), (long long)row * params.assignment_stride + j, probability);
            } else {
                const float factor = pass == PASS_COLUMNS ? exp2f(shift - block_shift) : context.row_factor()[row];
                sum = fmaf(k, factor, sum);
            }
        }
        context.partial(block)[j] = sum;
    }
};
