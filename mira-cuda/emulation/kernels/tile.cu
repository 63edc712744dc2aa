// A transposition by way of tiles in shared memory, over a grid of two dimensions, with tails on both sides and vector accesses.
#include "device.cuh"

struct Transpose {
    const bf16* input; // rows * columns
    float* output;     // columns * rows
    u32 rows, columns;
};

constexpr u32 TILE = 16;

enum class Mistake { None, NoBarrier, TailTooLong };

template <Mistake MISTAKE>
__device__ void transpose(const Transpose& params) {
    float* tile = shared_memory<float>();
    const u32 x = threadIdx.x % TILE, y = threadIdx.x / TILE;
    const u32 row = blockIdx.y * TILE + y, column = blockIdx.x * TILE + x;
    if (row < params.rows && column < params.columns)
        tile[y * (TILE + 1) + x] = to_float(params.input[u64(row) * params.columns + column]);
    if (MISTAKE != Mistake::NoBarrier) __syncthreads();
    const u32 out_row = blockIdx.x * TILE + y, out_column = blockIdx.y * TILE + x;
    const u32 end = params.rows + (MISTAKE == Mistake::TailTooLong ? 1 : 0);
    if (out_row < params.columns && out_column < end)
        params.output[u64(out_row) * params.rows + out_column] = tile[x * (TILE + 1) + y];
}

KERNEL(sample_transpose, Transpose, TILE * TILE) { transpose<Mistake::None>(params); }
KERNEL(sample_transpose_no_barrier, Transpose, TILE * TILE) { transpose<Mistake::NoBarrier>(params); }
KERNEL(sample_transpose_tail_too_long, Transpose, TILE * TILE) { transpose<Mistake::TailTooLong>(params); }

struct Scale {
    const bf16* input;
    float* output;
    u32 quads;
    u32 shift; // elements; anything but a multiple of 4 is a misaligned access
};

KERNEL(sample_scale_quads, Scale, 256) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= params.quads) return;
    const Vector<bf16, 4> in = load4(params.input + params.shift + 4 * i);
    Vector<float, 4> out;
    for (int j = 0; j < 4; j++) out[j] = 2.0f * to_float(in[j]);
    store(params.output + 4 * i, out);
}
