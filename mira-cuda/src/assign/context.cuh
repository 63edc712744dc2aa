// One thread's view of its problem: pointers into the workspace, and the block's shared memory.

#pragma once
#include "common/grid.cuh"
#include "exp.cuh"
#include "params.cuh"

constexpr double LOG2_E = 1.44269504088896340736;
constexpr double UNIT_ROUNDOFF_F64 = 1.1102230246251565e-16; // 2⁻⁵³

// Shared memory: the exchange of block.cuh, then these, in bytes; then what rows stay on chip, from `params.at_chip` on. plan.rs adds
// it up.
constexpr u32 AT_CONTROL = Exchange::BYTES;
constexpr u32 AT_SCALARS = AT_CONTROL + sizeof(Control); // NUM_SCALARS
constexpr u32 AT_BLOCK_SHIFTS = AT_SCALARS + NUM_SCALARS * sizeof(double); // MAX_ROWS_PER_BLOCK
constexpr u32 AT_FOUND = AT_BLOCK_SHIFTS + MAX_ROWS_PER_BLOCK * sizeof(float); // two of FOUND_BYTES
constexpr u32 FOUND_BYTES = 64;                                                 // of wide_rows.cuh
constexpr u32 AT_SLICE_SUMS = AT_FOUND + 2 * FOUND_BYTES;

// At the start of a problem's workspace, in bytes; plan.rs keeps the room. Zero before the first run, and the kernels' own.
constexpr unsigned AT_ARRIVALS = 0; // of the grid barrier
constexpr unsigned AT_TAG = 128;    // up to this one, runs may have used them

struct History {
    double* image;
    int stride;

    DEVICE double& operator[](int v) const { return image[(long long)(v - IMAGE) * stride]; }
};

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

// What a thread learns from its rows on the way.
struct RowStats {
    double bad = INFINITY_F64;
    double log_row = 0; // Σ log total + shift, relative to the middle of the weights
    float lowest_total = INFINITY_F32, lowest_element = INFINITY_F32;
    float largest_argument = 0, row_span = 0, highest_shift = -INFINITY_F32;

    // The row's shift, in bits.
    DEVICE float built_row(const AssignParams& params, float high, float low, bool forbidden) {
        const float top = high * params.scale_high, bottom = low * params.scale_high;
        const float shift = (float)rint((double)high * params.scale);
        lowest_element = fminf(lowest_element, bottom - shift - 2.0f);
        largest_argument = params.scale_high < LEAST_SCALE ? INFINITY_F32 : fmaxf(largest_argument, fmaxf(fabsf(top), fabsf(bottom)));
        row_span = fmaxf(row_span, forbidden ? INFINITY_F32 : (high - low) * 1.000001f); // a bound, so rounded up
        highest_shift = fmaxf(highest_shift, shift);
        return shift;
    }

    // `built`: this pass has read every logit. The first `active` warps know all that any warp knows of row totals.
    DEVICE void publish(Context& context, bool built, int active) {
        if (context.control().pass == PASS_WRITE) {
            const double logs[1] = {log_row};
            const double log_sum = over_block_by_lanes<Sum, double>(context.exchange, logs, active);
            if (threadIdx.x == 0) context.own(LOG_ROW) = log_sum;
        }
        if (!built) {
            const float lowest[1] = {-lowest_total};
            const float of_all = over_block_by_lanes<Max, float>(context.exchange, lowest, active);
            if (threadIdx.x != 0) return;
            const double before = context.control().unjudged > 0 ? context.own(LOWEST_TOTAL) : INFINITY_F64;
            context.own(LOWEST_TOTAL) = fmin(before, (double)-of_all);
            return;
        }
        const double bads[1] = {bad};
        const float extremes[5] = {-lowest_total, -lowest_element, largest_argument, row_span, highest_shift};
        double first_bad[1];
        float of_all[5];
        over_block<Min>(context.exchange, bads, first_bad);
        over_block<Max>(context.exchange, extremes, of_all);
        if (threadIdx.x != 0) return;
        context.own(BAD) = first_bad[0];
        context.own(LOWEST_TOTAL) = -of_all[0];
        context.own(LOWEST_ELEMENT) = -of_all[1];
        context.own(LARGEST_ARGUMENT) = of_all[2];
        context.own(ROW_SPAN) = of_all[3];
        context.own(HIGHEST_SHIFT) = of_all[4];
    }
};

// A NaN or +∞ is remembered by its place, a forbidden entry left out of the range.
DEVICE void look_at(float s, long long index, float& high, float& low, float& forbidden, double& bad) {
    if (s > -INFINITY_F32 && s < INFINITY_F32) {
        high = fmaxf(high, s);
        low = fminf(low, s);
    } else if (s == -INFINITY_F32) {
        forbidden = 1.0f;
    } else {
        bad = fmin(bad, 4.0 * (double)index + (s > 0.0f ? POSITIVE_INFINITY : NOT_A_NUMBER));
    }
}
