//! From bytes to what the network reads.

/// `(x/255 − mean)/std` of each colour, by table.
#[derive(Clone, Debug)]
pub struct Normaliser {
    table: Box<[[f32; 3]; 256]>,
}

impl Normaliser {
    /// For a mean and a standard deviation of each colour, in units where white is 1.
    pub fn new(mean: [f32; 3], std: [f32; 3]) -> Self {
        let mut table = Box::new([[0.0; 3]; 256]);
        for (value, entry) in (0u8..=255).zip(table.iter_mut()) {
            for c in 0..3 {
                entry[c] = (f32::from(value) / 255.0 - mean[c]) / std[c];
            }
        }
        Self { table }
    }

    /// Writes pixels (RGB, three bytes each) as the network's input.
    pub fn apply(&self, pixels: &[u8], out: &mut [f32]) {
        for (out, pixel) in out.chunks_exact_mut(3).zip(pixels.chunks_exact(3)) {
            for c in 0..3 {
                out[c] = self.table[usize::from(pixel[c])][c];
            }
        }
    }
}
