//! Which kernel computes a cross-entropy, over how many blocks. Arithmetic alone, as in [`crate::plan`].

use std::ffi::{c_int, c_longlong};

use mira_core::Shape;

use super::{CrossEntropyBuffers, CrossEntropyError, CrossEntropyParams, Matrix};
use crate::plan::{ALIGNMENT, Dtype, EXCHANGE, Hardware, WARP};

/// Who shares a row.
#[derive(Clone, Copy, Debug)]
enum Team {
    Warp,
    Block,
}

/// A kernel of `cross_entropy.cu`.
#[derive(Clone, Copy, Debug)]
struct Kernel {
    name: &'static str,
    team: Team,
    /// Columns of a row that a thread can hold, if that is limited.
    columns: Option<usize>,
    /// Rows that a team has at once.
    rows: usize,
}

const fn short(name: &'static str, team: Team, columns: usize, rows: usize) -> Kernel {
    Kernel { name, team, columns: Some(columns), rows }
}

/// Fewest columns first.
const KERNELS: [Kernel; 8] = [
    short("cross_entropy_warp_4", Team::Warp, 4, 1),
    short("cross_entropy_warp_8", Team::Warp, 8, 1),
    short("cross_entropy_warp_16", Team::Warp, 16, 1),
    short("cross_entropy_block_2", Team::Block, 2, 2),
    short("cross_entropy_block_4", Team::Block, 4, 2),
    short("cross_entropy_block_6", Team::Block, 6, 1),
    short("cross_entropy_block_8", Team::Block, 8, 1),
    Kernel { name: "cross_entropy_long", team: Team::Block, columns: None, rows: 1 },
];

/// All of them.
pub(crate) const KERNEL_NAMES: [&str; KERNELS.len()] = {
    let mut names = [""; KERNELS.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = KERNELS[i].name;
        i += 1;
    }
    names
};

/// Columns that a thread of the kernel for long rows reads at once.
const TILE: usize = 8;
/// Blocks for which a multiprocessor has registers. With more, none would wait for another; they would only start later.
const BLOCKS_AT_ONCE: usize = 2;

impl Kernel {
    const fn holds(&self, columns: usize, threads: usize) -> bool {
        let team = match self.team {
            Team::Warp => WARP,
            Team::Block => threads,
        };
        match self.columns {
            Some(each) => columns <= each * team,
            None => true,
        }
    }

    /// Rows that a block has at once.
    const fn rows_at_once(&self, threads: usize) -> usize {
        match self.team {
            Team::Warp => self.rows * threads / WARP,
            Team::Block => self.rows,
        }
    }
}

/// A launch for one shape, one pair of types, one temperature and one scale.
///
/// ```
/// use mira_core::Shape;
/// use mira_cuda::cross_entropy::CrossEntropyPlan;
/// use mira_cuda::plan::{Dtype, Hardware};
///
/// let hardware = Hardware { multiprocessors: 132, shared_memory: 232_448, threads: 512 };
/// let plan = CrossEntropyPlan::new(Shape::new(4096, 3000)?, (Dtype::Bf16, Dtype::F32), 0.1, 1.0 / 4096.0, hardware)?;
/// assert_eq!((plan.kernel, plan.blocks, plan.threads), ("cross_entropy_block_6", 264, 512));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CrossEntropyPlan {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Blocks of the grid, which has one dimension.
    pub blocks: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: usize,
    /// Bytes of workspace, whose first 4 must be zero before the first launch; each launch leaves them so.
    pub workspace_bytes: usize,
    params: CrossEntropyParams,
    dtypes: (Dtype, Dtype),
    columns: usize,
}

