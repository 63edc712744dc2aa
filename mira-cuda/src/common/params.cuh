// What the parameters of every operation share; mirrored in params.rs and plan.rs.

#pragma once
#include "device.cuh"

// Threads of a block; known to the compiler, since addresses of a thread's columns are then one register and constants.
#ifdef __CUDACC__
constexpr int THREADS = 512;
#else
constexpr int THREADS = 64;
#endif

enum Dtype { F32, F16, BF16 };
