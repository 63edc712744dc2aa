// Between the row passes: from the row blocks' column sums to the marginal, the image of the log weights under the method's map, and
// what blocks must know of each other's columns. Each block looks after a slice of the columns; everything here is f64.
//
// A batch over ranks is cut here: `tell` leaves this rank's column sums for the others, `run` goes on from what all of them told.

#pragma once
#include "context.cuh"
#include "log_sum.cuh"

// Loads that a thread has in flight, of two columns each: one after another their latencies would be all the time this takes.
constexpr int COLUMN_LOADS = 4;

// What is known of a column before its sum is.
struct Column {
    double log_weight = 0.0;
    float weight = 0.0f;

    template <class Words> DEVICE void load(const Context& context, int j) {
        if (j >= context.end_column()) return;
        log_weight = context.vector(LOG_WEIGHTS)[j];
        weight = Words::value_of(context.weights<Words>()[j]);
    }
};

// A column's weight for the next pass.
template <class Words> DEVICE void tell_weight(const Context& context, int j, double log_weight, u32 tag, double middle) {
    context.vector(LOG_WEIGHTS)[j] = log_weight;
    Words::tell(context.weights<Words>() + j, tag, (float)exp2((log_weight - middle) * LOG2_E));
}

template <bool OVER_RANKS, class Words> struct ColumnPhase {
    Context& context;
    const Control& control;
    const int first, end; // the slice
    // As the scalars from LOWEST_RESIDUAL on, with the sign changed, and then from HIGHEST_RESIDUAL on.
    static constexpr int LOWEST = LOWEST_SUM - LOWEST_RESIDUAL + 1, EXTREMES = LOWEST + LARGEST_EXPONENT - HIGHEST_RESIDUAL + 1;
    double extremes[EXTREMES];
    double marginal_error = 0.0;

    DEVICE ColumnPhase(Context& context)
        : context(context), control(context.control()), first(context.first_column()), end(context.end_column()) {
#pragma unroll
        for (int i = 0; i < EXTREMES; i++) extremes[i] = -INFINITY_F64;
        extreme(LARGEST_EXPONENT) = 0.0;
    }

    DEVICE double& extreme(int scalar) {
        return extremes[scalar >= HIGHEST_RESIDUAL ? LOWEST + scalar - HIGHEST_RESIDUAL : scalar - LOWEST_RESIDUAL];
    }
    DEVICE void no_less_than(int scalar, double value) { extreme(scalar) = fmax(extreme(scalar), -value); }
    DEVICE void no_more_than(int scalar, double value) { extreme(scalar) = fmax(extreme(scalar), value); }
    // `ahead`: nobody judges the sweep.
    DEVICE void run(bool ahead) {
        double highest_shift = 0.0;
        Column column;
        column.template load<Words>(context, first + threadIdx.x);
        if constexpr (OVER_RANKS) {
            highest_shift = highest_shift_of_ranks();
        } else if (is_linear()) {
            highest_shift = highest_shift_here();
            add_row_blocks(highest_shift);
        }
        mark(POINT_SUMS, control.tag);
        const bool linear = is_linear();
        for (int j = first + threadIdx.x; j < end; j += THREADS) {
            if (control.pass == PASS_LOGITS) {
                move_center(j, sum_of(j, highest_shift));
            } else if (control.pass == PASS_COLUMNS) {
                start(j, linear, highest_shift);
            } else {
                moved(j, linear, column, ahead);
                column.template load<Words>(context, j + THREADS);
            }
        }
        if (ahead) return;
        publish();
        // A fixed number of sweeps asks for nothing else.
        if (context.params.stop != STOP_SWEEPS) remember_all();
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
        for (int b = threadIdx.x % LANES; b < context.params.row_blocks; b += LANES) {
            const typename Words::Word* word = context.row_block_shift<Words>() + b;
            typename Words::Word found[1][1];
            Words::look_at(word, found[0]);
            Words::template wait_for<16>(found, control.tag, [&](int) { return word; });
            highest = fmax(highest, (double)Words::value_of(found[0][0]));
        }
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

    DEVICE int tiles() const { return (context.params.slice + LANES - 1) / LANES; }
    // Parts of a tile go to different warps where there are fewer tiles than warps.
    DEVICE int parts() const { return 1 << context.params.parts_log2; }

    // Two columns' sums over every `step`-th row block from `next` on; RELATIVE: each row block's is relative to its own shift.
    template <int LOADS, bool RELATIVE>
    DEVICE void add_row_blocks_of(int j, int next, int step, double highest_shift, double (&totals)[2]) const {
        using Word = typename Words::Word;
        const int row_blocks = context.params.row_blocks;
        const u32 tag = control.tag;
        const Word *words = context.partial<Words>(next) + j, *shifts = context.row_block_shift<Words>() + next;
        const long long apart = (long long)step * context.params.padded_columns;
#pragma unroll 1
        for (; next < row_blocks; next += LOADS * step, words += LOADS * apart, shifts += LOADS * step) {
            Word found[LOADS][2], found_shifts[LOADS][1];
#pragma unroll
            for (int i = 0; i < LOADS; i++) {
                found[i][0] = found[i][1] = found_shifts[i][0] = Words::absent(tag);
                if (next + i * step >= row_blocks) continue;
                Words::look_at(words + i * apart, found[i]);
                if (RELATIVE) Words::look_at(shifts + i * step, found_shifts[i]);
            }
            Words::template wait_for<16>(found, tag, [&](int i) { return words + i * apart; });
            if (RELATIVE) Words::template wait_for<16>(found_shifts, tag, [&](int i) { return shifts + i * step; });
#pragma unroll
            for (int i = 0; i < LOADS; i++) {
                const double factor = RELATIVE ? exp2(Words::value_of(found_shifts[i][0]) - highest_shift) : 1.0;
#pragma unroll
                for (int c = 0; c < 2; c++) {
                    const double of_block = Words::value_of(found[i][c]);
                    totals[c] += RELATIVE ? of_block * factor : of_block;
                }
            }
        }
    }

    // A lane has two columns of a tile, for one half of the warp's row blocks.
    DEVICE void add_row_blocks(double highest_shift) {
        const AssignParams& params = context.params;
        const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, part = warp % parts(), half = lane / (LANES / 2);
#pragma unroll 1
        for (int tile = warp >> params.parts_log2; tile < tiles(); tile += WARPS) {
            const int local = tile * LANES + lane % (LANES / 2) * 2, j = first + local, step = 2 * parts();
            double totals[2] = {};
            if (j < end && control.pass == PASS_COLUMNS) {
                add_row_blocks_of<COLUMN_LOADS / 2, true>(j, 2 * part + half, step, highest_shift, totals);
            } else if (j < end) {
                add_row_blocks_of<COLUMN_LOADS, false>(j, 2 * part + half, step, highest_shift, totals);
            }
#pragma unroll
            for (int c = 0; c < 2; c++) {
                totals[c] += __shfl_xor_sync(FULL_WARP, totals[c], LANES / 2);
                if (half == 0 && local < params.slice) context.slice_sums()[part * params.slice + local + c] = totals[c];
            }
        }
        __syncthreads();
    }

    DEVICE double total(int j) const {
        const double* sums = context.slice_sums() + (j - first);
        const int parts = this->parts(), slice = context.params.slice;
        if (parts == 1) return sums[0];
        double even = 0.0, odd = 0.0;
#pragma unroll 4
        for (int part = 0; part < parts; part += 2) {
            even += sums[part * slice];
            odd += sums[(part + 1) * slice];
        }
        return even + odd;
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
        context.history(j)[IMAGE] = image;
        no_less_than(LOWEST_IMAGE, image);
        no_more_than(HIGHEST_IMAGE, image);
    }

    // DINO: `c ← m c + (1 − m) mean S`; a prototype with a forbidden entry keeps its centre.
    DEVICE void move_center(int j, double sum) {
        double& center = context.vector(CENTER)[j];
        const double momentum = context.params.momentum;
        if (isfinite(sum)) center = momentum * center + (1.0 - momentum) * sum / control.batch;
    }

    // A NaN must not hide behind the comparison of a minimum.
    DEVICE static double no_nan(double sum) { return sum >= 0.0 ? sum : -1.0; }
    DEVICE void bounds_of(double sum) {
        no_less_than(LOWEST_SUM, no_nan(sum));
        no_more_than(HIGHEST_SUM, sum);
    }

    // What a sweep that goes ahead will be judged by, and of those before it; its image is the next one's weight at once.
    DEVICE void leave_for_later(const History& history, double a, double sum) const {
        const bool is_first = control.unjudged == 0;
        const double relative = a - control.middle;
        if (is_first) history[FIRST_WEIGHT] = a;
        history[LEAST_SUM] = is_first ? no_nan(sum) : fmin(history[LEAST_SUM], no_nan(sum));
        history[MOST_SUM] = is_first ? sum : fmax(history[MOST_SUM], sum);
        history[LEAST_WEIGHT] = is_first ? relative : fmin(history[LEAST_WEIGHT], relative);
        history[MOST_WEIGHT] = is_first ? relative : fmax(history[MOST_WEIGHT], relative);
    }
    DEVICE void judge(const History& history) {
        no_less_than(LOWEST_SUM, history[LEAST_SUM]);
        no_more_than(HIGHEST_SUM, history[MOST_SUM]);
        no_less_than(LOWEST_WEIGHT, control.middle + history[LEAST_WEIGHT]);
        no_more_than(HIGHEST_WEIGHT, control.middle + history[MOST_WEIGHT]);
    }

    DEVICE void moved(int j, bool linear, const Column& column, bool ahead) {
        const AssignParams& params = context.params;
        const double a = column.log_weight;
        double log_marginal, marginal, sum = 0.0;
        if (linear) {
            sum = sum_of(j, 0.0);
            if (control.pass == PASS_SWEEP) sum *= column.weight;
            bounds_of(sum);
            marginal = sum * control.inverse_batch;
            log_marginal = log(marginal);
        } else {
            log_marginal = log_sum_of(j) - log(control.batch);
            marginal = exp(log_marginal);
        }
        context.vector(LOG_MARGINAL)[j] = log_marginal;
        const bool active = log_marginal > -INFINITY_F64;
        // Sinkhorn–Knopp's map moves all weights by log K at its fixed point: that is taken out, so that residuals vanish.
        const double gauge = params.method == SINKHORN ? params.log_columns : 0.0;
        double image = active ? params.rho * (a - log_marginal) - gauge : 0.0;
        double residual = active ? image - a : 0.0;
        if (is_lost(residual, a, log_marginal, log_marginal)) {
            image = a;
            residual = 0.0;
        }
        const History history = context.history(j);
        if (ahead) {
            tell_weight<Words>(context, j, image, control.tag + 1, control.middle + control.drift);
            leave_for_later(history, a, sum);
            return;
        }
        history[IMAGE] = image;
        if (control.unjudged > 0) judge(history);
        no_less_than(LOWEST_WEIGHT, a);
        no_more_than(HIGHEST_WEIGHT, a);
        if (active) {
            no_less_than(LOWEST_RESIDUAL, residual);
            no_more_than(HIGHEST_RESIDUAL, residual);
            no_less_than(LOWEST_IMAGE, image);
            no_more_than(HIGHEST_IMAGE, image);
            // Linear passes are relative to the middle of the weights, logarithms to nothing.
            const double exponent = control.domain == LINEAR ? a - control.middle : a;
            if (log_marginal > LOG_NO_LABEL) no_more_than(LARGEST_EXPONENT, fmax(fabs(exponent), fabs(log_marginal)));
        }
        marginal_error += fabs(marginal - params.inverse_columns);
        if (params.stop == STOP_SWEEPS) return;
        // For `remember`, in its place.
        history[DELTA_RESIDUAL + control.next] = residual;
        if (!control.primed) history[RESIDUAL_WEIGHT] = marginal;
    }

    // As the scalars from MARGINAL_ERROR on.
    struct Sums {
        double values[NUM_SCALARS - MARGINAL_ERROR] = {};
        DEVICE double& operator()(int scalar) { return values[scalar - MARGINAL_ERROR]; }
    };

    // What the acceleration needs; after the extremes, since the two together are more than registers hold.
    DEVICE void remember_all() {
        Sums sums;
        sums(MARGINAL_ERROR) = marginal_error;
        if (control.pass != PASS_LOGITS && control.pass != PASS_COLUMNS) {
            for (int j = first + threadIdx.x; j < end; j += THREADS) remember(context.history(j), sums);
        }
        const double sum = over_block_by_lanes<Sum, double>(context.exchange, sums.values, min(tiles(), WARPS));
        const int s = lane_to_tell<NUM_SCALARS - MARGINAL_ERROR>();
        if (s >= 0) context.own(MARGINAL_ERROR + s) = sum;
    }

    // History of the acceleration, and the inner products it needs. Whether the step is taken is not known yet: if it is not, the
    // history starts anew and nothing of this is read.
    DEVICE void remember(const History& history, Sums& sum) {
        const double residual = history[DELTA_RESIDUAL + control.next], image = history[IMAGE], weight = history[RESIDUAL_WEIGHT];
        if (control.primed) {
            const double delta = residual - history[PREVIOUS_RESIDUAL];
            double deltas[DEPTH];
#pragma unroll
            for (int i = 0; i < DEPTH; i++) deltas[i] = i < control.filled ? history[DELTA_RESIDUAL + i] : 0.0;
            history[DELTA_RESIDUAL + control.next] = delta;
            history[DELTA_IMAGE + control.next] = image - history[PREVIOUS_IMAGE];
            sum(DELTA) += weight * delta;
#pragma unroll
            for (int i = 0; i < DEPTH; i++) {
                const double other = i == control.next ? delta : deltas[i];
                sum(GRAM + i) += weight * delta * other;
                sum(RIGHT + i) += weight * other * residual;
            }
        }
        sum(MASS) += weight;
        sum(RESIDUAL) += weight * residual;
        history[PREVIOUS_RESIDUAL] = residual;
        history[PREVIOUS_IMAGE] = image;
    }

    DEVICE void publish() {
        const int active = min(tiles(), WARPS);
        const double extreme = over_block_by_lanes<Max, double>(context.exchange, extremes, active);
        const int e = lane_to_tell<EXTREMES>();
        if (e >= LOWEST) context.own(HIGHEST_RESIDUAL + e - LOWEST) = extreme;
        if (e >= 0 && e < LOWEST) context.own(LOWEST_RESIDUAL + e) = -extreme;
    }

    // Which of N values reduced together this thread writes; −1 for none.
    template <int N> DEVICE static int lane_to_tell() {
        const int value = value_of_lane<N>();
        return threadIdx.x < LANES && threadIdx.x % lanes_of_value(N) == 0 && value < N ? value : -1;
    }
};

// The log weights of the slice as decided, and the weights of the next linear pass.
template <class Words> DEVICE void move_weights(Context& context) {
    const Control& control = context.control();
    for (int j = context.first_column() + threadIdx.x; j < context.end_column(); j += THREADS) {
        const History history = context.history(j);
        double a;
        switch (control.action) {
        case TAKE_IMAGE: a = history[IMAGE]; break;
        case TAKE_BEST: a = history[BEST_IMAGE]; break;
        case ACCELERATE: {
            history[BEST_IMAGE] = a = history[IMAGE];
            double deltas[DEPTH];
#pragma unroll
            for (int i = 0; i < DEPTH; i++) deltas[i] = i < control.filled ? history[DELTA_IMAGE + i] : 0.0;
#pragma unroll
            for (int i = 0; i < DEPTH; i++) a -= control.theta[i] * deltas[i];
            break;
        }
        default: a = context.vector(LOG_WEIGHTS)[j]; break;
        }
        tell_weight<Words>(context, j, a, control.tag, control.middle);
    }
}
