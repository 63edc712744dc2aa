// CUDA's names for a host compiler: the half of device.cuh under which kernels run without a GPU.
//
// Every CUDA thread is a fibre of one OS thread, so nothing here is atomic: a fibre runs until it waits. What waits is a call into the
// scheduler (scheduler.cpp). Places of waits come from `__builtin_FILE` and `__builtin_LINE`, so that errors can name them.
#pragma once

#include <math.h>
#include <string.h>

namespace emulation {

struct Index {
    unsigned x, y, z;
};

// What the running fibre sees of the launch. The scheduler writes it before it switches.
struct Here {
    Index thread, block, block_size, grid_size;
    unsigned char* shared;
};
extern __thread Here here;

// A place in the source.
struct Place {
    const char* file;
    int line;
};

using Entry = void (*)(const void* params);

// A kernel in the table by name. Kernels are static objects, linked into a list before `main`.
struct Registration {
    const char* name;
    unsigned long long params_bytes;
    unsigned max_threads;
    Entry entry;
    const Registration* next;
    Registration(const char* name, unsigned long long params_bytes, unsigned max_threads, Entry entry);
};

enum class Exchange { Sync, ByIndex, ByXor, Down };

void barrier(Place);
// Waits for the lanes in `mask`; returns what lane `source` brought, all ones if there is no such lane in the mask or block.
unsigned long long exchange(Exchange, unsigned mask, unsigned long long value, unsigned source, Place);
void spin(Place);
void note_poll(Place);
void note_atomic(unsigned value);
void told_others(Place);
void check_aligned(const void* address, unsigned long bytes, Place);

template <class T>
T shuffle(Exchange kind, unsigned mask, T value, unsigned source, Place place) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
    unsigned long long bits = 0;
    memcpy(&bits, &value, sizeof(T));
    bits = exchange(kind, mask, bits, source, place);
    memcpy(&value, &bits, sizeof(T));
    return value;
}

template <class To, class From>
To bit_cast(From from) {
    static_assert(sizeof(To) == sizeof(From), "same size");
    To to;
    memcpy(&to, &from, sizeof(To));
    return to;
}

} // namespace emulation

#define EMULATION_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

#define KERNEL_EXPANDED(name, Params, max_threads)                                                                         \
    static void name(const Params params);                                                                                 \
    static void name##_entry(const void* params) { name(*static_cast<const Params*>(params)); }                            \
    static const ::emulation::Registration name##_registration(#name, sizeof(Params), max_threads, &name##_entry);         \
    static void name([[maybe_unused]] const Params params)
#define KERNEL(name, Params, max_threads) KERNEL_EXPANDED(name, Params, max_threads)

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__

#define threadIdx (::emulation::here.thread)
#define blockIdx (::emulation::here.block)
#define blockDim (::emulation::here.block_size)
#define gridDim (::emulation::here.grid_size)

// ------------------------------------------------------------------------------------------------------------- memory

template <class T>
inline T* shared_memory(u32 offset = 0) {
    return reinterpret_cast<T*>(::emulation::here.shared + offset);
}

#define MIRA_CHECK_ALIGNED(address, bytes) ::emulation::check_aligned(address, bytes, {__builtin_FILE(), __builtin_LINE()})

template <class T>
inline T __ldg(const T* address) {
    return *address;
}

inline int opaque(int value) { return value; }

inline void __threadfence() {}
inline void __threadfence_block() {}

inline unsigned atomicAdd(unsigned* address, unsigned value, EMULATION_PLACE) {
    ::emulation::note_atomic(value);
    const unsigned before = *address;
    *address = before + value;
    ::emulation::told_others({file, line});
    return before;
}
inline unsigned add_release(unsigned* address, unsigned value, EMULATION_PLACE) { return atomicAdd(address, value, file, line); }

inline u32 load_volatile(const u32* address, EMULATION_PLACE) {
    ::emulation::note_poll({file, line});
    return *static_cast<const volatile u32*>(address);
}
inline u32 load_acquire(const u32* address, EMULATION_PLACE) { return load_volatile(address, file, line); }

