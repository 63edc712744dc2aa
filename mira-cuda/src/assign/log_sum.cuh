// Sums in the log domain.

#pragma once
#include "device.cuh"

// `log Σ e^x` of numbers that come one by one.
struct LogSum {
    double highest = -INFINITY_F64, sum = 0;

    DEVICE void add(double x) {
        if (x == -INFINITY_F64) return;
        if (x > highest) {
            sum *= exp(highest - x);
            highest = x;
        }
        sum += exp(x - highest);
    }
    // Several at once, whose exponentials do not wait for each other.
    template <int N> DEVICE void add_all(const double (&x)[N]) {
        double top = highest;
#pragma unroll
        for (int i = 0; i < N; i++) top = fmax(top, x[i]);
        if (top == -INFINITY_F64) return;
        if (top > highest) {
            sum *= exp(highest - top);
            highest = top;
        }
#pragma unroll
        for (int i = 0; i < N; i++) sum += exp(x[i] - highest);
    }
    DEVICE double value() const { return sum > 0 ? highest + log(sum) : -INFINITY_F64; }
};
