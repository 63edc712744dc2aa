// What to do after a pass: the driver of mira-core (fixed_point.rs), decided alike by every block from the same numbers.

#pragma once
#include "columns.cuh"

constexpr double MAX_LOST_SHARE = 1e-9; // of a column, by underflow, before the log domain takes over
constexpr double MOST_BITS = 63.0;      // of weights; the kernel's elements have the other half of the exponents
constexpr double MOST_BITS_OF_TOTAL = 31.0; // of a row's, beside those of weights: 2³⁰ elements at most (plan.rs), each less than 2
constexpr double MARGIN = 6.0;          // bits above the smallest normal number that a written element must keep
constexpr double STUCK = 0.999;         // as fixed_point.rs has it
constexpr double FLAT = 1e-6;           // likewise
constexpr float NEAR = 4.0f;            // nats that a foretold middle of the weights may be off by
constexpr int MOST_AHEAD = 32;          // sweeps, since all of them may have to be made again
constexpr double REGULARISATION = 1e-10;
constexpr double LEAST_PIVOT = 1e-30; // far below what rounding leaves of the regularisation

DEVICE double larger(double x, double y) { return y > x ? y : x; } // not that of a NaN

// Of the parameters, what a decision depends on.
struct Terms {
    double epsilon, rho, beta, amplification, tolerance, unit_roundoff, noise;
    int columns, method, stop, max_sweeps, patience, max_passes, warm;

    DEVICE Terms(const AssignParams& params)
        : epsilon(params.epsilon), rho(params.rho), beta(params.beta), amplification(params.amplification), tolerance(params.tolerance),
          unit_roundoff(params.unit_roundoff), noise(params.noise), columns(params.columns), method(params.method), stop(params.stop),
          max_sweeps(params.max_sweeps), patience(params.patience), max_passes(params.max_passes), warm(params.warm) {}
};

// One thread decides while all others wait, so what it needs is fetched at once: where it is needed, one after another, the latencies would be
// most of the time this takes.
struct Decision {
    Control& control;
    const Terms params;
    const double *gram, *right; // of this pass
    double reduced[GRAM];

    DEVICE Decision(const AssignParams& params, Control& control, const double* of_all_blocks)
        : control(control), params(params), gram(of_all_blocks + GRAM), right(of_all_blocks + RIGHT) {
#pragma unroll
        for (int i = 0; i < GRAM; i++) reduced[i] = of_all_blocks[i];
    }

    // What of a linear pass cannot be relied on.
    enum Lost { NOTHING, LABELS, SUMS };

    DEVICE Lost lost() const {
        if (control.largest_argument > MAX_EXPONENT_ARGUMENT) return SUMS;
        if (control.pass == PASS_COLUMNS) {
            const bool all = reduced[LOWEST_SUM] > exp2(0.5 * MIN_EXPONENT) * control.batch && reduced[HIGHEST_SUM] < INFINITY_F64;
            return all ? NOTHING : SUMS;
        }
        const double low = (reduced[LOWEST_WEIGHT] - control.middle) * LOG2_E;
        const double high = (reduced[HIGHEST_WEIGHT] - control.middle) * LOG2_E;
        if (!(low >= -MOST_BITS && high <= MOST_BITS)) return SUMS;
        // Where nothing can have underflowed, a column without mass is one that every row forbids. Quotients by a row's total, too, are imprecise below
        // the smallest number; weights come afterwards.
        const double lowest = control.lowest_element + fmin(low, 0.0), highest = fmax(high, 0.0);
        double of_element = 0.0, floor = 0.0;
        if (lowest - highest < MIN_EXPONENT + MOST_BITS_OF_TOTAL) {
            double of_sum = exp2(MIN_EXPONENT + highest);
            if (lowest < MIN_EXPONENT) {
                of_element = of_sum / reduced[LOWEST_TOTAL];
                of_sum = fmax(of_sum, of_element);
            }
            floor = of_sum * control.batch / MAX_LOST_SHARE;
        }
        if (!(reduced[LOWEST_SUM] >= floor && reduced[HIGHEST_SUM] < INFINITY_F64)) return SUMS;
        // A label as small as what may be missing from an element must not be written.
        return control.pass == PASS_WRITE && !(of_element < exp2(MIN_EXPONENT + MARGIN)) ? LABELS : NOTHING;
    }