inline void store_relaxed(u64* address, u64 value, EMULATION_PLACE) {
    *static_cast<volatile u64*>(address) = value;
    ::emulation::told_others({file, line});
}
inline u64 load_relaxed(const u64* address, EMULATION_PLACE) {
    ::emulation::note_poll({file, line});
    return *static_cast<const volatile u64*>(address);
}
inline void store_relaxed(u64* address, const u64 (&values)[2], EMULATION_PLACE) {
    MIRA_CHECK_ALIGNED(address, 16);
    for (int i = 0; i < 2; i++) store_relaxed(address + i, values[i], file, line);
}
inline void load_relaxed(const u64* address, u64 (&values)[2], EMULATION_PLACE) {
    MIRA_CHECK_ALIGNED(address, 16);
    for (int i = 0; i < 2; i++) values[i] = load_relaxed(address + i, file, line);
}

// ------------------------------------------------------------------------------------------------------------- waiting

inline void __syncthreads(EMULATION_PLACE) { ::emulation::barrier({file, line}); }

inline void __syncwarp(unsigned mask = FULL_WARP, EMULATION_PLACE) {
    ::emulation::exchange(::emulation::Exchange::Sync, mask, 0, 0, {file, line});
}

template <class T>
inline T __shfl_sync(unsigned mask, T value, unsigned lane, EMULATION_PLACE) {
    return ::emulation::shuffle(::emulation::Exchange::ByIndex, mask, value, lane, {file, line});
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, unsigned lane_mask, EMULATION_PLACE) {
    return ::emulation::shuffle(::emulation::Exchange::ByXor, mask, value, lane_mask, {file, line});
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, EMULATION_PLACE) {
    return ::emulation::shuffle(::emulation::Exchange::Down, mask, value, delta, {file, line});
}

inline void spin_wait(EMULATION_PLACE) { ::emulation::spin({file, line}); }

// ------------------------------------------------------------------------------------------------------------- arithmetic

inline int __float_as_int(float x) { return ::emulation::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return ::emulation::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return ::emulation::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return ::emulation::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return ::emulation::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return ::emulation::bit_cast<double>(x); }

// Never contracted into a fused operation, neither here nor on the device.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }

// The device's are approximations of these.
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(unsigned(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }

#define EMULATION_MIN_MAX(T)                                \
    inline T min(T a, T b) { return b < a ? b : a; }        \
    inline T max(T a, T b) { return a < b ? b : a; }
EMULATION_MIN_MAX(int)
EMULATION_MIN_MAX(unsigned)
EMULATION_MIN_MAX(long long)
EMULATION_MIN_MAX(unsigned long long)
#undef EMULATION_MIN_MAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

// ------------------------------------------------------------------------------------------------------------- bf16, f16

inline float bits_to_float(u32 bits) { return __uint_as_float(bits); }

inline u16 float_to_bf16(float value) {
    const u32 bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return u16((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float f16_to_float(u16 half) {
    const u32 sign = u32(half & 0x8000u) << 16, exponent = (half >> 10) & 31u, mantissa = half & 0x3ffu;
    if (exponent == 31) return __uint_as_float(mantissa == 0 ? sign | 0x7f800000u : 0x7fffffffu);
    if (exponent == 0) { // zero or subnormal: mantissa * 2^-24, exactly
        const float magnitude = float(mantissa) * 0x1p-24f;
        return sign == 0 ? magnitude : -magnitude;
    }
    return __uint_as_float(sign | (exponent + 112u) << 23 | mantissa << 13);
}

inline u16 float_to_f16(float value) {
    const u32 bits = __float_as_uint(value), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return 0x7fff;
    if (magnitude >= 0x477ff000u) return u16(sign | 0x7c00u); // 65520 and beyond round to infinity
    if (magnitude < 0x38800000u) {                            // below 2^-14: a multiple of 2^-24, rounded by adding 0.5
        const u32 shifted = __float_as_uint(__uint_as_float(magnitude) + 0.5f);
        return u16(sign | (shifted - 0x3f000000u));
    }
    const u32 rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return u16(sign | ((rounded - 0x38000000u) >> 13));
}
