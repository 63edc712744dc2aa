// A pass over rows that fit into a block's registers: each row is read once, from shared memory or as logits from global memory.
//
// Thread t holds columns t, t + THREADS, …: C of each row of a group, C weights and C column sums. A group's row totals are known after
// one exchange; then its elements, still in registers, go into the column sums. Rows on chip go through KEPT at a time, as many as registers
// have room for, since an exchange takes more instructions than a row does. Others are computed from their logits in every pass, which
// are then read from L2 if they fit there; R at a time, and what the next group starts from is fetched before the exchange, so that memory
// and the exchange are waited for together.

#pragma once
#include "own_columns.cuh"

// Rows that the next smaller kernel has room for are its own (plan.rs), so only a thread's last columns may be missing.
constexpr int certain_columns(int c) { return c <= 2 ? c - 1 : c - 2; }

// BUILD: nothing is known of the rows yet. KEPT is 0 where none stay on chip.
template <int C, int R, int KEPT, bool BUILD> struct RowPass : OwnColumns<C, certain_columns(C), TaggedWords> {
    using Own = OwnColumns<C, certain_columns(C), TaggedWords>;
    using Own::block_shift;
    using Own::context;
    using Own::pass;
    using Own::thread;
    static_assert(leaves_notes_alone<2 * R>() && leaves_notes_alone<(KEPT > R ? KEPT : R)>(), "exchanges in the pass");
    u32 fetched[R][C]; // logits of the next group, as they lie in memory

    // Rows of a row block, `kept` of them on chip.
    struct Rows {
        int first, kept, end;
    };

    DEVICE RowPass(Context& context) : Own(context, 0, context.params.columns) {}

    DEVICE void run() {
        const AssignParams& params = context.params;
        begin_notes(context, BUILD);
        for (int block = context.block(); block < params.row_blocks; block += context.blocks()) {
            const int first = block * params.rows_per_block, end = min(first + params.rows_per_block, params.batch);
            const Rows rows{first, KEPT > 0 && block == context.block() ? min(params.rows_on_chip, end - first) : 0, end};
            const int from_logits = BUILD || pass == PASS_LOGITS ? first : first + rows.kept;
            fetch(from_logits, end);
            // On the way meanwhile.
            if (block == context.block()) this->wait_for_weights();
            this->begin_sums();
            if (!BUILD && pass == PASS_LOGITS) {
                add_logits(rows);
            } else {
                // Rows on chip are elements already.
                if (!BUILD && from_logits < end) {
                    if (first + thread < end) context.block_shifts()[thread] = context.row_shift()[first + thread];
                    __syncthreads();
                }
                for (int row = from_logits; row < end; row += R) group(rows, row);
                if constexpr (KEPT > 0) {
                    for (int row = first; row < from_logits; row += KEPT) kept_group(rows, row, from_logits);
                }
            }
            this->end_sums(block);
            if (BUILD && opaque(pass) == PASS_COLUMNS && thread == 0) this->tell_shift(block);
        }
        publish_notes(context, BUILD);
    }

    DEVICE void fetch(int row, int end) { this->fetch_logits(row, row, end, fetched); }

    DEVICE void add_logits(const Rows& rows) {
        for (int row = rows.first; row < rows.end; row += R) {
            float s[R][C];
            this->logits_of(fetched, s);
#pragma unroll
            for (int r = 0; r < R; r++) Own::add_logits(s[r]); // 0 of rows that there are not
            fetch(row + R, rows.end);
        }
    }

    // Rows on chip up to `end`.
    DEVICE void kept_group(const Rows& rows, int row, int end) {
        const int here = min(KEPT, end - row);
        float k[KEPT][C], factors[KEPT];
#pragma unroll
        for (int r = 0; r < KEPT; r++) {
            // The last one again where there are no more: its factor will be 0.
            const float* kept = this->chip(row - rows.first + min(r, here - 1));
#pragma unroll
            for (int c = 0; c < C; c++) k[r][c] = kept[c * THREADS];
        }
        normalise(row, here, k, factors);
        take(row, here, k, factors);
    }

    // Rows whose logits are fetched.
    DEVICE void group(const Rows& rows, int row) {
        const int here = min(R, rows.end - row);
        float k[R][C];
        float shifts[R];
        this->logits_of(fetched, k); // 0 of rows that there are not
        if constexpr (BUILD) examine(row, here, k, shifts);
#pragma unroll
        for (int r = 0; r < R; r++) {
            if (r >= here) continue;
            const int local = row + r - rows.first;
            this->to_elements(k[r], BUILD ? shifts[r] : context.block_shifts()[local]);
            if (!BUILD || KEPT == 0 || local >= rows.kept) continue;
            float* kept = this->chip(local);
#pragma unroll
            for (int c = 0; c < C; c++) kept[c * THREADS] = k[r][c];
        }
        float factors[R];
        const bool normalised = !BUILD || pass != PASS_COLUMNS;
        if (!normalised) relative_to_highest(here, shifts, factors);
        fetch(row + R, rows.end);
        if (normalised) normalise(row, here, k, factors);
        take(row, here, k, factors);
    }

    // Into the column sums, and out if this is what the pass is for.
    template <int N> DEVICE void take(int row, int here, const float (&k)[N][C], const float (&factors)[N]) {
        if (pass != PASS_WRITE) {
#pragma unroll
            for (int r = 0; r < N; r++) this->add(k[r], factors[r]);
        } else {
            this->write(row, here, k, factors);
        }
    }

    // Range of each row, from which its shift follows. A lane looks after one row.
    DEVICE void examine(int row, int here, const float (&s)[R][C], float (&shifts)[R]) {
        constexpr int APART = lanes_of_value(2 * R);
        float seen[2 * R];
        this->see_ranges(here, s, seen);
        const float mine = over_block_by_lanes<Max, float>(context.exchange, seen), other = __shfl_xor_sync(FULL_WARP, mine, APART);
        const int r = value_of_lane<2 * R>() / 2;
        float shift = 0.0f;
        // The first lane of a row has its range for sure.
        if (r < here && threadIdx.x % LANES == (u32)(r * 2 * APART)) {
            const float high = mine, low = -other;
            shift = low > -INFINITY_F32 ? shift_of(context.params, high) : INFINITY_F32;
            if (threadIdx.x < LANES && shift < INFINITY_F32) {
                context.row_shift()[row + r] = shift;
                note_range(context, r, high, low, shift, false);
            }
        }
        bool is_usual = true;
#pragma unroll
        for (int r = 0; r < R; r++) {
            shifts[r] = __shfl_sync(FULL_WARP, shift, r * 2 * APART);
            is_usual = is_usual && shifts[r] < INFINITY_F32;
        }
        if (!is_usual) examine_again(row, shifts);
    }

    // Rows with something else than finite logits.
    DEVICE void examine_again(int row, float (&shifts)[R]) {
#pragma unroll 1
        for (int again = 0; again < R; again++) {
            bool is_usual = true;
#pragma unroll
            for (int r = 0; r < R; r++) is_usual = is_usual && (r != again || shifts[r] < INFINITY_F32);
            if (is_usual) continue;
            const float shift = examined_row(context, row + again, this->look_again(row + again));
            if (thread == 0) context.row_shift()[row + again] = shift;
#pragma unroll
            for (int r = 0; r < R; r++) shifts[r] = r == again ? shift : shifts[r];
        }
    }

    // Row totals, and their inverses as factors; 0 for rows that do not exist. A lane looks after one row.
    template <int N> DEVICE void normalise(int row, int here, const float (&k)[N][C], float (&factors)[N]) {
        float mine[N];
#pragma unroll
        for (int r = 0; r < N; r++) mine[r] = this->dot(k[r]);
        const double total = over_block_by_lanes<Sum, double>(context.exchange, mine);
        const int r = value_of_lane<N>();
        // The first lane of a row has its total for sure.
        if (r < here && thread == r * lanes_of_value(N)) {
            note_total(context, r, total);
            if (pass == PASS_WRITE) note_log(context, r, total, context.row_shift()[row + r]);
        }
        tell_lanes(r < here ? (float)(1.0 / total) : 0.0f, factors);
    }

    // Unnormalised columns: each row by its shift, relative to the highest so far in this row block.
    DEVICE void relative_to_highest(int here, const float (&shifts)[R], float (&factors)[R]) {
        float highest = block_shift;
#pragma unroll
        for (int r = 0; r < R; r++) highest = r < here ? fmaxf(highest, shifts[r]) : highest;
        this->relative_to(highest);
#pragma unroll
        for (int r = 0; r < R; r++) factors[r] = r < here ? exp2f(shifts[r] - highest) : 0.0f;
    }
};

// Held apart, so that passes over known rows, which are most, carry nothing of what is found out about them.
template <int C, int R, int KEPT> struct ShortRows {
    using Words = TaggedWords;
    Context& context;

    DEVICE void run() {
        if (context.control().built) {
            RowPass<C, R, KEPT, false>(context).run();
        } else {
            RowPass<C, R, KEPT, true>(context).run();
        }
    }
};