    DEVICE void forget_history() {
        control.filled = control.next = control.primed = 0;
    }

    DEVICE double middle_of_image() const { return 0.5 * (reduced[LOWEST_IMAGE] + reduced[HIGHEST_IMAGE]); }

    DEVICE void run() {
        control.action = KEEP;
        control.tag++;
        control.passes += control.pass != PASS_LOGITS;
        if (control.pass == PASS_LOGITS) {
            control.done = 1;
            return;
        }
        if (!control.built) {
            control.built = 1;
            control.bad = reduced[BAD];
            control.row_span = reduced[ROW_SPAN];
            control.lowest_element = reduced[LOWEST_ELEMENT];
            control.largest_argument = reduced[LARGEST_ARGUMENT];
            if (control.bad < INFINITY_F64) {
                control.done = 1;
                return;
            }
        }
        if (control.domain == LINEAR) {
            const Lost lost = this->lost();
            if (lost != NOTHING) {
                control.domain = LOGARITHMIC;
                forget_history();
                if (lost == SUMS && control.unjudged > 0) go_back();
                return;
            }
        }
        if (control.pass == PASS_COLUMNS) {
            start_sinkhorn();
            return;
        }
        if (control.pass == PASS_WRITE) control.mean_log_row = reduced[LOG_ROW] / control.batch + control.middle;
        if (control.last) {
            end();
        } else if (params.stop == STOP_SWEEPS) {
            plain();
        } else {
            accelerated();
        }
    }

    DEVICE void end() {
        if (params.method == CENTERED) {
            control.pass = PASS_LOGITS;
        } else {
            control.done = 1;
        }
    }

    DEVICE void write_last() {
        control.pass = PASS_WRITE;
        control.last = 1;
    }

    DEVICE void start_sinkhorn() {
        if (!params.warm) {
            control.action = TAKE_IMAGE;
            control.middle = middle_of_image();
        }
        control.count = 1;
        // Columns that span more than the arithmetic say nothing of the weights.
        control.domain = control.largest_argument > MAX_EXPONENT_ARGUMENT ? LOGARITHMIC : LINEAR;
        control.pass = PASS_SWEEP;
        if (params.stop == STOP_SWEEPS && control.count >= params.max_sweeps) write_last();
    }

    DEVICE void plain() {
        const bool settled = params.method == MIRA && params.beta * merit() <= rounding_allowance();
        control.action = TAKE_IMAGE;
        control.middle = middle_of_image();
        control.count++;
        if (settled) control.count = params.max_sweeps;
        if (control.count >= params.max_sweeps) write_last();
        if (control.domain != LINEAR) return;
        // The map is monotone, and takes a constant added to the weights to ρ times that: residuals between l and h are followed by ones between
        // ρ l and ρ h. So each foretold middle is off by no more than (h − l)/2 and what the one before it was.
        control.ahead = settled ? 0 : sweeps_ahead();
        control.drift = 0.5 * params.rho * (reduced[LOWEST_RESIDUAL] + reduced[HIGHEST_RESIDUAL]);
        control.last_span = span_of_residuals();
        control.unjudged = 0;
    }

