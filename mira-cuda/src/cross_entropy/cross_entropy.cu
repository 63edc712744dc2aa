// Cross-entropy of the softmax of logits against an assignment, and its gradient, in one launch. Blocks never wait for each other, so
// any number of them is right.

#include "device.cuh"
#include "long_rows.cuh"
#include "short_rows.cuh"

// A copy of the code for each pair of types, so that loads are not held up by questions about them.
template <class Kernel, class L> DEVICE void with_logits(const CrossEntropyParams& params, Exchange& exchange) {
    if (params.assignment_dtype == BF16) {
        Kernel::template run<L, bf16>(params, exchange);
    } else {
        Kernel::template run<L, float>(params, exchange);
    }
}

template <class Kernel> DEVICE void cross_entropy(const CrossEntropyParams& params) {
    Exchange exchange{0};
    switch (params.logits_dtype) {
    case F16: with_logits<Kernel, f16>(params, exchange); break;
    case BF16: with_logits<Kernel, bf16>(params, exchange); break;
    default: with_logits<Kernel, float>(params, exchange); break;
    }
    add_losses(params, exchange);
}

// Twice what is launched: the compiler then leaves registers for two blocks on a multiprocessor, of which one loads while the other
// computes.
constexpr int MAX_THREADS = 2 * THREADS;

// A warp a row: up to C · 32 columns.
#define WARP_ROWS(C) \
    KERNEL(cross_entropy_warp_##C, CrossEntropyParams, MAX_THREADS) { cross_entropy<ShortRows<WarpTeam, C, 1>>(params); }

WARP_ROWS(4)
WARP_ROWS(8)
WARP_ROWS(16)

// A block R rows: up to C · THREADS columns.
#define BLOCK_ROWS(C, R) \
    KERNEL(cross_entropy_block_##C, CrossEntropyParams, MAX_THREADS) { cross_entropy<ShortRows<BlockTeam, C, R>>(params); }

BLOCK_ROWS(2, 2)
BLOCK_ROWS(4, 2)
BLOCK_ROWS(6, 1)
BLOCK_ROWS(8, 1)

// A block a row, of any length.
KERNEL(cross_entropy_long, CrossEntropyParams, MAX_THREADS) { cross_entropy<LongRows<8>>(params); }
