//! Matrices in device memory: a view of elements, a shape, and how far apart rows are.

use std::sync::Arc;

use cudarc::driver::sys::{CUresult, CUstreamCaptureStatus};
use cudarc::driver::{
    CudaSlice, CudaStream, CudaView, CudaViewMut, DevicePtr, DeviceRepr, DriverError,
    ValidAsZeroBits,
};
use half::{bf16, f16};
use mira_core::Shape;

use crate::Error;
use crate::collective::DeviceCollective;
use crate::plan::Dtype;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
}

/// Element types of logits on a device: `f32`, [`half::f16`], [`half::bf16`]; widened exactly before any arithmetic.
pub trait Logit:
    DeviceRepr + ValidAsZeroBits + Copy + Into<f64> + sealed::Sealed + 'static
{
    /// Its code in the kernels.
    #[doc(hidden)]
    const DTYPE: Dtype;
}

impl Logit for f32 {
    const DTYPE: Dtype = Dtype::F32;
}
impl Logit for f16 {
    const DTYPE: Dtype = Dtype::F16;
}
impl Logit for bf16 {
    const DTYPE: Dtype = Dtype::Bf16;
}

/// Element types of assignments on a device: `f32`, [`half::bf16`] (rounded to nearest when written; the certificate is that of
/// the assignment before that rounding).
pub trait Probability: Logit {}

impl Probability for f32 {}
impl Probability for bf16 {}

/// A matrix to read, B × K.
#[derive(Debug)]
pub struct Rows<'a, T> {
    pub(crate) view: CudaView<'a, T>,
    pub(crate) shape: Shape,
    pub(crate) stride: usize,
}

/// A matrix to write, B × K.
#[derive(Debug)]
pub struct RowsMut<'a, T> {
    pub(crate) view: CudaViewMut<'a, T>,
    pub(crate) shape: Shape,
    pub(crate) stride: usize,
}

fn check(shape: Shape, stride: usize, got: usize) -> Result<(), Error> {
    let columns = shape.num_prototypes();
    let expected = (shape.batch() - 1).saturating_mul(stride).saturating_add(columns);
    if stride < columns || got < expected || i64::try_from(stride).is_err() {
        return Err(Error::Layout { shape, stride, expected, got });
    }
    Ok(())
}

impl<'a, T> Rows<'a, T> {
    /// Rows that start `stride` elements apart, the first at the view's start.
    ///
    /// # Errors
    /// [`Error::Layout`] if the view is too short or rows would overlap.
    pub fn new(view: CudaView<'a, T>, shape: Shape, stride: usize) -> Result<Self, Error> {
        check(shape, stride, view.len())?;
        Ok(Self { view, shape, stride })
    }
}

impl<'a, T> RowsMut<'a, T> {
    /// Rows that start `stride` elements apart, the first at the view's start. What lies between them is left alone.
    ///
    /// # Errors
    /// [`Error::Layout`] if the view is too short or rows would overlap.
    pub fn new(view: CudaViewMut<'a, T>, shape: Shape, stride: usize) -> Result<Self, Error> {
        check(shape, stride, view.len())?;
        Ok(Self { view, shape, stride })
    }
}

/// A matrix of its own in device memory, row after row.
#[derive(Debug)]
pub struct DeviceMatrix<T> {
    _leaving: Leaving,
    /// The elements.
    pub elements: CudaSlice<T>,
    /// Rows and columns.
    pub shape: Shape,
}

impl<T: Logit> DeviceMatrix<T> {
    /// Zeros.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Driver`].
    pub fn zeros(stream: &Arc<CudaStream>, shape: Shape) -> Result<Self, Error> {
        let elements = stream.alloc_zeros(shape.len())?;
        Ok(Self { _leaving: Leaving::bound(stream), elements, shape })
    }

    /// A copy of host memory; waits until that has been read.
    ///
    /// # Errors
    /// [`Error::Layout`] unless there are B·K elements, [`Error::OutOfMemory`], [`Error::Capture`], [`Error::Driver`].
    pub fn from_host(stream: &Arc<CudaStream>, shape: Shape, values: &[T]) -> Result<Self, Error> {
        if values.len() != shape.len() {
            let (stride, expected, got) = (shape.num_prototypes(), shape.len(), values.len());
            return Err(Error::Layout { shape, stride, expected, got });
        }
        not_captured(stream)?;
        let elements = stream.clone_htod(values)?;
        // The copy may still be reading.
        stream.synchronize()?;
        Ok(Self { _leaving: Leaving::bound(stream), elements, shape })
    }

