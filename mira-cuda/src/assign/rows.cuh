// A pass over rows that fit into a block's registers: each row is read once, from shared memory or as logits from global memory.
//
// Thread t holds columns t, t + THREADS, …: C of each of R rows, C weights and C column sums. A group's row totals are known after
// one exchange; then its elements, still in registers, go into the column sums. Rows that do not fit into shared memory are computed
// from their logits in every pass, which are then read from L2 if they fit there.

#pragma once
#include "context.cuh"

template <int C, int R> struct RowPass {
    Context& context;
    const int pass;
    const bool build; // nothing is known of the rows yet
    RowStats stats;
    // Many columns leave no registers for the weights, which are then read from the cache for every group.
    static constexpr bool HOLD = C <= 6;
    float weights[HOLD ? C : 1];
    float sums[C];
    float block_shift;

    DEVICE RowPass(Context& context)
        : context(context), pass(context.control().pass), build(!context.control().built) {}

    // There is one for each column a thread may have, 0 beyond the last real one.
    DEVICE float weight(int c) const { return HOLD ? weights[c < (HOLD ? C : 1) ? c : 0] : context.weights()[column(c)]; }

    DEVICE int column(int c) const { return c * THREADS + threadIdx.x; }

    DEVICE void run() {
        const AssignParams& params = context.params;
        if constexpr (HOLD) {
#pragma unroll
            for (int c = 0; c < C; c++) weights[c] = context.weights()[column(c)];
        }
        for (int block = context.block(); block < params.row_blocks; block += context.blocks()) {
            const int first = block * params.rows_per_block;
            const int end = min(first + params.rows_per_block, params.batch);
            const int on_chip = block == context.block() ? params.rows_on_chip : 0;
#pragma unroll
            for (int c = 0; c < C; c++) sums[c] = 0.0f;
            block_shift = -INFINITY_F32;
            for (int row = first; row < end; row += R) group(row, min(R, end - row), row - first, on_chip);
            float* partial = context.partial(block);
            // Sums of unnormalised columns of different blocks are relative to different shifts.
#pragma unroll
            for (int c = 0; c < C; c++) {
                if (column(c) < params.columns) partial[column(c)] = sums[c];
            }
            if (pass == PASS_COLUMNS && threadIdx.x == 0) context.row_factor()[block] = block_shift;
        }
        stats.publish(context, build);
    }

    DEVICE void group(int row, int rows, int local, int on_chip) {
        const AssignParams& params = context.params;
        float k[R][C];
        if (pass == PASS_LOGITS) {
            load(row, rows, k);
#pragma unroll
            for (int r = 0; r < R; r++) {
#pragma unroll
                for (int c = 0; c < C; c++) sums[c] += r < rows && column(c) < params.columns ? k[r][c] : 0.0f;
            }
            return;
        }
        if (build) {
            load(row, rows, k);
            examine(row, rows, k);
        }
        float shifts[R];
#pragma unroll
        for (int r = 0; r < R; r++) {
            const bool inside = r < rows;
            shifts[r] = inside ? context.row_shift()[row + r] : 0.0f;
            const bool kept = local + r < on_chip;
            float* chip = context.chip(local + r, C * THREADS);
            if (!build && inside && kept) {
#pragma unroll
                for (int c = 0; c < C; c++) k[r][c] = chip[column(c)];
                continue;
            }
            if (!build && inside) load_row(row + r, k[r]);
            const float floor = lowest_logit(shifts[r], params.scale_high);
#pragma unroll
            for (int c = 0; c < C; c++) {
                const bool real = inside && column(c) < params.columns;
                const float element = kernel_element(k[r][c], floor, shifts[r], params.scale_high, params.scale_low);
                k[r][c] = real ? element : 0.0f;
                if (inside && kept) chip[column(c)] = k[r][c];
            }
        }
        float factors[R];
        if (pass == PASS_COLUMNS) {
            relative_to_highest(rows, shifts, factors);
        } else {
            normalise(rows, k, shifts, factors);
        }
#pragma unroll
        for (int r = 0; r < R; r++) {
            if (pass == PASS_WRITE) {
                const long long at = (long long)(row + r) * params.assignment_stride;
#pragma unroll
                for (int c = 0; c < C; c++) {
                    const float probability = k[r][c] * weight(c) * factors[r];
                    sums[c] += probability;
                    if (r < rows && column(c) < params.columns) {
                        store_probability(params, context.assignment(), at + column(c), probability);
                    }
                }
            } else {
#pragma unroll
                for (int c = 0; c < C; c++) sums[c] = fmaf(k[r][c], factors[r], sums[c]);
            }
        }
    }

    template <class T> DEVICE void load_row_of(int row, float (&s)[C]) {
        const T* logits = (const T*)context.logits() + (long long)row * context.params.logits_stride;
#pragma unroll
        for (int c = 0; c < C; c++) s[c] = column(c) < context.params.columns ? to_float(logits[column(c)]) : -INFINITY_F32;
    }

    DEVICE void load_row(int row, float (&s)[C]) {
        switch (context.params.logits_dtype) {
        case F16: load_row_of<f16>(row, s); break;
        case BF16: load_row_of<bf16>(row, s); break;
        default: load_row_of<float>(row, s); break;
        }
    }

    DEVICE void load(int row, int rows, float (&s)[R][C]) {
#pragma unroll
        for (int r = 0; r < R; r++) {
            if (r < rows) load_row(row + r, s[r]);
        }
    }

    // Range of each row, from which its shift follows, and whatever is not a logit.
    DEVICE void examine(int row, int rows, const float (&s)[R][C]) {
        const AssignParams& params = context.params;
        float low[R], high[2 * R]; // with the marks of forbidden entries
#pragma unroll
        for (int r = 0; r < R; r++) {
            low[r] = INFINITY_F32;
            high[r] = -INFINITY_F32;
            high[R + r] = 0.0f;
#pragma unroll
            for (int c = 0; c < C; c++) {
                if (r < rows && column(c) < params.columns) {
                    const long long index = (long long)(row + r) * params.columns + column(c);
                    look_at(s[r][c], index, high[r], low[r], high[R + r], stats.bad);
                }
            }
        }
        float lowest[R], highest[2 * R];
        over_block<Min>(context.exchange, low, lowest);
        over_block<Max>(context.exchange, high, highest);
#pragma unroll
        for (int r = 0; r < R; r++) {
            if (r >= rows) continue;
            if (!(highest[r] >= lowest[r])) {
                stats.bad = fmin(stats.bad, no_finite_logit(params, row + r));
                highest[r] = lowest[r] = 0.0f;
            }
            stats.built_row(params, highest[r], lowest[r], highest[R + r] > 0.0f);
            if (threadIdx.x == 0) context.row_shift()[row + r] = (float)rint((double)highest[r] * params.scale);
        }
        // Everyone reads the shifts next.
        __syncthreads();
    }

    // Row totals, and their inverses as factors; 0 for rows that do not exist.
    DEVICE void normalise(int rows, const float (&k)[R][C], const float (&shifts)[R], float (&factors)[R]) {
        float mine[R];
#pragma unroll
        for (int r = 0; r < R; r++) {
            mine[r] = 0.0f;
#pragma unroll
            for (int c = 0; c < C; c++) mine[r] = fmaf(k[r][c], weight(c), mine[r]);
        }
        double totals[R];
        over_block<Sum>(context.exchange, mine, totals);
#pragma unroll
        for (int r = 0; r < R; r++) {
            if (r < rows) stats.lowest_total = fminf(stats.lowest_total, (float)totals[r]);
            factors[r] = r < rows ? (float)(1.0 / totals[r]) : 0.0f;
        }
        if (pass == PASS_WRITE) {
#pragma unroll
            for (int r = 0; r < R; r++) {
                // For the objective alone, so f32 will do; a row each for different warps.
                if (r < rows && (int)threadIdx.x == r * LANES % THREADS) stats.log_row += (double)logf((float)totals[r]) + (double)shifts[r] * LN_2;
            }
        }
    }

    // Unnormalised columns: each row by its shift, relative to the highest so far in this row block.
    DEVICE void relative_to_highest(int rows, const float (&shifts)[R], float (&factors)[R]) {
        float highest = block_shift;
#pragma unroll
        for (int r = 0; r < R; r++) highest = r < rows ? fmaxf(highest, shifts[r]) : highest;
        if (highest > block_shift) {
            const float factor = exp2f(block_shift - highest);
#pragma unroll
            for (int c = 0; c < C; c++) sums[c] *= factor;
            block_shift = highest;
        }
#pragma unroll
        for (int r = 0; r < R; r++) factors[r] = r < rows ? exp2f(shifts[r] - highest) : 0.0f;
    }
};
