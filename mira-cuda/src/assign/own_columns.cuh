// What a thread does with its columns of a row: C of them, THREADS apart, so that one address serves for all. The block's columns are all of
// them, or `count` from `first` on.

#pragma once
#include "context.cuh"

// CERTAIN: the thread's first columns that are there for sure. Words: how blocks leave weights and sums for each other.
template <int C, int CERTAIN, class Words> struct OwnColumns {
    Context& context;
    const int pass;
    const int thread;
    const int first, count;
    RowStats stats;
    float weights[C]; // 0 beyond the last column
    float sums[C];
    float block_shift; // of a row block's unnormalised columns: what their sums are relative to

    DEVICE OwnColumns(Context& context, int first, int count)
        : context(context), pass(context.control().pass), thread(opaque(threadIdx.x)), first(first), count(count) {}

    // Also of those who told them: they have read what was theirs of the last pass, so that it may be written anew.
    DEVICE void wait_for_weights() {
        const typename Words::Word* words = own(context.weights<Words>());
        const u32 tag = context.control().tag;
        typename Words::Word found[C][1];
#pragma unroll
        for (int c = 0; c < C; c++) {
            found[c][0] = Words::absent(tag);
            if (is_real(c)) Words::look_at(words + c * THREADS, found[c]);
        }
        Words::template wait_for<4>(found, tag, [&](int c) { return words + c * THREADS; });
#pragma unroll
        for (int c = 0; c < C; c++) weights[c] = Words::value_of(found[c][0]);
        mark(POINT_WEIGHTS, tag);
    }

    template <class T> DEVICE T* own(T* row) const { return row + first + thread; }
    DEVICE bool is_real(int c) const { return c < CERTAIN || thread < count - c * THREADS; }
    // Sums are looked at in pairs, so that of an odd number of columns has one more, 0.
    DEVICE bool is_told(int c) const { return c < CERTAIN || (thread & ~1) < count - c * THREADS; }
    // Of a row on chip, where only the block's columns lie.
    DEVICE float* chip(int row) const { return context.chip(row, C * THREADS) + thread; }

    DEVICE void begin_sums() {
#pragma unroll
        for (int c = 0; c < C; c++) sums[c] = 0.0f;
        block_shift = -INFINITY_F32;
    }

    DEVICE void end_sums(int block) {
        typename Words::Word* partial = own(context.partial<Words>(block));
        const u32 tag = context.control().tag;
#pragma unroll
        for (int c = 0; c < C; c++) {
            if (is_told(c)) Words::tell(partial + c * THREADS, tag, sums[c]);
        }
    }

    DEVICE void tell_shift(int block) { Words::tell(context.row_block_shift<Words>() + block, context.control().tag, block_shift); }

    // Logits as they lie in memory, −∞ beyond the last column.
    DEVICE void fetch_logits(int row, u32 (&bits)[C]) const {
        const long long at = (long long)row * context.params.logits_stride;
        const int dtype = context.params.logits_dtype;
        if (dtype == F32) {
            fetch_columns(own((const u32*)context.logits() + at), 0xff800000u, bits);
        } else {
            fetch_columns(own((const u16*)context.logits() + at), dtype == F16 ? 0xfc00u : 0xff80u, bits);
        }
    }

    template <class T> DEVICE void fetch_columns(const T* logits, u32 forbidden, u32 (&bits)[C]) const {
#pragma unroll
        for (int c = 0; c < C; c++) bits[c] = is_real(c) ? (u32)logits[c * THREADS] : forbidden;
    }

    DEVICE void logits_of(const u32 (&bits)[C], float (&s)[C]) const {
        const int dtype = context.params.logits_dtype;
        if (dtype == F16) {
#pragma unroll
            for (int c = 0; c < C; c++) s[c] = f16_to_float((u16)bits[c]);
        } else {
            const int places = dtype == BF16 ? 16 : 0;
#pragma unroll
            for (int c = 0; c < C; c++) s[c] = bits_to_float(bits[c] << places);
        }
    }

    DEVICE void add_logits(const u32 (&bits)[C]) {
        float s[C];
        logits_of(bits, s);
#pragma unroll
        for (int c = 0; c < C; c++) sums[c] += is_real(c) ? s[c] : 0.0f;
    }

    DEVICE void to_elements(float (&s)[C], float shift_in_bits) const {
        const Shift shift(context.params, shift_in_bits);
#pragma unroll
        for (int c = 0; c < C; c++) s[c] = kernel_element(context.params, s[c], shift);
    }

    DEVICE float dot(const float (&k)[C]) const {
        float sum = 0.0f;
#pragma unroll
        for (int c = 0; c < C; c++) sum = fmaf(k[c], weights[c], sum);
        return sum;
    }

    DEVICE void add(const float (&k)[C], float factor) {
#pragma unroll
        for (int c = 0; c < C; c++) sums[c] = fmaf(k[c], factor, sums[c]);
    }

    DEVICE void write(int row, const float (&k)[C], float factor) {
        const long long at = (long long)row * context.params.assignment_stride;
        if (context.params.assignment_dtype == BF16) {
            write_columns(own((bf16*)context.assignment() + at), k, factor);
        } else {
            write_columns(own((float*)context.assignment() + at), k, factor);
        }
    }

    template <class T> DEVICE void write_columns(T* assignment, const float (&k)[C], float factor) {
#pragma unroll
        for (int c = 0; c < C; c++) {
            const float probability = k[c] * weights[c] * factor;
            sums[c] += probability;
            if (is_real(c)) assignment[c * THREADS] = from_float<T>(probability);
        }
    }

    DEVICE void look_at_row(int row, const float (&s)[C], float& high, float& low, float& forbidden) {
        u32 magnitude = 0; // the largest one's bits
#pragma unroll
        for (int c = 0; c < C; c++) {
            const float real = is_real(c) ? s[c] : s[0]; // or none is
            magnitude = max(magnitude, __float_as_uint(real) & 0x7fffffffu);
            high = fmaxf(high, real);
            low = fminf(low, real);
        }
        if (magnitude < 0x7f800000u) return;
        // Seldom, so from memory again: registers are for what happens always.
        high = -INFINITY_F32;
        low = INFINITY_F32;
        const AssignParams& params = context.params;
#pragma unroll 1
        for (int j = first + thread; j < first + count; j += THREADS) {
            const float logit = load_logit(params, context.logits(), (long long)row * params.logits_stride + j);
            look_at(logit, (long long)row * params.columns + j, high, low, forbidden, stats.bad);
        }
    }

    // How a row block's sums of unnormalised columns take up a row with this shift.
    DEVICE void relative_to(float highest) {
        if (!(highest > block_shift)) return;
        const float factor = exp2f(block_shift - highest);
#pragma unroll
        for (int c = 0; c < C; c++) sums[c] *= factor;
        block_shift = highest;
    }
};