impl CrossEntropyPlan {
    /// Plans `shape` with logits and an assignment of the given types, for `temperature` τ and a `scale` of loss and gradient, which is
    /// `1 / batch` for the mean.
    ///
    /// # Errors
    /// [`CrossEntropyError::AssignmentDtype`] for f16, [`CrossEntropyError::Scale`] for a temperature that is not positive or with which
    /// something leaves f32, [`CrossEntropyError::ShapeTooLarge`] for rows or columns beyond 2³¹ less a few thousand.
    pub fn new(
        shape: Shape,
        dtypes: (Dtype, Dtype),
        temperature: f64,
        scale: f64,
        hardware: Hardware,
    ) -> Result<Self, CrossEntropyError> {
        let columns = shape.num_prototypes();
        let kernel = KERNELS.iter().find(|k| k.holds(columns, hardware.threads as usize));
        let kernel = kernel.unwrap_or(&KERNELS[KERNELS.len() - 1]);
        Self::with_kernel(kernel, shape, dtypes, (temperature, scale), hardware)
    }

    /// A plan for each kernel that can compute it, [`Self::new`]'s first: to test them all, and to time them on a device.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn alternatives(
        shape: Shape,
        dtypes: (Dtype, Dtype),
        temperature: f64,
        scale: f64,
        hardware: Hardware,
    ) -> Result<Vec<Self>, CrossEntropyError> {
        KERNELS
            .iter()
            .filter(|k| k.holds(shape.num_prototypes(), hardware.threads as usize))
            .map(|k| Self::with_kernel(k, shape, dtypes, (temperature, scale), hardware))
            .collect()
    }

    fn with_kernel(
        kernel: &Kernel,
        shape: Shape,
        dtypes: (Dtype, Dtype),
        (temperature, scale): (f64, f64),
        hardware: Hardware,
    ) -> Result<Self, CrossEntropyError> {
        if dtypes.1 == Dtype::F16 {
            return Err(CrossEntropyError::AssignmentDtype);
        }
        #[allow(clippy::cast_possible_truncation)] // checked right below
        let (exponent_scale, gradient_scale) =
            ((std::f64::consts::LOG2_E / temperature) as f32, (scale / temperature) as f32);
        let expressible = exponent_scale.is_normal() && gradient_scale.is_finite();
        if !(temperature > 0.0 && expressible && scale.is_finite()) {
            return Err(CrossEntropyError::Scale { temperature, scale });
        }
        let (batch, columns) = (shape.batch(), shape.num_prototypes());
        let threads = hardware.threads as usize;
        let at_once = kernel.rows_at_once(threads);
        let resident = (hardware.multiprocessors as usize * BLOCKS_AT_ONCE).max(1);
        let blocks = batch.div_ceil(at_once).min(resident);
        // Indices are 32-bit, of what lies one step behind the end as well.
        let too_large = || CrossEntropyError::ShapeTooLarge { batch, num_prototypes: columns };
        let int = |count: usize, step: usize| {
            let end = count.checked_add(step).ok_or_else(too_large)?;
            c_int::try_from(end).map_err(|_| too_large())?;
            c_int::try_from(count).map_err(|_| too_large())
        };
        Ok(Self {
            kernel: kernel.name,
            blocks: u32::try_from(blocks).map_err(|_| too_large())?,
            threads: hardware.threads,
            shared_bytes: 8 * threads / WARP * EXCHANGE,
            workspace_bytes: ALIGNMENT + 8 * batch,
            params: CrossEntropyParams {
                inverse_temperature: 1.0 / temperature,
                scale,
                exponent_scale,
                gradient_scale,
                batch: int(batch, blocks * at_once)?,
                columns: int(columns, TILE * threads)?,
                logits_dtype: dtypes.0 as c_int,
                assignment_dtype: dtypes.1 as c_int,
                ..CrossEntropyParams::default()
            },
            dtypes,
            columns,
        })
    }

    /// The kernel's parameters for these arrays.
    ///
    /// # Errors
    /// [`CrossEntropyError::Stride`] for rows that overlap, [`CrossEntropyError::Address`] for an address that is null or not aligned to
    /// its elements (the workspace to 8 bytes), [`CrossEntropyError::GradientStride`] for a gradient in the logits' place with another
    /// stride.
    pub fn params(
        &self,
        buffers: &CrossEntropyBuffers,
    ) -> Result<CrossEntropyParams, CrossEntropyError> {
        let aligned = |what, expected: u64, got: u64| match got {
            0 => Err(CrossEntropyError::Address { what, expected, got }),
            _ if got.is_multiple_of(expected) => Ok(got),
            _ => Err(CrossEntropyError::Address { what, expected, got }),
        };
        let matrix = |what, dtype, Matrix { address, stride }| {
            let expected = self.columns;
            let wrong = CrossEntropyError::Stride { what, expected, got: stride };
            match c_longlong::try_from(stride) {
                Ok(elements) if stride >= expected => {
                    Ok((aligned(what, bytes_of(dtype), address)?, elements))
                }
                _ => Err(wrong),
            }
        };
        let (logits, logits_stride) = matrix("logits", self.dtypes.0, buffers.logits)?;
        let (assignment, assignment_stride) =
            matrix("assignment", self.dtypes.1, buffers.assignment)?;
        let (gradient, gradient_stride) = match buffers.gradient {
            Some(gradient) => matrix("gradient", self.dtypes.0, gradient)?,
            None => (0, 0),
        };
        if gradient == logits && gradient_stride != logits_stride {
            return Err(CrossEntropyError::GradientStride {
                expected: buffers.logits.stride,
                got: buffers.gradient.map_or(0, |g| g.stride),
            });
        }
        let workspace = aligned("workspace", 8, buffers.workspace)?;
        Ok(CrossEntropyParams {
            logits,
            assignment,
            gradient,
            row_losses: buffers.row_losses.map_or(Ok(0), |at| aligned("rows' losses", 4, at))?,
            loss: aligned("loss", 8, buffers.loss)?,
            arrivals: workspace,
            kept_losses: workspace + ALIGNMENT as u64,
            logits_stride,
            assignment_stride,
            gradient_stride,
            ..self.params
        })
    }
}

