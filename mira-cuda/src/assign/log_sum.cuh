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
    DEVICE double value() const { return sum > 0 ? highest + log(sum) : -INFINITY_F64; }
};
