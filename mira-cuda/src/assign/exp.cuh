// Logits to kernel elements, as on the CPU (mira-cpu/src/exp.rs): `k = 2^(s c − M)`, good to about 1.5 ulp for any size of s c.

#pragma once
#include "common/block.cuh"
#include "params.cuh"

constexpr float ROUND = 12582912.0f; // 1.5 · 2²³: adding it rounds to an integer
constexpr float MIN_EXPONENT = -126.0f;
constexpr double MAX_EXPONENT_ARGUMENT = 2097152.0;
constexpr float LEAST_SCALE = 1e-30f; // of log2(e)/ε: with a smaller one no float is low enough to stand for a forbidden logit

DEVICE float load_logit(const AssignParams& params, unsigned long long base, long long at) {
    switch (params.logits_dtype) {
    case F16: return to_float(((const f16*)base)[at]);
    case BF16: return to_float(((const bf16*)base)[at]);
    default: return ((const float*)base)[at];
    }
}

// Logits of a long row that a thread has on the way at once: fewer would not keep the memory busy.
constexpr int AT_ONCE = 8;

// THREADS columns apart from `first` on; −∞ beyond the last.
template <class T> DEVICE void load_columns_of(const AssignParams& params, unsigned long long base, int row, int first, float (&s)[AT_ONCE]) {
    const T* logits = (const T*)base + (long long)row * params.logits_stride;
#pragma unroll
    for (int c = 0; c < AT_ONCE; c++) {
        const int j = first + c * THREADS;
        s[c] = j < params.columns ? to_float(logits[j]) : -INFINITY_F32;
    }
}

DEVICE void load_columns(const AssignParams& params, unsigned long long base, int row, int first, float (&s)[AT_ONCE]) {
    switch (params.logits_dtype) {
    case F16: load_columns_of<f16>(params, base, row, first, s); break;
    case BF16: load_columns_of<bf16>(params, base, row, first, s); break;
    default: load_columns_of<float>(params, base, row, first, s); break;
    }
}

DEVICE void store_probability(const AssignParams& params, unsigned long long base, long long at, float value) {
    if (params.assignment_dtype == BF16) {
        ((bf16*)base)[at] = from_float<bf16>(value);
    } else {
        ((float*)base)[at] = value;
    }
}

// What a row's elements are relative to: a power of two.
struct Shift {
    float lowest; // the lowest logit whose element does not underflow, a little lower: forbidden ones (−∞) count as it and become 0
    u32 bits;     // of the shift, an integer, as ROUND makes them

    DEVICE Shift(const AssignParams& params, float shift) : bits(__float_as_uint(shift + ROUND)) {
        const float underflow = (shift + MIN_EXPONENT - 2.0f) * params.inverse_scale;
        lowest = fmaxf(underflow - 1e-6f * fabsf(underflow), -3e38f);
    }
};

// `2^(s c − shift)`. Nothing is promised beyond MAX_EXPONENT_ARGUMENT but that it ends.
DEVICE float kernel_element(const AssignParams& params, float s, Shift shift) {
    s = fmaxf(s, shift.lowest);
    const float rounded = fmaf(s, params.scale_high, ROUND), n = rounded - ROUND;
    float f = fmaf(s, params.scale_low, fmaf(s, params.scale_high, -n));
    // Minimax polynomial of 2^f on [−½, ½], relative error 6e-10.
    float p = 0.00015345812f;
    p = fmaf(p, f, 0.001339993121f);
    p = fmaf(p, f, 0.009618488957f);
    p = fmaf(p, f, 0.05550328777f);
    p = fmaf(p, f, 0.2402264689f);
    p = fmaf(p, f, 0.6931472057f);
    p = fmaf(p, f, 1.0f);
    // Numbers of one sign and exponent: their difference is that of their bits.
    const int e = max((int)(__float_as_uint(rounded) - shift.bits), (int)MIN_EXPONENT - 1);
    return p * __uint_as_float(((u32)e + 127u) << 23);
}
