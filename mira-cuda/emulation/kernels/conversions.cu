// Numbers: bf16 and f16 to float and back, fused multiply-add.
#include "device.cuh"

struct Widen {
    const u16* bits;
    float* from_bf16;
    float* from_f16;
    u32 length;
};

KERNEL(sample_widen, Widen, 256) {
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < params.length; i += gridDim.x * blockDim.x) {
        params.from_bf16[i] = to_float(bf16{params.bits[i]});
        params.from_f16[i] = to_float(f16{params.bits[i]});
    }
}

struct Narrow {
    const float* values;
    bf16* to_bf16;
    f16* to_f16;
    float* same;
    u32 length;
};

KERNEL(sample_narrow, Narrow, 256) {
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < params.length; i += gridDim.x * blockDim.x) {
        params.to_bf16[i] = from_float<bf16>(params.values[i]);
        params.to_f16[i] = from_float<f16>(params.values[i]);
        params.same[i] = from_float<float>(params.values[i]);
    }
}

struct Fused {
    const float* a;
    const float* b;
    const float* c;
    float* together;
    float* separate;
    double* functions; // of a: exp, log, sqrt, and fma in doubles
    u32 length;
};

KERNEL(sample_fused, Fused, 256) {
    const u32 i = threadIdx.x;
    if (i >= params.length) return;
    const float a = params.a[i], b = params.b[i], c = params.c[i];
    params.together[i] = fmaf(a, b, c);
    params.separate[i] = __fadd_rn(__fmul_rn(a, b), c);
    params.functions[4 * i] = exp(double(a));
    params.functions[4 * i + 1] = log(fmax(double(a), 1e-300));
    params.functions[4 * i + 2] = sqrt(fabs(double(a)));
    params.functions[4 * i + 3] = fma(double(a), double(b), isfinite(c) ? double(c) : INFINITY_F64);
}
