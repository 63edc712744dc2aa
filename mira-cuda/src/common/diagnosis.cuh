// What kernels tell of themselves where they are compiled with MIRA_DIAGNOSE (`dev/check_kernels --diagnose`): when each block came where in
// each pass, and what is waited for in vain. The crate's kernels tell nothing, and nothing of this is in them; `diagnosis.rs` reads it.

#pragma once
#include "common/block.cuh"

// Where a block's first thread is; diagnosis.rs has the same, in this order.
enum Point {
    POINT_START,   // of the launch
    POINT_ROWS,    // a pass over the rows begins
    POINT_WEIGHTS, // its weights are there: this thread's
    POINT_TOLD,    // column sums are told
    POINT_SUMS,    // those of all rows are there, for the block's columns
    POINT_IMAGES,  // the columns' images are known
    POINT_SCALARS, // of all blocks, are there
    POINT_DECIDED,
    POINT_MOVED, // the next weights are told
    POINT_END,   // of the launch
    NUM_POINTS
};

#ifdef MIRA_DIAGNOSE

struct Diagnosis {
    u32 patience; // how often a thread looks in vain before it gives up; 0: for ever
    u32 gave_up;  // threads that did; once one has, all others do
    u64 address;  // what the first of them waited for
    u32 block[2], thread, tag, found, unused;
    static constexpr u32 BLOCKS = 264, PASSES = 64;
    u64 cycles[BLOCKS][PASSES][NUM_POINTS]; // of the first problem's blocks, by the number of the pass modulo PASSES
};
extern "C" __device__ Diagnosis mira_diagnosis;
__device__ Diagnosis mira_diagnosis;

DEVICE u64 cycles() { return (u64)clock64() + 1; } // 0: it has not come there
// `tag` is read by the first thread alone: it may be about to change it.
DEVICE void mark(Point point, const u32& tag, u64 when) {
    if (threadIdx.x != 0 || blockIdx.x >= Diagnosis::BLOCKS || blockIdx.y != 0) return;
    mira_diagnosis.cycles[blockIdx.x][tag % Diagnosis::PASSES][point] = when;
}

// Of a thread that waits for one thing. What is computed once one has ended is wrong, but it ends.
struct Patience {
    u32 looks = 0;

    // `found`: what was there instead of `tag`, at `address`.
    DEVICE bool is_over(const void* address, u32 tag, u32 found) {
        Diagnosis& diagnosis = mira_diagnosis;
        // Written before the launch, so it may lie in a cache. All threads would ask one word of memory otherwise, and what is timed here wait for that.
        if (diagnosis.patience == 0) return false;
        const u64 both = load_relaxed((const u64*)&diagnosis.patience);
        const u32 patience = (u32)both, gave_up = (u32)(both >> 32);
        if (gave_up == 0 && ++looks < patience) return false;
        if (atomicAdd(&diagnosis.gave_up, 1u) == 0) {
            diagnosis.address = (u64)address;
            diagnosis.block[0] = blockIdx.x;
            diagnosis.block[1] = blockIdx.y;
            diagnosis.thread = threadIdx.x;
            diagnosis.tag = tag;
            diagnosis.found = found;
        }
        return true;
    }
};

#else

DEVICE u64 cycles() { return 0; }
DEVICE void mark(Point, const u32&, u64) {}
struct Patience {
    DEVICE bool is_over(const void*, u32, u32) { return false; }
};

#endif

DEVICE void mark(Point point, const u32& tag) { mark(point, tag, cycles()); }