const fn bytes_of(dtype: Dtype) -> u64 {
    match dtype {
        Dtype::F32 => 4,
        Dtype::F16 | Dtype::Bf16 => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H200: Hardware =
        Hardware { multiprocessors: 132, shared_memory: 232_448, threads: crate::params::THREADS };
    const F32S: (Dtype, Dtype) = (Dtype::F32, Dtype::F32);

    fn plan(batch: usize, columns: usize) -> Result<CrossEntropyPlan, CrossEntropyError> {
        CrossEntropyPlan::new(Shape::new(batch, columns).unwrap(), F32S, 0.1, 1.0, H200)
    }

    #[test]
    fn every_length_of_row_has_the_smallest_kernel_that_holds_it() {
        let kernel =
            |columns| plan(1, columns).unwrap().kernel.trim_start_matches("cross_entropy_");
        for (columns, expected) in [
            (1, "warp_4"),
            (128, "warp_4"),
            (129, "warp_8"),
            (257, "warp_16"),
            (512, "warp_16"),
            (513, "block_2"),
            (1025, "block_4"),
            (3000, "block_6"),
            (4096, "block_8"),
            (4097, "long"),
            (131_072, "long"),
        ] {
            assert_eq!(kernel(columns), expected, "{columns} columns");
        }
    }

    #[test]
    fn no_block_is_without_a_row() {
        for batch in [1, 2, 15, 16, 17, 100, 4096, 1 << 20] {
            for columns in [1, 600, 3000, 10_000] {
                let shape = Shape::new(batch, columns).unwrap();
                for plan in CrossEntropyPlan::alternatives(shape, F32S, 0.1, 1.0, H200).unwrap() {
                    let kernel = KERNELS.iter().find(|k| k.name == plan.kernel).unwrap();
                    let blocks = plan.blocks as usize;
                    assert!((blocks - 1) * kernel.rows_at_once(512) < batch, "{batch}: {plan:?}");
                    assert!(blocks <= 264, "{batch}: {plan:?}");
                    assert_eq!(plan.shared_bytes, 2 * 16 * 16 * 8, "buffers, warps, values");
                }
            }
        }
    }

    #[test]
    fn indices_stay_below_two_to_the_31() {
        let most = i32::MAX as usize;
        assert!(matches!(plan(most, 1), Err(CrossEntropyError::ShapeTooLarge { .. })));
        assert!(matches!(plan(1, most), Err(CrossEntropyError::ShapeTooLarge { .. })));
        plan(most - 264 * 16, 1).unwrap();
        plan(1, most - 8 * 512).unwrap();
    }
}
