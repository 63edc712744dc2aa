//! Opening a device: where there is one, it computes; anywhere else, the error says what is missing. Never a panic.

use mira_core::{Assigner, Error as CoreError, Mira, Shape};
use mira_cuda::cross_entropy::CrossEntropy;
use mira_cuda::{CudaAssigner, DeviceMatrix, Error, NcclId, device};

#[test]
fn a_device_computes_or_the_error_says_what_is_missing() {
    match device(0) {
        Ok(context) => {
            let stream = context.default_stream();
            let shape = Shape::new(2, 3).unwrap();
            let logits = [0.9f32, 0.1, -0.3, 0.8, 0.2, 0.0];
            let logits = DeviceMatrix::from_host(&stream, shape, &logits).unwrap();
            let assigner = CudaAssigner::<f32>::new(Mira::default(), &stream).unwrap();
            let (assignment, report) = assigner.assign(logits.rows()).unwrap();
            assert!(report.certificate.log_ratio_bound < 1e-5, "{report:?}");
            let sums = assignment.to_host().unwrap();
            assert!(sums.chunks(3).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6));

            // Uniform logits cost log 3 whatever the labels; the gradient of a row adds up to 0.
            let flat = DeviceMatrix::from_host(&stream, shape, &[0.5f32; 6]).unwrap();
            let mut gradient = DeviceMatrix::zeros(&stream, shape).unwrap();
            let mut mean = CrossEntropy::<f32>::new(&stream, shape, 0.1, 0.5).unwrap();
            mean.launch(&flat.rows(), &assignment.rows(), Some(&mut gradient.rows_mut())).unwrap();
            assert!((mean.loss().unwrap() - 3f64.ln()).abs() < 1e-6);
            let gradient = gradient.to_host().unwrap();
            assert!(gradient.chunks(3).all(|row| row.iter().sum::<f32>().abs() < 1e-5));
        }
        Err(error @ Error::NoDriver) => {
            assert!(error.to_string().contains("libcuda.so.1 was not found; install driver"));
        }
        Err(error) => {
            assert!(matches!(error, Error::NoDevice { .. } | Error::OldDriver { .. }), "{error}");
        }
    }
    let Err(error) = device(1000) else { panic!("a machine with 1001 devices") };
    assert!(
        matches!(error, Error::NoDevice { .. } | Error::NoDriver | Error::OldDriver { .. }),
        "{error}"
    );
}

#[test]
fn nccl_makes_an_id_or_the_error_says_what_is_missing() {
    match NcclId::new() {
        Ok(id) => assert_ne!(id.as_bytes(), &[0; NcclId::LEN]),
        Err(error @ Error::NoNccl { .. }) => {
            let text = error.to_string();
            assert!(text.contains("; install NCCL 2.17 or later"), "{text}");
            // Before the remedy stands what the loader says of the file, or of one that it needs.
            assert!(text.split(';').next().is_some_and(|said| said.contains(".so")), "{text}");
        }
        // It is there, but finds no network, say.
        Err(error) => assert!(matches!(error, Error::Core(CoreError::Collective(_))), "{error}"),
    }
}
