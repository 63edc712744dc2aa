//! What every backend of [mira](https://docs.rs/mira-core) must do, as tests: a backend writes its [`Backend`], and [`conforms!`] makes a `#[test]` of each check.
//!
//! | module | what is checked |
//! |---|---|
//! | [`golden`] | published numbers: 402 assignments in float64, as data |
//! | [`conformance`] | rows on the simplex, the oracle's sequence, optimality, invariances, extreme and forbidden logits, invalid ones, warm starts, verdicts |
//! | [`soundness`] | every bound of every report against the true optimum, on many random problems |
//! | [`distributed`] | a batch over several ranks ([`Distributed`]) |
//!
//! Nothing here trusts the library to judge itself: objectives, duals and divergences are written anew in [`definitions`], optima are found by Newton's
//! method in [`optimum`]. Problems are drawn at random, the same ones each time: `PROPTEST_CASES`, `PROPTEST_RNG_SEED` and
//! `MIRA_SOUNDNESS_PROBLEMS` (300 a backend) give more, or others.
//!
//! # Example
//! A file `tests/conformance.rs` of a crate with a backend, here mira's own naive one:
//!
//! ```
//! use mira_conformance::{Answer, Backend, Failure, IN_F64, Limits, conforms};
//! use mira_core::{Assigner, Error, Matrix, Method, Reference, ReferenceWorkspace, Shape};
//!
//! struct Naive;
//!
//! impl Naive {
//!     fn one(
//!         assigner: &Reference<f64>,
//!         workspace: &mut ReferenceWorkspace,
//!         shape: Shape,
//!         logits: &[f64],
//!     ) -> Result<Answer, Error> {
//!         let mut assignment = vec![0.0; shape.len()];
//!         assigner.assign_into(Matrix::new(logits, shape)?, &mut assignment, workspace)?;
//!         let log_weights = workspace.log_weights().to_vec();
//!         Ok(Answer { assignment, report: assigner.report(workspace)?, log_weights })
//!     }
//! }
//!
//! impl Backend for Naive {
//!     const NAME: &'static str = "naive";
//!     const LIMITS: Limits = IN_F64;
//!     const STARTS_WARM: bool = false;
//!
//!     fn stored(logit: f64) -> f64 {
//!         logit
//!     }
//!
//!     fn stream(
//!         method: Method,
//!         shape: Shape,
//!         _warm_start: bool,
//!         batches: &[&[f64]],
//!     ) -> Vec<Result<Answer, Failure>> {
//!         let assigner = Reference::new(method);
//!         let mut workspace = assigner.workspace(shape).expect("memory");
//!         let mut one = |logits: &&[f64]| Self::one(&assigner, &mut workspace, shape, logits);
//!         batches.iter().map(|logits| one(logits).map_err(Failure::Core)).collect()
//!     }
//! }
//!
//! conforms!(naive: crate::Naive);
//! # fn main() {
//! mira_conformance::golden::softmax::<Naive>(); // or one by itself
//! # }
//! ```

#![allow(clippy::missing_panics_doc)] // checks panic where a backend fails them

mod backend;
pub mod conformance;
pub mod definitions;
pub mod distributed;
pub mod golden;
pub mod optimum;
pub mod oracle;
pub mod problem;
pub mod soundness;

pub use backend::{Answer, Backend, Distributed, Failure, IN_F32, IN_F64, Limits};

/// The suite for one backend, a module of `#[test]`s: `conforms!(name: crate::Type)`, and `conforms!(name: crate::Type, distributed)` if it can spread a batch over
/// ranks. The type is named from inside that module, so by a whole path.
#[macro_export]
macro_rules! conforms {
    ($name:ident: $backend:ty) => {
        $crate::conforms!(@module $name: $backend; );
    };
    ($name:ident: $backend:ty, distributed) => {
        $crate::conforms!(@module $name: $backend; [distributed:
            ranks_together_are_one_batch,
            one_ranks_error_ends_all_ranks,
            ranks_that_disagree_are_told,
        ]);
    };
    (@module $name:ident: $backend:ty; $($more:tt)*) => {
        mod $name {
            $crate::conforms! { @tests $backend;
                [golden: mira, sinkhorn, softmax]
                [conformance:
                    rows_are_on_the_simplex_and_the_report_describes_them,
                    follows_the_oracle_sweep_by_sweep,
                    converged_answers_satisfy_the_optimality_condition,
                    extreme_logits_stay_finite_and_right,
                    one_prototype_takes_everything,
                    one_row_or_identical_rows_give_back_p,
                    permuting_rows_and_columns_permutes_the_answer,
                    shifting_rows_changes_nothing,
                    beta_zero_is_softmax_and_small_beta_is_near,
                    beta_towards_one_approaches_sinkhorn,
                    bounds_contract_by_beta,
                    forbidden_prototypes_get_nothing,
                    any_temperature_leaves_rows_that_sum_to_one,
                    certificates_with_forbidden_prototypes_are_numbers,
                    a_prototype_that_every_row_forbids_costs_no_pass,
                    a_prototype_that_nobody_likes_is_not_forbidden,
                    a_prototype_masked_by_a_huge_number_spoils_no_other,
                    invalid_logits_are_named,
                    a_workspace_can_be_used_again,
                    a_warm_start_changes_the_work_not_the_answer,
                    the_centre_follows_the_batches,
                    the_status_says_what_the_certificate_says,
                    converged_marginals_are_those_of_the_labels,
                    without_a_plan_the_iteration_ends_where_it_stands_still,
                    the_verifier_accepts_answers_and_accuses_forgeries,
                    the_allowance_covers_what_f64_finds,
                    labels_that_are_alike_are_as_near_as_said,
                    small_labels_are_as_near_as_said,
                ]
                [soundness: every_bound_holds, rows_that_repeat_are_not_rounded_alike]
                $($more)*
            }
        }
    };
    (@tests $backend:ty; $([$group:ident: $($check:ident),+ $(,)?])+) => {
        $(mod $group { $(
            #[test]
            fn $check() {
                $crate::$group::$check::<$backend>();
            }
        )+ })+
    };
}
