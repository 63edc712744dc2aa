// One thread's view of its problem: pointers into the workspace, and the block's shared memory.

#pragma once
#include "common/grid.cuh"
#include "exp.cuh"
#include "params.cuh"

// The logarithm of a marginal below which no label is a number; see mira-core's largest_exponent.
constexpr double LOG_NO_LABEL = -800.0;

// What of such a prototype is no more than rounding, and so not known; as mira-core has it.
DEVICE bool is_lost(double difference, double log_weight, double log_marginal, double scaled) {
    constexpr double EIGHT_STEPS = 8.0 * 2.220446049250313e-16;
    return log_marginal < LOG_NO_LABEL && fabs(difference) <= EIGHT_STEPS * fmax(fabs(log_weight), fabs(scaled));
}

constexpr double LOG2_E = 1.44269504088896340736;
constexpr double UNIT_ROUNDOFF_F64 = 1.1102230246251565e-16; // 2⁻⁵³

// Shared memory: the exchange of block.cuh, then these, in bytes; then what rows stay on chip, from `params.at_chip` on. plan.rs adds
// it up.
constexpr u32 AT_CONTROL = Exchange::BYTES;
constexpr u32 AT_SCALARS = AT_CONTROL + sizeof(Control); // NUM_SCALARS
constexpr u32 AT_BLOCK_SHIFTS = AT_SCALARS + NUM_SCALARS * sizeof(double); // MAX_ROWS_PER_BLOCK
constexpr u32 AT_FOUND = AT_BLOCK_SHIFTS + MAX_ROWS_PER_BLOCK * sizeof(float); // two of FOUND_BYTES
constexpr u32 FOUND_BYTES = 64;                                                 // of wide_rows.cuh
// Notes are in a part of the exchange that passes over rows do not use, since for want of 240 bytes a row less would stay on chip at 3000 columns.
// What comes between passes uses all of it, a barrier later. With few warps, under emulation, there is no such part.
constexpr u32 MAX_NOTES = 8, NOTES_BYTES = MAX_NOTES * 40;
constexpr bool NOTES_IN_EXCHANGE = Exchange::BYTES / 4 >= NOTES_BYTES;
constexpr u32 AT_NOTES = NOTES_IN_EXCHANGE ? Exchange::BYTES / 4 : AT_FOUND + 2 * FOUND_BYTES;
constexpr u32 AT_SLICE_SUMS = AT_FOUND + 2 * FOUND_BYTES + (NOTES_IN_EXCHANGE ? 0 : NOTES_BYTES);
template <int N> constexpr bool leaves_notes_alone() { return WARPS * power_of_two(N) * sizeof(float) <= AT_NOTES; } // an exchange of N floats

// At the start of a problem's workspace, in bytes; plan.rs keeps the room. Zero before the first run, and the kernels' own.
constexpr unsigned AT_ARRIVALS = 0; // of the grid barrier
constexpr unsigned AT_TAG = 128;    // up to this one, runs may have used them

struct History {
    double* image;
    int stride;

    DEVICE double& operator[](int v) const { return image[(long long)(v - IMAGE) * stride]; }
};

// What is noted of rows in a pass, by the thread that looks after one: in shared memory, since those are few, and registers would be all threads'.
struct Notes {
    double log_row; // Σ log total + shift, relative to the middle of the weights
    // Of the pass that reads every logit.
    double bad; // the first invalid one
    float lowest_total;
    float lowest_element, largest_argument, row_span, highest_shift;
};
static_assert(MAX_NOTES * sizeof(Notes) == NOTES_BYTES, "they have as much room");

// Pointers are computed where they are used, from the parameters: kept in registers they would cost the row passes a quarter of theirs.
struct Context {
    const AssignParams& params;
    Exchange exchange;

