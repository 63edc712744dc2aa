// The cross-entropy kernels with no barrier in them, which their tests must notice. Not for a device.
#ifndef __CUDACC__

#include "device.cuh"

#undef KERNEL
#define KERNEL(name, Params, max_threads) KERNEL_EXPANDED(name##_without_barriers, Params, max_threads)
#define __syncthreads() ((void)0)
#include "cross_entropy/cross_entropy.cu"

#endif
