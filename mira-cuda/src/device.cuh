// What a kernel is written against, and all it may be written against.
//
// A `.cu` file of this crate starts with `#include "device.cuh"` and includes nothing else but headers of ours. It is compiled twice:
// by NVRTC for the GPU, where the first half below maps our few names to the device's; and by the host's C++17 compiler for tests, where
// `emulation.h` provides the same names and CUDA's own, each thread being a fibre. So kernels keep to the subset both understand:
//
//   KERNEL(name, Params, MAX_THREADS) { ... params.field ... }   one plain struct by value; blocks have one dimension, grids up to two
//   shared_memory<T>(offset = 0)     dynamic shared memory, its size is the launch's; there is no static `__shared__`
//   threadIdx blockIdx blockDim gridDim, __syncthreads __syncwarp __shfl_sync __shfl_xor_sync __shfl_down_sync, __threadfence
//   atomicAdd(unsigned*, unsigned)   the only atomic: sums of floats in no fixed order would not repeat bit by bit
//   add_release(p, v)                the same, and what this thread, or its block before a barrier, wrote before is visible to who reads it by
//   load_acquire(p), spin_wait()     for loops which wait for another block; every such loop must call spin_wait
//   bf16, f16, to_float(x), from_float<T>(x); Vector<T, N>, load<N>(p), load4(p), store(p, v): vector accesses, aligned to their size
//   store_relaxed(p, v), load_relaxed(p)   a u64, or two side by side of which each comes for itself, that another block waits for; the
//                                    waiting loop must call spin_wait
//   opaque(x)                        x
//   u8 u16 u32 u64 i32 i64, INFINITY_F32, INFINITY_F64, and the functions of <math.h> that both sides have
//
// Everything in a `.cu` file is private to it (the tests put each into a namespace of its own), so names need not differ between files,
// except those of kernels.
#pragma once

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i32 = int;
using i64 = long long;

struct bf16 {
    u16 bits;
};
struct f16 {
    u16 bits;
};

constexpr u32 WARP = 32;
constexpr u32 FULL_WARP = 0xffffffffu;

#ifdef __CUDACC__ // ---------------------------------------------------------------------------------------------- the device

// Launch bounds are a promise to the compiler; a launch with more threads fails. `__grid_constant__` spares a copy of the parameters.
#define KERNEL_EXPANDED(name, Params, max_threads) \
    extern "C" __global__ void __launch_bounds__(max_threads, 1) name(const __grid_constant__ Params params)
#define KERNEL(name, Params, max_threads) KERNEL_EXPANDED(name, Params, max_threads)

extern __shared__ __align__(128) unsigned char shared_memory_bytes[];

// The block's dynamic shared memory from byte `offset` on. The start is aligned to 128 bytes.
template <class T>
__device__ __forceinline__ T* shared_memory(u32 offset = 0) {
    return reinterpret_cast<T*>(shared_memory_bytes + offset);
}

// The value, of which the compiler knows nothing: what is computed from it is not computed earlier and kept in registers.
__device__ __forceinline__ int opaque(int value) {
    asm volatile("" : "+r"(value));
    return value;
}

// Waits a moment in a loop that polls what another block will write.
__device__ __forceinline__ void spin_wait() { __nanosleep(32); }

// Lighter than `__threadfence`, which orders this thread's reads and writes against those of all others, and `atomicAdd`; what was there.
__device__ __forceinline__ u32 add_release(u32* address, u32 value) {
    u32 before;
    asm volatile("atom.release.gpu.global.add.u32 %0, [%1], %2;" : "=r"(before) : "l"(address), "r"(value) : "memory");
    return before;
}

// Reads a counter of another block; what that block wrote before its `add_release` (or `__threadfence` and `atomicAdd`) is visible afterwards.
__device__ __forceinline__ u32 load_acquire(const u32* address) {
    u32 value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
    return value;
}

// A word that others wait for, and nothing else with it: both at once, without ordering anything around them.
__device__ __forceinline__ void store_relaxed(u64* address, u64 value) {
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" : : "l"(address), "l"(value) : "memory");
}
__device__ __forceinline__ u64 load_relaxed(const u64* address) {
    u64 value;
    asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(value) : "l"(address) : "memory");
    return value;
}

// Two words side by side, aligned to 16 bytes; each is whole, but one may be seen before the other.
__device__ __forceinline__ void store_relaxed(u64* address, const u64 (&values)[2]) {
    asm volatile("st.relaxed.gpu.global.v2.u64 [%0], {%1, %2};" : : "l"(address), "l"(values[0]), "l"(values[1]) : "memory");
}
__device__ __forceinline__ void load_relaxed(const u64* address, u64 (&values)[2]) {
    asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];" : "=l"(values[0]), "=l"(values[1]) : "l"(address) : "memory");
}

// Reads from memory, past the compiler, without any ordering.
__device__ __forceinline__ u32 load_volatile(const u32* address) { return *reinterpret_cast<const volatile u32*>(address); }

__device__ __forceinline__ float bits_to_float(u32 bits) { return __uint_as_float(bits); }

__device__ __forceinline__ float f16_to_float(u16 bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
__device__ __forceinline__ u16 float_to_f16(float value) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
__device__ __forceinline__ u16 float_to_bf16(float value) {
    u16 bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

#define MIRA_CHECK_ALIGNED(address, bytes) // the device checks it itself

#else // --------------------------------------------------------------------------------------------------------- the emulation

#include "emulation.h"

#endif // -------------------------------------------------------------------------------------------------------- both

// NVRTC has no constant for them; these fold into one.
#define INFINITY_F32 __int_as_float(0x7f800000)
#define INFINITY_F64 __longlong_as_double(0x7ff0000000000000ll)

// Exact.
__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(bf16 value) { return bits_to_float(u32(value.bits) << 16); }
__device__ __forceinline__ float to_float(f16 value) { return f16_to_float(value.bits); }

// Rounded to nearest, ties to even; beyond the range infinity; every NaN becomes 0x7fff, as the device has it.
template <class T>
__device__ __forceinline__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) {
    return value;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float value) {
    return bf16{float_to_bf16(value)};
}
template <>
__device__ __forceinline__ f16 from_float<f16>(float value) {
    return f16{float_to_f16(value)};
}

// N elements side by side that move in one access: 2, 4, 8 or 16 bytes, and aligned to as many.
template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
    static_assert(sizeof(T) * N <= 16, "the device moves at most 16 bytes at once");
    T at[N];
    __device__ __forceinline__ T& operator[](int i) { return at[i]; }
    __device__ __forceinline__ const T& operator[](int i) const { return at[i]; }
};

template <int N, class T>
__device__ __forceinline__ Vector<T, N> load(const T* address) {
    MIRA_CHECK_ALIGNED(address, sizeof(T) * N);
    return *reinterpret_cast<const Vector<T, N>*>(address);
}
template <class T>
__device__ __forceinline__ Vector<T, 4> load4(const T* address) {
    return load<4>(address);
}
template <int N, class T>
__device__ __forceinline__ void store(T* address, const Vector<T, N>& value) {
    MIRA_CHECK_ALIGNED(address, sizeof(T) * N);
    *reinterpret_cast<Vector<T, N>*>(address) = value;
}
