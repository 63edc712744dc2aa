// A pass of a run over a batch that is spread over ranks: a launch ends when they must exchange their column sums, and the next one
// takes the run up from there. A launch after the last one that was needed does nothing. Otherwise as assign.cu.

#include "device.cuh"
#include "steps.cuh"

// What the other ranks need of this one's rows.
template <class Words> __device__ __noinline__ void contribute(const AssignParams& params, Exchange exchange) {
    Context context{params, exchange};
    ColumnPhase<true, Words>(context).tell();
    const u32 asked = asked_of_rows(context) | OF_EVERY_BLOCK;
    tell_scalars(context, asked); // the block's own are known since the barrier that came with its column sums, or between rows and columns in the log domain
    if (context.block() != 0) return;
    reduce_scalars(context, asked);
    const int i = threadIdx.x;
    if (i < NUM_TOLD) context.contribution()[i] = i == TOLD_BATCH ? params.batch : context.reduced()[scalar_told(i)];
    if (i == 0) context.control().tag++;
    __syncwarp();
    leave(context);
}

// Where the last launch left the run.
DEVICE void take_up(Context& context) {
    if (threadIdx.x < WARP) {
        u64* control = (u64*)&context.control();
        for (int i = threadIdx.x; i < CONTROL_WORDS; i += WARP) control[i] = load_relaxed((const u64*)context.kept_control() + i);
        __syncwarp();
    }
    if (threadIdx.x == 0) {
        double batch = 0.0;
        for (int r = 0; r < context.params.ranks; r++) batch += context.gathered(r)[TOLD_BATCH];
        context.control().batch = batch;
        context.control().inverse_batch = 1.0 / batch;
    }
    if (threadIdx.x < NUM_SCALARS) context.own(threadIdx.x) = 0.0;
    __syncthreads();
    if (context.params.segments > 1) Team{context}.open();
}

template <class Rows> DEVICE void pass_over_ranks(const AssignParams& params) {
    Context context{params, {0}};
    using Words = typename Rows::Words;
    if (params.resume) {
        take_up(context);
        if (context.control().done) return;
        if (!decide<true, Words>(context)) return leave(context);
    } else {
        begin<Words>(context);
    }
    row_pass<Rows>(context);
    contribute<Words>(params, context.exchange);
}

// Nothing stays on chip from launch to launch.
#define SHORT_ROWS(C, R) \
    KERNEL(over_ranks_##C, AssignParams, THREADS) { pass_over_ranks<ShortRows<C, R, 0>>(params); }

SHORT_ROWS(1, 8)
SHORT_ROWS(2, 8)
SHORT_ROWS(4, 4)
SHORT_ROWS(6, 4)
SHORT_ROWS(8, 3)

// Of longer ones, each shared by several blocks.
#define WIDE_ROWS(C, R) \
    KERNEL(over_ranks_wide_##C, AssignParams, THREADS) { pass_over_ranks<WideRows<C, R>>(params); }

WIDE_ROWS(6, 3)
WIDE_ROWS(8, 2)

// Of any length.
KERNEL(over_ranks_long, AssignParams, THREADS) { pass_over_ranks<LongRowPass>(params); }
