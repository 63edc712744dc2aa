// What a launch is told. Mirrored field by field in params.rs; both sides check the size.

#pragma once
#include "common/params.cuh"

constexpr int MAX_PROBLEMS = 4;
constexpr int MAX_ROWS_PER_BLOCK = 64; // since partial column sums are f32
constexpr int DEPTH = 5; // of the acceleration, as on the CPU

enum Method { SOFTMAX, MIRA, SINKHORN, CENTERED };
enum Stop { STOP_SWEEPS, STOP_TOLERANCE, STOP_GAP };

// Several problems of one shape and method. Workspace of problem p: `workspace + p * workspace_stride`, in bytes, as all `at_*` are.
struct AssignParams {
    unsigned long long logits[MAX_PROBLEMS];
    unsigned long long assignment[MAX_PROBLEMS];
    unsigned long long workspace, workspace_stride;
    unsigned long long contribution, gathered; // of a batch spread over ranks: what this one tells, what all told; f64
    unsigned long long at_vectors, at_weights, at_partials, at_row_shift, at_row_factor, at_row_log, at_scalars, at_control, at_summary, at_entries;
    long long logits_stride, assignment_stride; // elements from row to row
    double scale;                               // log2(e)/ε; also in two floats, `scale_high + scale_low`, and its inverse
    double epsilon, rho, beta, momentum;
    double inverse_columns, log_columns, inverse_batch; // 1/columns, ln(columns), 1/batch
    double amplification; // 1/(1 − β): what a step's length is multiplied by to bound the way that is left
    double temperature; // τ of MIRA and of the centring
    double tolerance, unit_roundoff, noise;
    float scale_high, scale_low, inverse_scale;
    int at_chip; // in shared memory, bytes
    int batch, columns;
    int padded_columns;  // vectors' and partials' length
    int rows_per_block;  // at most MAX_ROWS_PER_BLOCK
    int row_blocks;      // ceil(batch / rows_per_block)
    int rows_on_chip;    // rows of the first row block of each block that are kept in shared memory
    int slice;           // columns a block looks after between sweeps; a multiple of 8
    int column_blocks;   // blocks that have some
    int parts_log2;      // of warps that share a tile of LANES of them
    int at_history;      // in shared memory, bytes: K-vectors from IMAGE on, of the slice; 0: they are in the workspace
    int logits_dtype, assignment_dtype;
    int method, stop, max_sweeps, patience;
    int max_passes;      // so that the launches of a batch over ranks are enough
    int warm;            // start from the log weights of the last run
    int ranks, rank;     // 0 ranks: the whole batch is here
    int contribution_length; // of one problem, in f64
    int segments, segment_columns; // of a row that a team of blocks shares; 1 and 0: every row is one block's
    int teams;
    int depth;           // groups of rows that such a block has on the way
    int resume;          // after an exchange between the ranks
    int objective;       // log_partition has followed the run
};

// K-vectors of f64 in the workspace, `padded_columns` each.
enum KVector {
    LOG_WEIGHTS,
    LOG_MARGINAL,
    CENTER,
    // Needed by the block alone that looks after the column, and in one run alone.
    IMAGE,
    BEST_IMAGE,
    RESIDUAL_WEIGHT, // w̄ when the history began: weights of the least squares
    PREVIOUS_RESIDUAL,
    PREVIOUS_IMAGE,
    DELTA_RESIDUAL,                        // DEPTH of them
    DELTA_IMAGE = DELTA_RESIDUAL + DEPTH,  // DEPTH of them
    NUM_VECTORS = DELTA_IMAGE + DEPTH
};
// Where sweeps go ahead, which are not accelerated: the weight of the first that nobody has judged yet, and extremes of all of them, those of
// weights relative to their sweep's middle.
constexpr int FIRST_WEIGHT = BEST_IMAGE, LEAST_SUM = PREVIOUS_RESIDUAL, MOST_SUM = PREVIOUS_IMAGE, LEAST_WEIGHT = DELTA_RESIDUAL, MOST_WEIGHT = DELTA_RESIDUAL + 1;