    // How many sweeps may go ahead: no more than are left, than middles can be foretold for, and, since nothing changes once they have settled,
    // than that will take as it has gone so far. Of the first one nothing says how fast it goes.
    DEVICE int sweeps_ahead() const {
        const float span = (float)span_of_residuals(), last = (float)control.last_span;
        int most = min(params.max_sweeps - control.count, MOST_AHEAD);
        if ((float)most * span > 2.0f * NEAR) most = (int)(2.0f * NEAR / span);
        if (params.method != MIRA) return most;
        if (!(span < last)) return 0;
        // In bits: how far it came in each sweep, and how far it has to go.
        const float in_each = (log2f(last) - log2f(span)) / (float)(control.unjudged + 1);
        const float to_go = log2f(span) + log2f((float)(params.beta * params.amplification)) - log2f((float)rounding_allowance());
        const float needed = ceilf(to_go / in_each);
        return needed - 1.0f < (float)most ? max((int)needed - 1, 0) : most;
    }

    // After a sweep whose images have been told as weights already.
    DEVICE void go_ahead() {
        control.tag++;
        control.passes++;
        control.count++;
        control.ahead--;
        control.unjudged++;
        control.middle += control.drift;
        control.drift *= params.rho;
        if (control.count >= params.max_sweeps) write_last();
    }

    // To the first sweep that was not judged, from the weights that it had.
    DEVICE void go_back() {
        control.action = TAKE_BEST;
        control.count -= control.unjudged;
        control.unjudged = 0;
        control.pass = PASS_SWEEP;
        control.last = 0;
    }

    // The per-element bound of MIRA, the marginal error of Sinkhorn–Knopp.
    DEVICE double merit() const {
        if (params.method == SINKHORN) return reduced[MARGINAL_ERROR];
        return span_of_residuals() * params.amplification;
    }

    DEVICE double span_of_residuals() const { return fmax(reduced[HIGHEST_RESIDUAL] - reduced[LOWEST_RESIDUAL], 0.0); }

    DEVICE double rounding_of_logarithms() const { return 4.0 * UNIT_ROUNDOFF_F64 * reduced[LARGEST_EXPONENT]; }

    DEVICE double rounding_allowance() const {
        return (8.0 * params.unit_roundoff + rounding_of_logarithms()) * params.amplification; // 1 + β/(1 − β)
    }

    // What is held against the tolerance. MIRA's gap is β KL(w̄ ‖ u) ≤ β span²/8 (Hoeffding's lemma), of which the report gives
    // the exact value.
    DEVICE double distance(double merit) const {
        if (params.method == SINKHORN) {
            // The tolerance has the rounding of labels taken from it.
            if (params.stop != STOP_GAP) return merit + rounding_of_logarithms();
            const double span = params.epsilon * (reduced[HIGHEST_WEIGHT] - reduced[LOWEST_WEIGHT]);
            return merit == 0.0 || params.columns == 1 ? 0.0 : 0.5 * merit * (span + control.row_span);
        }
        if (params.stop != STOP_GAP) return merit + rounding_allowance();
        if (params.beta == 0.0) return merit * merit / 8.0; // softmax, which has no weights: they are of a warm start
        const double span = merit * (1.0 - params.beta) / params.beta;
        return params.beta * span * span / 8.0;
    }

    // Anderson's acceleration with its safeguard: a step that does not lower the bound is replaced by the plain one from the best.
    DEVICE void accelerated() {
        const double merit = this->merit(), distance = this->distance(merit);
        const bool converged = distance <= params.tolerance;
        if (converged && control.pass == PASS_WRITE) {
            control.done = 1;
            return;
        }
        control.since_milestone++;
        if (merit <= 0.75 * control.milestone) {
            control.milestone = merit;
            control.since_milestone = 0;
        }
        if (converged) {
            // Written next; if that rounds otherwise, the iteration goes on, from here and without its history.
            control.pass = PASS_WRITE;
            forget_history();
            return;
        }
        if (++control.since_lately > params.patience) {
            const double now = fmin(control.best, merit);
            control.flat = now > (1.0 - FLAT) * control.lately;
            control.lately = now;
            control.since_lately = 0;
        }
        // What rounding may add is more than is asked for: then nothing is gained below it.
        const double rounding = params.method == SINKHORN || params.stop == STOP_GAP ? 0.0 : rounding_allowance();
        const bool out_of_reach = rounding >= params.tolerance && merit <= 0.1 * rounding;
        const bool stalled = out_of_reach || control.flat || (control.since_milestone > params.patience && control.best < larger(params.noise, rounding));
        if (stalled || control.count >= params.max_sweeps || control.passes >= params.max_passes - 2) {
            if (merit > control.best) {
                control.action = TAKE_BEST;
                control.middle = control.best_middle;
            }
            write_last();
            return;
        }
        if (merit < control.best) {
            // A step that hardly moved says that the history leads nowhere.
            if (merit > STUCK * control.best) forget_history();
            control.best = merit;
            control.best_middle = middle_of_image();
            accept();
        } else {
            control.action = TAKE_BEST;
            control.middle = control.best_middle;
            forget_history();
        }
        // The sweep that is likely the last writes while it sums.
        // `distance · min(distance / last, 1) ≤ tolerance`; of the first pass nothing says how fast it goes.
        const double last = control.last_distance;
        const bool is_near = last > 0.0 && distance < INFINITY_F64 && distance * fmin(distance, last) <= params.tolerance * last;
        control.pass = is_near ? PASS_WRITE : PASS_SWEEP;
        control.last_distance = distance;
        control.count++;
    }

