//! What needs a device, or `dev/check_driver`'s stand-in for its driver, which does nothing before somebody waits for it and watches every
//! call. Fails where there is neither, for then nothing was tested; so only with the feature `device-tests`.

mod flight;
mod forms;
mod graph;
mod hot_path;
#[path = "../opening.rs"]
mod opening;
mod ranks;
#[path = "../cross_entropy/reference.rs"]
mod reference;
mod refusals;
mod shapes;

use std::sync::{Arc, LazyLock};

use mira_core::Shape;
use mira_cuda::cudarc::driver::{CudaContext, CudaStream};
use mira_cuda::{DeviceMatrix, device, diagnosis};

const BATCH: usize = 37;
const COLUMNS: usize = 90;

fn shape() -> Shape {
    Shape::new(BATCH, COLUMNS).unwrap()
}

/// Of the first device, as long as the process: opening it takes longer than most tests.
///
/// With `MIRA_DIAGNOSING_KERNELS`, a folder made by `dev/check_kernels --diagnose`, over kernels that say what they wait for in vain, after a second
/// or so.
static CONTEXT: LazyLock<Arc<CudaContext>> = LazyLock::new(|| {
    if let Some(folder) = std::env::var_os("MIRA_DIAGNOSING_KERNELS") {
        // SAFETY: whoever sets it answers for what lies there.
        unsafe { diagnosis::take_kernels_from(folder.as_ref(), 1 << 22) };
    }
    device(0).unwrap_or_else(|e| panic!("these tests need a device: {e}"))
});

/// A stream of the first device.
fn stream() -> Arc<CudaStream> {
    CONTEXT.new_stream().expect("a stream")
}

/// Different ones by number; some prototypes are popular.
fn batch(number: usize) -> Vec<f32> {
    let value = |i: usize| {
        let popularity = ((i + 7 * number) % COLUMNS) as f32 / COLUMNS as f32;
        (1.7 * ((i * i + number * 31) % 997) as f32).sin() + popularity
    };
    (0..BATCH * COLUMNS).map(value).collect()
}

fn on_device(stream: &Arc<CudaStream>, number: usize) -> DeviceMatrix<f32> {
    DeviceMatrix::from_host(stream, shape(), &batch(number)).expect("memory")
}
