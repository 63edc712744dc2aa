// A pass over rows that are too long for a block's registers: row totals first, then column sums, each reading the logits.
//
// Totals: a block a row. Sums: a block takes THREADS columns of one row block at a time. Between the two every block must be done.

#pragma once
#include "context.cuh"

struct LongRowPass {
    using Words = PlainWords;
    Context& context;
    const int pass;
    const bool build;

    DEVICE LongRowPass(Context& context)
        : context(context), pass(context.control().pass), build(!context.control().built) {}

    // Of one column, from row `first` on; the others are left as they are.
    template <class T> DEVICE void load_rows_of(int first, int rows, int column, float (&s)[AT_ONCE]) const {
        const T* logits = (const T*)context.logits() + (long long)first * context.params.logits_stride + column;
#pragma unroll
        for (int r = 0; r < AT_ONCE; r++) {
            if (r < rows) s[r] = to_float(logits[r * context.params.logits_stride]);
        }
    }

    DEVICE void load_rows(int first, int rows, int column, float (&s)[AT_ONCE]) const {
        switch (context.params.logits_dtype) {
        case F16: load_rows_of<f16>(first, rows, column, s); break;
        case BF16: load_rows_of<bf16>(first, rows, column, s); break;
        default: load_rows_of<float>(first, rows, column, s); break;
        }
    }

    DEVICE void run() {
        begin_notes(context, build);
        if (pass != PASS_LOGITS) {
            for (int row = context.block(); row < context.params.batch; row += context.blocks()) total(row);
        }
        publish_notes(context, build);
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
        const float in_bits = context.row_shift()[row];
        const Shift shift(params, in_bits);
        double mine[1] = {0.0}, total[1];
        for (int first = threadIdx.x; first < params.columns; first += AT_ONCE * THREADS) {
            float s[AT_ONCE], weights[AT_ONCE], sum = 0.0f;
            load_columns(params, context.logits(), row, first, s);
#pragma unroll
            for (int c = 0; c < AT_ONCE; c++) {
                const int j = first + c * THREADS;
                weights[c] = j < params.columns ? context.weights<Words>()[j] : 0.0f;
            }
#pragma unroll
            for (int c = 0; c < AT_ONCE; c++) sum = fmaf(kernel_element(params, s[c], shift), weights[c], sum);
            // In f32 over as many elements as a thread of short rows has, then in f64.
            mine[0] += sum;
        }
        over_block<Sum>(context.exchange, mine, total);
        if (threadIdx.x == 0) {
            note_total(context, 0, total[0]);
            context.row_factor()[row] = (float)(1.0 / total[0]);
            if (pass == PASS_WRITE) note_log(context, 0, total[0], in_bits);
        }
    }

    DEVICE void examine(int row) {
        const AssignParams& params = context.params;
        Seen seen;
        for (int first = threadIdx.x; first < params.columns; first += AT_ONCE * THREADS) {
            float s[AT_ONCE];
            load_columns(params, context.logits(), row, first, s);
#pragma unroll
            for (int c = 0; c < AT_ONCE; c++) {
                const int j = first + c * THREADS;
                if (j < params.columns) seen.look_at(s[c], (long long)row * params.columns + j);
            }
        }
        const float shift = examined_row(context, row, seen);
        if (threadIdx.x == 0) context.row_shift()[row] = shift;
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
            if (j == 0) context.row_block_shift<Words>()[block] = block_shift;
        }
        const float weight = pass == PASS_WRITE ? context.weights<Words>()[j] : 0.0f;
        float sum = 0.0f;
        for (int row = first; row < end; row += AT_ONCE) {
            const int rows = min(AT_ONCE, end - row);
            float s[AT_ONCE];
            load_rows(row, rows, j, s);
#pragma unroll
            for (int r = 0; r < AT_ONCE; r++) {
                if (r < rows) sum = with(row + r, j, s[r], weight, block_shift, sum);
            }
        }
        context.partial<Words>(block)[j] = sum;
    }

    // A column's sum with one more row.
    DEVICE float with(int row, int j, float s, float weight, float block_shift, float sum) const {
        const AssignParams& params = context.params;
        if (pass == PASS_LOGITS) return sum + s;
        const float shift = context.row_shift()[row];
        const float k = kernel_element(params, s, Shift(params, shift));
        if (pass == PASS_WRITE) {
            const float probability = k * weight * context.row_factor()[row];
            store_probability(params, context.assignment(), (long long)row * params.assignment_stride + j, probability);
            return sum + probability;
        }
        const float factor = pass == PASS_COLUMNS ? exp2f(shift - block_shift) : context.row_factor()[row];
        return fmaf(k, factor, sum);
    }
};
