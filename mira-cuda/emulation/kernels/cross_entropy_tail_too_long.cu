// The cross-entropy kernels with one column too many, which their tests must notice. Not for a device.
#ifndef __CUDACC__

#include "device.cuh"

#undef KERNEL
#define KERNEL(name, Params, max_threads) KERNEL_EXPANDED(name##_tail_too_long, Params, max_threads)
#define CROSS_ENTROPY_TAIL 1
#include "cross_entropy/cross_entropy.cu"

#endif
