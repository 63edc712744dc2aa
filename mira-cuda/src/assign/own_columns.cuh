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
    DEVICE bool all_are_real() const { return is_real(C - 1); }
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

    // Logits of R rows from `row` on as they lie in memory, −∞ beyond the last column; 0 in those before `first_row` and from `end` on.
    template <int R> DEVICE void fetch_logits(int row, int first_row, int end, u32 (&bits)[R][C]) const {
        const int dtype = context.params.logits_dtype;
        if (dtype == F32) {
            fetch_rows<u32>(row, first_row, end, 0xff800000u, bits);
        } else {
            fetch_rows<u16>(row, first_row, end, dtype == F16 ? 0xfc00u : 0xff80u, bits);
        }
    }

    template <class T, int R> DEVICE void fetch_rows(int row, int first_row, int end, u32 forbidden, u32 (&bits)[R][C]) const {
        const long long stride = context.params.logits_stride;
        const T* logits = own((const T*)context.logits() + row * stride);
        // Nearly all threads have no question to ask of each logit.
        const bool all = all_are_real();
#pragma unroll
        for (int r = 0; r < R; r++) {
            if (row + r < first_row || row + r >= end) {
                // Not what was there before, which would have to be kept until here.
#pragma unroll
                for (int c = 0; c < C; c++) bits[r][c] = 0;
            } else if (all) {
#pragma unroll
                for (int c = 0; c < C; c++) bits[r][c] = logits[c * THREADS];
            } else {
#pragma unroll
                for (int c = 0; c < C; c++) bits[r][c] = is_real(c) ? (u32)logits[c * THREADS] : forbidden;
            }
            logits += stride;
        }
    }

    template <int R> DEVICE void logits_of(const u32 (&bits)[R][C], float (&s)[R][C]) const {
        const int dtype = context.params.logits_dtype;
#pragma unroll
        for (int i = 0; i < R * C; i++) s[i / C][i % C] = bits_to_float(bits[i / C][i % C]);
        if (dtype == F16) {
#pragma unroll
            for (int i = 0; i < R * C; i++) s[i / C][i % C] = f16_to_float((u16)bits[i / C][i % C]);
        } else if (dtype == BF16) {
#pragma unroll
            for (int i = 0; i < R * C; i++) s[i / C][i % C] = bits_to_float(bits[i / C][i % C] << 16);
        }
    }

    DEVICE void add_logits(const float (&s)[C]) {
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

    // The first `here` of N rows from `row` on, which also go into the column sums.
    template <int N> DEVICE void write(int row, int here, const float (&k)[N][C], const float (&factors)[N]) {
        if (context.params.assignment_dtype == BF16) {
            write_rows((bf16*)context.assignment(), row, here, k, factors);
        } else {
            write_rows((float*)context.assignment(), row, here, k, factors);
        }
    }

    template <class T, int N> DEVICE void write_rows(T* assignment, int row, int here, const float (&k)[N][C], const float (&factors)[N]) {
        const long long stride = context.params.assignment_stride;
        T* place = own(assignment + row * stride);
#pragma unroll
        for (int r = 0; r < N; r++) {
            if (r >= here) return;
#pragma unroll
            for (int c = 0; c < C; c++) {
                const float probability = k[r][c] * weights[c] * factors[r];
                sums[c] += probability;
                if (is_real(c)) place[c * THREADS] = from_float<T>(probability);
            }
            place += stride;
        }
    }

    // The range of a row's logits, or false if one of them is infinite or no number.
    DEVICE bool find_range(const float (&s)[C], float& high, float& low) const {
        float zero = 0.0f;
        if (all_are_real()) {
#pragma unroll
            for (int c = 0; c < C; c++) {
                zero = fmaf(s[c], 0.0f, zero);
                high = fmaxf(high, s[c]);
                low = fminf(low, s[c]);
            }
        } else if (is_real(0)) {
#pragma unroll
            for (int c = 0; c < C; c++) {
                const float real = is_real(c) ? s[c] : s[0];
                zero = fmaf(real, 0.0f, zero);
                high = fmaxf(high, real);
                low = fminf(low, real);
            }
        }
        return zero == 0.0f;
    }

    // The highest of each of the first `here` rows, and the lowest with the sign changed: ∞ if one is infinite or no number.
    template <int R> DEVICE void see_ranges(int here, const float (&s)[R][C], float (&seen)[2 * R]) const {
#pragma unroll
        for (int r = 0; r < R; r++) {
            float low = INFINITY_F32, high = -INFINITY_F32;
            if (r < here && !find_range(s[r], high, low)) low = -INFINITY_F32;
            seen[2 * r] = high;
            seen[2 * r + 1] = -low;
        }
    }

    // What is infinite or no number is seldom, so it is looked at in memory: registers are for what happens always.
    DEVICE Seen look_again(int row) const {
        Seen seen;
        const AssignParams& params = context.params;
#pragma unroll 1
        for (int j = first + thread; j < first + count; j += THREADS) {
            const float logit = load_logit(params, context.logits(), (long long)row * params.logits_stride + j);
            seen.look_at(logit, (long long)row * params.columns + j);
        }
        return seen;
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
