//! One suite for every backend.
//!
//! - `golden`: published numbers, as data.
//! - `conformance`: what every backend must do; written once, generic over [`support::Backend`].
//! - `distributed`: a batch over several ranks, generic over [`support::Distributed`].
//! - `soundness`: every bound of every backend against the true optimum, on many random problems.
//! - `properties`: the theory behind the certificates, at arbitrary column weights, against definitions written here.
//!
//! Nothing here trusts the library to judge itself: objectives, duals, divergences and optima are written anew in `support` and
//! `optimum`. A new backend implements [`support::Backend`] and adds one line below.

mod candle;
mod conformance;
#[cfg(feature = "cpu")]
mod cpu;
#[cfg(feature = "cuda")]
mod device;
mod distributed;
mod driven;
mod emulated;
mod golden;
mod optimum;
mod oracle;
mod properties;
#[cfg(feature = "cpu")]
mod ranks;
mod rows;
mod soundness;
mod support;

/// `#[test]`s that call the named generic checks with one backend.
macro_rules! instantiate {
    ($backend:ty; $([$group:ident: $($check:ident),+ $(,)?])+) => {
        $(mod $group { $(
            #[test]
            fn $check() {
                crate::$group::$check::<$backend>();
            }
        )+ })+
    };
}

/// The suite for one backend: `conforms!(module: Type)`, and `conforms!(module: Type, distributed)` if it can spread a batch over ranks.
macro_rules! conforms {
    ($name:ident: $backend:ty) => {
        conforms!(@module $name: $backend; );
    };
    ($name:ident: $backend:ty, distributed) => {
        conforms!(@module $name: $backend; [distributed:
            ranks_together_are_one_batch,
            one_ranks_error_ends_all_ranks,
            ranks_that_disagree_are_told,
        ]);
    };
    (@module $name:ident: $backend:ty; $($more:tt)*) => {
        mod $name {
            instantiate! { $backend;
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
}

conforms!(oracle_f64: crate::oracle::Oracle);
conforms!(driven_f64: crate::driven::Driven, distributed);
#[cfg(feature = "cpu")]
conforms!(cpu_f64: crate::cpu::F64, distributed);
#[cfg(feature = "cpu")]
conforms!(cpu_f32: crate::cpu::F32, distributed);
#[cfg(feature = "cpu")]
conforms!(cpu_f16: crate::cpu::F16, distributed);
#[cfg(feature = "cpu")]
conforms!(cpu_bf16: crate::cpu::Bf16, distributed);
conforms!(cuda_f32: crate::emulated::F32, distributed);
conforms!(cuda_f16: crate::emulated::F16);
conforms!(cuda_bf16: crate::emulated::Bf16, distributed);
conforms!(candle_f64: crate::candle::F64, distributed);
conforms!(candle_f32: crate::candle::F32, distributed);
conforms!(candle_f16: crate::candle::F16, distributed);
conforms!(candle_bf16: crate::candle::Bf16, distributed);
#[cfg(feature = "cuda")]
conforms!(cuda_device_f32: crate::device::F32, distributed);
#[cfg(feature = "cuda")]
conforms!(cuda_device_f16: crate::device::F16, distributed);
#[cfg(feature = "cuda")]
conforms!(cuda_device_bf16: crate::device::Bf16, distributed);
#[cfg(feature = "candle-cuda")]
conforms!(candle_cuda_device_f32: crate::candle::on_device::F32);
#[cfg(feature = "candle-cuda")]
conforms!(candle_cuda_device_f16: crate::candle::on_device::F16);
#[cfg(feature = "candle-cuda")]
conforms!(candle_cuda_device_bf16: crate::candle::on_device::Bf16);
