// One launch computes a whole assignment: passes over the rows, and what happens between them, until the stop rule is met. Blocks stay
// on the device throughout and meet at barriers across the grid, so the launch must be cooperative; gridDim.x blocks work on each of
// gridDim.y problems of one shape.

#include "device.cuh"
#include "control.cuh"
#include "log_rows.cuh"
#include "long_rows.cuh"
#include "rows.cuh"

DEVICE void begin(Context& context) {
    const AssignParams& params = context.params;
    if (threadIdx.x == 0) {
        Control& control = context.control();
        const double middle = params.warm ? context.kept_control()->middle : 0.0;
        control = Control{};
        control.middle = middle;
        control.bad = control.best = control.last_distance = control.milestone = INFINITY_F64;
        control.pass = params.method == SINKHORN ? PASS_COLUMNS : PASS_SWEEP;
        control.count = params.warm ? 0 : -1;
        if (params.method == SOFTMAX || params.method == CENTERED) {
            control.count = 0;
            control.pass = PASS_WRITE;
            control.last = 1;
        }
    }
    // What no pass has written yet must not be read as a number from the last run.
    for (int s = threadIdx.x; s < NUM_SCALARS; s += THREADS) context.own(s) = 0.0;
    for (int j = context.first_column() + threadIdx.x; j < context.end_column(); j += THREADS) {
        if (!params.warm) {
            context.vector(LOG_WEIGHTS)[j] = params.method == CENTERED ? -context.vector(CENTER)[j] / params.temperature : 0.0;
        }
    }
    __syncthreads();
    move_weights(context);
    context.all_blocks();
}

// Not inlined: the row passes need the registers.
__device__ __noinline__ Exchange column_phase(const AssignParams& params, Exchange exchange) {
    Context context{params, 0, exchange};
    ColumnPhase(context).run();
    return context.exchange;
}

__device__ __noinline__ unsigned log_pass(const AssignParams& params, unsigned barrier_target, Exchange exchange) {
    Context context{params, barrier_target, exchange};
    LogPass(context).run();
    // An exchange has two barriers of the grid around it here, so whose turn it is does not matter.
    return context.barrier_target;
}

template <class Rows> DEVICE void assign(const AssignParams& params) {
    Context context{params, 0, {0}};
    begin(context);
    while (true) {
        if (context.control().domain == LOGARITHMIC && context.control().pass != PASS_LOGITS) {
            context.barrier_target = log_pass(params, context.barrier_target, context.exchange);
        } else {
            Rows(context).run();
        }
        context.all_blocks();
        context.exchange = column_phase(params, context.exchange);
        context.all_blocks();
        reduce_scalars(context);
        if (threadIdx.x == 0) Decision{params, context.control(), context.reduced()}.run();
        __syncthreads();
        if (context.control().done) break;
        move_weights(context);
        context.all_blocks();
    }
    if (blockIdx.x == 0 && threadIdx.x == 0) *context.kept_control() = context.control();
}

// Rows of up to C · THREADS columns, R at a time.
#define SHORT_ROWS(C, R) \
    KERNEL(assign_##C, AssignParams, THREADS) { assign<RowPass<C, R>>(params); }

SHORT_ROWS(1, 4)
SHORT_ROWS(2, 4)
SHORT_ROWS(4, 2)
SHORT_ROWS(6, 2)
SHORT_ROWS(8, 1)

KERNEL(assign_long, AssignParams, THREADS) { assign<LongRowPass>(params); }
