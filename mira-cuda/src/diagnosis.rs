//! What kernels tell of themselves that were compiled for it (`dev/check_kernels --diagnose`, `common/diagnosis.cuh`): when each block came where,
//! and what was waited for in vain. For benchmarks and tests on a device; the crate's own kernels tell nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cudarc::driver::sys::CUstreamCaptureStatus;
use cudarc::driver::{CudaContext, CudaModule, DriverError};

use crate::matrix::fetched;
use crate::params::NUM_SCALARS;
use crate::plan::Plan;
use crate::{CudaWorkspace, Error};

// `struct Diagnosis`: where its parts are, in bytes.
const NAME: &str = "mira_diagnosis";
const GAVE_UP: usize = 4;
const ADDRESS: usize = 8;
const BLOCK: usize = 16;
const THREAD: usize = 24;
const TAG: usize = 28;
const FOUND: usize = 32;
const CYCLES: usize = 40;
const BLOCKS: usize = 264;
const PASSES: usize = 64;

/// `enum Point`: what a block has done when it comes there.
pub const POINTS: [&str; 10] = [
    "start", "begin", "weights", "rows", "sums", "images", "scalars", "decision", "telling", "end",
];
const START: usize = 0;

struct Source {
    folder: PathBuf,
    patience: u32,
}

static SOURCE: OnceLock<Source> = OnceLock::new();

/// Takes kernels from now on from FILE.ptx in a folder, as `dev/check_kernels --diagnose` leaves them; false if others were asked for before.
/// A thread that has looked `patience` times in vain for what another block tells gives up, and all others with it; with 0 none does. Labels are
/// wrong then, but the launch ends, and the workspace tells on standard error, when it is dropped, what was missing.
///
/// # Safety
/// What lies there is run, with all that kernels are given.
pub unsafe fn take_kernels_from(folder: &Path, patience: u32) -> bool {
    SOURCE.set(Source { folder: folder.to_owned(), patience }).is_ok()
}

/// The text of a file of kernels that was asked for instead of the crate's.
pub(crate) fn text_of(file: &str) -> Option<std::io::Result<String>> {
    use std::io::Error;

    let path = SOURCE.get()?.folder.join(file);
    let explained = |e: Error| Error::new(e.kind(), format!("{}: {e}", path.display()));
    Some(std::fs::read_to_string(&path).map_err(explained))
}

/// Tells a kernel of those how long it is to be patient.
pub(crate) fn prepare(
    context: &std::sync::Arc<CudaContext>,
    module: &std::sync::Arc<CudaModule>,
) -> Result<(), DriverError> {
    let Some(source) = SOURCE.get() else { return Ok(()) };
    let stream = context.default_stream();
    let mut all = module.get_global(NAME, &stream)?;
    stream.memset_zeros(&mut all)?;
    stream.memcpy_htod(&source.patience.to_ne_bytes(), &mut all.slice_mut(..GAVE_UP))?;
    stream.synchronize()
}

/// Of the last launch of a workspace's kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Which word was waited for in vain, if one was.
    pub missing: Option<String>,
    /// From the first pass to the last.
    pub passes: Vec<Pass>,
    /// Of the whole launch, from each block's start to its end.
    pub total: Spread,
}

/// What blocks did in a pass over the rows and after it, until the next: [`POINTS`] by name, those that they came to, each with the time since
/// the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pass(pub Vec<(&'static str, Spread)>);

/// Cycles, over the blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// Of the block that took least.
    pub least: u64,
    /// Of half of them.
    pub median: u64,
    /// Of the one that took most.
    pub most: u64,
}

impl Spread {
    fn of(mut cycles: Vec<u64>) -> Option<Self> {
        cycles.sort_unstable();
        let (least, most) = (*cycles.first()?, *cycles.last()?);
        Some(Self { least, median: cycles[cycles.len() / 2], most })
    }
}

impl fmt::Display for Diagnosis {
    /// Half of the blocks' cycles, a line a pass.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pass ")?;
        for name in &POINTS[1..] {
            write!(f, "{name:>9}")?;
        }
        for (number, Pass(steps)) in self.passes.iter().enumerate() {
            write!(f, "\n{:<5}", number + 1)?;
            for name in &POINTS[1..] {
                match steps.iter().find(|(step, _)| step == name) {
                    Some((_, spread)) => write!(f, "{:>9}", spread.median)?,
                    None => write!(f, "{:>9}", "")?,
                }
            }
        }
        let Spread { least, median, most } = self.total;
        write!(f, "\ncycles in all: {median}, {least} to {most}")?;
        self.missing.as_ref().map_or(Ok(()), |missing| write!(f, "\n{missing}"))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |chunk| u32::from_ne_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |chunk| u64::from_ne_bytes(*chunk))
}

