// Rows that fit into the registers of the threads which share them: every element is read once.

#pragma once
#include "row.cuh"

// Who shares a row: a warp, which needs no barriers, or the block.
struct WarpTeam {
    static constexpr int SIZE = LANES;
    Exchange& exchange;
    DEVICE static int rank() { return threadIdx.x % LANES; }
    DEVICE static int index() { return blockIdx.x * WARPS + threadIdx.x / LANES; }
    DEVICE static int count() { return gridDim.x * WARPS; }
    template <template <class> class Op, int N, class U> DEVICE void over(const float (&values)[N], U (&results)[N]) {
#pragma unroll
        for (int n = 0; n < N; n++) results[n] = (U)over_warp<Op>(values[n]);
    }
};
struct BlockTeam {
    static constexpr int SIZE = THREADS;
    Exchange& exchange;
    DEVICE static int rank() { return threadIdx.x; }
    DEVICE static int index() { return blockIdx.x; }
    DEVICE static int count() { return gridDim.x; }
    template <template <class> class Op, int N, class U> DEVICE void over(const float (&values)[N], U (&results)[N]) {
        over_block<Op>(exchange, values, results);
    }
};

// Member t of a team holds columns t, t + SIZE, …: C of each of R rows.
template <class Team, int C, int R> struct ShortRows {
    template <class L, class A> DEVICE static void run(const CrossEntropyParams& params, Exchange& exchange) {
        Team team{exchange};
        for (int row = Team::index() * R; row < params.batch; row += Team::count() * R) {
            group(Rows<L, A>{params}, team, row, min(R, params.batch - row));
        }
    }

    DEVICE static int column(int c) { return c * Team::SIZE + Team::rank(); }

    template <class L, class A> DEVICE static void group(const Rows<L, A>& rows, Team& team, int row, int count) {
        float s[R][C], w[R][C], high[R], highest[R];
#pragma unroll
        for (int r = 0; r < R; r++) {
#pragma unroll
            for (int c = 0; c < C; c++) {
                s[r][c] = r < count ? rows.logit(row + r, column(c)) : -INFINITY_F32;
                w[r][c] = r < count ? rows.weight(row + r, column(c)) : 0.0f;
            }
        }
#pragma unroll
        for (int r = 0; r < R; r++) {
            high[r] = LOWEST;
#pragma unroll
            for (int c = 0; c < C; c++) high[r] = fmaxf(high[r], s[r][c]);
        }
        team.template over<Max>(high, highest);
        float mine[R * NUM_ROW_SUMS];
        double sums[R * NUM_ROW_SUMS];
#pragma unroll
        for (int r = 0; r < R; r++) {
            float total = 0.0f, mass = 0.0f, dot = 0.0f;
#pragma unroll
            for (int c = 0; c < C; c++) {
                const float difference = s[r][c] - highest[r];
                s[r][c] = rows.exponential(difference);
                total += s[r][c];
                mass += w[r][c];
                dot += rows.weighted(w[r][c], difference);
            }
            mine[r * NUM_ROW_SUMS + TOTAL] = total;
            mine[r * NUM_ROW_SUMS + MASS] = mass;
            mine[r * NUM_ROW_SUMS + DOT] = dot;
        }
        team.template over<Sum>(mine, sums);
#pragma unroll
        for (int r = 0; r < R; r++) {
            if (r >= count) continue;
            const double* row_sums = sums + r * NUM_ROW_SUMS;
            // Different warps look after different rows: logarithms in f64 are slow.
            if (Team::rank() == r * LANES % Team::SIZE) rows.keep_loss(row + r, row_sums[TOTAL], row_sums[MASS], row_sums[DOT]);
            if (rows.params.gradient == 0) continue;
            const float scale = rows.softmax_scale(row_sums[TOTAL], row_sums[MASS]);
#pragma unroll
            for (int c = 0; c < C; c++) rows.store_gradient(row + r, column(c), s[r][c], scale, w[r][c]);
        }
    }
};
