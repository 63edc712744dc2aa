// What a launch is told. Mirrored field by field in mod.rs; both sides check the size.

#pragma once
#include "common/params.cuh"

struct CrossEntropyParams {
    unsigned long long logits, assignment;   // addresses, as all of these
    unsigned long long gradient, row_losses; // 0: not wanted
    unsigned long long loss;                 // one f64
    unsigned long long arrivals;             // one u32 in the workspace, 0 between launches
    unsigned long long kept_losses;          // an f64 for each row, in the workspace
    long long logits_stride, assignment_stride, gradient_stride; // elements from row to row
    double inverse_temperature;
    double scale;         // of the loss and the gradient
    float exponent_scale; // log2(e)/τ
    float gradient_scale; // scale/τ
    int batch, columns;
    int logits_dtype, assignment_dtype; // the gradient has the logits'
};
static_assert(sizeof(CrossEntropyParams) == 120, "mod.rs says so");
