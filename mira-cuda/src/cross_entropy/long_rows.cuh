// Rows that are too long for a block's registers are read twice: for their sums, and for the gradient.

#pragma once
#include "row.cuh"

// C columns a thread at once.
template <int C> struct LongRows {
    template <class L, class A> DEVICE static void run(const CrossEntropyParams& params, Exchange& exchange) {
        const Rows<L, A> rows{params};
        const int tiles = (params.columns + C * THREADS - 1) / (C * THREADS);
        for (int row = blockIdx.x; row < params.batch; row += gridDim.x) {
            float highest[1] = {LOWEST};
            double sums[NUM_ROW_SUMS] = {};
#pragma unroll 1
            for (int tile = 0; tile < tiles; tile++) add(rows, row, tile, highest[0], sums);
            float highest_of_row[1];
            double row_sums[NUM_ROW_SUMS];
            over_block<Max>(exchange, highest, highest_of_row);
            relative_to(rows, highest[0], highest_of_row[0], sums);
            over_block<Sum>(exchange, sums, row_sums);
            if (threadIdx.x == 0) rows.keep_loss(row, row_sums[TOTAL], row_sums[MASS], row_sums[DOT]);
            if (params.gradient == 0) continue;
            const float scale = rows.softmax_scale(row_sums[TOTAL], row_sums[MASS]);
            // Backwards: what was read last is most likely still in a cache.
#pragma unroll 1
            for (int tile = tiles; tile-- > 0;) write(rows, row, tile, highest_of_row[0], scale);
        }
    }

    DEVICE static int column(int tile, int c) { return (tile * C + c) * THREADS + threadIdx.x; }

    template <class L, class A> DEVICE static void load(const Rows<L, A>& rows, int row, int tile, float (&s)[C], float (&w)[C]) {
#pragma unroll
        for (int c = 0; c < C; c++) {
            s[c] = rows.logit(row, column(tile, c));
            w[c] = rows.weight(row, column(tile, c));
        }
    }

    // Sums that were relative to `highest`, relative to what is not lower.
    template <class L, class A>
    DEVICE static void relative_to(const Rows<L, A>& rows, float highest, float higher, double (&sums)[NUM_ROW_SUMS]) {
        sums[TOTAL] *= (double)rows.exponential(highest - higher);
        sums[DOT] += sums[MASS] * ((double)highest - (double)higher);
    }

    // A tile is summed in f32, tiles in f64.
    template <class L, class A>
    DEVICE static void add(const Rows<L, A>& rows, int row, int tile, float& highest, double (&sums)[NUM_ROW_SUMS]) {
        float s[C], w[C];
        load(rows, row, tile, s, w);
        float higher = highest;
#pragma unroll
        for (int c = 0; c < C; c++) higher = fmaxf(higher, s[c]);
        relative_to(rows, highest, higher, sums);
        highest = higher;
        float total = 0.0f, mass = 0.0f, dot = 0.0f;
#pragma unroll
        for (int c = 0; c < C; c++) {
            const float difference = s[c] - highest;
            total += rows.exponential(difference);
            mass += w[c];
            dot += rows.weighted(w[c], difference);
        }
        sums[TOTAL] += (double)total;
        sums[MASS] += (double)mass;
        sums[DOT] += (double)dot;
    }

    template <class L, class A> DEVICE static void write(const Rows<L, A>& rows, int row, int tile, float highest, float scale) {
        float s[C], w[C];
        load(rows, row, tile, s, w);
#pragma unroll
        for (int c = 0; c < C; c++) rows.store_gradient(row, column(tile, c), rows.exponential(s[c] - highest), scale, w[c]);
    }
};
