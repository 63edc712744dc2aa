//! Where a pixel's inputs are. Windows that never leave their image are read where they are; others from a copy of the few rows that a task
//! needs, with zeros around them, small enough to stay in the caches. So the inner loops know no borders.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use mira_simd::Scalar;

use crate::Geometry;

/// Consecutive weight rows that meet consecutive values of the input: as many neighbouring pixels as the window has in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Values from the window's first one on.
    pub offset: usize,
    /// Weight rows.
    pub len: usize,
}

/// The window of a convolution over the images of one shape, for a grid of output pixels.
#[derive(Clone, Debug)]
pub(super) struct Window {
    shape: Geometry,
    grid: (usize, usize),
    stride: usize,
    /// Of the smallest row and column from the output pixel's position.
    first: (isize, isize),
    /// Rows and columns.
    size: (usize, usize),
    /// It never leaves its image.
    inside: bool,
    runs: Vec<Run>,
}

/// Memory of one thread.
#[derive(Debug, Default)]
pub(super) struct Workspace<T> {
    copy: Vec<T>,
    origins: Vec<usize>,
}

/// The windows of some output pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a, T> {
    values: &'a [T],
    /// Where each pixel's window starts.
    pub origins: &'a [usize],
}

impl<T> View<'_, T> {
    /// The address of the first value.
    pub(super) fn start(&self) -> *const T {
        self.values.as_ptr()
    }
}

/// One workspace a thread.
#[derive(Debug)]
pub(super) struct Workspaces<T>(Vec<Mutex<Workspace<T>>>);

impl<T: Scalar> Workspaces<T> {
    pub(super) fn new() -> Self {
        let one = || Mutex::new(Workspace { copy: Vec::new(), origins: Vec::new() });
        Self(std::iter::repeat_with(one).take(rayon::current_num_threads().max(1)).collect())
    }

    /// Calls `work` with this thread's.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut Workspace<T>) -> R) -> R {
        let thread = rayon::current_thread_index().unwrap_or(0) % self.0.len();
        // What a panic left is overwritten.
        work(&mut self.0[thread].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Window {
    /// Taps are offsets from the position `stride`·(row, column) of an output pixel; weight rows go tap by tap, channel by channel.
    pub(super) fn new(
        shape: Geometry,
        grid: (usize, usize),
        stride: usize,
        taps: &[(isize, isize)],
    ) -> Self {
        let bounds = |offset: fn(&(isize, isize)) -> isize| {
            let low = taps.iter().map(offset).min().unwrap_or(0);
            (low, taps.iter().map(offset).max().map_or(0, |high| (high - low).cast_unsigned() + 1))
        };
        let ((top, height), (left, width)) = (bounds(|tap| tap.0), bounds(|tap| tap.1));
        let within = |first: isize, size: usize, count: usize, len: usize| {
            first >= 0 && first.cast_unsigned() + count.saturating_sub(1) * stride + size <= len
        };
        let inside =
            within(top, height, grid.0, shape.height) && within(left, width, grid.1, shape.width);
        let mut window = Self {
            shape,
            grid,
            stride,
            first: (top, left),
            size: (height, width),
            inside,
            runs: Vec::with_capacity(taps.len()),
        };
        let row_len = window.row_len();
        for (dy, dx) in taps {
            let (y, x) = ((dy - top).cast_unsigned(), (dx - left).cast_unsigned());
            let offset = y * row_len + x * shape.channels;
            match window.runs.last_mut() {
                Some(run) if run.offset + run.len == offset => run.len += shape.channels,
                _ => window.runs.push(Run { offset, len: shape.channels }),
            }
        }
        window
    }

    /// Values from one row of what is read to the next.
    fn row_len(&self) -> usize {
        let (_, columns) = self.grid;
        let copied = columns.saturating_sub(1) * self.stride + self.size.1;
        self.shape.channels * if self.inside { self.shape.width } else { copied }
    }

    /// In the order of the weight rows.
    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// About `limit` output pixels: whole rows, where that is possible, of which fewer are copied twice.
    pub(super) fn pixels_of_task(&self, limit: usize) -> usize {
        let (_, columns) = self.grid;
        if columns > limit { limit } else { limit / columns * columns }
    }

    /// Makes the windows of output pixels `pixels` readable: every run of every window lies in the view.
    pub(super) fn view<'a, T: Scalar>(
        &self,
        source: &'a [T],
        pixels: Range<usize>,
        workspace: &'a mut Workspace<T>,
    ) -> View<'a, T> {
        let (rows, columns) = self.grid;
        let row_len = self.row_len();
        let Workspace { copy, origins } = workspace;
        origins.clear();
        copy.clear();
        let mut at = pixels.start;
        while at < pixels.end {
            // The pixels of one image.
            let (image, first) = (at / (rows * columns), at % (rows * columns));
            let end = (first + pixels.end - at).min(rows * columns);
            let first_row = first / columns;
            let last_row = (end - 1) / columns;
            let start = if self.inside {
                let (top, left) = (self.first.0.cast_unsigned(), self.first.1.cast_unsigned());
                let row = image * self.shape.height + first_row * self.stride + top;
                row * row_len + left * self.shape.channels
            } else {
                let start = copy.len();
                self.copy_rows(source, image, first_row..last_row + 1, copy);
                start
            };
            for row in first_row..=last_row {
                let from = if row == first_row { first % columns } else { 0 };
                let to = if row == last_row { (end - 1) % columns + 1 } else { columns };
                let start = start + (row - first_row) * self.stride * row_len;
                let step = self.stride * self.shape.channels;
                origins.extend((from..to).map(|column| start + column * step));
            }
            at += end - first;
        }
        let values = if self.inside { source } else { copy };
        let reach = self.runs.iter().map(|run| run.offset + run.len).max().unwrap_or(0);
        let last = origins.last().copied().unwrap_or(0);
        assert!(last + reach <= values.len(), "a window beyond its input");
        View { values, origins }
    }

