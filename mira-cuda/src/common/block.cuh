// Threads of a block working together.

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

// One instruction instead of two, for what is no NaN.
template <> DEVICE float Min<float>::join(float x, float y) { return fminf(x, y); }
template <> DEVICE float Max<float>::join(float x, float y) { return fmaxf(x, y); }

template <template <class> class Op, class T> DEVICE T over_warp(T value) {
    for (int lanes = LANES / 2; lanes > 0; lanes /= 2) {
        value = Op<T>::join(value, __shfl_xor_sync(FULL_WARP, value, lanes));
    }
    return value;
}

constexpr int power_of_two(int n) { return n <= 1 ? 1 : 2 * power_of_two((n + 1) / 2); } // no less than n

// Lanes that end up with one of N values reduced together.
constexpr int lanes_of_value(int n) { return LANES / power_of_two(n); }

// The value that a lane has after a reduction of N together.
template <int N> DEVICE int value_of_lane() { return (int)(threadIdx.x % LANES / lanes_of_value(N)); }

// A step of what follows: a lane gives half of its HELD values to the one `PARTNER` lanes from it, and joins the rest with what it is given.
template <template <class> class Op, int PARTNER, class T, int HELD> DEVICE T exchange_halves(const T (&held)[HELD]) {
    if constexpr (HELD == 1) {
        T value = held[0];
#pragma unroll
        for (int lanes = PARTNER; lanes > 0; lanes /= 2) value = Op<T>::join(value, __shfl_xor_sync(FULL_WARP, value, lanes));
        return value;
    } else {
        const bool upper = (threadIdx.x & PARTNER) != 0;
        T kept[HELD / 2];
#pragma unroll
        for (int n = 0; n < HELD / 2; n++) {
            const T mine = upper ? held[HELD / 2 + n] : held[n], given = upper ? held[n] : held[HELD / 2 + n];
            kept[n] = Op<T>::join(mine, __shfl_xor_sync(FULL_WARP, given, PARTNER));
        }
        return exchange_halves<Op, PARTNER / 2>(kept);
    }
}

// N values of each lane over a warp, with a third of the shuffles that one after another would take: each lane ends up with one of them,
// its `value_of_lane`.
template <template <class> class Op, int N, class T> DEVICE T over_warp_together(const T (&values)[N]) {
    constexpr int P = power_of_two(N);
    T held[P];
#pragma unroll
    for (int n = 0; n < P; n++) held[n] = n < N ? values[n < N ? n : 0] : Op<T>::neutral();
    return exchange_halves<Op, LANES / 2>(held);
}

// Scratch of block-wide reductions, at the start of shared memory: two buffers in turns, so that one barrier a reduction is enough.
struct Exchange {
    static constexpr int WIDTH = 16; // values reduced at once
    static constexpr int BYTES = 2 * WARPS * WIDTH * sizeof(double);
    int turn;
};

// Each of N values over all threads: lanes are joined in T, warps in U, both as a tree. Every warp does the latter for itself, a value by
// `lanes_of_value` lanes; the first of them at least gets its result. Only the first `active` warps have values other than the neutral one;
// if that is one warp, it alone gets results, without waiting for any other.
template <template <class> class Op, class U, int N, class T>
DEVICE U over_block_by_lanes(Exchange& exchange, const T (&values)[N], int active = WARPS) {
    constexpr int P = power_of_two(N), SHARE = lanes_of_value(N);
    static_assert(P * sizeof(T) <= Exchange::WIDTH * sizeof(double), "wider than the buffers");
    const int warp = threadIdx.x / LANES, part = threadIdx.x % SHARE, value = value_of_lane<N>();
    T of_warp = Op<T>::neutral();
    if (warp < active) of_warp = over_warp_together<Op>(values);
    if (active == 1) return (U)of_warp;
    T* buffer = shared_memory<T>(exchange.turn * (Exchange::BYTES / 2));
    exchange.turn ^= 1;
    if (warp < active && part == 0) buffer[warp * P + value] = of_warp;
    __syncthreads();
    U joined = Op<U>::neutral();
#pragma unroll
    for (int first = 0; first < WARPS; first += SHARE) {
        const int w = first + part;
        if (w < active) joined = Op<U>::join(joined, (U)buffer[w * P + value]);
    }
#pragma unroll
    for (int lanes = (SHARE < WARPS ? SHARE : WARPS) / 2; lanes > 0; lanes /= 2) {
        joined = Op<U>::join(joined, __shfl_xor_sync(FULL_WARP, joined, lanes));
    }
    return joined;
}

// What a lane has found for its value, for all.
template <int N, class U> DEVICE void tell_lanes(U of_lane, U (&results)[N]) {
#pragma unroll
    for (int n = 0; n < N; n++) results[n] = __shfl_sync(FULL_WARP, of_lane, n * lanes_of_value(N));
}

// The same; every thread gets all results.
template <template <class> class Op, int N, class T, class U>
DEVICE void over_block(Exchange& exchange, const T (&values)[N], U (&results)[N]) {
    tell_lanes(over_block_by_lanes<Op, U>(exchange, values), results);
}
