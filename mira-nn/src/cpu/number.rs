//! The trait of what networks run in, f32 and f64; its implementations compile the kernels here, once.

use mira_simd::Scalar;

use super::executor::{Executor, Statistics};

/// A type that networks run in, f32 or f64. Their kernels are compiled for it here, once, and not in every crate that runs a network.
pub trait Number: Scalar {
    #[doc(hidden)]
    fn forward(executor: &mut Executor<Self>, values: &[Self], statistics: Statistics<'_, Self>);

    #[doc(hidden)]
    fn backward(
        executor: &mut Executor<Self>,
        values: &[Self],
        output_gradient: &[Self],
        gradients: &mut [Self],
    );
}

macro_rules! number {
    ($type:ty) => {
        impl Number for $type {
            fn forward(
                executor: &mut Executor<Self>,
                values: &[Self],
                statistics: Statistics<'_, Self>,
            ) {
                executor.compute(values, statistics);
            }

            fn backward(
                executor: &mut Executor<Self>,
                values: &[Self],
                output_gradient: &[Self],
                gradients: &mut [Self],
            ) {
                executor.compute_gradients(values, output_gradient, gradients);
            }
        }
    };
}

number!(f32);
number!(f64);
