//! `mira::cuda` on a real device, with feature `cuda`; fails where there is none, for then nothing was tested.

use std::sync::{Arc, LazyLock};

use half::bf16;
use mira::cuda::cudarc::driver::CudaStream;
use mira::cuda::{CudaAssigner, DeviceMatrix, Error as CudaError, device};
use mira_core::{Assigner, Method, Shape};

use crate::support::{Answer, Backend, Failure, IN_F32, Limits, to_f32};

static STREAM: LazyLock<Arc<CudaStream>> = LazyLock::new(|| {
    let context = device(0).unwrap_or_else(|e| panic!("feature `cuda` tests a device: {e}"));
    context.new_stream().expect("a stream")
});

impl From<CudaError> for Failure {
    fn from(error: CudaError) -> Self {
        match error {
            CudaError::Core(error) => Self::Core(error),
            other => Self::Backend(other.to_string()),
        }
    }
}

macro_rules! device_backend {
    ($name:ident, $label:literal, $logits:ty, $store:expr) => {
        pub(crate) struct $name;

        impl Backend for $name {
            const NAME: &'static str = $label;
            const LIMITS: Limits = IN_F32;
            const STARTS_WARM: bool = true;

            fn stored(logit: f64) -> f64 {
                f64::from($store(logit))
            }

            fn stream(
                method: Method,
                shape: Shape,
                warm_start: bool,
                batches: &[&[f64]],
            ) -> Vec<Result<Answer, Failure>> {
                let assigner = CudaAssigner::<$logits, f32>::new(method, &STREAM)
                    .expect("the kernels load")
                    .with_warm_start(warm_start);
                let mut workspace = assigner.workspace(shape).expect("memory");
                batches
                    .iter()
                    .map(|batch| {
                        let logits: Vec<$logits> = batch.iter().map(|s| $store(*s)).collect();
                        let logits = DeviceMatrix::from_host(&STREAM, shape, &logits)?;
                        let mut assignment = assigner.output(shape)?;
                        assigner.assign_into(
                            logits.rows(),
                            assignment.rows_mut(),
                            &mut workspace,
                        )?;
                        Ok(Answer {
                            report: assigner.report(&workspace)?,
                            assignment: assignment
                                .to_host()?
                                .iter()
                                .map(|w| f64::from(*w))
                                .collect(),
                            log_weights: assigner.log_weights(&workspace, 0)?,
                        })
                    })
                    .collect()
            }
        }
    };
}

device_backend!(F32, "cuda device f32", f32, to_f32);
device_backend!(Bf16, "cuda device bf16", bf16, bf16::from_f64);
