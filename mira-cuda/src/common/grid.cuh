// Blocks of a grid working together.

#pragma once
#include "common/block.cuh"

// All blocks of a problem. What any thread of any block wrote before is visible to all afterwards: the first thread releases and acquires
// for its block. What the blocks add makes 2³¹ together, so the highest bit of `arrivals` changes with the last of them and the others are
// as they were: nobody has to set it back.
DEVICE void grid_barrier(u32* arrivals) {
    __syncthreads();
    if (threadIdx.x == 0) {
        const u32 block = (u32)opaque((int)blockIdx.x); // so that what is added is computed here, not kept from the start
        const u32 before = add_release(arrivals, block == 0 ? (1u << 31) - (gridDim.x - 1) : 1u);
        while (((load_acquire(arrivals) ^ before) >> 31) == 0) spin_wait();
    }
    __syncthreads();
}

// Words by which blocks tell each other of single values, without a barrier: 32 bits, and above them a tag that the reader waits for. A
// barrier takes two more ways through memory one after the other: the arrival of the last block, and the news of it.
DEVICE u64 tagged(u32 tag, u32 value) { return (u64)tag << 32 | value; }
DEVICE u32 tag_of(u64 word) { return (u32)(word >> 32); }

// What `word` says with this tag; `found` is what it said when it was first looked at, so that several can be on the way.
DEVICE u32 arrived(const u64* word, u64 found, u32 tag) {
    while (tag_of(found) != tag) {
        spin_wait();
        found = load_relaxed(word);
    }
    return (u32)found;
}

// An f32 by such words, or without tags and with a barrier in between; WAITED_FOR says which.
struct TaggedWords {
    using Word = u64;
    static constexpr bool WAITED_FOR = true;
    DEVICE static void tell(Word* word, u32 tag, float value) { store_relaxed(word, tagged(tag, __float_as_uint(value))); }
    DEVICE static Word look_at(const Word* word) { return load_relaxed(word); }
    DEVICE static float arrived(const Word* word, Word found, u32 tag) { return bits_to_float(::arrived(word, found, tag)); }
    DEVICE static float value_of(Word word) { return bits_to_float((u32)word); } // of which is known that it is there
};
struct PlainWords {
    using Word = float;
    static constexpr bool WAITED_FOR = false;
    DEVICE static void tell(Word* word, u32, float value) { *word = value; }
    DEVICE static Word look_at(const Word* word) { return *word; }
    DEVICE static float arrived(const Word*, Word found, u32) { return found; }
    DEVICE static float value_of(Word word) { return word; }
};

// An f64 in two of them.
DEVICE void tell(u64* words, u32 tag, double value) {
    const u64 bits = (u64)__double_as_longlong(value), both[2] = {tagged(tag, (u32)bits), tagged(tag, (u32)(bits >> 32))};
    store_relaxed(words, both);
}
DEVICE double arrived(const u64* words, const u64 (&found)[2], u32 tag) {
    const u32 lower = arrived(words, found[0], tag), upper = arrived(words + 1, found[1], tag);
    return __longlong_as_double((long long)((u64)upper << 32 | lower));
}
