// What all kernels of this operation do with a row: elements in, loss and gradient out; and the sum of all rows' losses.

#pragma once
#include "common/block.cuh"
#include "params.cuh"

// The tests compile the kernels again with 1, to see that they would notice a tail that is one too long.
#ifndef CROSS_ENTROPY_TAIL
#define CROSS_ENTROPY_TAIL 0
#endif

// Rows without a finite logit are relative to it, so that differences of two infinities do not come up for others.
constexpr float LOWEST = -3.402823466e38f;

// What a row's loss and gradient follow from: sums over its columns, with `d_j = S_j − max S ≤ 0`.
enum RowSum {
    TOTAL, // Σ e^(d_j / τ)
    MASS,  // Σ w_j
    DOT,   // Σ w_j d_j
    NUM_ROW_SUMS
};

// Rows of logits L with an assignment A.
template <class L, class A> struct Rows {
    const CrossEntropyParams& params;

    DEVICE bool exists(int column) const { return column < params.columns + CROSS_ENTROPY_TAIL; }

    // Columns that do not exist have no share in anything.
    DEVICE float logit(int row, int column) const {
        const L* logits = (const L*)params.logits + row * params.logits_stride;
        return exists(column) ? to_float(logits[column]) : -INFINITY_F32;
    }
    DEVICE float weight(int row, int column) const {
        const A* assignment = (const A*)params.assignment + row * params.assignment_stride;
        return exists(column) ? to_float(assignment[column]) : 0.0f;
    }

    DEVICE float exponential(float difference) const { return exp2f(difference * params.exponent_scale); }

    // `w d`; forbidden logits of no weight count nothing.
    DEVICE float weighted(float weight, float difference) const { return weight == 0.0f ? 0.0f : weight * difference; }

    // `ℓ = m log Σ e^(d_j / τ) − Σ w_j d_j / τ`. Both terms are positive or zero, so nothing cancels.
    DEVICE void keep_loss(int row, double total, double mass, double dot) const {
        const double loss = mass * log(total) - dot * params.inverse_temperature;
        ((double*)params.kept_losses)[row] = loss;
        if (params.row_losses != 0) ((float*)params.row_losses)[row] = (float)loss;
    }

    DEVICE float softmax_scale(double total, double mass) const { return params.gradient_scale * ((float)mass / (float)total); }

    // Read before by the same thread where the gradient replaces the logits.
    DEVICE void store_gradient(int row, int column, float exponential, float softmax_scale, float weight) const {
        L* gradient = (L*)params.gradient + row * params.gradient_stride;
        if (exists(column)) gradient[column] = from_float<L>(exponential * softmax_scale - weight * params.gradient_scale);
    }
};

// The block that arrives last has every row's loss to read. It adds them in an order that depends on nothing but their number.
DEVICE void add_losses(const CrossEntropyParams& params, Exchange& exchange) {
    unsigned* arrivals = (unsigned*)params.arrivals;
    __syncthreads(); // what this block keeps is written
    int last[1] = {0}, anyone[1];
    if (threadIdx.x == 0) {
        __threadfence();
        last[0] = atomicAdd(arrivals, 1u) == gridDim.x - 1;
        __threadfence();
    }
    over_block<Sum>(exchange, last, anyone);
    if (anyone[0] == 0) return;
    const double* losses = (const double*)params.kept_losses;
    double mine[1] = {0.0}, sum[1];
#pragma unroll 8
    for (int row = threadIdx.x; row < params.batch; row += THREADS) mine[0] += losses[row];
    over_block<Sum>(exchange, mine, sum);
    if (threadIdx.x == 0) {
        *(double*)params.loss = sum[0] * params.scale;
        *arrivals = 0; // for the next launch
    }
}
