//! Max-pool, average pool and normalisation to unit length: little arithmetic, one pass each.

use mira_simd::Scalar;
use rayon::prelude::*;

use crate::Geometry;

/// Side, stride and padding of the max-pool's window.
const KERNEL: usize = 3;
const STRIDE: usize = 2;
const PADDING: usize = 1;

/// Input pixels of a window, as (position in the window, row, column).
fn window(y: usize, x: usize, shape: Geometry) -> impl Iterator<Item = (u8, usize, usize)> {
    (0..KERNEL * KERNEL).filter_map(move |k| {
        let row = (y * STRIDE + k / KERNEL).checked_sub(PADDING)?;
        let column = (x * STRIDE + k % KERNEL).checked_sub(PADDING)?;
        #[allow(clippy::cast_possible_truncation)] // below 9
        (row < shape.height && column < shape.width).then_some((k as u8, row, column))
    })
}

/// Maxima, and where in its window each came from (the first of equals; NaN wins).
pub(super) fn max_pool<T: Scalar>(
    input: &[T],
    shape: Geometry,
    out: &mut [T],
    out_shape: Geometry,
    indices: &mut [u8],
) {
    let channels = shape.channels;
    let row_len = out_shape.width * channels;
    let image_len = shape.height * shape.width * channels;
    out.par_chunks_exact_mut(row_len)
        .zip(indices.par_chunks_exact_mut(row_len))
        .enumerate()
        .for_each(|(row, (out, indices))| {
            let (image, y) = (row / out_shape.height, row % out_shape.height);
            let input = &input[image * image_len..(image + 1) * image_len];
            let pixels = out.chunks_exact_mut(channels).zip(indices.chunks_exact_mut(channels));
            for (x, (out, indices)) in pixels.enumerate() {
                out.fill(T::neg_infinity());
                indices.fill(u8::MAX);
                for (k, row, column) in window(y, x, shape) {
                    let start = (row * shape.width + column) * channels;
                    let values = &input[start..start + channels];
                    for ((out, index), value) in out.iter_mut().zip(&mut *indices).zip(values) {
                        if *value > *out || value.is_nan() || *index == u8::MAX {
                            *out = *value;
                            *index = k;
                        }
                    }
                }
            }
        });
}

/// Adds each gradient to the pixel its maximum came from.
pub(super) fn max_pool_backward<T: Scalar>(
    gradient: &[T],
    out_shape: Geometry,
    indices: &[u8],
    input_gradient: &mut [T],
    shape: Geometry,
    accumulate: bool,
) {
    let channels = shape.channels;
    let out_len = out_shape.height * out_shape.width * channels;
    input_gradient
        .par_chunks_exact_mut(shape.height * shape.width * channels)
        .enumerate()
        .for_each(|(image, input_gradient)| {
            if !accumulate {
                input_gradient.fill(T::zero());
            }
            let gradient = &gradient[image * out_len..(image + 1) * out_len];
            let indices = &indices[image * out_len..(image + 1) * out_len];
            for (pixel, (gradient, indices)) in
                gradient.chunks_exact(channels).zip(indices.chunks_exact(channels)).enumerate()
            {
                let (y, x) = (pixel / out_shape.width, pixel % out_shape.width);
                for (c, (g, k)) in gradient.iter().zip(indices).enumerate() {
                    let row = y * STRIDE + usize::from(*k) / KERNEL - PADDING;
                    let column = x * STRIDE + usize::from(*k) % KERNEL - PADDING;
                    input_gradient[(row * shape.width + column) * channels + c] += *g;
                }
            }
        });
}

/// Mean over the pixels of each image.
pub(super) fn average_pool<T: Scalar>(input: &[T], shape: Geometry, out: &mut [T]) {
    let num_pixels = shape.height * shape.width;
    let scale = T::from_f64(1.0 / num_pixels as f64);
    out.par_chunks_exact_mut(shape.channels)
        .zip(input.par_chunks_exact(num_pixels * shape.channels))
        .for_each(|(out, image)| {
            out.fill(T::zero());
            for pixel in image.chunks_exact(shape.channels) {
                out.iter_mut().zip(pixel).for_each(|(out, x)| *out += *x);
            }
            for out in out {
                *out = *out * scale;
            }
        });
}

/// Each pixel's share of the mean's gradient.
pub(super) fn average_pool_backward<T: Scalar>(
    gradient: &[T],
    input_gradient: &mut [T],
    shape: Geometry,
    accumulate: bool,
) {
    let num_pixels = shape.height * shape.width;
    let scale = T::from_f64(1.0 / num_pixels as f64);
    input_gradient
        .par_chunks_exact_mut(num_pixels * shape.channels)
        .zip(gradient.par_chunks_exact(shape.channels))
        .for_each(|(image, gradient)| {
            for pixel in image.chunks_exact_mut(shape.channels) {
                for (out, g) in pixel.iter_mut().zip(gradient) {
                    *out = if accumulate { *out + *g * scale } else { *g * scale };
                }
            }
        });
}

/// Shortest length a row is divided by, as PyTorch's `normalize`.
const MIN_LENGTH: f64 = 1e-12;

/// `y = x/max(‖x‖, 10⁻¹²)`, and the divisor of each row.
pub(super) fn l2_normalise<T: Scalar>(x: &[T], channels: usize, y: &mut [T], lengths: &mut [T]) {
    for ((x, y), length) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)).zip(lengths)
    {
        let squares: f64 = x.iter().map(|x| x.as_() * x.as_()).sum();
        *length = T::from_f64(squares.sqrt().max(MIN_LENGTH));
        y.iter_mut().zip(x).for_each(|(y, x)| *y = *x / *length);
    }
}

/// `dx = (g − y (y·g))/‖x‖`, over the gradient, or into `out`.
pub(super) fn l2_normalise_backward<T: Scalar>(
    gradient: &mut [T],
    y: &[T],
    lengths: &[T],
    channels: usize,
    mut out: Option<&mut [T]>,
    accumulate: bool,
) {
    let rows = gradient.chunks_exact_mut(channels).zip(y.chunks_exact(channels)).zip(lengths);
    for (row, ((gradient, y), length)) in rows.enumerate() {
        let along: f64 = gradient.iter().zip(y).map(|(g, y)| g.as_() * y.as_()).sum();
        let along = T::from_f64(along);
        for (c, (g, y)) in gradient.iter_mut().zip(y).enumerate() {
            let dx = (*g - *y * along) / *length;
            match &mut out {
                None => *g = dx,
                Some(out) if accumulate => out[row * channels + c] += dx,
                Some(out) => out[row * channels + c] = dx,
            }
        }
    }
}
