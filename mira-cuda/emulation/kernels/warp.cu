// Warp shuffles: sums of 32 lanes, of the lanes a mask names, and of doubles; broadcast and shift.
#include "device.cuh"

struct Warps {
    const float* input; // one for each thread of the grid
    float* sums;        // one for each thread: its warp's sum
    double* doubles;    // the same in doubles
    i32* shifted;       // the thread number of the lane two further on, of the last two lanes their own
    u32* broadcast;     // the thread number of lane 3
};

KERNEL(sample_warps, Warps, 1024) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    float sum = params.input[i];
    double precise = sum;
    for (u32 lanes = WARP / 2; lanes > 0; lanes /= 2) {
        sum += __shfl_xor_sync(FULL_WARP, sum, lanes);
        precise += __shfl_xor_sync(FULL_WARP, precise, lanes);
    }
    params.sums[i] = sum;
    params.doubles[i] = precise;
    params.shifted[i] = __shfl_down_sync(FULL_WARP, i32(threadIdx.x), 2);
    params.broadcast[i] = __shfl_sync(FULL_WARP, threadIdx.x, 3);
}

struct HalfWarps {
    const float* input;
    float* sums;
};

// The two halves of each warp take different branches, each with its own mask.
KERNEL(sample_half_warps, HalfWarps, 1024) {
    float value = params.input[threadIdx.x];
    if (threadIdx.x % WARP < 16) {
        for (u32 lanes = 8; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0x0000ffffu, value, lanes);
    } else {
        for (u32 lanes = 8; lanes > 0; lanes /= 2) value = fmaxf(value, __shfl_xor_sync(0xffff0000u, value, lanes));
    }
    params.sums[threadIdx.x] = value;
}

struct Exchange32 {
    u32* buffer; // of a warp
    u32* output;
    u32 synchronised;
};

// Lanes hand a value on through memory, with or without __syncwarp between.
KERNEL(sample_exchange_through_memory, Exchange32, 32) {
    const u32 lane = threadIdx.x;
    params.buffer[lane] = lane * lane + 1;
    if (params.synchronised) __syncwarp();
    params.output[lane] = params.buffer[(lane + 1) % WARP];
}