    /// Appends the input of output rows `rows`, with zeros where there is none.
    fn copy_rows<T: Scalar>(
        &self,
        source: &[T],
        image: usize,
        rows: Range<usize>,
        copy: &mut Vec<T>,
    ) {
        let Geometry { height, width, channels, .. } = self.shape;
        let (top, left) = self.first;
        let columns = self.row_len() / channels;
        // Columns of the copy that exist in the image.
        let (width, columns_i) = (width.cast_signed(), columns.cast_signed());
        let from = (-left).clamp(0, columns_i).cast_unsigned();
        let to = (width - left).clamp(0, columns_i).cast_unsigned().max(from);
        let first = (rows.start * self.stride).cast_signed() + top;
        let count = (rows.len() - 1) * self.stride + self.size.0;
        for y in (first..).take(count) {
            let zeros = |count: usize| std::iter::repeat_n(T::zero(), count * channels);
            if y < 0 || y >= height.cast_signed() {
                copy.extend(zeros(columns));
                continue;
            }
            copy.extend(zeros(from));
            let pixel = (image * height + y.cast_unsigned()).cast_signed() * width;
            let pixel = (pixel + left + from.cast_signed()).cast_unsigned();
            copy.extend_from_slice(&source[pixel * channels..(pixel + to - from) * channels]);
            copy.extend(zeros(columns - to));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value that a window reads, found the slow way.
    fn check(shape: Geometry, grid: (usize, usize), stride: usize, taps: &[(isize, isize)]) {
        let source: Vec<f32> = (1..=shape.len()).map(|i| i as f32).collect();
        let window = Window::new(shape, grid, stride, taps);
        let num_pixels = shape.batch * grid.0 * grid.1;
        let workspaces = Workspaces::new();
        for limit in [1, 5, 7, num_pixels] {
            for start in (0..num_pixels).step_by(limit) {
                let pixels = start..num_pixels.min(start + limit);
                workspaces.with(|workspace| {
                    let view = window.view(&source, pixels.clone(), workspace);
                    assert_eq!(view.origins.len(), pixels.len());
                    for (p, origin) in pixels.zip(view.origins) {
                        let (image, y, x) =
                            (p / (grid.0 * grid.1), p / grid.1 % grid.0, p % grid.1);
                        let read = window.runs().iter().flat_map(|run| {
                            view.values[origin + run.offset..][..run.len].iter().copied()
                        });
                        let expected = taps.iter().flat_map(|(dy, dx)| {
                            let y = (y * stride).wrapping_add_signed(*dy);
                            let x = (x * stride).wrapping_add_signed(*dx);
                            let source = &source;
                            (0..shape.channels).map(move |c| {
                                if y >= shape.height || x >= shape.width {
                                    return 0.0;
                                }
                                let pixel = (image * shape.height + y) * shape.width + x;
                                source[pixel * shape.channels + c]
                            })
                        });
                        assert!(read.eq(expected), "pixel {p} of {shape:?} in tasks of {limit}");
                    }
                });
            }
        }
    }

    #[test]
    fn windows_hold_what_the_definition_says() {
        let square = |n: isize, first: isize| -> Vec<(isize, isize)> {
            (0..n * n).map(|k| (first + k / n, first + k % n)).collect()
        };
        let shape = |height, width, channels| Geometry { batch: 3, height, width, channels };
        check(shape(5, 4, 2), (5, 4), 1, &square(3, -1));
        check(shape(6, 7, 3), (3, 4), 2, &square(3, -1));
        check(shape(9, 8, 1), (5, 4), 2, &square(7, -3));
        check(shape(4, 4, 2), (2, 2), 2, &square(1, 0));
        check(shape(5, 5, 1), (3, 3), 1, &square(3, 0));
        // A window larger than the image, outside of it, and one with a hole.
        check(shape(2, 2, 1), (2, 2), 1, &square(7, -3));
        check(shape(2, 3, 2), (2, 3), 1, &[(3, 4), (3, 5)]);
        check(shape(4, 5, 2), (4, 5), 1, &[(-1, -1), (-1, 1), (1, -1), (1, 1)]);
    }

    #[test]
    fn neighbours_in_a_row_are_read_at_once() {
        let shape = Geometry { batch: 1, height: 8, width: 8, channels: 16 };
        let taps: Vec<(isize, isize)> = (0..9).map(|k| (k / 3 - 1, k % 3 - 1)).collect();
        let window = Window::new(shape, (8, 8), 1, &taps);
        assert_eq!(window.runs().iter().map(|run| run.len).collect::<Vec<_>>(), [48; 3]);
    }
}