    template <class T> DEVICE T* at(unsigned long long offset) const {
        return (T*)(params.workspace + blockIdx.y * params.workspace_stride + offset);
    }
    DEVICE u64* kept_tag() const { return at<u64>(AT_TAG); }
    DEVICE double* vector(int v) const { return at<double>(params.at_vectors) + (long long)v * params.padded_columns; }
    // A column's part of the K-vectors from IMAGE on.
    DEVICE History history(int j) const {
        if (params.at_history == 0) return {vector(IMAGE) + j, params.padded_columns};
        return {shared_memory<double>(params.at_history) + (j - first_column()), params.slice};
    }
    // Weights of the columns, and their sums over one row block. The latter's address is made anew: what both are computed from would be
    // kept in registers from the beginning of a pass to its end.
    template <class Words> DEVICE typename Words::Word* weights() const { return at<typename Words::Word>(params.at_weights); }
    template <class Words> DEVICE typename Words::Word* partial(int row_block) const {
        const unsigned long long here = params.workspace + (unsigned)opaque((int)blockIdx.y) * params.workspace_stride + params.at_partials;
        return (typename Words::Word*)here + (unsigned long long)(unsigned)row_block * (unsigned)params.padded_columns;
    }
    DEVICE float* row_shift() const { return at<float>(params.at_row_shift); }   // integers, in bits; log domain: the largest logit
    DEVICE float* row_factor() const { return at<float>(params.at_row_factor); } // long rows: 1/total
    // What row blocks' sums of unnormalised columns are relative to, in bits; in the same place.
    template <class Words> DEVICE typename Words::Word* row_block_shift() const { return at<typename Words::Word>(params.at_row_factor); }
    DEVICE double* row_log() const { return at<double>(params.at_row_log); }     // log domain: log Σ e^(x − row_highest), x = a + (s − row_shift)/ε
    DEVICE double* row_highest() const { return row_log() + params.batch; }      // log domain: the largest x
    // What a block told of its scalars, two words each. In two places by turns: a block without columns may still be reading the last ones,
    // and nobody waits for it.
    DEVICE u64* told(int block, int scalar) const {
        return at<u64>(params.at_scalars) + ((long long)((control().tag & 1) * blocks() + block) * NUM_SCALARS + scalar) * 2;
    }
    // Block 0 leaves both when it has heard of every block, which have read what the last run left by then: words that are only relaxed, for
    // nothing else orders the two.
    DEVICE Control* kept_control() const { return at<Control>(params.at_control); }
    DEVICE Summary* summary() const { return at<Summary>(params.at_summary); }

    DEVICE unsigned long long logits() const { return params.logits[blockIdx.y]; }
    DEVICE unsigned long long assignment() const { return params.assignment[blockIdx.y]; }

    DEVICE Control& control() const { return *shared_memory<Control>(AT_CONTROL); }
    // Scalars: this block's until they are told, and then of all blocks, in the same place; but for those that
    // nobody asks for.
    DEVICE double& own(int scalar) const { return shared_memory<double>(AT_SCALARS)[scalar]; }
    DEVICE double* reduced() const { return shared_memory<double>(AT_SCALARS); }
    DEVICE float* block_shifts() const { return shared_memory<float>(AT_BLOCK_SHIFTS); } // of the row block at hand
    DEVICE Notes& notes(int place) const { return shared_memory<Notes>(AT_NOTES)[place]; }
    DEVICE double* slice_sums() const { return shared_memory<double>(AT_SLICE_SUMS); }
    DEVICE float* chip(int row, int row_length) const { return shared_memory<float>(params.at_chip) + row * row_length; }

    DEVICE int block() const { return (int)blockIdx.x; }
    DEVICE int blocks() const { return (int)gridDim.x; }
    // The columns this block looks after between passes.
    DEVICE int first_column() const { return min(block() * params.slice, params.columns); }
    DEVICE int end_column() const { return min(first_column() + params.slice, params.columns); }

    // NUM_TOLD numbers, then K column sums.
    DEVICE double* contribution() const { return (double*)params.contribution + (long long)blockIdx.y * params.contribution_length; }
    DEVICE const double* gathered(int rank) const {
        return (const double*)params.gathered + ((long long)rank * gridDim.y + blockIdx.y) * params.contribution_length;
    }

    DEVICE void all_blocks() const { grid_barrier(at<u32>(AT_ARRIVALS)); }
};

constexpr double LN_2 = 0.69314718055994530942;

// What `bad` becomes by a row without a finite logit: behind every NaN in it.
DEVICE double no_finite_logit(const AssignParams& params, int row) {
    return 4.0 * (double)((long long)(row + 1) * params.columns - 1) + NO_FINITE_LOGIT;
}

DEVICE Notes no_notes() { return {0.0, INFINITY_F64, INFINITY_F32, INFINITY_F32, 0.0f, 0.0f, -INFINITY_F32}; }

// Before a pass, the first one or another; a barrier must follow before anything is noted.
DEVICE void begin_notes(const Context& context, bool build) {
    const int place = opaque((int)threadIdx.x);
    if (place >= (int)MAX_NOTES) return;
    Notes& notes = context.notes(place);
    if (build) notes = no_notes();
    notes.log_row = 0.0;
    notes.lowest_total = INFINITY_F32;
}

// A row's shift, in bits.
DEVICE float shift_of(const AssignParams& params, float high) { return (float)rint((double)high * params.scale); }