    /// To read.
    pub fn rows(&self) -> Rows<'_, T> {
        let (view, stride) = (self.elements.as_view(), self.shape.num_prototypes());
        Rows { view, shape: self.shape, stride }
    }

    /// To write.
    pub fn rows_mut(&mut self) -> RowsMut<'_, T> {
        let (view, stride) = (self.elements.as_view_mut(), self.shape.num_prototypes());
        RowsMut { view, shape: self.shape, stride }
    }

    /// A copy in host memory; waits for the stream.
    ///
    /// # Errors
    /// [`Error::Capture`], [`Error::Driver`].
    pub fn to_host(&self) -> Result<Vec<T>, Error> {
        Ok(fetched(self.elements.stream(), &self.elements)?)
    }
}

const NOT_CAPTURED: CUstreamCaptureStatus = CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;

/// The first field of whatever has device memory, since fields go in order: memory goes back in its own context, where cudarc takes whichever
/// the thread has, and perhaps only when a stream has done its work.
#[derive(Debug)]
pub(crate) struct Leaving {
    stream: Arc<CudaStream>,
    waits: bool,
    /// What the stream may be waiting for.
    collective: Option<Arc<dyn DeviceCollective>>,
}

impl Leaving {
    /// Memory that goes back behind what its stream has to do.
    pub(crate) fn bound(stream: &Arc<CudaStream>) -> Self {
        Self { stream: stream.clone(), waits: false, collective: None }
    }

    /// Memory of an operation, which goes when the operation is done: it may be the last to know the stream, and with a context's last stream
    /// cudarc forgets that anybody must wait for what that stream still has to do with other people's memory.
    /// Ranks that are gone would be waited for without end, but for the collective.
    pub(crate) fn waiting(
        stream: &Arc<CudaStream>,
        collective: Option<Arc<dyn DeviceCollective>>,
    ) -> Self {
        Self { stream: stream.clone(), waits: true, collective }
    }

    /// The stream that is waited for from now on.
    pub(crate) fn follow(&mut self, stream: &Arc<CudaStream>) {
        if !Arc::ptr_eq(&self.stream, stream) {
            self.stream = stream.clone();
        }
    }

    /// Has `stream` wait for what the last one has been given, if that is another: cudarc's events do not see to it for memory that was allocated
    /// before the context's second stream, nor where they are disabled. Not while it is captured, whose launches are for other times.
    pub(crate) fn hand_over_to(&self, stream: &Arc<CudaStream>) -> Result<(), DriverError> {
        if Arc::ptr_eq(&self.stream, stream) || self.stream.cu_stream() == stream.cu_stream() {
            return Ok(());
        }
        if self.stream.capture_status()? == NOT_CAPTURED && stream.capture_status()? == NOT_CAPTURED
        {
            stream.join(&self.stream)?;
        }
        Ok(())
    }

    /// Waits for the other ranks in what the last stream has been given.
    pub(crate) fn wait_for_ranks(&self) -> Result<(), Error> {
        self.collective.as_ref().map_or(Ok(()), |collective| collective.wait(&self.stream))
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let context = self.stream.context();
        // Binding tells, and forgets, what a call before this has left behind: that is for the next one who asks.
        let earlier = context.bind_to_thread();
        if earlier.is_err() {
            context.record_err(context.bind_to_thread());
        }
        // What is captured is not under way, and waiting for it would spoil the capture.
        if self.waits && self.stream.capture_status() == Ok(NOT_CAPTURED) {
            // The collective's next call tells what became of it.
            let _ = self.wait_for_ranks();
            context.record_err(self.stream.synchronize());
        }
        context.record_err(earlier);
    }
}

/// Refuses what waits for a stream while that is captured, which would spoil the capture.
pub(crate) fn not_captured(stream: &CudaStream) -> Result<(), DriverError> {
    match stream.capture_status()? {
        NOT_CAPTURED => Ok(()),
        _ => Err(DriverError(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)),
    }
}

/// A copy in host memory, which is there on return: of memory that is not pinned, cudarc's copy alone may be under way.
pub(crate) fn fetched<T: DeviceRepr>(
    stream: &Arc<CudaStream>,
    from: &impl DevicePtr<T>,
) -> Result<Vec<T>, DriverError> {
    not_captured(stream)?;
    let copy = stream.clone_dtoh(from)?;
    stream.synchronize()?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_overlap_or_do_not_fit_are_refused() {
        let shape = Shape::new(3, 5).unwrap();
        for (stride, elements) in [(5, 15), (7, 19), (7, 100)] {
            check(shape, stride, elements).unwrap();
        }
        for (stride, elements, expected) in [(5, 14, 15), (7, 18, 19), (4, 100, 13), (0, 100, 5)] {
            let error = check(shape, stride, elements).unwrap_err();
            assert!(
                matches!(error, Error::Layout { expected: e, got, .. } if (e, got) == (expected, elements)),
                "{error}"
            );
        }
        assert!(check(shape, usize::MAX, usize::MAX).is_err(), "an index beyond 64 bits");
    }
}
