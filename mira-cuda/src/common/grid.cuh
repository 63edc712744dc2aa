// Blocks of a grid working together.

#pragma once
#include "common/block.cuh"
#include "common/diagnosis.cuh"

// All blocks of a problem. What any thread of any block wrote before is visible to all afterwards: the first thread releases and acquires
// for its block. What the blocks add makes 2³¹ together, so the highest bit of `arrivals` changes with the last of them and the others are
// as they were: nobody has to set it back.
DEVICE void grid_barrier(u32* arrivals) {
    __syncthreads();
    if (threadIdx.x == 0) {
        const u32 block = (u32)opaque((int)blockIdx.x); // so that what is added is computed here, not kept from the start
        const u32 before = add_release(arrivals, block == 0 ? (1u << 31) - (gridDim.x - 1) : 1u);
        Patience patience;
        for (u32 now; (((now = load_acquire(arrivals)) ^ before) >> 31) == 0;) {
            if (patience.is_over(arrivals, before, now)) break;
            spin_wait();
        }
    }
    __syncthreads();
}

// Words by which blocks tell each other of single values, without a barrier: 32 bits, and above them a tag that the reader waits for. A
// barrier takes two more ways through memory one after the other: the arrival of the last block, and the news of it.
DEVICE u64 tagged(u32 tag, u32 value) { return (u64)tag << 32 | value; }
DEVICE u32 tag_of(u64 word) { return (u32)(word >> 32); }

// One word, or two side by side in one access.
DEVICE void look_at(const u64* word, u64 (&found)[1]) { found[0] = load_relaxed(word); }
DEVICE void look_at(const u64* words, u64 (&found)[2]) { load_relaxed(words, found); }

// 0 if all have this tag: an instruction a word, and no branch.
template <int W> DEVICE u32 others_than(u32 tag, const u64 (&found)[W]) {
    u32 bits = 0;
#pragma unroll
    for (int w = 0; w < W; w++) bits |= tag_of(found[w]) ^ tag;
    return bits;
}

// Only where kernels are compiled for a diagnosis: with which of the places.
template <int PLACES, int N, int W, class Place> DEVICE bool has_lost_patience(Patience& patience, int first, const u64 (&found)[N][W], u32 tag, Place place) {
    const u64* missing = place(0);
    u32 instead = 0;
#pragma unroll
    for (int i = first; i < first + PLACES && i < N; i++) {
#pragma unroll
        for (int w = 0; w < W; w++) {
            if (tag_of(found[i][w]) == tag) continue;
            missing = place(i) + w;
            instead = tag_of(found[i][w]);
        }
    }
    return patience.is_over(missing, tag, instead);
}

// Waits until all of N places have this tag, W words side by side each; `found` is what was there when they were first looked at, on the
// way together, and then what has come. Who tells and looks right away misses most of the others, whose words are on their way; so
// those that are missing are looked at together again, and not one after the other, each a way to memory and back. TOGETHER: how many
// at once, for which registers must be free.
template <int TOGETHER, int N, int W, class Place> DEVICE void wait_for(u64 (&found)[N][W], u32 tag, Place place) {
    constexpr int PLACES = TOGETHER / W;
    static_assert(PLACES * W == TOGETHER, "whole places at once");
#pragma unroll
    for (int first = 0; first < N; first += PLACES) {
        Patience patience;
        for (;;) {
            u32 missing = 0;
#pragma unroll
            for (int i = first; i < first + PLACES && i < N; i++) missing |= others_than(tag, found[i]);
            if (missing == 0 || has_lost_patience<PLACES>(patience, first, found, tag, place)) break;
            spin_wait();
#pragma unroll
            for (int i = first; i < first + PLACES && i < N; i++) {
                if (others_than(tag, found[i]) != 0) look_at(place(i), found[i]);
            }
        }
    }
}

// An f32 by such words, or without tags and with a barrier in between; WAITED_FOR says which.
struct TaggedWords {
    using Word = u64;
    static constexpr bool WAITED_FOR = true;
    DEVICE static void tell(Word* word, u32 tag, float value) { store_relaxed(word, tagged(tag, __float_as_uint(value))); }
    template <int W> DEVICE static void look_at(const Word* words, Word (&found)[W]) { ::look_at(words, found); }
    DEVICE static Word absent(u32 tag) { return tagged(tag, 0); } // a zero that nobody tells, nor waits for
    template <int TOGETHER, int N, int W, class Place> DEVICE static void wait_for(Word (&found)[N][W], u32 tag, Place place) {
        ::wait_for<TOGETHER>(found, tag, place);
    }
    DEVICE static float value_of(Word word) { return bits_to_float((u32)word); } // of which is known that it is there
};
struct PlainWords {
    using Word = float;
    static constexpr bool WAITED_FOR = false;
    DEVICE static void tell(Word* word, u32, float value) { *word = value; }
    template <int W> DEVICE static void look_at(const Word* words, Word (&found)[W]) {
#pragma unroll
        for (int i = 0; i < W; i++) found[i] = words[i];
    }
    DEVICE static Word absent(u32) { return 0.0f; }
    template <int TOGETHER, int N, int W, class Place> DEVICE static void wait_for(Word (&)[N][W], u32, Place) {}
    DEVICE static float value_of(Word word) { return word; }
};

// An f64 in two of them.
DEVICE void to_words(u32 tag, double value, u64 (&words)[2]) {
    const u64 bits = (u64)__double_as_longlong(value);
    words[0] = tagged(tag, (u32)bits);
    words[1] = tagged(tag, (u32)(bits >> 32));
}
DEVICE double from_words(const u64 (&words)[2]) { return __longlong_as_double((long long)(words[1] << 32 | (u32)words[0])); }
