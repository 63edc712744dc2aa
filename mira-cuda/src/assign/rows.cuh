// A pass over rows that fit into a block's registers: each row is read once, from shared memory or as logits from global memory.
//
// Thread t holds columns t, t + THREADS, …: C of each of R rows, C weights and C column sums. A group's row totals are known after
// one exchange; then its elements, still in registers, go into the column sums. What the next group starts from is fetched before the
// exchange, so that memory and the exchange are waited for together. Rows that do not fit into shared memory are computed from their
// logits in every pass, which are then read from L2 if they fit there.

#pragma once
#include "context.cuh"

// BUILD: nothing is known of the rows yet.
template <int C, int R, bool BUILD> struct RowPass {
    Context& context;
    const int pass;
    const int thread;
    RowStats stats;
    float weights[C]; // 0 beyond the last column
    float sums[C];
    float block_shift;
    // What the next group starts from: kernel elements of rows on chip, of others the logits as they lie in memory.
    u32 fetched[R][C];

    // Rows of a row block, `kept` of them on chip.
    struct Rows {
        int first, kept, end;
    };

    DEVICE RowPass(Context& context) : context(context), pass(context.control().pass), thread(opaque(threadIdx.x)) {}

    // A thread's first element of a row; the others are THREADS apart, so that one address serves for all.
    template <class T> DEVICE T* own(T* row) const { return row + thread; }
    // Rows that the next smaller kernel has room for are its own (plan.rs), so only the last columns may be missing.
    static constexpr int CERTAIN = C <= 2 ? C - 1 : C - 2;
    DEVICE bool is_real(int c) const { return c < CERTAIN || thread < context.params.columns - c * THREADS; }
    DEVICE float* chip(const Rows& rows, int row) const { return own(context.chip(row - rows.first, C * THREADS)); }

    DEVICE void run() {
        const AssignParams& params = context.params;
#pragma unroll
        for (int c = 0; c < C; c++) weights[c] = own(context.weights())[c * THREADS];
        for (int block = context.block(); block < params.row_blocks; block += context.blocks()) {
            const int first = block * params.rows_per_block, end = min(first + params.rows_per_block, params.batch);
            const Rows rows{first, block == context.block() ? min(params.rows_on_chip, end - first) : 0, end};
#pragma unroll
            for (int c = 0; c < C; c++) sums[c] = 0.0f;
            block_shift = -INFINITY_F32;
            if constexpr (BUILD) {
                fetch<false>(rows, first, end);
                groups<false>(rows, first, end);
            } else {
                if (rows.kept == 0 || pass == PASS_LOGITS) {
                    fetch<false>(rows, first, end);
                } else {
                    fetch<true>(rows, first, first + rows.kept);
                }
                if (first + thread < end) *own(context.block_shifts()) = context.row_shift()[first + thread];
                __syncthreads();
                if (pass == PASS_LOGITS) {
                    add_logits(rows);
                } else {
                    groups<true>(rows, first, first + rows.kept);
                    groups<false>(rows, first + rows.kept, end);
                }
            }
            float* partial = own(context.partial(block));
            // Sums of unnormalised columns of different blocks are relative to different shifts.
#pragma unroll
            for (int c = 0; c < C; c++) {
                if (is_real(c)) partial[c * THREADS] = sums[c];
            }
            if (BUILD && pass == PASS_COLUMNS && thread == 0) context.row_factor()[block] = block_shift;
        }
        stats.publish(context, BUILD);
    }

    // Rows from `first` on, which are all on chip or none of them; the first ones are fetched.
    template <bool CHIP> DEVICE void groups(const Rows& rows, int first, int end) {
        for (int row = first; row < end; row += R) group<CHIP>(rows, row, end);
    }

    template <bool CHIP> DEVICE void fetch(const Rows& rows, int row, int end) {
#pragma unroll
        for (int r = 0; r < R; r++) {
            if (row + r >= end) {
                // Not what was there before, which would have to be kept until here.
#pragma unroll
                for (int c = 0; c < C; c++) fetched[r][c] = 0;
            } else if (CHIP) {
                const u32* kept = (const u32*)chip(rows, row + r);
#pragma unroll
                for (int c = 0; c < C; c++) fetched[r][c] = kept[c * THREADS];
            } else {
                const long long at = (long long)(row + r) * context.params.logits_stride;
                if (context.params.logits_dtype == F32) {
                    fetch_row(own((const u32*)context.logits() + at), 0xff800000u, fetched[r]);
                } else {
                    fetch_row(own((const u16*)context.logits() + at), context.params.logits_dtype == F16 ? 0xfc00u : 0xff80u, fetched[r]);
                }
            }
        }
    }

    // −∞ beyond the last column.
    template <class T> DEVICE void fetch_row(const T* logits, u32 forbidden, u32 (&bits)[C]) const {
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

    DEVICE void add_logits(const Rows& rows) {
        for (int row = rows.first; row < rows.end; row += R) {
#pragma unroll
            for (int r = 0; r < R; r++) {
                if (row + r >= rows.end) continue;
                float s[C];
                logits_of(fetched[r], s);
#pragma unroll
                for (int c = 0; c < C; c++) sums[c] += is_real(c) ? s[c] : 0.0f;
            }
            fetch<false>(rows, row + R, rows.end);
        }
    }

    template <bool CHIP> DEVICE void group(const Rows& rows, int row, int end) {
        const int here = min(R, end - row);
        float k[R][C];
        float shifts[R];
#pragma unroll
        for (int r = 0; r < R; r++) {
            if (CHIP || r >= here) {
#pragma unroll
                for (int c = 0; c < C; c++) k[r][c] = bits_to_float(fetched[r][c]);
            } else {
                logits_of(fetched[r], k[r]);
            }
        }
        if constexpr (BUILD) examine(row, here, k, shifts);
        if constexpr (!CHIP) {
#pragma unroll
            for (int r = 0; r < R; r++) {
                if (r >= here) continue;
                const int local = row + r - rows.first;
                const Shift shift(context.params, BUILD ? shifts[r] : context.block_shifts()[local]);
#pragma unroll
                for (int c = 0; c < C; c++) k[r][c] = kernel_element(context.params, k[r][c], shift);
                if (!BUILD || local >= rows.kept) continue;
                float* kept = chip(rows, row + r);
#pragma unroll
                for (int c = 0; c < C; c++) kept[c * THREADS] = k[r][c];
            }
        }
        float factors[R];
        const bool normalised = !BUILD || pass != PASS_COLUMNS;
        if (!normalised) relative_to_highest(here, shifts, factors);
        if (CHIP && row + R >= end) {
            fetch<false>(rows, end, rows.end);
        } else {
            fetch<CHIP>(rows, row + R, end);
        }
        if (normalised) normalise(row, here, k, factors);
        if (pass == PASS_WRITE) {
            write(row, here, k, factors);
            return;
        }
#pragma unroll
        for (int r = 0; r < R; r++) {
#pragma unroll
            for (int c = 0; c < C; c++) sums[c] = fmaf(k[r][c], factors[r], sums[c]);
        }
    }

    DEVICE void write(int row, int here, const float (&k)[R][C], const float (&factors)[R]) {
        const AssignParams& params = context.params;
#pragma unroll
        for (int r = 0; r < R; r++) {
            if (r >= here) continue;
            const long long at = (long long)(row + r) * params.assignment_stride;
            if (params.assignment_dtype == BF16) {
                write_row(own((bf16*)context.assignment() + at), k[r], factors[r]);
            } else {
                write_row(own((float*)context.assignment() + at), k[r], factors[r]);
            }
        }
    }

    template <class T> DEVICE void write_row(T* assignment, const float (&k)[C], float factor) {
#pragma unroll
        for (int c = 0; c < C; c++) {
            const float probability = k[c] * weights[c] * factor;
            sums[c] += probability;
            if (is_real(c)) assignment[c * THREADS] = from_float<T>(probability);
        }
    }

    // Range of each row, from which its shift follows, and whatever is not a logit.
    DEVICE void examine(int row, int here, const float (&s)[R][C], float (&shifts)[R]) {
        const AssignParams& params = context.params;
        float seen[3 * R]; // highest, lowest with the sign changed, whether an entry is forbidden
#pragma unroll
        for (int r = 0; r < R; r++) {
            float low = INFINITY_F32, high = -INFINITY_F32, forbidden = 0.0f;
            if (r < here) look_at_row(row + r, s[r], high, low, forbidden);
            seen[r] = high;
            seen[R + r] = -low;
            seen[2 * R + r] = forbidden;
        }
        float all[3 * R];
        over_block<Max>(context.exchange, seen, all);
#pragma unroll
        for (int r = 0; r < R; r++) {
            shifts[r] = 0.0f;
            if (r >= here) continue;
            float high = all[r], low = -all[R + r];
            if (!(high >= low)) {
                stats.bad = fmin(stats.bad, no_finite_logit(params, row + r));
                high = low = 0.0f;
            }
            shifts[r] = stats.built_row(params, high, low, all[2 * R + r] > 0.0f);
            if (thread == 0) context.row_shift()[row + r] = shifts[r];
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
        for (int j = thread; j < params.columns; j += THREADS) {
            const float logit = load_logit(params, context.logits(), (long long)row * params.logits_stride + j);
            look_at(logit, (long long)row * params.columns + j, high, low, forbidden, stats.bad);
        }
    }

    // Row totals, and their inverses as factors; 0 for rows that do not exist. A lane looks after one row.
    DEVICE void normalise(int row, int here, const float (&k)[R][C], float (&factors)[R]) {
        float mine[R];
#pragma unroll
        for (int r = 0; r < R; r++) {
            mine[r] = 0.0f;
#pragma unroll
            for (int c = 0; c < C; c++) mine[r] = fmaf(k[r][c], weights[c], mine[r]);
        }
        const double total = over_block_by_lanes<Sum, double>(context.exchange, mine);
        const int r = value_of_lane<R>();
        if (r < here) {
            stats.lowest_total = fminf(stats.lowest_total, (float)total);
            // For the objective alone, so f32 will do.
            if (pass == PASS_WRITE && thread == r * lanes_of_value(R)) {
                stats.log_row += (double)logf((float)total) + (double)context.row_shift()[row + r] * LN_2;
            }
        }
        tell_lanes(r < here ? (float)(1.0 / total) : 0.0f, factors);
    }

    // Unnormalised columns: each row by its shift, relative to the highest so far in this row block.
    DEVICE void relative_to_highest(int here, const float (&shifts)[R], float (&factors)[R]) {
        float highest = block_shift;
#pragma unroll
        for (int r = 0; r < R; r++) highest = r < here ? fmaxf(highest, shifts[r]) : highest;
        if (highest > block_shift) {
            const float factor = exp2f(block_shift - highest);
#pragma unroll
            for (int c = 0; c < C; c++) sums[c] *= factor;
            block_shift = highest;
        }
#pragma unroll
        for (int r = 0; r < R; r++) factors[r] = r < here ? exp2f(shifts[r] - highest) : 0.0f;
    }
};

// Held apart, so that passes over known rows, which are most, carry nothing of what is found out about them.
template <int C, int R> struct ShortRows {
    Context& context;

    DEVICE void run() {
        if (context.control().built) {
            RowPass<C, R, false>(context).run();
        } else {
            RowPass<C, R, true>(context).run();
        }
    }
};
