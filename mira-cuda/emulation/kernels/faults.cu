// What would hang or corrupt a GPU, one kernel each, and the barriers that are timed.
#include "device.cuh"

struct Nothing {
    u32 number;
};

KERNEL(sample_barriers, Nothing, 1024) {
    for (u32 i = 0; i < params.number; i++) __syncthreads();
}

KERNEL(sample_shuffles, Nothing, 1024) {
    u32 value = threadIdx.x;
    for (u32 i = 0; i < params.number; i++) value = __shfl_xor_sync(FULL_WARP, value, 1);
}

struct Order {
    u32* counters; // two, 0 at the start
    u32* order;    // the numbers of the block's threads as they ran, before the barrier and after it
};

KERNEL(sample_order, Order, 1024) {
    params.order[atomicAdd(&params.counters[0], 1)] = threadIdx.x;
    __syncthreads();
    params.order[blockDim.x + atomicAdd(&params.counters[1], 1)] = threadIdx.x;
}

struct Uninitialised {
    float* output;
};

KERNEL(fault_uninitialised, Uninitialised, 1024) {
    float* scratch = shared_memory<float>();
    if (threadIdx.x % 2 == 0) scratch[threadIdx.x] = 1.0f;
    params.output[threadIdx.x] = scratch[threadIdx.x];
}

KERNEL(fault_early_return, Nothing, 1024) {
    if (threadIdx.x < params.number) return;
    __syncthreads();
}

KERNEL(fault_two_barriers, Nothing, 1024) {
    if (threadIdx.x < params.number)
        __syncthreads();
    else
        __syncthreads();
}

KERNEL(fault_lane_leaves, Nothing, 1024) {
    if (threadIdx.x % WARP == params.number) return;
    __syncwarp();
}

KERNEL(fault_two_shuffles, Nothing, 1024) {
    if (threadIdx.x % WARP == params.number)
        __shfl_sync(FULL_WARP, 1, 0);
    else
        __shfl_xor_sync(FULL_WARP, 1, 1);
}

KERNEL(fault_outside_mask, Nothing, 1024) { __syncwarp(~(1u << params.number)); }

struct Counter {
    u32* counter;
    u32 target;
};

KERNEL(fault_waits_for_ever, Counter, 1024) {
    if (threadIdx.x == 0) {
        atomicAdd(params.counter, 1);
        while (load_acquire(params.counter) < params.target) spin_wait();
    }
    __syncthreads();
}

KERNEL(fault_polls, Counter, 1024) {
    while (load_volatile(params.counter) < params.target) {}
}

struct Offset {
    i32 offset; // of the float written, in floats
};

KERNEL(fault_shared_write, Offset, 1024) {
    __syncthreads();
    if (threadIdx.x == 0) shared_memory<float>()[params.offset] = 1.0f;
    __syncthreads();
}

// A frame larger than the emulator's stacks. What it overwrites is the stack below, which nobody uses in a block of one thread.
KERNEL(fault_stack, Nothing, 32) {
    u8 big[66 * 1024];
    volatile u8* bytes = big;
    for (u32 i = 0; i < params.number; i++) bytes[i] = u8(i);
}
