//! The Rust half of `dev/gpu_compare.py`: times assignments on a CUDA device on request, by events of its stream.
//!
//! Requests on standard input, one a line; answers on standard output, one JSON object a line:
//!
//! | request | answer |
//! |---|---|
//! | `device` | `{"name", "multiprocessors", "l2_bytes"}` |
//! | `kernels` | `{"kernels"}`, their names |
//! | `prepare KERNEL`: has the driver compile it, which is kept in its cache | `{"kernel", "seconds"}` |
//! | `load B K f32\|bf16 FILE` (row-major, little-endian) | `{"ok"}` |
//! | `rotate R`: from now on each run has the next of R pairs of logits and assignment, so that what is larger than L2 together does not lie there; 1 after `load` | `{"ok"}` |
//! | `copy N`: N copies of the logits on the device, the floor of reading and writing them once | `{"milliseconds", "latency_milliseconds"}` |
//! | `time N METHOD`, with `mira-sweeps n`, `mira-certified`, `sinkhorn-sweeps n`, `softmax` | `{"milliseconds", "quartiles", "latency_milliseconds", "iterations", "passes", "log_ratio_bound"}` |
//! | `confine M S`: from now on `time` gives launches M multiprocessors and blocks S bytes of shared memory, or as many as there are | `{"ok"}` |
//! | `after N METHOD`: N runs, each right after kernels of other shapes and after more memory than L2 holds was written: neither inputs nor code lie in a cache, as in training, or worse | `{"milliseconds"}` |
//! | `loss N TEMPERATURE`: cross-entropy of the logits against the last assignment, mean over rows, and its gradient | `{"milliseconds", "latency_milliseconds", "loss"}` |
//! | `repeat N METHOD`: how many elements of N further runs have other bits than the first's | `{"different", "finite"}` |
//! | `timeline N METHOD`, of the last of N launches; after `diagnose` | `{"passes", "table"}`: cycles of half of the blocks, by what they did in each pass |
//! | `diagnose DIR [PATIENCE]`: from now on with kernels that tell of themselves, which `dev/check_kernels --diagnose DIR` makes | `{"ok"}` |
//! | `save FILE` (the last assignment, f32) | `{"ok"}` |
//!
//! Assignments are cleared before they are timed or repeated, so that nobody is given an earlier one's. Milliseconds are medians of N: of a launch among others, back to back, and of one alone on an idle stream, from before the host begins to enqueue it.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use half::bf16;
use mira::{Assigner, Method, Mira, Shape};
use mira_cuda::cross_entropy::CrossEntropy;
use mira_cuda::cudarc::driver::sys::CUevent_flags;
use mira_cuda::cudarc::driver::{CudaEvent, CudaSlice, CudaStream, DriverError};
use mira_cuda::{
    CudaAssigner, CudaWorkspace, DeviceMatrix, Logit, device, diagnosis, kernel_names, prepare,
};
use serde_json::{Value, json};

mod request;

type Failure = Box<dyn std::error::Error>;

/// For how long runs are not timed: clocks rise under load.
const WARM_UP: Duration = Duration::from_millis(300);
/// What is timed takes so long at least: events count in half microseconds, and the first launch of several waits for the host.
const SAMPLE: Duration = Duration::from_millis(2);

enum Logits {
    F32(DeviceMatrix<f32>),
    Bf16(DeviceMatrix<bf16>),
}

struct Problem {
    logits: Logits,
    assignment: DeviceMatrix<f32>,
    /// More of both, to go round.
    others: Vec<(Logits, DeviceMatrix<f32>)>,
}

impl Problem {
    fn clear(&mut self, stream: &Arc<CudaStream>) -> Result<(), Failure> {
        stream.memset_zeros(&mut self.assignment.elements)?;
        for (_, assignment) in &mut self.others {
            stream.memset_zeros(&mut assignment.elements)?;
        }
        Ok(())
    }

