// The persistent pattern: all blocks are resident, leave partial sums, wait for each other, and go on with the total, round after round.
#include "device.cuh"

struct GridSums {
    const float* input;
    float* partial;      // one for each block
    float* totals;       // rounds * blocks: what each block thought the total was
    u32* arrived;        // 0 at the start
    u32 length, rounds;
    u32 skip_barrier;    // a mistake, to be caught
};

// Waits until all blocks of the grid have come here `generation` times; generations count from 1.
__device__ void grid_barrier(u32* arrived, u32 generation) {
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(arrived, 1);
        while (load_acquire(arrived) < generation * gridDim.x) spin_wait();
    }
    __syncthreads();
}

__device__ float block_sum(float value, float* scratch) {
    scratch[threadIdx.x] = value;
    __syncthreads();
    for (u32 half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) scratch[threadIdx.x] += scratch[threadIdx.x + half];
        __syncthreads();
    }
    const float sum = scratch[0];
    __syncthreads();
    return sum;
}

KERNEL(sample_grid_sums, GridSums, 256) {
    float* scratch = shared_memory<float>();
    u32 generation = 0;
    for (u32 round = 0; round < params.rounds; round++) {
        float sum = 0.0f;
        for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < params.length; i += gridDim.x * blockDim.x)
            sum += params.input[i] * float(round + 1);
        sum = block_sum(sum, scratch);
        if (threadIdx.x == 0) params.partial[blockIdx.x] = sum;
        if (!params.skip_barrier) grid_barrier(params.arrived, ++generation);
        float total = 0.0f;
        for (u32 b = 0; b < gridDim.x; b++) total += params.partial[b];
        if (threadIdx.x == 0) params.totals[round * gridDim.x + blockIdx.x] = total;
        grid_barrier(params.arrived, ++generation); // partial sums are written again in the next round
    }
}
