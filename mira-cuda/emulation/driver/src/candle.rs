//! What candle's own kernels do that mira's tests over candle tensors need: strided copies, fills, casts between floats. Written after what the
//! kernels of `candle-kernels` 0.11 take and do, for a stand-in has no other way to run them.

use half::{bf16, f16};

/// Whether a kernel is of a kind that [`run`] knows.
pub(crate) fn knows(name: &str) -> bool {
    ["ucopy_", "copy2d_", "const_set_", "cast_"].iter().any(|kind| name.starts_with(kind))
}

/// The kernel `name`, given its parameters in 8 bytes each; `None` if it is none of these.
///
/// # Safety
/// The parameters must be candle's, with device addresses that are valid for what the kernel does with them.
pub(crate) unsafe fn run(name: &str, params: &[u64]) -> Option<()> {
    // SAFETY: by this function's contract.
    unsafe {
        match (name.split_once('_')?, params) {
            (("ucopy", element), &[len, dims, info, from, to]) => {
                let size = size_of_element(element)?;
                let places = places(len, dims, info);
                for (i, place) in places.enumerate() {
                    copy(at(from, place, size), at(to, i, size), size);
                }
            }
            (("copy2d", element), &[from, to, rows, columns, from_stride, to_stride]) => {
                let size = size_of_element(element)?;
                for i in 0..rows as usize {
                    let (from, to) = (
                        at(from, i * from_stride as usize, size),
                        at(to, i * to_stride as usize, size),
                    );
                    copy(from, to, columns as usize * size);
                }
            }
            (("const", set), &[len, dims, info, value, to]) => {
                let size = size_of_element(set.strip_prefix("set_")?)?;
                for place in places(len, dims, info) {
                    copy(std::ptr::from_ref(&value).cast(), at(to, place, size), size);
                }
            }
            (("cast", both), &[len, dims, info, from, to]) => {
                let (source, target) = both.split_once('_')?;
                let sizes = (size_of_element(source)?, size_of_element(target)?);
                for (i, place) in places(len, dims, info).enumerate() {
                    write(target, at(to, i, sizes.1), read(source, at(from, place, sizes.0))?)?;
                }
            }
            _ => return None,
        }
    }
    Some(())
}

/// Where the elements of a layout lie, in order; one after another without `info`, which has lengths and strides of the dimensions.
///
/// # Safety
/// `info` must be 0 or the address of as many numbers.
unsafe fn places(len: u64, dims: u64, info: u64) -> impl Iterator<Item = usize> {
    let dims = if info == 0 { 0 } else { dims as usize };
    let numbers: Vec<usize> =
        // SAFETY: by this function's contract.
        (0..2 * dims).map(|i| unsafe { at(info, i, 8).cast::<usize>().read_unaligned() }).collect();
    (0..len as usize).map(move |i| {
        if dims == 0 {
            return i;
        }
        let (mut rest, mut place) = (i, 0);
        for d in (0..dims).rev() {
            place += rest % numbers[d] * numbers[dims + d];
            rest /= numbers[d];
        }
        place
    })
}

fn at(address: u64, element: usize, size: usize) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(address as usize + element * size)
}

unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: by the contract of `run`.
    unsafe { std::ptr::copy(from, to, len) };
}

fn size_of_element(name: &str) -> Option<usize> {
    Some(match name {
        "u8" => 1,
        "f16" | "bf16" | "i16" => 2,
        "f32" | "u32" | "i32" => 4,
        "f64" | "i64" => 8,
        _ => return None,
    })
}

unsafe fn read(element: &str, from: *const u8) -> Option<f64> {
    // SAFETY: by the contract of `run`.
    Some(unsafe {
        match element {
            "f16" => from.cast::<f16>().read_unaligned().to_f64(),
            "bf16" => from.cast::<bf16>().read_unaligned().to_f64(),
            "f32" => f64::from(from.cast::<f32>().read_unaligned()),
            "f64" => from.cast::<f64>().read_unaligned(),
            _ => return None,
        }
    })
}

unsafe fn write(element: &str, to: *mut u8, value: f64) -> Option<()> {
    // SAFETY: by the contract of `run`.
    unsafe {
        match element {
            "f16" => to.cast::<f16>().write_unaligned(f16::from_f64(value)),
            "bf16" => to.cast::<bf16>().write_unaligned(bf16::from_f64(value)),
            "f32" => to.cast::<f32>().write_unaligned(value as f32),
            "f64" => to.cast::<f64>().write_unaligned(value),
            _ => return None,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address<T>(values: &[T]) -> u64 {
        values.as_ptr().expose_provenance() as u64
    }

    #[test]
    fn a_transposed_copy() {
        let from: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut to = [0.0f32; 6];
        let info = [3usize, 2, 1, 3]; // 3 × 2, of a 2 × 3
        let params =
            [6, 2, address(&info), address(&from), to.as_mut_ptr().expose_provenance() as u64];
        // SAFETY: as many elements as the layout has.
        unsafe { run("ucopy_f32", &params) }.expect("known");
        assert_eq!(to, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn rows_of_a_wider_matrix_and_casts() {
        let from: [u16; 8] =
            [1, 2, 9, 9, 3, 4, 9, 9].map(|x: u16| bf16::from_f32(f32::from(x)).to_bits());
        let mut rows = [0u16; 4];
        let to = rows.as_mut_ptr().expose_provenance() as u64;
        // SAFETY: as many elements as the layout has; so below.
        unsafe { run("copy2d_bf16", &[address(&from), to, 2, 2, 4, 2]) }.expect("known");
        let mut wide = [0.0f64; 4];
        let to = wide.as_mut_ptr().expose_provenance() as u64;
        unsafe { run("cast_bf16_f64", &[4, 1, 0, address(&rows), to]) }.expect("known");
        assert_eq!(wide, [1.0, 2.0, 3.0, 4.0]);
        unsafe { run("const_set_f64", &[4, 1, 0, 0.5f64.to_bits(), to]) }.expect("known");
        assert_eq!(wide, [0.5; 4]);
        assert!(unsafe { run("gelu_f32", &[4, 1, 0, to, to]) }.is_none());
    }
}
