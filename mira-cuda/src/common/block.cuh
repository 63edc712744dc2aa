// Threads of a block and blocks of a grid working together.

#pragma once
#include "common/params.cuh"

#define DEVICE __device__ __forceinline__

constexpr int LANES = (int)WARP;
constexpr int WARPS = THREADS / LANES;

template <class T> struct Sum {
    DEVICE static T join(T x, T y) { return x + y; }
    DEVICE static T neutral() { return T(0); }
};
template <class T> struct Min {
    DEVICE static T join(T x, T y) { return x < y ? x : y; }
    DEVICE static T neutral() { return T(INFINITY_F64); }
};
template <class T> struct Max {
    DEVICE static T join(T x, T y) { return x > y ? x : y; }
    DEVICE static T neutral() { return T(-INFINITY_F64); }
};

template <template <class> class Op, class T> DEVICE T over_warp(T value) {
    for (int lanes = LANES / 2; lanes > 0; lanes /= 2) {
        value = Op<T>::join(value, __shfl_xor_sync(FULL_WARP, value, lanes));
    }
    return value;
}

// Scratch of block-wide reductions, at the start of shared memory: two buffers in turns, so that one barrier a reduction is enough.
struct Exchange {
    static constexpr int WIDTH = 8; // values reduced at once
    static constexpr int BYTES = 2 * WARPS * WIDTH * sizeof(double);
    int turn;
};

// Each of N values over all threads, warps joined in order; every thread gets the results. Lanes are joined in T, warps in U.
// Only the first `active` warps have values other than the neutral one.
template <template <class> class Op, int N, class T, class U>
DEVICE void over_block(Exchange& exchange, const T (&values)[N], U (&results)[N], int active = WARPS) {
    static_assert(N <= Exchange::WIDTH, "wider than the buffers");
    const int warp = threadIdx.x / LANES;
    double* buffer = shared_memory<double>() + exchange.turn * WARPS * Exchange::WIDTH;
    exchange.turn ^= 1;
    if (warp < active) {
#pragma unroll
        for (int n = 0; n < N; n++) {
            T value = over_warp<Op>(values[n]);
            if (threadIdx.x % LANES == 0) buffer[warp * Exchange::WIDTH + n] = (double)value;
        }
    }
    __syncthreads();
    if constexpr (N <= 2) {
#pragma unroll
        for (int n = 0; n < N; n++) results[n] = Op<U>::neutral();
        // In order, but loaded side by side: one after another their latencies would be most of a short reduction.
#pragma unroll 8
        for (int w = 0; w < active; w++) {
#pragma unroll
            for (int n = 0; n < N; n++) results[n] = Op<U>::join(results[n], (U)buffer[w * Exchange::WIDTH + n]);
        }
    } else {
        // Lane n joins the n-th value for its warp: many values take no more loads than one.
        const int mine = min((int)threadIdx.x % LANES, N - 1);
        U joined = Op<U>::neutral();
#pragma unroll 8
        for (int w = 0; w < active; w++) joined = Op<U>::join(joined, (U)buffer[w * Exchange::WIDTH + mine]);
#pragma unroll
        for (int n = 0; n < N; n++) results[n] = __shfl_sync(FULL_WARP, joined, n);
    }
}

// All blocks of a problem; `arrivals` counts up from 0, `target` is this thread's copy of what completes the next barrier.
DEVICE void grid_barrier(unsigned* arrivals, unsigned& target) {
    target += gridDim.x;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(arrivals, 1u);
        while (load_acquire(arrivals) < target) spin_wait();
        __threadfence();
    }
    __syncthreads();
}
