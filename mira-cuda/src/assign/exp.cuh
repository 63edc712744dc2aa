// Logits to kernel elements, as on the CPU (mira-cpu/src/exp.rs): `k = 2^(s c − M)`, good to about 1.5 ulp for any size of s c.

#pragma once
#include "common/block.cuh"
#include "params.cuh"

constexpr float ROUND = 12582912.0f; // 1.5 · 2²³: adding it rounds to an integer
constexpr float MIN_EXPONENT = -126.0f;
constexpr double MAX_EXPONENT_ARGUMENT = 2097152.0;

DEVICE float load_logit(const AssignParams& params, unsigned long long base, long long at) {
    switch (params.logits_dtype) {
    case F16: return to_float(((const f16*)base)[at]);
    case BF16: return to_float(((const bf16*)base)[at]);
    default: return ((const float*)base)[at];
    }
}

DEVICE void store_probability(const AssignParams& params, unsigned long long base, long long at, float value) {
    if (params.assignment_dtype == BF16) {
        ((bf16*)base)[at] = from_float<bf16>(value);
    } else {
        ((float*)base)[at] = value;
    }
}

// The lowest logit whose element does not underflow, a little lower: forbidden ones (−∞) count as it and become 0.
DEVICE float lowest_logit(float shift, float scale) {
    const float underflow = (shift + MIN_EXPONENT - 2.0f) / scale;
    return fmaxf(underflow - 1e-6f * fabsf(underflow), -3e38f);
}

// `2^(s c − shift)`.
DEVICE float kernel_element(float s, float floor, float shift, float scale_high, float scale_low) {
    s = fmaxf(s, floor);
    float n = fmaf(s, scale_high, ROUND) - ROUND;
    float f = fmaf(s, scale_low, fmaf(s, scale_high, -n));
    // Minimax polynomial of 2^f on [−½, ½], relative error 6e-10.
    float p = 0.00015345812f;
    p = fmaf(p, f, 0.001339993121f);
    p = fmaf(p, f, 0.009618488957f);
    p = fmaf(p, f, 0.05550328777f);
    p = fmaf(p, f, 0.2402264689f);
    p = fmaf(p, f, 0.6931472057f);
    p = fmaf(p, f, 1.0f);
    float e = fmaxf(n - shift, MIN_EXPONENT - 1.0f);
    return p * __int_as_float(((int)e + 127) << 23);
}