/// What the kernel has left.
fn read(bytes: &[u8], plan: &Plan, workspace: u64) -> Diagnosis {
    let blocks = (plan.blocks as usize).min(BLOCKS);
    let cycles = |block: usize, pass: usize, point: usize| {
        u64_at(bytes, CYCLES + 8 * ((block * PASSES + pass % PASSES) * POINTS.len() + point))
    };
    let first = (0..PASSES).find(|pass| cycles(0, *pass, START) > 0);
    // A run is not as long as the ring of them, or its beginning is not there.
    let run = first.map_or(0..0, |first| first..first + PASSES);
    let came = |pass: &usize| (0..POINTS.len()).any(|point| cycles(0, *pass, point) > 0);
    let mut passes = vec![];
    let mut last: Vec<u64> = (0..blocks).map(|block| cycles(block, run.start, START)).collect();
    let starts = last.clone();
    for pass in run.take_while(came) {
        let mut steps = vec![];
        for (point, name) in POINTS.into_iter().enumerate().skip(START + 1) {
            let taken = last.iter_mut().enumerate().filter_map(|(block, last)| {
                let now = cycles(block, pass, point);
                let taken = now.checked_sub(*last).filter(|_| now > 0)?;
                *last = now;
                Some(taken)
            });
            steps.extend(Spread::of(taken.collect()).map(|spread| (name, spread)));
        }
        passes.push(Pass(steps));
    }
    let total = last.iter().zip(starts).map(|(end, start)| end - start).collect();
    let missing = (u32_at(bytes, GAVE_UP) > 0).then(|| missing(bytes, plan, workspace));
    Diagnosis { missing, passes, total: Spread::of(total).unwrap_or_default() }
}

fn missing(bytes: &[u8], plan: &Plan, workspace: u64) -> String {
    let params = &plan.params;
    let [block, problem, thread, tag, found, count] =
        [BLOCK, BLOCK + 4, THREAD, TAG, FOUND, GAVE_UP].map(|at| u32_at(bytes, at));
    let offset = u64_at(bytes, ADDRESS).wrapping_sub(workspace);
    let offset = offset.wrapping_sub(u64::from(problem) * plan.workspace_bytes as u64);
    let number = |n: std::ffi::c_int| u64::try_from(n).unwrap_or(1).max(1);
    let (columns, slice) = (number(params.padded_columns), number(params.slice));
    let blocks = u64::from(plan.blocks);
    let parts = [
        (0, "the counter of the grid's barrier"),
        (params.at_vectors, "K-vectors"),
        (params.at_weights, "weights"),
        (params.at_partials, "column sums"),
        (params.at_row_shift, "rows' shifts"),
        (params.at_row_factor, "row blocks' shifts"),
        (params.at_scalars, "scalars"),
        (params.at_control, "the run's state"),
        (params.at_entries, "a team's entries"),
    ];
    let (start, part) = parts.into_iter().filter(|(at, _)| *at <= offset).max().unwrap_or(parts[0]);
    let word = (offset - start) / 8;
    let which = match part {
        "weights" => format!("of column {word}, which block {} tells", word / slice),
        "column sums" => {
            let (row_block, column) = (word / columns, word % columns);
            format!(
                "of column {column} over row block {row_block}, which block {} tells",
                row_block % blocks
            )
        }
        "scalars" => {
            let scalar = word / 2 % NUM_SCALARS as u64;
            format!("number {scalar} of block {}", word / 2 / NUM_SCALARS as u64 % blocks)
        }
        _ => format!("word {word}"),
    };
    format!(
        "block {block} of problem {problem}, thread {thread}, gave up waiting for {part}, {which}: pass {tag} was expected and {found} there; \
         {count} threads gave up in all"
    )
}

impl CudaWorkspace {
    fn told(&self) -> Result<Option<Vec<u8>>, Error> {
        if SOURCE.get().is_none() {
            return Ok(None);
        }
        let module = self.kernels.module(self.plan.kernel)?;
        let stream = self.memory.stream();
        let all = module.get_global(NAME, stream)?;
        Ok(Some(fetched(stream, &all.as_view())?))
    }

    /// What its kernel has told since [`begin_diagnosis`](Self::begin_diagnosis); waits for the stream that it was made on. None without
    /// [`take_kernels_from`].
    ///
    /// # Errors
    /// [`Error::Driver`].
    #[doc(hidden)]
    pub fn diagnosis(&self) -> Result<Option<Diagnosis>, Error> {
        let (address, _guard) =
            cudarc::driver::DevicePtr::device_ptr(&self.memory, self.memory.stream());
        Ok(self.told()?.map(|bytes| read(&bytes, &self.plan, address)))
    }

    /// Empties that.
    ///
    /// # Errors
    /// [`Error::Driver`].
    #[doc(hidden)]
    pub fn begin_diagnosis(&self) -> Result<(), Error> {
        if SOURCE.get().is_none() {
            return Ok(());
        }
        let module = self.kernels.module(self.plan.kernel)?;
        let stream = self.memory.stream();
        let mut all = module.get_global(NAME, stream)?;
        Ok(stream.memset_zeros(&mut all.slice_mut(GAVE_UP..))?)
    }
}

impl Drop for CudaWorkspace {
    /// Only where kernels tell of themselves.
    fn drop(&mut self) {
        let none = CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
        if SOURCE.get().is_none() || self.memory.stream().capture_status() != Ok(none) {
            return;
        }
        if let Ok(Some(Diagnosis { missing: Some(missing), .. })) = self.diagnosis() {
            eprintln!("{}: {missing}", self.plan.kernel);
        }
    }
}
