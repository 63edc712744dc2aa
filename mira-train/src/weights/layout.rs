//! Convolution kernels between our layout (height, width, input, output channels) and `PyTorch`'s (output, input, height, width).

use super::{Error, num_values};

/// `PyTorch`'s layout from ours; `shape` is `[h, w, i, o]`, the result has shape `[o, i, h, w]`.
///
/// # Errors
/// [`Error::NumValues`] if `values` does not have the shape.
pub fn oihw_from_hwio(values: &[f32], [h, w, i, o]: [usize; 4]) -> Result<Vec<f32>, Error> {
    check(values, [h, w, i, o])?;
    Ok(reversed(values, [h * w, i, o]))
}

/// Our layout from `PyTorch`'s; `shape` is `[o, i, h, w]`, the result has shape `[h, w, i, o]`.
///
/// # Errors
/// [`Error::NumValues`] if `values` does not have the shape.
pub fn hwio_from_oihw(values: &[f32], [o, i, h, w]: [usize; 4]) -> Result<Vec<f32>, Error> {
    check(values, [o, i, h, w])?;
    Ok(reversed(values, [o, i, h * w]))
}

/// Before sizes are multiplied.
fn check(values: &[f32], shape: [usize; 4]) -> Result<(), Error> {
    if num_values(&shape) == Some(values.len()) {
        return Ok(());
    }
    let name = "a convolution kernel".into();
    Err(Error::NumValues { name, shape: shape.into(), got: values.len() })
}

/// From `[a, b, c]` to `[c, b, a]`.
fn reversed(values: &[f32], [a, b, c]: [usize; 3]) -> Vec<f32> {
    let mut reversed = Vec::with_capacity(values.len());
    for z in 0..c {
        for y in 0..b {
            reversed.extend((0..a).map(|x| values[(x * b + y) * c + z]));
        }
    }
    reversed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weight_finds_its_place() {
        let [o, i, h, w] = [2_usize, 3, 4, 5];
        let oihw: Vec<f32> = (0_u16..120).map(f32::from).collect();
        let hwio = hwio_from_oihw(&oihw, [o, i, h, w]).unwrap();
        for (at_o, at_i, at_h, at_w) in
            [(0, 0, 0, 0), (0, 1, 0, 0), (0, 0, 0, 1), (1, 2, 1, 4), (1, 0, 3, 2)]
        {
            let theirs = oihw[((at_o * i + at_i) * h + at_h) * w + at_w];
            let ours = hwio[((at_h * w + at_w) * i + at_i) * o + at_o];
            assert_eq!(ours, theirs);
        }
        assert_eq!(oihw_from_hwio(&hwio, [h, w, i, o]).unwrap(), oihw);
    }

    #[test]
    fn values_that_do_not_fill_the_shape_are_refused() {
        for shape in [[1, 2, 2, 2], [2, 2, 2, 2], [usize::MAX, 2, 3, 1]] {
            assert!(matches!(hwio_from_oihw(&[0.0; 7], shape), Err(Error::NumValues { .. })));
            assert!(matches!(oihw_from_hwio(&[0.0; 7], shape), Err(Error::NumValues { .. })));
        }
        assert!(hwio_from_oihw(&[], [0, 3, 7, 7]).unwrap().is_empty());
    }
}