    fn rotate(&mut self, stream: &Arc<CudaStream>, count: usize) -> Result<(), Failure> {
        self.others.clear();
        for _ in 1..count {
            let logits = match &self.logits {
                Logits::F32(m) => Logits::F32(copied(stream, m)?),
                Logits::Bf16(m) => Logits::Bf16(copied(stream, m)?),
            };
            self.others.push((logits, DeviceMatrix::zeros(stream, self.assignment.shape)?));
        }
        Ok(())
    }
}

fn copied<T: Logit>(
    stream: &Arc<CudaStream>,
    from: &DeviceMatrix<T>,
) -> Result<DeviceMatrix<T>, Failure> {
    let mut to = DeviceMatrix::zeros(stream, from.shape)?;
    stream.memcpy_dtod(&from.elements, &mut to.elements)?;
    Ok(to)
}

/// The pairs of a problem whose logits are of a type.
struct Pairs<'a, L: Logit>(Vec<(&'a DeviceMatrix<L>, &'a mut DeviceMatrix<f32>)>);

macro_rules! pairs {
    ($problem:expr, $kind:ident) => {{
        let Problem { logits, assignment, others } = $problem;
        let first = std::iter::once((&*logits, assignment));
        let all = first.chain(others.iter_mut().map(|(logits, assignment)| (&*logits, assignment)));
        Pairs(
            all.filter_map(|(logits, assignment)| match logits {
                Logits::$kind(logits) => Some((logits, assignment)),
                _ => None,
            })
            .collect(),
        )
    }};
}

