//! A shape for each kernel of an assignment, at the width it has on a device; what comes back is verified in f64 from the logits alone.

use mira_core::{Assigner, Matrix, Method, Mira, Shape, Sinkhorn, Status, verify_at};
use mira_cuda::{CudaAssigner, DeviceMatrix};

use crate::stream;

/// What rounding labels and arithmetic to f32 may add to a bound.
const ROUNDING: f64 = 2e-6;

#[test]
fn every_width_is_right() {
    let stream = stream();
    // The second needs far more shared memory than kernels have unasked. From 4097 columns on blocks share rows, as long as there are blocks
    // enough, which the stand-in for a device has not for the last.
    let shapes = [
        (9, 500),
        (150, 1000),
        (6, 2000),
        (9, 3000),
        (5, 4000),
        (3, 5000),
        (70, 4100),
        (9, 8000),
        (3, 17_000),
    ];
    for (batch, columns) in shapes {
        let shape = Shape::new(batch, columns).expect("small");
        let popularity = |j: usize| j as f32 / columns as f32;
        let logits: Vec<f32> = (0..shape.len())
            .map(|i| (0.37 * ((i * i) % 8191) as f32).sin() + popularity(i % columns))
            .collect();
        let on_device = DeviceMatrix::from_host(&stream, shape, &logits).expect("memory");
        let sinkhorn = Sinkhorn::new(0.3).expect("valid");
        for method in [Method::from(Mira::default()), sinkhorn.into()] {
            let assigner = CudaAssigner::<f32>::new(method, &stream).expect("the kernels load");
            let mut workspace = assigner.workspace(shape).expect("memory");
            let mut out = assigner.output(shape).expect("memory");
            assigner.assign_into(on_device.rows(), out.rows_mut(), &mut workspace).unwrap();
            let report = assigner.report(&workspace).expect("valid logits");
            let weights = workspace.log_weights(0).expect("a device");
            let out = out.to_host().expect("a device");
            let matrices = (Matrix::new(&logits, shape), Matrix::new(&out, shape));
            let (logits, out) = (matrices.0.expect("as many"), matrices.1.expect("as many"));
            let verdict = verify_at(logits, out, &method, &weights).expect("finite");
            let (found, said) = (verdict.certificate, report.certificate);
            let context = format!("{method:?} at {batch}x{columns}: {said:?}, but {found:?}");
            assert_eq!(report.status, Status::Converged, "{context}");
            assert!(
                found.log_ratio_bound <= said.log_ratio_bound + said.rounding_allowance + ROUNDING,
                "{context}"
            );
            assert!(found.marginal_error <= said.marginal_error + ROUNDING, "{context}");
            assert!(found.label_kl_bound <= said.label_kl_bound + ROUNDING, "{context}");
        }
    }
}