DEVICE void note_range(const Context& context, int place, float high, float low, float shift, bool forbidden) {
    const AssignParams& params = context.params;
    Notes& notes = context.notes(place);
    const float top = high * params.scale_high, bottom = low * params.scale_high;
    notes.lowest_element = fminf(notes.lowest_element, bottom - shift - 2.0f);
    notes.largest_argument = params.scale_high < LEAST_SCALE ? INFINITY_F32 : fmaxf(notes.largest_argument, fmaxf(fabsf(top), fabsf(bottom)));
    notes.row_span = fmaxf(notes.row_span, forbidden ? INFINITY_F32 : (high - low) * 1.000001f); // a bound, so rounded up
    notes.highest_shift = fmaxf(notes.highest_shift, shift);
}

DEVICE void note_bad(const Context& context, int place, double bad) { context.notes(place).bad = fmin(context.notes(place).bad, bad); }

DEVICE void note_total(const Context& context, int place, double total) {
    context.notes(place).lowest_total = fminf(context.notes(place).lowest_total, (float)total);
}

// Where the pass is one that writes; for the objective alone, so f32 will do.
DEVICE void note_log(const Context& context, int place, double total, float shift) {
    context.notes(place).log_row += (double)logf((float)total) + (double)shift * LN_2;
}

// After a pass. What was noted was by the first warp, or before a barrier. `built`: this pass has read every logit.
DEVICE void publish_notes(const Context& context, bool built) {
    const int place = opaque((int)threadIdx.x);
    if (place >= LANES) return;
    __syncwarp();
    // Not read before it is known what has been noted: over ranks a launch knows nothing of what the one before it has noted.
    const bool has_notes = place < (int)MAX_NOTES;
    const Notes& noted = context.notes(has_notes ? place : 0);
    if (context.control().pass == PASS_WRITE) {
        const double log_row = over_warp<Sum>(has_notes ? noted.log_row : 0.0);
        if (threadIdx.x == 0) context.own(LOG_ROW) = log_row;
    }
    const float lowest_total = over_warp<Min>(has_notes ? noted.lowest_total : INFINITY_F32);
    if (!built) {
        if (threadIdx.x != 0) return;
        const double before = context.control().unjudged > 0 ? context.own(LOWEST_TOTAL) : INFINITY_F64;
        context.own(LOWEST_TOTAL) = fmin(before, (double)lowest_total);
        return;
    }
    const Notes notes = has_notes ? noted : no_notes();
    const double bad = over_warp<Min>(notes.bad);
    const float highest[4] = {-notes.lowest_element, notes.largest_argument, notes.row_span, notes.highest_shift};
    float of_all[4];
    tell_lanes(over_warp_together<Max>(highest), of_all);
    if (threadIdx.x != 0) return;
    context.own(BAD) = bad;
    context.own(LOWEST_TOTAL) = lowest_total;
    context.own(LOWEST_ELEMENT) = -of_all[0];
    context.own(LARGEST_ARGUMENT) = of_all[1];
    context.own(ROW_SPAN) = of_all[2];
    context.own(HIGHEST_SHIFT) = of_all[3];
}

// What a thread has seen of a row with whatever it may have in it.
struct Seen {
    float high = -INFINITY_F32, low = INFINITY_F32, forbidden = 0.0f;
    double bad = INFINITY_F64;

    // A NaN or +∞ is remembered by its place, a forbidden entry left out of the range.
    DEVICE void look_at(float s, long long index) {
        if (s > -INFINITY_F32 && s < INFINITY_F32) {
            high = fmaxf(high, s);
            low = fminf(low, s);
        } else if (s == -INFINITY_F32) {
            forbidden = 1.0f;
        } else {
            bad = fmin(bad, 4.0 * (double)index + (s > 0.0f ? POSITIVE_INFINITY : NOT_A_NUMBER));
        }
    }

    // All threads together; what is invalid is noted.
    DEVICE Seen over_threads(Context& context) const {
        const float mine[3] = {high, -low, forbidden};
        const double bads[1] = {bad};
        float all[3];
        double first_bad[1];
        over_block<Max>(context.exchange, mine, all);
        over_block<Min>(context.exchange, bads, first_bad);
        if (threadIdx.x == 0) note_bad(context, 0, first_bad[0]);
        Seen seen;
        seen.high = all[0];
        seen.low = -all[1];
        seen.forbidden = all[2];
        return seen;
    }
};

// The shift of such a row.
DEVICE float examined_row(Context& context, int row, const Seen& mine) {
    Seen seen = mine.over_threads(context);
    if (!(seen.high >= seen.low)) {
        if (threadIdx.x == 0) note_bad(context, 0, no_finite_logit(context.params, row));
        seen.high = seen.low = 0.0f;
    }
    const float shift = shift_of(context.params, seen.high);
    if (threadIdx.x == 0) note_range(context, 0, seen.high, seen.low, shift, seen.forbidden > 0.0f);
    return shift;
}
