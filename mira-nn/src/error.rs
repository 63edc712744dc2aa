//! Why a network cannot be built.

use super::Geometry;

/// Errors of building a network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name used for tensors of two shapes.
    #[error(
        "parameter {name} is {expected:?} elsewhere in the model but {got:?} here; give the layer its own name"
    )]
    ShapeConflict {
        /// The parameter.
        name: String,
        /// Its shape so far.
        expected: Vec<usize>,
        /// The shape asked for.
        got: Vec<usize>,
    },
    /// A window larger than the padded image.
    #[error(
        "{layer}: a {kernel}×{kernel} window does not fit an image of {height}×{width} with padding {padding}; use larger images or fewer stages"
    )]
    WindowTooLarge {
        /// The layer.
        layer: String,
        /// Window's side.
        kernel: usize,
        /// Image height.
        height: usize,
        /// Image width.
        width: usize,
        /// Padding on each side.
        padding: usize,
    },
    /// A sum of activations of two shapes.
    #[error("{layer}: the shortcut is {got} but the branch is {expected}; they must agree")]
    ShortcutShape {
        /// The layer.
        layer: String,
        /// Shape of the branch.
        expected: Geometry,
        /// Shape of the shortcut.
        got: Geometry,
    },
    /// Activations that no machine has memory for, and whose costs could not be counted.
    #[error(
        "{layer}: activations of {shape} are too many; use smaller batches, smaller images or a narrower network"
    )]
    TooLarge {
        /// The layer.
        layer: String,
        /// Their shape.
        shape: Geometry,
    },
    /// A size of zero.
    #[error("{layer}: {what} is 0; it must be at least 1")]
    Zero {
        /// The layer.
        layer: String,
        /// The size.
        what: &'static str,
    },
}
