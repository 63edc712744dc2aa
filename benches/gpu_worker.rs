//! The Rust half of `dev/gpu_compare.py`: times assignments on a CUDA device on request, by events of its stream.
//!
//! Requests on standard input, one a line; answers on standard output, one JSON object a line:
//!
//! | request | answer |
//! |---|---|
//! | `device` | `{"name", "multiprocessors"}` |
//! | `load B K f32\|bf16 FILE` (row-major, little-endian) | `{"ok"}` |
//! | `copy N`: N copies of the logits on the device, the floor of reading and writing them once | `{"milliseconds"}`, the median |
//! | `time N METHOD`, with `mira-sweeps n`, `mira-certified`, `sinkhorn-sweeps n`, `softmax` | `{"milliseconds", "iterations", "passes", "log_ratio_bound"}` |
//! | `save FILE` (the last assignment, f32) | `{"ok"}` |

use std::io::{BufRead, Write};
use std::sync::Arc;

use half::bf16;
use mira::{Assigner, Method, Shape};
use mira_cuda::cudarc::driver::sys::CUevent_flags;
use mira_cuda::cudarc::driver::{CudaStream, DriverError};
use mira_cuda::{CudaAssigner, DeviceMatrix, Logit, device};
use serde_json::{Value, json};

mod request;

type Failure = Box<dyn std::error::Error>;

/// Untimed calls before the timed ones.
const WARM_UP: usize = 3;

enum Logits {
    F32(DeviceMatrix<f32>),
    Bf16(DeviceMatrix<bf16>),
}

struct Problem {
    logits: Logits,
    assignment: DeviceMatrix<f32>,
}

fn main() {
    if let Err(error) = answer() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn answer() -> Result<(), Failure> {
    let mut requests = std::io::stdin().lock().lines().peekable();
    if requests.peek().is_none() {
        return Ok(()); // `cargo bench` passes no requests
    }
    let context = device(0)?;
    // One stream only: events for the safety of several would be timed with the launches.
    // SAFETY: nothing of this process runs on another stream.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream()?;
    let mut problem = None;
    let mut out = std::io::stdout();
    for line in requests {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match (words.as_slice(), &mut problem) {
            (["device"], _) => {
                use mira_cuda::cudarc::driver::sys::CUdevice_attribute as Attribute;
                let attribute = Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
                json!({ "name": context.name()?, "multiprocessors": context.attribute(attribute)? })
            }
            (["load", batch, prototypes, dtype, file], _) => {
                let shape = Shape::new(batch.parse()?, prototypes.parse()?)?;
                problem = Some(load(&stream, shape, dtype, file)?);
                json!({ "ok": true })
            }
            (["copy", n], Some(Problem { logits, .. })) => {
                let n = n.parse()?;
                let milliseconds = match logits {
                    Logits::F32(m) => copy(&stream, m, n)?,
                    Logits::Bf16(m) => copy(&stream, m, n)?,
                };
                json!({ "milliseconds": milliseconds })
            }
            (["time", n, method @ ..], Some(Problem { logits, assignment })) => {
                let (n, method) = (n.parse()?, request::method(method)?);
                match logits {
                    Logits::F32(logits) => time(&stream, method, logits, assignment, n)?,
                    Logits::Bf16(logits) => time(&stream, method, logits, assignment, n)?,
                }
            }
            (["save", file], Some(problem)) => {
                let values = problem.assignment.to_host()?;
                let bytes: Vec<u8> = values.iter().flat_map(|w| w.to_le_bytes()).collect();
                std::fs::write(file, bytes)?;
                json!({ "ok": true })
            }
            _ => return Err(format!("unknown request, or no problem loaded: {line}").into()),
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn load(
    stream: &Arc<CudaStream>,
    shape: Shape,
    dtype: &str,
    file: &str,
) -> Result<Problem, Failure> {
    let bytes = std::fs::read(file)?;
    let logits = match dtype {
        "f32" => {
            let values: Vec<f32> =
                bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            Logits::F32(DeviceMatrix::from_host(stream, shape, &values)?)
        }
        "bf16" => {
            let values: Vec<bf16> =
                bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b)).collect();
            Logits::Bf16(DeviceMatrix::from_host(stream, shape, &values)?)
        }
        other => return Err(format!("expected f32 or bf16, got {other}").into()),
    };
    Ok(Problem { logits, assignment: DeviceMatrix::zeros(stream, shape)? })
}

/// Median milliseconds of `n` runs, each between two events.
fn measured(
    stream: &Arc<CudaStream>,
    n: usize,
    mut run: impl FnMut() -> Result<(), Failure>,
) -> Result<f64, Failure> {
    for _ in 0..WARM_UP {
        run()?;
    }
    let event =
        || -> Result<_, DriverError> { stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)) };
    let mut times = Vec::with_capacity(n);
    for _ in 0..n.max(1) {
        let start = event()?;
        run()?;
        let end = event()?;
        end.synchronize()?;
        times.push(f64::from(start.elapsed_ms(&end)?));
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn copy<T: Logit>(
    stream: &Arc<CudaStream>,
    logits: &DeviceMatrix<T>,
    n: usize,
) -> Result<f64, Failure> {
    let mut target = DeviceMatrix::<T>::zeros(stream, logits.shape)?;
    measured(stream, n, || Ok(stream.memcpy_dtod(&logits.elements, &mut target.elements)?))
}

fn time<L: Logit>(
    stream: &Arc<CudaStream>,
    method: Method,
    logits: &DeviceMatrix<L>,
    assignment: &mut DeviceMatrix<f32>,
    n: usize,
) -> Result<Value, Failure> {
    let assigner = CudaAssigner::<L, f32>::new(method, stream)?;
    let mut workspace = assigner.workspace(logits.shape)?;
    let milliseconds = measured(stream, n, || {
        Ok(assigner.assign_into(logits.rows(), assignment.rows_mut(), &mut workspace)?)
    })?;
    let report = assigner.report(&workspace)?;
    Ok(json!({
        "milliseconds": milliseconds,
        "iterations": report.iterations,
        "passes": report.passes,
        "log_ratio_bound": report.certificate.log_ratio_bound,
    }))
}