    DEVICE void accept() {
        const double middle = middle_of_image();
        if (control.primed) {
            const int slot = control.next;
            control.filled = min(control.filled + 1, DEPTH);
            control.next = (slot + 1) % DEPTH;
            control.delta_sum[slot] = reduced[DELTA];
            control.delta_middle[slot] = middle - control.previous_middle;
#pragma unroll
            for (int i = 0; i < DEPTH; i++) {
                if (i >= control.filled) continue;
                // Inner products of residuals less their weighted means: a constant is a gauge.
                const double product = gram[i] - reduced[DELTA] * control.delta_sum[i] * control.inverse_mass;
                control.gram[slot][i] = control.gram[i][slot] = product;
            }
        } else {
            control.inverse_mass = 1.0 / reduced[MASS];
        }
        control.primed = 1;
        control.previous_middle = middle;
        control.action = ACCELERATE;
        control.middle = middle;
        double theta[DEPTH] = {};
        const bool solved = control.filled > 0 && solve(theta);
#pragma unroll
        for (int i = 0; i < DEPTH; i++) {
            control.theta[i] = solved ? theta[i] : 0.0;
            if (solved && i < control.filled) control.middle -= theta[i] * control.delta_middle[i];
        }
    }

    // `1/√x` for the range of f32, in which the first guess is made: without the branches for all others, and the calls in them, around
    // which everything held in registers would be put aside.
    DEVICE static double inverse_square_root(double x) {
        double y = rsqrtf((float)x);
#pragma unroll
        for (int step = 0; step < 2; step++) y = fma(y, fma(-0.5 * x * y, y, 0.5), y);
        return y;
    }

    // `2^−⌊log₂ x⌋`; anything for what is not positive, normal and finite.
    DEVICE static double inverse_power_of_two(double x) {
        const u64 exponent = (u64)__double_as_longlong(x) >> 52;
        return __longlong_as_double((long long)((2046 - exponent) << 52));
    }

