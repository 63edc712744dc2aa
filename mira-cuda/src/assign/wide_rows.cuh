// A pass over rows that are too long for one block: a team of blocks shares each row, a segment of its columns each, and reads it once.
//
// A row's total is the sum of what the segments' blocks tell each other, through memory and without a barrier: every word comes with a tag,
// and who needs it waits for that. Between telling and needing a block goes on with the next groups of rows (`depth` of them), whose
// elements wait in shared memory; so the time that telling takes is not waited for.
//
// A segment's elements are relative to its own highest logit in the first pass, since nothing is known of the others yet, and to the row's
// afterwards.

#pragma once
#include "own_columns.cuh"

// What one block tells its team of one row. Each word holds 32 bits and, above them, the tag.
struct Entry {
    u64 words[4]; // the total over the segment, an f64, in two; in the first pass also the highest and the lowest logit
};

constexpr u32 FORBIDDEN = 0x80000000u; // in the last word's tag: the segment has a forbidden entry

struct Team {
    Context& context;

    static constexpr int TURNS = 8;    // groups that have entries: twice as many as may be on the way, for blocks that are behind
    static constexpr int MAX_DEPTH = 3;
    static constexpr int MAX_ROWS = 4; // of a group
    static_assert(2 * MAX_DEPTH <= TURNS, "a block that is behind would miss what it waits for");

    DEVICE int index() const { return context.block() / context.params.segments; }
    DEVICE int segment() const { return context.block() % context.params.segments; }
    DEVICE Entry& entry(u32 turn, int row, int segment) const {
        const int of_group = (index() * TURNS + (int)(turn % TURNS)) * MAX_ROWS + row;
        return context.at<Entry>(context.params.at_entries)[(long long)of_group * context.params.segments + segment];
    }

    // Before the first barrier of a launch: no tag of an earlier one may be met again.
    DEVICE void open() const {
        const int words = TURNS * MAX_ROWS * 4;
        if (index() >= context.params.teams) return;
        for (int i = threadIdx.x; i < words; i += THREADS) entry(i / (MAX_ROWS * 4), i / 4 % MAX_ROWS, segment()).words[i % 4] = 0;
        if (threadIdx.x == 0) context.control().told = 0;
    }

    DEVICE static void tell(u64& word, u32 tag, u32 value) { store_relaxed(&word, tagged(tag, value)); }

    // The first W words of an entry, which are looked at together until all are there.
    template <int W> DEVICE static void wait_for(const Entry& entry, u32 tag, u64 (&found)[W / 2][2]) {
        Patience patience;
        for (;;) {
            bool all = true;
#pragma unroll
            for (int i = 0; i < W / 2; i++) load_relaxed(entry.words + 2 * i, found[i]);
#pragma unroll
            for (int i = 0; i < W; i++) all = all && (tag_of(found[i / 2][i % 2]) & ~FORBIDDEN) == tag;
            if (all || patience.is_over(entry.words, tag, tag_of(found[0][0]))) return;
            spin_wait();
        }
    }
};

