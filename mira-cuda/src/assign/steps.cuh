// The steps of a run: its beginning, passes in either domain, and what happens between passes.

#pragma once
#include "control.cuh"
#include "log_rows.cuh"
#include "long_rows.cuh"
#include "rows.cuh"
#include "wide_rows.cuh"

// Must all blocks wait for each other before a pass, since what it reads is not words that are waited for one by one? Every block says the same.
template <class Words> DEVICE bool all_wait(const Context& context) {
    const Control& control = context.control();
    return !Words::WAITED_FOR || (control.domain == LOGARITHMIC && control.pass != PASS_LOGITS);
}

template <class Words> DEVICE void begin(Context& context) {
    const u64 start = cycles();
    const AssignParams& params = context.params;
    if (threadIdx.x == 0) {
        Control& control = context.control();
        const double middle = params.warm ? __longlong_as_double((long long)load_relaxed((const u64*)&context.kept_control()->middle)) : 0.0;
        control = Control{};
        control.middle = middle;
        control.batch = params.batch;
        control.inverse_batch = params.inverse_batch;
        control.bad = control.best = control.milestone = control.lately = INFINITY_F64;
        control.pass = params.method == SINKHORN ? PASS_COLUMNS : PASS_SWEEP;
        control.count = params.warm ? 0 : -1;
        control.tag = (u32)load_relaxed(context.kept_tag()) + 1;
        if (params.method == SOFTMAX || params.method == CENTERED) {
            control.count = 0;
            control.pass = PASS_WRITE;
            control.last = 1;
        }
    }
    if (threadIdx.x < NUM_SCALARS) context.own(threadIdx.x) = 0.0; // what no pass has found yet must be a number
    for (int j = context.first_column() + threadIdx.x; j < context.end_column(); j += THREADS) {
        if (!params.warm) {
            context.vector(LOG_WEIGHTS)[j] = params.method == CENTERED ? -context.vector(CENTER)[j] / params.temperature : 0.0;
        }
    }
    __syncthreads();
    mark(POINT_START, context.control().tag, start);
    if (params.segments > 1) Team{context}.open();
    move_weights<Words>(context);
    if (!Words::WAITED_FOR) context.all_blocks();
}

constexpr int CONTROL_WORDS = sizeof(Control) / sizeof(u64);
static_assert(sizeof(Control) % sizeof(u64) == 0, "it is copied by words");

// For the report, for the launches to come, and for the runs. The first warp of the problem's first block does it.
DEVICE void leave(const Context& context) {
    mark(POINT_END, context.control().tag);
    if (blockIdx.x != 0 || threadIdx.x >= WARP) return;
    const u64* control = (const u64*)&context.control();
    for (int i = threadIdx.x; i < CONTROL_WORDS; i += WARP) store_relaxed((u64*)context.kept_control() + i, control[i]);
    if (threadIdx.x == 0) store_relaxed(context.kept_tag(), context.control().tag);
}

__device__ __noinline__ void log_pass(const AssignParams& params, Exchange exchange) {
    Context context{params, exchange};
    LogPass(context).run();
    // An exchange has two barriers of the grid around it here, so whose turn it is does not matter.
}

// A pass over the rows.
template <class Rows> DEVICE void row_pass(Context& context) {
    mark(POINT_ROWS, context.control().tag);
    if (context.control().domain == LOGARITHMIC && context.control().pass != PASS_LOGITS) {
        log_pass(context.params, context.exchange);
    } else {
        Rows{context}.run();
    }
    mark(POINT_TOLD, context.control().tag);
    // In the log domain a block has summed its own columns, and the next pass comes after a barrier.
    if (!Rows::Words::WAITED_FOR) context.all_blocks();
}

// From column sums to the weights of the next pass, or to the end of the run. Not inlined: what either knows of a thread and its columns
// would be kept in registers that the row passes need, and the other way round.
//
// A fixed number of sweeps needs nobody's scalars to go on, so most of them go ahead: a column's image is told as its weight as soon as it is
// known, relative to a middle that was foretold. Whether their sums could be relied on is judged after the next sweep that does not; if they
// could not, the run goes back to the first of them, in the log domain.
template <bool OVER_RANKS, class Words> __device__ __noinline__ Exchange between_passes(const AssignParams& params, Exchange exchange) {
    Context context{params, exchange};
    const bool ahead = !OVER_RANKS && Words::WAITED_FOR && context.control().ahead > 0;
    const u32 tag = context.control().tag;
    ColumnPhase<OVER_RANKS, Words>(context).run(ahead);
    __syncthreads();
    mark(POINT_IMAGES, tag);
    if (ahead) {
        if (threadIdx.x == 0) Decision(params, context.control(), context.reduced()).go_ahead();
        __syncthreads();
        mark(POINT_MOVED, tag);
        return context.exchange;
    }
    // What rows have told is agreed upon by the ranks.
    const u32 asked = asked_of_columns(context) | (OVER_RANKS ? OF_EVERY_BLOCK : asked_of_rows(context));
    tell_scalars(context, asked);
    reduce_scalars(context, asked);
    mark(POINT_SCALARS, tag);
    if (threadIdx.x < LANES) {
        if constexpr (OVER_RANKS) reduce_over_ranks(context);
        if (threadIdx.x == 0) Decision(params, context.control(), context.reduced()).run();
    }
    __syncthreads();
    mark(POINT_DECIDED, tag);
    if (!context.control().done) {
        move_weights<Words>(context);
        if (all_wait<Words>(context)) context.all_blocks();
    }
    mark(POINT_MOVED, tag);
    return context.exchange;
}

// The same; false when the run is over.
template <bool OVER_RANKS, class Words> DEVICE bool decide(Context& context) {
    context.exchange = between_passes<OVER_RANKS, Words>(context.params, context.exchange);
    return !context.control().done;
}