    // Cholesky solution of the regularised normal equations, N of them; false if they are singular or not finite. One thread does it while
    // all others wait. So all is in registers, for which N and every index must be constants; the equations are scaled to a largest diagonal
    // between 1 and 2, and the factor has its diagonal's inverses on the diagonal: a division takes longer than all the rest of a row.
    template <int N = 1> DEVICE bool solve(double (&x)[DEPTH]) const {
        if constexpr (N < DEPTH) {
            if (control.filled > N) return solve<N + 1>(x);
        }
        double largest = 0.0, lower[N][N];
#pragma unroll
        for (int i = 0; i < N; i++) largest = larger(largest, control.gram[i][i]);
        const double scale = inverse_power_of_two(largest);
        bool definite = true;
#pragma unroll
        for (int i = 0; i < N; i++) {
#pragma unroll
            for (int j = 0; j <= i; j++) {
                double value = scale * control.gram[i][j] + (i == j ? REGULARISATION : 0.0);
#pragma unroll
                for (int k = 0; k < j; k++) value -= lower[i][k] * lower[j][k];
                if (i == j) {
                    definite = definite && value > LEAST_PIVOT && value < INFINITY_F64;
                    lower[i][i] = inverse_square_root(value);
                } else {
                    lower[i][j] = value * lower[j][j];
                }
            }
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
            x[i] = scale * (right[i] - control.delta_sum[i] * reduced[RESIDUAL] * control.inverse_mass);
#pragma unroll
            for (int k = 0; k < i; k++) x[i] -= lower[i][k] * x[k];
            x[i] *= lower[i][i];
        }
#pragma unroll
        for (int i = N - 1; i >= 0; i--) {
#pragma unroll
            for (int k = i + 1; k < N; k++) x[i] -= lower[k][i] * x[k];
            x[i] *= lower[i][i];
            definite = definite && isfinite(x[i]);
        }
        return definite;
    }
};

constexpr u32 bits_from(int first, int end) { return (u32)((1ull << end) - (1ull << first)); } // a bit a scalar

// Those that are found by looking at rows, and then those that are found between passes: bits of what anybody will ask for, given where the
// run stands. Everybody says the same.
DEVICE u32 asked_of_rows(const Context& context) {
    const Control& control = context.control();
    u32 asked = 0;
    if (!control.built) asked |= bits_from(BAD, LOWEST_ELEMENT + 1) | bits_from(LARGEST_ARGUMENT, HIGHEST_SHIFT + 1);
    // Totals matter where elements may have been lost.
    if (!(control.lowest_element >= MIN_EXPONENT + MOST_BITS)) asked |= bits_from(LOWEST_TOTAL, LOWEST_TOTAL + 1);
    if (control.pass == PASS_WRITE) asked |= bits_from(LOG_ROW, LOG_ROW + 1);
    return asked;
}
// Over ranks every block tells one at least, needed or not: a launch's block 0 leaves what the run has come to when it has heard of all blocks, which
// have read what the last launch left by then. Not all of them have rows or columns.
constexpr u32 OF_EVERY_BLOCK = bits_from(LOWEST_TOTAL, LOWEST_TOTAL + 1);

DEVICE u32 asked_of_columns(const Context& context) {
    const Control& control = context.control();
    u32 asked = bits_from(LOWEST_RESIDUAL, LOWEST_SUM + 1) | bits_from(HIGHEST_RESIDUAL, LARGEST_EXPONENT + 1);
    if (context.params.stop == STOP_SWEEPS) return asked;
    asked |= bits_from(MASS, RESIDUAL + 1);
    if (context.params.method == SINKHORN) asked |= bits_from(MARGINAL_ERROR, MARGINAL_ERROR + 1);
    if (!control.primed) return asked;
    const int differences = min(control.filled + 1, DEPTH); // with this pass's
    return asked | bits_from(DELTA, GRAM + differences) | bits_from(RIGHT, RIGHT + differences);
}

DEVICE bool is_asked(u32 asked, int scalar) { return scalar < NUM_SCALARS && (asked >> scalar & 1) != 0; }

// This block's scalars, to all blocks, a barrier of the block after they were found. Minima are told as maxima, with the sign changed.
DEVICE void tell_scalars(const Context& context, u32 asked) {
    static_assert(NUM_SCALARS <= LANES, "a lane tells one");
    const int s = threadIdx.x;
    if (s >= LANES || !is_asked(asked, s)) return;
    u64 words[2];
    to_words(context.control().tag, s < NUM_MINIMA ? -context.own(s) : context.own(s), words);
    store_relaxed(context.told(context.block(), s), words);
}