template <int C, int R, bool BUILD> struct WideRowPass : OwnColumns<C, 0, PlainWords> {
    using Own = OwnColumns<C, 0, PlainWords>;
    using Own::block_shift;
    using Own::context;
    using Own::pass;
    using Own::thread;
    static_assert(R <= Team::MAX_ROWS, "entries of a group");
    static_assert(leaves_notes_alone<2 * R>(), "exchanges in the pass");
    const Team team;
    const int team_index; // a division by a number that is not known before
    u32 fetched[R][C];

    // A group of rows of the team.
    struct Group {
        int block, row;
    };

    // What one warp has found out of a row for the block, in shared memory: two groups in turns.
    struct Found {
        float factor[R];  // 1 / total
        float rescale[R]; // from the segment's shift to the row's
        float shift[R];
    };
    static_assert(sizeof(Found) <= FOUND_BYTES, "plan.rs leaves no more room");

    DEVICE WideRowPass(Context& context)
        : Own(context, Team{context}.segment() * context.params.segment_columns, columns_of(context)), team{context}, team_index(opaque(Team{context}.index())) {
        this->wait_for_weights();
    }

    DEVICE static int columns_of(Context& context) {
        const AssignParams& params = context.params;
        return min(params.segment_columns, params.columns - Team{context}.segment() * params.segment_columns);
    }

    DEVICE bool exists(const Group& group) const { return group.block < context.params.row_blocks; }
    DEVICE int first_row(const Group& group) const { return group.block * context.params.rows_per_block; }
    DEVICE int end_of(const Group& group) const { return min(first_row(group) + context.params.rows_per_block, context.params.batch); }
    DEVICE int rows_of(const Group& group) const { return min(R, end_of(group) - group.row); }
    DEVICE bool is_last(const Group& group) const { return group.row + R >= end_of(group); }
    DEVICE Group group_of(int block) const { return {block, block * context.params.rows_per_block}; }
    DEVICE Group after(const Group& group) const {
        return is_last(group) ? group_of(group.block + context.params.teams) : Group{group.block, group.row + R};
    }

    // Where the elements of a group's rows are: the first ones kept, maybe, and the others in the ring of groups on the way.
    struct Places {
        float *on_chip, *in_ring;
        int kept;

        DEVICE float* operator()(int r) const { return (r < kept ? on_chip : in_ring) + r * (C * THREADS); }
    };
    DEVICE Places places_of(const Group& group, int turn) const {
        const int row = group.row - first_row(group), kept = group.block == team_index ? context.params.rows_on_chip - row : 0;
        return {this->chip(row), this->chip(context.params.rows_on_chip + slot_of(turn) * R), kept};
    }
    // The turn modulo the depth, without a division.
    DEVICE int slot_of(int turn) const {
        static_assert(Team::MAX_DEPTH == 3, "depths are 1, 2 and 3");
        return context.params.depth == 3 ? (int)((u32)turn % 3u) : context.params.depth == 2 ? turn % 2 : 0;
    }
    DEVICE Found& found(int turn) const { return shared_memory<Found>(AT_FOUND)[turn % 2]; }

    DEVICE void run() {
        begin_notes(context, BUILD);
        if (team_index < context.params.teams) {
            if (pass == PASS_LOGITS) {
                add_logits();
            } else {
                const int groups = go_through();
                // Everyone has read it.
                if (thread == 0) context.control().told += groups;
            }
        }
        publish_notes(context, BUILD);
    }

    DEVICE int go_through() {
        Group front = group_of(team_index), back = front;
        int told = 0, settled = 0;
        this->begin_sums();
        fetch(front);
        for (;;) {
            if (told > settled && (told - settled == context.params.depth || !exists(front))) {
                settle(back, settled++);
                back = after(back);
            }
            if (exists(front)) {
                tell(front, told++);
                front = after(front);
            } else if (told == settled) {
                return told;
            }
        }
    }

    DEVICE void add_logits() {
        for (int block = team_index; block < context.params.row_blocks; block += context.params.teams) {
            this->begin_sums();
            for (Group group = group_of(block); rows_of(group) > 0; group.row += R) {
                fetch(group);
                float s[R][C];
                this->logits_of(fetched, s);
#pragma unroll
                for (int r = 0; r < R; r++) Own::add_logits(s[r]); // 0 of rows that there are not
            }
            this->end_sums(block);
        }
    }

    DEVICE void fetch(const Group& group) {
        const int kept = BUILD || pass == PASS_LOGITS || group.block != team_index ? 0 : context.params.rows_on_chip;
        this->fetch_logits(group.row, first_row(group) + kept, exists(group) ? end_of(group) : group.row, fetched);
    }

    // A group's elements, and what they sum up to in this segment.
    DEVICE void tell(const Group& group, int turn) {
        const int here = rows_of(group);
        if (!BUILD && group.row == first_row(group)) {
            if (group.row + thread < end_of(group)) context.block_shifts()[thread] = context.row_shift()[group.row + thread];
            __syncthreads();
        }
        float k[R][C], high[R], low[R], forbidden[R];
        this->logits_of(fetched, k);
        if constexpr (BUILD) examine(group, k, high, low, forbidden);
        const Places places = places_of(group, turn);
        const float* shifts = context.block_shifts() + (group.row - first_row(group));
#pragma unroll
        for (int r = 0; r < R; r++) {
            float* elements = places(r);
            if (r >= here) {
#pragma unroll
                for (int c = 0; c < C; c++) k[r][c] = 0.0f;
            } else if (!BUILD && r < places.kept) {
#pragma unroll
                for (int c = 0; c < C; c++) k[r][c] = elements[c * THREADS];
            } else {
                this->to_elements(k[r], BUILD ? shift_of(high[r]) : shifts[r]);
#pragma unroll
                for (int c = 0; c < C; c++) elements[c * THREADS] = k[r][c];
            }
        }
        float mine[R];
#pragma unroll
        for (int r = 0; r < R; r++) mine[r] = this->dot(k[r]);
        fetch(after(group)); // into registers that the elements had
        const u64 total = (u64)__double_as_longlong(over_block_by_lanes<Sum, double>(context.exchange, mine));
        const int row = value_of_lane<R>();
        if (threadIdx.x >= LANES || threadIdx.x % lanes_of_value(R) != 0 || row >= here) return;
        const u32 tag = tag_of(turn);
        Entry& entry = team.entry(tag, row, team.segment());
        Team::tell(entry.words[0], tag, (u32)total);
        Team::tell(entry.words[1], tag, (u32)(total >> 32));
        if constexpr (BUILD) {
#pragma unroll
            for (int r = 0; r < R; r++) {
                if (r != row) continue;
                Team::tell(entry.words[2], tag, __float_as_uint(high[r]));
                Team::tell(entry.words[3], tag | (forbidden[r] > 0.0f ? FORBIDDEN : 0u), __float_as_uint(low[r]));
            }
        }
    }

    // Groups are counted from 1 over all passes of a launch; `told` does not move before the end of one.
    DEVICE u32 tag_of(int turn) const { return context.control().told + 1 + turn; }

    DEVICE float shift_of(float high) const { return high > -INFINITY_F32 ? (float)rint((double)high * context.params.scale) : 0.0f; }

    // The segment's range of each row.
    DEVICE void examine(const Group& group, const float (&s)[R][C], float (&high)[R], float (&low)[R], float (&forbidden)[R]) {
        float seen[2 * R], all[2 * R];
        this->see_ranges(rows_of(group), s, seen);
        over_block<Max>(context.exchange, seen, all);
        bool is_usual = true;
#pragma unroll
        for (int r = 0; r < R; r++) {
            high[r] = all[2 * r];
            low[r] = -all[2 * r + 1];
            forbidden[r] = 0.0f;
            is_usual = is_usual && low[r] > -INFINITY_F32;
        }
        if (is_usual) return;
#pragma unroll 1
        for (int again = 0; again < rows_of(group); again++) {
            const Seen of_segment = this->look_again(group.row + again).over_threads(context);
#pragma unroll
            for (int r = 0; r < R; r++) {
                high[r] = r == again ? of_segment.high : high[r];
                low[r] = r == again ? of_segment.low : low[r];
                forbidden[r] = r == again ? of_segment.forbidden : forbidden[r];
            }
        }
    }

    // The group's totals are known by now, most likely: its elements go into the column sums, or out.
    DEVICE void settle(const Group& group, int turn) {
        const int here = rows_of(group);
#pragma unroll 1
        for (int r = opaque((int)threadIdx.x) / LANES; r < here; r += WARPS) find_out(group.row + r, r, turn);
        __syncthreads();
        const Found& found = this->found(turn);
        const Places places = places_of(group, turn);
        if (BUILD && pass == PASS_COLUMNS) {
            float highest = block_shift;
            for (int r = 0; r < here; r++) highest = fmaxf(highest, found.shift[r]);
            this->relative_to(highest);
        }
#pragma unroll
        for (int r = 0; r < R; r++) {
            if (r >= here) continue;
            float* elements = places(r);
            float k[1][C];
#pragma unroll
            for (int c = 0; c < C; c++) k[0][c] = elements[c * THREADS];
            if constexpr (BUILD) {
#pragma unroll
                for (int c = 0; c < C; c++) k[0][c] *= found.rescale[r];
                if (r < places.kept) {
#pragma unroll
                    for (int c = 0; c < C; c++) elements[c * THREADS] = k[0][c];
                }
            }
            if (pass == PASS_WRITE) {
                const float factor[1] = {found.factor[r]};
                this->write(group.row + r, 1, k, factor);
            } else {
                this->add(k[0], BUILD && pass == PASS_COLUMNS ? exp2f(found.shift[r] - block_shift) : found.factor[r]);
            }
        }
        if (!is_last(group)) return;
        this->end_sums(group.block);
        if (BUILD && pass == PASS_COLUMNS && thread == 0 && team.segment() == 0) this->tell_shift(group.block);
        this->begin_sums();
    }

    // One warp: a row's total from what all segments told; in the first pass its range too.
    DEVICE void find_out(int row, int r, int turn) {
        const AssignParams& params = context.params;
        const int lane = threadIdx.x % LANES, segments = params.segments;
        const u32 tag = tag_of(turn);
        double sum = 0.0;
        float relative_to = -INFINITY_F32, high = -INFINITY_F32, low = INFINITY_F32, own = -INFINITY_F32;
        u32 forbidden = 0;
        for (int s = lane; s < segments; s += LANES) {
            u64 words[BUILD ? 2 : 1][2];
            Team::wait_for<BUILD ? 4 : 2>(team.entry(tag, r, s), tag, words);
            const double told = from_words(words[0]);
            if constexpr (!BUILD) {
                sum += told;
                continue;
            }
            const u64 (&range)[2] = words[BUILD ? 1 : 0];
            const float highest = __uint_as_float((u32)range[0]);
            low = fminf(low, __uint_as_float((u32)range[1]));
            forbidden |= ::tag_of(range[1]) & FORBIDDEN;
            high = fmaxf(high, highest);
            if (s == team.segment()) own = highest;
            if (!(highest > -INFINITY_F32)) continue;
            const float shift = shift_of(highest), reference = fmaxf(relative_to, shift);
            sum = sum * exp2((double)relative_to - reference) + told * exp2((double)shift - reference);
            relative_to = reference;
        }
        float shift = 0.0f;
        if constexpr (BUILD) {
            high = over_warp<Max>(high);
            low = over_warp<Min>(low);
            own = over_warp<Max>(own);
            forbidden = over_warp<Max>(forbidden);
            if (!(high >= low)) {
                if (lane == 0) note_bad(context, r, no_finite_logit(params, row));
                high = low = 0.0f;
            }
            shift = shift_of(high);
            if (lane == 0) note_range(context, r, high, low, shift, forbidden != 0);
            sum = relative_to > -INFINITY_F32 ? sum * exp2((double)relative_to - shift) : 0.0;
        } else if (pass == PASS_WRITE) {
            shift = context.row_shift()[row];
        }
        const double total = over_warp<Sum>(sum);
        if (lane != 0) return;
        note_total(context, r, total);
        Found& found = this->found(turn);
        found.factor[r] = (float)(1.0 / total);
        if (BUILD) {
            found.rescale[r] = own > -INFINITY_F32 ? exp2f(shift_of(own) - shift) : 0.0f;
            found.shift[r] = shift;
        }
        if (team.segment() != 0) return;
        if (BUILD) context.row_shift()[row] = shift;
        if (pass == PASS_WRITE) note_log(context, r, total, shift);
    }
};

template <int C, int R> struct WideRows {
    using Words = PlainWords; // their passes are long, and sums with tags are twice as long
    Context& context;

    DEVICE void run() {
        if (context.control().built) {
            WideRowPass<C, R, false>(context).run();
        } else {
            WideRowPass<C, R, true>(context).run();
        }
    }
};
