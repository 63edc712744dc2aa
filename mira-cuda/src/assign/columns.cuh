// Between the row passes: from the row blocks' column sums to the marginal, the image of the log weights under the method's map, and
// what blocks must know of each other's columns. Each block looks after a slice of the columns; everything here is f64.
//
// A batch over ranks is cut here: `tell` leaves this rank's column sums for the others, `run` goes on from what all of them told.

#pragma once
#include "context.cuh"
#include "log_sum.cuh"

template <bool OVER_RANKS> struct ColumnPhase {
    Context& context;
    const Control& control;
    const int first, end; // the slice
    double minima[4] = {INFINITY_F64, INFINITY_F64, INFINITY_F64, INFINITY_F64};
    double maxima[5] = {-INFINITY_F64, -INFINITY_F64, -INFINITY_F64, -INFINITY_F64, 0.0};
    double sums[4 + 2 * DEPTH] = {};

    DEVICE ColumnPhase(Context& context)
        : context(context), control(context.control()), first(context.first_column()), end(context.end_column()) {}

    DEVICE void run() {
        double highest_shift = 0.0;
        if constexpr (OVER_RANKS) {
            highest_shift = highest_shift_of_ranks();
        } else if (is_linear()) {
            highest_shift = highest_shift_here();
            add_row_blocks(highest_shift);
        }
        const bool linear = is_linear();
        for (int j = first + threadIdx.x; j < end; j += THREADS) {
            if (control.pass == PASS_LOGITS) {
                move_center(j, sum_of(j, highest_shift));
            } else if (control.pass == PASS_COLUMNS) {
                start(j, linear, highest_shift);
            } else {
                column(j, linear);
            }
        }
        publish();
    }

    // This rank's part, relative to its own highest shift.
    DEVICE void tell() {
        double* out = context.contribution() + NUM_TOLD;
        if (is_linear()) add_row_blocks(highest_shift_here());
        for (int j = first + threadIdx.x; j < end; j += THREADS) out[j] = is_linear() ? total(j) : context.vector(LOG_MARGINAL)[j];
    }

    DEVICE bool is_linear() const { return control.domain == LINEAR || control.pass == PASS_LOGITS; }

    // What unnormalised columns are relative to.
    DEVICE double highest_shift_here() const {
        if (control.pass != PASS_COLUMNS) return 0.0;
        double highest = -INFINITY_F64;
        for (int b = threadIdx.x % LANES; b < context.blocks(); b += LANES) highest = fmax(highest, context.scalars(HIGHEST_SHIFT)[b]);
        return over_warp<Max>(highest);
    }

    DEVICE double highest_shift_of_ranks() const {
        if (control.pass != PASS_COLUMNS) return 0.0;
        double highest = -INFINITY_F64;
        for (int r = 0; r < context.params.ranks; r++) highest = fmax(highest, context.gathered(r)[TOLD_HIGHEST_SHIFT]);
        return highest;
    }

    // Σ_i over the rows of all ranks.
    DEVICE double sum_of(int j, double highest_shift) const {
        if constexpr (!OVER_RANKS) return total(j);
        double sum = 0.0;
        for (int r = 0; r < context.params.ranks; r++) {
            const double* told = context.gathered(r);
            const double factor = control.pass == PASS_COLUMNS ? exp2(told[TOLD_HIGHEST_SHIFT] - highest_shift) : 1.0;
            sum += factor * told[NUM_TOLD + j];
        }
        return sum;
    }

    DEVICE double log_sum_of(int j) const {
        if constexpr (!OVER_RANKS) return context.vector(LOG_MARGINAL)[j];
        LogSum sum;
        for (int r = 0; r < context.params.ranks; r++) sum.add(context.gathered(r)[NUM_TOLD + j]);
        return sum.value();
    }

    // Parts of a tile of LANES columns go to different warps where there are fewer tiles than warps.
    DEVICE int tiles() const { return (context.params.slice + LANES - 1) / LANES; }
    DEVICE int parts() const {
        return tiles() < WARPS ? WARPS / tiles() : 1;
    }

    DEVICE void add_row_blocks(double highest_shift) {
        const AssignParams& params = context.params;
        const int lane = threadIdx.x % LANES, step = parts();
#pragma unroll 1
        for (int item = threadIdx.x / LANES; item < tiles() * step; item += WARPS) {
            const int tile = item % tiles(), part = item / tiles(), j = first + tile * LANES + lane;
            double sum = 0.0;
            if (j < end && control.pass == PASS_COLUMNS) {
                for (int block = part; block < params.row_blocks; block += step) {
                    sum += context.partial(block)[j] * exp2(context.row_factor()[block] - highest_shift);
                }
            } else if (j < end) {
                // Several in flight: this is all latency.
#pragma unroll 8
                for (int block = part; block < params.row_blocks; block += step) sum += context.partial(block)[j];
            }
            context.slice_sums()[item * LANES + lane] = sum;
        }
        __syncthreads();
    }

    DEVICE double total(int j) const {
        double sum = 0.0;
#pragma unroll 1
        for (int part = 0; part < parts(); part++) sum += context.slice_sums()[part * tiles() * LANES + (j - first)];
        return sum;
    }

    // Sinkhorn–Knopp starts at the inverse column sums of the unnormalised kernel.
    DEVICE void start(int j, bool linear, double highest_shift) {
        double log_sum;
        if (linear) {
            const double sum = sum_of(j, highest_shift);
            bounds_of(sum);
            log_sum = log(sum) + highest_shift * LN_2;
        } else {
            log_sum = log_sum_of(j);
        }
        const double image = log_sum == -INFINITY_F64 ? 0.0 : -log_sum;
        context.vector(IMAGE)[j] = image;
        minima[1] = fmin(minima[1], image);
        maxima[1] = fmax(maxima[1], image);
    }

    // DINO: `c ← m c + (1 − m) mean S`; a prototype with a forbidden entry keeps its centre.
    DEVICE void move_center(int j, double sum) {
        double& center = context.vector(CENTER)[j];
        const double momentum = context.params.momentum;
        if (isfinite(sum)) center = momentum * center + (1.0 - momentum) * sum / control.batch;
    }

    DEVICE void bounds_of(double sum) {
        // A NaN must not hide behind the comparison of a minimum.
        minima[3] = sum >= 0.0 ? fmin(minima[3], sum) : -1.0;
        maxima[3] = fmax(maxima[3], sum);
    }

    DEVICE void column(int j, bool linear) {
        const AssignParams& params = context.params;
        const double a = context.vector(LOG_WEIGHTS)[j];
        double log_marginal;
        if (linear) {
            double sum = sum_of(j, 0.0);
            if (control.pass == PASS_SWEEP) sum *= context.weights()[j];
            bounds_of(sum);
            log_marginal = log(sum / control.batch);
        } else {
            log_marginal = log_sum_of(j) - log(control.batch);
        }
        context.vector(LOG_MARGINAL)[j] = log_marginal;
        const bool active = log_marginal > -INFINITY_F64;
        // Sinkhorn–Knopp's map moves all weights by log K at its fixed point: that is taken out, so that residuals vanish.
        const double gauge = params.method == SINKHORN ? log((double)params.columns) : 0.0;
        const double image = active ? params.rho * (a - log_marginal) - gauge : 0.0;
        const double residual = active ? image - a : 0.0;
        context.vector(IMAGE)[j] = image;
        minima[2] = fmin(minima[2], a);
        maxima[2] = fmax(maxima[2], a);
        if (active) {
            minima[0] = fmin(minima[0], residual);
            maxima[0] = fmax(maxima[0], residual);
            minima[1] = fmin(minima[1], image);
            maxima[1] = fmax(maxima[1], image);
            maxima[4] = fmax(maxima[4], fmax(fabs(a - control.middle), fabs(log_marginal)));
        }
        const double marginal = exp(log_marginal);
        sums[0] += fabs(marginal - 1.0 / params.columns);
        if (params.stop != STOP_SWEEPS) remember(j, residual, image, marginal);
    }

    // History of the acceleration, and the inner products it needs. Whether the step is taken is not known yet: if it is not, the
    // history starts anew and nothing of this is read.
    DEVICE void remember(int j, double residual, double image, double marginal) {
        double& weight = context.vector(RESIDUAL_WEIGHT)[j];
        double& previous_residual = context.vector(PREVIOUS_RESIDUAL)[j];
        double& previous_image = context.vector(PREVIOUS_IMAGE)[j];
        if (!control.primed) {
            weight = marginal;
        } else {
            const double delta = residual - previous_residual;
            context.vector(DELTA_RESIDUAL + control.next)[j] = delta;
            context.vector(DELTA_IMAGE + control.next)[j] = image - previous_image;
            sums[3] += weight * delta;
#pragma unroll
            for (int i = 0; i < DEPTH; i++) {
                if (i != control.next && i >= control.filled) continue;
                const double other = i == control.next ? delta : context.vector(DELTA_RESIDUAL + i)[j];
                sums[4 + i] += weight * delta * other;
                sums[4 + DEPTH + i] += weight * other * residual;
            }
        }
        sums[1] += weight;
        sums[2] += weight * residual;
        previous_residual = residual;
        previous_image = image;
    }

    DEVICE void publish() {
        const int active = min((context.params.slice + LANES - 1) / LANES, WARPS);
        double low[4], high[5];
        over_block<Min>(context.exchange, minima, low, active);
        over_block<Max>(context.exchange, maxima, high, active);
        if (threadIdx.x == 0) {
#pragma unroll
            for (int i = 0; i < 4; i++) context.own(LOWEST_RESIDUAL + i) = low[i];
#pragma unroll
            for (int i = 0; i < 5; i++) context.own(HIGHEST_RESIDUAL + i) = high[i];
        }
        // A fixed number of sweeps asks for nothing else.
        if (context.params.stop == STOP_SWEEPS) return;
        constexpr int AT_ONCE = 7;
        static_assert((4 + 2 * DEPTH) % AT_ONCE == 0, "in equal parts");
#pragma unroll
        for (int start = 0; start < 4 + 2 * DEPTH; start += AT_ONCE) {
            double part[AT_ONCE], totals[AT_ONCE];
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++) part[i] = sums[start + i];
            over_block<Sum>(context.exchange, part, totals, active);
            if (threadIdx.x == 0) {
#pragma unroll
                for (int i = 0; i < AT_ONCE; i++) context.own(MARGINAL_ERROR + start + i) = totals[i];
            }
        }
    }
};

// The log weights of the slice as decided, and the weights of the next linear pass.
DEVICE void move_weights(Context& context) {
    const Control& control = context.control();
    for (int j = context.first_column() + threadIdx.x; j < context.end_column(); j += THREADS) {
        double a = context.vector(LOG_WEIGHTS)[j];
        const double image = context.vector(IMAGE)[j];
        switch (control.action) {
        case TAKE_IMAGE: a = image; break;
        case TAKE_BEST: a = context.vector(BEST_IMAGE)[j]; break;
        case ACCELERATE:
            context.vector(BEST_IMAGE)[j] = image;
            a = image;
            for (int i = 0; i < control.filled; i++) a -= control.theta[i] * context.vector(DELTA_IMAGE + i)[j];
            break;
        default: break;
        }
        context.vector(LOG_WEIGHTS)[j] = a;
        context.weights()[j] = (float)exp2((a - control.middle) * LOG2_E);
    }
}