// The scalars of all blocks, as soon as they have told them, for the first warp. A lane takes a scalar, warps take blocks by turns, several
// on the way. Every lane finds a maximum and a sum, and knows in the end which of them it was for.
DEVICE void reduce_scalars(const Context& context, u32 asked) {
    constexpr int ON_THE_WAY = 8; // of 16 warps, 128 blocks at once
    static_assert(WARPS * LANES * sizeof(double) <= Exchange::BYTES, "what warps have found lies there");
    const int s = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    const u32 of_columns = bits_from(LOWEST_RESIDUAL, LOWEST_SUM + 1) | bits_from(HIGHEST_RESIDUAL, LARGEST_EXPONENT + 1) | bits_from(MARGINAL_ERROR, NUM_SCALARS);
    const int most = (asked & ~of_columns) != 0 ? context.blocks() : context.params.column_blocks;
    const int blocks = !is_asked(asked, s) ? 0 : is_asked(of_columns, s) ? context.params.column_blocks : context.blocks();
    const u32 tag = context.control().tag;
    const double neutral = s < END_MAXIMA ? -INFINITY_F64 : 0.0;
    double highest = -INFINITY_F64, sum = 0.0;
#pragma unroll 1
    for (int first = warp; first < most; first += WARPS * ON_THE_WAY) {
        constexpr int STEP = WARPS * NUM_SCALARS * 2;
        const u64* told = context.told(first, s);
        u64 found[ON_THE_WAY][2];
#pragma unroll
        for (int i = 0; i < ON_THE_WAY; i++) {
            to_words(tag, neutral, found[i]);
            if (first + i * WARPS < blocks) load_relaxed(told + i * STEP, found[i]);
        }
        wait_for<16>(found, tag, [&](int i) { return told + i * STEP; });
#pragma unroll
        for (int i = 0; i < ON_THE_WAY; i++) {
            const double value = from_words(found[i]);
            highest = larger(highest, value);
            sum += value;
        }
    }
    // Both buffers of the exchange: everyone has come through the barrier before `tell_scalars` since they were read.
    double* of_warps = shared_memory<double>();
    of_warps[threadIdx.x] = s < END_MAXIMA ? highest : sum;
    __syncthreads();
    if (warp != 0) return;
    double values[WARPS];
#pragma unroll
    for (int w = 0; w < WARPS; w++) values[w] = of_warps[w * LANES + s];
#pragma unroll
    for (int apart = 1; apart < WARPS; apart *= 2) {
#pragma unroll
        for (int w = 0; w < WARPS; w += 2 * apart) {
            const double x = values[w], y = values[w + apart];
            values[w] = s < END_MAXIMA ? larger(x, y) : x + y;
        }
    }
    if (s < NUM_SCALARS) context.reduced()[s] = s < NUM_MINIMA ? -values[0] : values[0];
    __syncwarp();
}

// Which scalar of the blocks a rank tells as its i-th number.
DEVICE int scalar_told(int i) {
    if (i <= TOLD_LOWEST_ELEMENT) return BAD + (i - TOLD_BAD);
    return i <= TOLD_HIGHEST_SHIFT ? LARGEST_ARGUMENT + (i - TOLD_LARGEST_ARGUMENT) : (int)LOG_ROW;
}

// What ranks agree on, for the first warp: each knows its own invalid logit, and that there is one elsewhere.
DEVICE void reduce_over_ranks(const Context& context) {
    const int i = threadIdx.x;
    if (i < TOLD_BATCH) {
        const int own = context.params.rank;
        double value = context.gathered(own)[i];
        for (int r = 0; r < context.params.ranks; r++) {
            const double other = context.gathered(r)[i];
            if (i == TOLD_BAD) {
                if (value == INFINITY_F64 && other < INFINITY_F64) value = OF_ANOTHER_RANK;
            } else if (i <= TOLD_LOWEST_ELEMENT) {
                value = fmin(value, other);
            } else if (i <= TOLD_HIGHEST_SHIFT) {
                value = fmax(value, other);
            } else {
                value = r == 0 ? other : value + other;
            }
        }
        context.reduced()[scalar_told(i)] = value;
    }
    __syncwarp();
}
