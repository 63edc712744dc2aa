//! `mira::candle` on CPU tensors, in each arithmetic and one type that is widened; with feature `candle-cuda` also on a real device, which fails
//! where there is none, for then nothing was tested.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use mira_candle::{CandleAssigner, Error as CandleError, Workspace};
use mira_core::{Assigner, Collective, Method, Shape};

use mira_conformance::problem::to_f32;
use mira_conformance::{Answer, Backend, Distributed, Failure, IN_F32, IN_F64, Limits};

fn failure(error: CandleError) -> Failure {
    match error {
        CandleError::Core(error) => Failure::Core(error),
        other => Failure::Backend(other.to_string()),
    }
}

/// One assignment of logits stored as `dtype`.
fn one(
    assigner: &CandleAssigner,
    workspace: &mut Workspace,
    shape: Shape,
    logits: &[f64],
    dtype: DType,
) -> Result<Answer, CandleError> {
    let dims = (shape.batch(), shape.num_prototypes());
    // Rounded on the CPU, as `Backend::stored` says.
    let logits = Tensor::from_slice(logits, dims, &Device::Cpu)?.to_dtype(dtype)?;
    let logits = logits.to_device(&workspace.device())?;
    let assignment = assigner.output(shape)?;
    assigner.assign_into(&logits, &assignment, workspace)?;
    Ok(Answer {
        report: assigner.report(workspace)?,
        assignment: assignment.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?,
        log_weights: workspace.log_weights()?,
    })
}

/// A backend of logits `$logits` and assignments `$dtype` in `$arithmetic` on `$device`; `$stored` rounds a logit to its type.
macro_rules! candle_backend {
    ($name:ident, $label:literal, $device:expr, $logits:ident, $dtype:ident, $arithmetic:expr, $stored:expr) => {
        pub(crate) struct $name;

        impl $name {
            fn assigner(method: Method) -> CandleAssigner {
                let assigner = CandleAssigner::new(method).with_objective(true);
                let assigner = assigner.with_dtype(DType::$dtype).expect("F32 or F64");
                assigner.with_device($device).expect("one with a backend")
            }
        }

        impl Backend for $name {
            const NAME: &'static str = $label;
            const LIMITS: Limits = $arithmetic;
            const STARTS_WARM: bool = true;

            fn stored(logit: f64) -> f64 {
                $stored(logit)
            }

            fn stream(
                method: Method,
                shape: Shape,
                warm_start: bool,
                batches: &[&[f64]],
            ) -> Vec<Result<Answer, Failure>> {
                let assigner = Self::assigner(method).with_warm_start(warm_start);
                let mut workspace = assigner.workspace(shape).expect("memory for a small problem");
                batches
                    .iter()
                    .map(|logits| {
                        one(&assigner, &mut workspace, shape, logits, DType::$logits)
                            .map_err(failure)
                    })
                    .collect()
            }
        }
    };
}

/// The same with rows over ranks.
macro_rules! distributed_backend {
    ($name:ident, $label:literal, $logits:ident, $dtype:ident, $arithmetic:expr, $stored:expr) => {
        candle_backend!($name, $label, &Device::Cpu, $logits, $dtype, $arithmetic, $stored);

        impl Distributed for $name {
            fn assign_on_rank(
                method: Method,
                shape: Shape,
                logits: &[f64],
                collective: Arc<dyn Collective>,
            ) -> Result<Answer, Failure> {
                let assigner = Self::assigner(method).with_collective(collective);
                let mut workspace = assigner.workspace(shape).map_err(failure)?;
                one(&assigner, &mut workspace, shape, logits, DType::$logits).map_err(failure)
            }
        }
    };
}

fn as_f32(logit: f64) -> f64 {
    f64::from(to_f32(logit))
}

fn as_f16(logit: f64) -> f64 {
    f16::from_f64(logit).to_f64()
}

fn as_bf16(logit: f64) -> f64 {
    bf16::from_f64(logit).to_f64()
}

distributed_backend!(F64, "candle cpu f64", F64, F64, IN_F64, |s: f64| s);
distributed_backend!(F32, "candle cpu f32", F32, F32, IN_F32, as_f32);
distributed_backend!(F16, "candle cpu f16", F16, F32, IN_F32, as_f16);
distributed_backend!(Bf16, "candle cpu bf16", BF16, F32, IN_F32, as_bf16);

#[cfg(feature = "candle-cuda")]
pub(crate) mod on_device {
    use std::sync::LazyLock;

    use super::*;

    static DEVICE: LazyLock<Device> = LazyLock::new(|| {
        if let Err(error) = mira::cuda::device(0) {
            panic!("feature `candle-cuda` tests a device: {error}");
        }
        Device::new_cuda(0).expect("cuBLAS and cuRAND")
    });

    candle_backend!(F32, "candle cuda f32", &DEVICE, F32, F32, IN_F32, as_f32);
    candle_backend!(F16, "candle cuda f16", &DEVICE, F16, F32, IN_F32, as_f16);
    candle_backend!(Bf16, "candle cuda bf16", &DEVICE, BF16, F32, IN_F32, as_bf16);
}
