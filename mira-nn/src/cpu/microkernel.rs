//! The inner loops of convolutions: a tile of `ROWS` × `WIDTH` vectors in registers, to which products of scalars and vectors are
//! added.
//!
//! Without closures: they would be functions without the instruction set, around which the tile goes through memory where the optimiser does not
//! happen to inline them first.

use mira_simd::{Isa, Scalar, Vector};
use num_traits::Zero;

/// Accumulators of a tile.
pub(super) type Tile<V, const ROWS: usize, const WIDTH: usize> = [[V; WIDTH]; ROWS];

/// Widest tile of an instruction set, in vectors: with six rows it fills three quarters of the registers.
pub(super) const fn max_width<I: Isa>() -> usize {
    if I::REGISTERS >= 32 { 4 } else { 1 }
}

/// The vectors of scalar `T` have this many elements in every instruction set.
pub(super) const fn lanes<T: Scalar>() -> usize {
    if T::IS_F32 { mira_simd::LANES } else { mira_simd::LANES / 2 }
}

/// `tile[m][n] += Σ_k rows[m][k] · panel[k][n]`.
///
/// # Safety
/// `len` values must be readable at each row, `len`·`WIDTH` vectors at the panel.
#[allow(clippy::needless_range_loop)] // as written, one line is one multiplication of the tile
#[inline(always)]
pub(super) unsafe fn multiply<V: Vector, const ROWS: usize, const WIDTH: usize>(
    mut tile: Tile<V, ROWS, WIDTH>,
    rows: [*const V::Scalar; ROWS],
    panel: *const V::Scalar,
    len: usize,
) -> Tile<V, ROWS, WIDTH> {
    for k in 0..len {
        // SAFETY: by the contract.
        unsafe {
            let mut vectors = [V::splat(V::Scalar::zero()); WIDTH];
            for n in 0..WIDTH {
                vectors[n] = V::load(panel.add((k * WIDTH + n) * V::LEN));
            }
            for m in 0..ROWS {
                let scalar = V::splat(*rows[m].add(k));
                for n in 0..WIDTH {
                    tile[m][n] = scalar.mul_add(vectors[n], tile[m][n]);
                }
            }
        }
    }
    tile
}

/// `tile[m][n] += Σ_p columns[origins[p] + m] · vectors[p·stride + n]` over pixels p.
///
/// # Safety
/// `ROWS` values must be readable at each origin, `WIDTH` vectors at each `p·stride`.
#[allow(clippy::needless_range_loop)] // as written, one line is one multiplication of the tile
#[inline(always)]
pub(super) unsafe fn multiply_transposed<V: Vector, const ROWS: usize, const WIDTH: usize>(
    mut tile: Tile<V, ROWS, WIDTH>,
    columns: *const V::Scalar,
    origins: &[usize],
    vectors: *const V::Scalar,
    stride: usize,
) -> Tile<V, ROWS, WIDTH> {
    for (p, origin) in origins.iter().enumerate() {
        // SAFETY: by the contract.
        unsafe {
            let column = columns.add(*origin);
            let from = vectors.add(p * stride);
            let mut vectors = [V::splat(V::Scalar::zero()); WIDTH];
            for n in 0..WIDTH {
                vectors[n] = V::load(from.add(n * V::LEN));
            }
            for m in 0..ROWS {
                let scalar = V::splat(*column.add(m));
                for n in 0..WIDTH {
                    tile[m][n] = scalar.mul_add(vectors[n], tile[m][n]);
                }
            }
        }
    }
    tile
}

/// The first `count` elements from memory, the rest zero.
///
/// # Safety
/// They must be readable.
#[inline(always)]
pub(super) unsafe fn load_part<V: Vector>(from: *const V::Scalar, count: usize) -> V {
    if count >= V::LEN {
        // SAFETY: by the contract.
        return unsafe { V::load(from) };
    }
    let mut part = [V::Scalar::default(); 16];
    for (l, value) in part.iter_mut().enumerate().take(count) {
        // SAFETY: by the contract.
        *value = unsafe { *from.add(l) };
    }
    // SAFETY: no vector has more than 16 elements.
    unsafe { V::load(part.as_ptr()) }
}

/// The first `count` elements to memory.
///
/// # Safety
/// They must be writable.
#[inline(always)]
pub(super) unsafe fn store_part<V: Vector>(vector: V, to: *mut V::Scalar, count: usize) {
    if count >= V::LEN {
        // SAFETY: by the contract.
        return unsafe { vector.store(to) };
    }
    for (l, value) in vector.to_array().into_iter().enumerate().take(count) {
        // SAFETY: by the contract.
        unsafe { *to.add(l) = value };
    }
}
