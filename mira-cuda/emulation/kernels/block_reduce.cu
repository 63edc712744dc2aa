// Sums of rows, one block a row, and the same with the two mistakes such kernels have: a barrier left out and a tail too long.
#include "device.cuh"

struct RowSums {
    const float* input; // rows * columns
    float* sums;        // rows
    u32 columns;
};

enum class Mistake { None, NoBarrier, TailTooLong, NoBarrierBeforeReuse };

// The sum over the block, in every thread. Works for any number of threads. Needs one float for each in `scratch`.
template <Mistake MISTAKE>
__device__ float block_sum(float value, float* scratch) {
    const u32 i = threadIdx.x;
    scratch[i] = value;
    if (MISTAKE != Mistake::NoBarrier) __syncthreads();
    for (u32 size = blockDim.x; size > 1;) {
        const u32 half = (size + 1) / 2;
        if (i + half < size) scratch[i] += scratch[i + half];
        __syncthreads();
        size = half;
    }
    const float sum = scratch[0];
    if (MISTAKE != Mistake::NoBarrierBeforeReuse) __syncthreads(); // the caller may use `scratch` again
    return sum;
}

template <Mistake MISTAKE>
__device__ void row_sums(const RowSums& params) {
    float* scratch = shared_memory<float>();
    const float* row = params.input + u64(blockIdx.x) * params.columns;
    const u32 end = params.columns + (MISTAKE == Mistake::TailTooLong ? 1 : 0);
    float sum = 0.0f;
    for (u32 j = threadIdx.x; j < end; j += blockDim.x) sum += row[j];
    sum = block_sum<MISTAKE>(sum, scratch);
    // A weighted mean of what the threads have, which is the same, by a second use of the same memory.
    const float weight = 2.0f * float(threadIdx.x + 1) / (float(blockDim.x) * float(blockDim.x + 1));
    sum = block_sum<MISTAKE>(sum * weight, scratch);
    if (threadIdx.x == 0) params.sums[blockIdx.x] = sum;
}

KERNEL(sample_row_sums, RowSums, 1024) { row_sums<Mistake::None>(params); }
KERNEL(sample_row_sums_no_barrier, RowSums, 1024) { row_sums<Mistake::NoBarrier>(params); }
KERNEL(sample_row_sums_tail_too_long, RowSums, 1024) { row_sums<Mistake::TailTooLong>(params); }
KERNEL(sample_row_sums_no_barrier_before_reuse, RowSums, 1024) { row_sums<Mistake::NoBarrierBeforeReuse>(params); }
