// One launch computes a whole assignment: passes over the rows, and what happens between them, until the stop rule is met. Blocks stay
// on the device throughout and wait for each other, so the launch must be cooperative; gridDim.x blocks work on each of gridDim.y
// problems of one shape.

#include "device.cuh"
#include "steps.cuh"

template <class Rows> DEVICE void assign(const AssignParams& params) {
    Context context{params, {0}};
    begin<typename Rows::Words>(context);
    do {
        row_pass<Rows>(context);
    } while (decide<false, typename Rows::Words>(context));
    leave(context);
}

// Rows of up to C · THREADS columns, R at a time, or KEPT of those on chip.
#define SHORT_ROWS(C, R, KEPT) \
    KERNEL(assign_##C, AssignParams, THREADS) { assign<ShortRows<C, R, KEPT>>(params); }

SHORT_ROWS(1, 8, 8)
SHORT_ROWS(2, 8, 8)
SHORT_ROWS(4, 4, 8)
SHORT_ROWS(6, 4, 6)
SHORT_ROWS(8, 3, 4)

// Of longer ones, each shared by several blocks.
#define WIDE_ROWS(C, R) \
    KERNEL(assign_wide_##C, AssignParams, THREADS) { assign<WideRows<C, R>>(params); }

WIDE_ROWS(6, 4)
WIDE_ROWS(8, 3)

// Of any length.
KERNEL(assign_long, AssignParams, THREADS) { assign<LongRowPass>(params); }