fn main() {
    if let Err(error) = answer() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

#[allow(clippy::too_many_lines)] // some lines a request
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
    let (mut problem, mut part) = (None, [u32::MAX; 2]);
    let mut out = std::io::stdout();
    for line in requests {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match (words.as_slice(), &mut problem) {
            (["device"], _) => {
                use mira_cuda::cudarc::driver::sys::CUdevice_attribute as Attribute;
                let attribute = Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
                let l2 = Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE;
                json!({
                    "name": context.name()?,
                    "multiprocessors": context.attribute(attribute)?,
                    "l2_bytes": context.attribute(l2)?,
                })
            }
            (["kernels"], _) => json!({ "kernels": kernel_names().collect::<Vec<_>>() }),
            (["prepare", kernel], _) => {
                let start = Instant::now();
                if !prepare(&context, kernel)? {
                    return Err(format!("no kernel {kernel}; `kernels` lists them").into());
                }
                json!({ "kernel": kernel, "seconds": start.elapsed().as_secs_f64() })
            }
            (["load", batch, prototypes, dtype, file], _) => {
                let shape = Shape::new(batch.parse()?, prototypes.parse()?)?;
                problem = Some(load(&stream, shape, dtype, file)?);
                json!({ "ok": true })
            }
            (["rotate", count], Some(problem)) => {
                problem.rotate(&stream, count.parse()?)?;
                json!({ "ok": true })
            }
            (["copy", n], Some(problem)) => {
                let n = n.parse()?;
                let times = match &problem.logits {
                    Logits::F32(_) => copy(&stream, &pairs!(problem, F32), n)?,
                    Logits::Bf16(_) => copy(&stream, &pairs!(problem, Bf16), n)?,
                };
                json!({
                    "milliseconds": times.milliseconds,
                    "latency_milliseconds": times.latency_milliseconds,
                })
            }
            (["time", n, method @ ..], Some(problem)) => {
                let (n, method) = (n.parse()?, request::method(method)?);
                problem.clear(&stream)?;
                match &problem.logits {
                    Logits::F32(_) => time(&stream, method, pairs!(problem, F32), n, part)?,
                    Logits::Bf16(_) => time(&stream, method, pairs!(problem, Bf16), n, part)?,
                }
            }
            (["confine", multiprocessors, bytes], _) => {
                part = [multiprocessors.parse()?, bytes.parse()?];
                json!({ "ok": true })
            }
            (["after", n, method @ ..], Some(problem)) => {
                let (n, method) = (n.parse()?, request::method(method)?);
                let mut others = Others::new(&stream)?;
                let Problem { logits, assignment, .. } = problem;
                match logits {
                    Logits::F32(logits) => others.before(method, logits, assignment, n)?,
                    Logits::Bf16(logits) => others.before(method, logits, assignment, n)?,
                }
            }
            (["loss", n, temperature], Some(problem)) => {
                let (n, temperature) = (n.parse()?, temperature.parse()?);
                let Problem { logits, assignment, .. } = problem;
                match logits {
                    Logits::F32(logits) => loss(&stream, logits, assignment, temperature, n)?,
                    Logits::Bf16(logits) => loss(&stream, logits, assignment, temperature, n)?,
                }
            }
            (["repeat", n, method @ ..], Some(problem)) => {
                let (n, method) = (n.parse()?, request::method(method)?);
                problem.clear(&stream)?;
                let Problem { logits, assignment, .. } = problem;
                match logits {
                    Logits::F32(logits) => repeat(&stream, method, logits, assignment, n)?,
                    Logits::Bf16(logits) => repeat(&stream, method, logits, assignment, n)?,
                }
            }
            (["diagnose", folder, patience @ ..], _) => {
                let patience = patience.first().map_or(Ok(0), |looks| looks.parse())?;
                // SAFETY: whoever asks for it answers for what lies there.
                let is_first = unsafe { diagnosis::take_kernels_from(Path::new(folder), patience) };
                json!({ "ok": is_first })
            }
            (["timeline", n, method @ ..], Some(Problem { logits, assignment, .. })) => {
                let (n, method) = (n.parse()?, request::method(method)?);
                match logits {
                    Logits::F32(logits) => timeline(&stream, method, logits, assignment, n)?,
                    Logits::Bf16(logits) => timeline(&stream, method, logits, assignment, n)?,
                }
            }
            (["save", file], Some(problem)) => {
                let values = problem.assignment.to_host()?;
                let mut bytes = vec![0; size_of_val(&values[..])];
                for (to, w) in bytes.as_chunks_mut().0.iter_mut().zip(&values) {
                    *to = w.to_le_bytes();
                }
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
    let assignment = DeviceMatrix::zeros(stream, shape)?;
    Ok(Problem { logits, assignment, others: Vec::new() })
}

/// Medians.
struct Times {
    /// Of a run among others.
    milliseconds: f64,
    /// A quarter of the samples are below the first, a quarter above the second.
    quartiles: [f64; 2],
    /// Of one alone on an idle stream.
    latency_milliseconds: f64,
}

/// Times `n` samples of runs back to back between two events, and `n` runs alone.
fn measured(
    stream: &Arc<CudaStream>,
    n: usize,
    mut run: impl FnMut() -> Result<(), Failure>,
) -> Result<Times, Failure> {
    let start = Instant::now();
    while start.elapsed() < WARM_UP {
        run()?;
        stream.synchronize()?;
    }
    let mut runs = 1;
    loop {
        let start = Instant::now();
        for _ in 0..runs {
            run()?;
        }
        stream.synchronize()?;
        // A tenth more, for this includes waking up the host.
        if start.elapsed() >= SAMPLE + SAMPLE / 10 {
            break;
        }
        runs *= 2;
    }
    let mut sorted = |runs: u32| -> Result<Vec<f64>, Failure> {
        let mut times = Vec::with_capacity(n);
        for _ in 0..n.max(1) {
            let start = event(stream)?;
            for _ in 0..runs {
                run()?;
            }
            let end = event(stream)?;
            end.synchronize()?;
            times.push(f64::from(start.elapsed_ms(&end)?) / f64::from(runs));
        }
        times.sort_by(f64::total_cmp);
        Ok(times)
    };
    let (among, alone) = (sorted(runs)?, sorted(1)?);
    Ok(Times {
        milliseconds: among[among.len() / 2],
        quartiles: [among[among.len() / 4], among[3 * among.len() / 4]],
        latency_milliseconds: alone[alone.len() / 2],
    })
}

fn event(stream: &Arc<CudaStream>) -> Result<CudaEvent, DriverError> {
    stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT))
}

fn copy<T: Logit>(
    stream: &Arc<CudaStream>,
    pairs: &Pairs<'_, T>,
    n: usize,
) -> Result<Times, Failure> {
    let new = |_| Ok(DeviceMatrix::<T>::zeros(stream, pairs.0[0].0.shape)?);
    let mut targets: Vec<_> = (0..pairs.0.len()).map(new).collect::<Result<_, Failure>>()?;
    let mut next = (0..pairs.0.len()).cycle();
    measured(stream, n, || {
        let i = next.next().unwrap_or(0);
        Ok(stream.memcpy_dtod(&pairs.0[i].0.elements, &mut targets[i].elements)?)
    })
}

fn time<L: Logit>(
    stream: &Arc<CudaStream>,
    method: Method,
    Pairs(mut pairs): Pairs<'_, L>,
    n: usize,
    [multiprocessors, bytes]: [u32; 2],
) -> Result<Value, Failure> {
    let assigner = CudaAssigner::<L, f32>::new(method, stream)?;
    let assigner = assigner.with_multiprocessors(multiprocessors).with_shared_memory(bytes);
    let mut workspace = assigner.workspace(pairs[0].0.shape)?;
    let mut next = (0..pairs.len()).cycle();
    let times = measured(stream, n, || {
        let (logits, assignment) = &mut pairs[next.next().unwrap_or(0)];
        Ok(assigner.assign_into(logits.rows(), assignment.rows_mut(), &mut workspace)?)
    })?;
    let report = assigner.report(&workspace)?;
    Ok(json!({
        "milliseconds": times.milliseconds,
        "quartiles": times.quartiles,
        "latency_milliseconds": times.latency_milliseconds,
        "iterations": report.iterations,
        "passes": report.passes,
        "log_ratio_bound": report.certificate.log_ratio_bound,
    }))
}

/// What a device does between two assignments of a training step, as far as caches are concerned.
struct Others {
    stream: Arc<CudaStream>,
    assigner: CudaAssigner<f32, f32>,
    problems: Vec<(DeviceMatrix<f32>, DeviceMatrix<f32>, CudaWorkspace)>,
    memory: CudaSlice<u8>,
}

impl Others {
    /// A row on each multiprocessor, of widths that have kernels of their own.
    fn new(stream: &Arc<CudaStream>) -> Result<Self, Failure> {
        use mira_cuda::cudarc::driver::sys::CUdevice_attribute as Attribute;
        let number = |attribute| -> Result<usize, Failure> {
            Ok(usize::try_from(stream.context().attribute(attribute)?)?)
        };
        let rows = number(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let l2 = number(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?;
        let assigner = CudaAssigner::<f32, f32>::new(Mira::default(), stream)?;
        let mut problems = Vec::new();
        for columns in [1000, 4096] {
            let shape = Shape::new(rows, columns)?;
            let logits: Vec<f32> = (0..shape.len()).map(|i| (i as f32).sin()).collect();
            let logits = DeviceMatrix::from_host(stream, shape, &logits)?;
            let workspace = assigner.workspace(shape)?;
            problems.push((logits, DeviceMatrix::zeros(stream, shape)?, workspace));
        }
        let memory = stream.alloc_zeros(4 * l2)?;
        Ok(Self { stream: stream.clone(), assigner, problems, memory })
    }

    fn before<L: Logit>(
        &mut self,
        method: Method,
        logits: &DeviceMatrix<L>,
        assignment: &mut DeviceMatrix<f32>,
        n: usize,
    ) -> Result<Value, Failure> {
        let assigner = CudaAssigner::<L, f32>::new(method, &self.stream)?;
        let mut workspace = assigner.workspace(logits.shape)?;
        assigner.assign_into(logits.rows(), assignment.rows_mut(), &mut workspace)?;
        let mut times = Vec::with_capacity(n);
        for _ in 0..n.max(1) {
            for (logits, assignment, workspace) in &mut self.problems {
                self.assigner.assign_into(logits.rows(), assignment.rows_mut(), workspace)?;
            }
            // Long enough for the host to have enqueued all of what follows.
            self.stream.memset_zeros(&mut self.memory)?;
            let start = event(&self.stream)?;
            assigner.assign_into(logits.rows(), assignment.rows_mut(), &mut workspace)?;
            let end = event(&self.stream)?;
            end.synchronize()?;
            times.push(f64::from(start.elapsed_ms(&end)?));
        }
        times.sort_by(f64::total_cmp);
        Ok(json!({ "milliseconds": times[times.len() / 2] }))
    }
}

fn loss<L: Logit>(
    stream: &Arc<CudaStream>,
    logits: &DeviceMatrix<L>,
    assignment: &DeviceMatrix<f32>,
    temperature: f64,
    n: usize,
) -> Result<Value, Failure> {
    let mut gradient = DeviceMatrix::<L>::zeros(stream, logits.shape)?;
    let scale = (logits.shape.batch() as f64).recip();
    let mut mean = CrossEntropy::<L, f32>::new(stream, logits.shape, temperature, scale)?;
    let times = measured(stream, n, || {
        let gradient = Some(&mut gradient.rows_mut());
        Ok(mean.launch(&logits.rows(), &assignment.rows(), gradient)?)
    })?;
    Ok(json!({
        "milliseconds": times.milliseconds,
        "latency_milliseconds": times.latency_milliseconds,
        "loss": mean.loss()?,
    }))
}

/// What depends on timing, as a race does, changes from run to run.
fn repeat<L: Logit>(
    stream: &Arc<CudaStream>,
    method: Method,
    logits: &DeviceMatrix<L>,
    assignment: &mut DeviceMatrix<f32>,
    n: usize,
) -> Result<Value, Failure> {
    let assigner = CudaAssigner::<L, f32>::new(method, stream)?;
    let mut workspace = assigner.workspace(logits.shape)?;
    let mut run = || -> Result<Vec<f32>, Failure> {
        assigner.assign_into(logits.rows(), assignment.rows_mut(), &mut workspace)?;
        Ok(assignment.to_host()?)
    };
    let first = run()?;
    let mut different = 0;
    for _ in 0..n {
        let pairs = first.iter().zip(run()?);
        different += pairs.filter(|(one, other)| one.to_bits() != other.to_bits()).count();
    }
    Ok(json!({ "different": different, "finite": first.iter().all(|w| w.is_finite()) }))
}

fn timeline<L: Logit>(
    stream: &Arc<CudaStream>,
    method: Method,
    logits: &DeviceMatrix<L>,
    assignment: &mut DeviceMatrix<f32>,
    n: usize,
) -> Result<Value, Failure> {
    let assigner = CudaAssigner::<L, f32>::new(method, stream)?;
    let mut workspace = assigner.workspace(logits.shape)?;
    // Clocks rise, and what fits into L2 is there.
    for launch in 1..=n.max(1) {
        if launch == n.max(1) {
            workspace.begin_diagnosis()?;
        }
        assigner.assign_into(logits.rows(), assignment.rows_mut(), &mut workspace)?;
    }
    let told = workspace
        .diagnosis()?
        .ok_or("no kernels that tell of themselves; `diagnose DIR` comes first")?;
    let table = told.to_string();
    let passes: Vec<Value> = told
        .passes
        .into_iter()
        .map(|pass| {
            pass.0
                .into_iter()
                .map(|(name, spread)| (name.to_owned(), json!(spread.median)))
                .collect()
        })
        .collect();
    Ok(json!({ "passes": passes, "cycles": told.total.median, "table": table }))
}