// What blocks tell each other, one f64 per block and entry; put together in an order that is always the same.
enum Scalar {
    // Minima.
    BAD,            // 4 × row-major index of the first invalid logit + what is invalid
    LOWEST_TOTAL,   // of a row
    LOWEST_ELEMENT, // log2 of a kernel element
    LOWEST_RESIDUAL,
    LOWEST_IMAGE,
    LOWEST_WEIGHT, // natural logarithm
    LOWEST_SUM,    // of a column
    NUM_MINIMA,
    // Maxima.
    LARGEST_ARGUMENT = NUM_MINIMA, // |s/ε| in bits
    ROW_SPAN,
    HIGHEST_SHIFT, // of a row, in bits
    HIGHEST_RESIDUAL,
    HIGHEST_IMAGE,
    HIGHEST_WEIGHT,
    HIGHEST_SUM,
    LARGEST_EXPONENT,
    END_MAXIMA,
    // Sums.
    LOG_ROW = END_MAXIMA,
    MARGINAL_ERROR,
    MASS,
    RESIDUAL,
    DELTA,
    GRAM,                 // DEPTH of them
    RIGHT = GRAM + DEPTH, // DEPTH of them
    NUM_SCALARS = RIGHT + DEPTH
};

// What a rank tells the others, before its K column sums.
enum Told {
    TOLD_BAD,
    TOLD_LOWEST_TOTAL,
    TOLD_LOWEST_ELEMENT,
    TOLD_LARGEST_ARGUMENT,
    TOLD_ROW_SPAN,
    TOLD_HIGHEST_SHIFT,
    TOLD_LOG_ROW,
    TOLD_BATCH,
    NUM_TOLD
};

enum Invalid { NOT_A_NUMBER, POSITIVE_INFINITY, NO_FINITE_LOGIT, OF_ANOTHER_RANK };
enum Pass { PASS_SWEEP, PASS_WRITE, PASS_COLUMNS, PASS_LOGITS };
enum Domain { LINEAR, LOGARITHMIC };
enum Action { KEEP, TAKE_IMAGE, TAKE_BEST, ACCELERATE };

// Where a run stands; equal in all blocks, in shared memory. The last one is left in the workspace, for the report.
struct Control {
    double bad;
    double mean_log_row;
    double row_span;
    double middle; // of the log weights: weights are relative to it
    double drift; // of the middle, to the next sweep's, where sweeps go ahead
    double last_span; // of residuals, at the last judgement of a fixed number of sweeps
    double best, last_distance, milestone, lately;
    double best_middle, previous_middle;
    double inverse_mass;
    double batch, inverse_batch; // of all ranks
    double lowest_element, largest_argument; // as the scalars, of the whole problem
    double delta_sum[DEPTH], delta_middle[DEPTH];
    double gram[DEPTH][DEPTH];
    double theta[DEPTH];
    int count;
    int passes;
    int pass, domain, action;
    int built, done, last;
    int since_milestone, since_lately, flat;
    int filled, next, primed;
    int ahead;     // sweeps that will go on without being judged
    int unjudged;  // those that have, since the last one that was
    unsigned told; // groups of rows, to the others of a team, in this launch
    unsigned tag;  // of what blocks tell each other
};

// What certificate.cu makes of a run, as mira-core's Summary.
struct Summary {
    double duality_gap, label_kl_bound, log_ratio_bound, marginal_error, rounding_allowance;
    double marginal_entropy;
    double weight_term;        // Σ w̄ a for Sinkhorn–Knopp, log Σ e^(−a (1−β)/β) for MIRA
    double largest_exponent;   // as mira-core has it
    double mean_log_partition; // over rows, of log Σ e^(s/τ), if log_partition has followed the run
};
