//! The nearest neighbours by cosine, from blocked matrix products: memory for the base once more and a few blocks, never for all pairs.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, s};
use rayon::prelude::*;

use crate::eval::{Error, Features, NEVER, Stop, room};

/// Rows of a block of queries; one task.
const QUERY_BLOCK: usize = 256;
/// Rows of a block of the base: the product of two blocks stays in the second-level cache.
const BASE_BLOCK: usize = 1024;

/// The `k` nearest samples of each query, nearest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// How many for each query.
    pub k: usize,
    /// Queries × `k` indices into the base.
    pub indices: Vec<u32>,
    /// Queries × `k` cosines.
    pub cosines: Vec<f32>,
}

impl Neighbours {
    /// Indices and cosines of one query's neighbours.
    ///
    /// # Panics
    /// If there is no such query.
    pub fn of(&self, query: usize) -> (&[u32], &[f32]) {
        let range = query * self.k..(query + 1) * self.k;
        (&self.indices[range.clone()], &self.cosines[range])
    }
}

/// The `k` samples of `base` with the largest cosine to each of `queries`; of equal cosines the earlier sample.
///
/// # Errors
/// Unusable features, different dimensions, `k` of 0 or above the number of samples.
pub fn neighbours(base: &Features, queries: &Features, k: usize) -> Result<Neighbours, Error> {
    neighbours_unless(NEVER, base, queries, k)
}

/// [`neighbours`], given up where `stop` says so.
pub(super) fn neighbours_unless(
    stop: Stop<'_>,
    base: &Features,
    queries: &Features,
    k: usize,
) -> Result<Neighbours, Error> {
    base.check("train")?;
    queries.check("test")?;
    if base.dim != queries.dim {
        return Err(Error::DimensionsDiffer { train: base.dim, test: queries.dim });
    }
    check_num_neighbours(k, base.len())?;
    search(stop, base, queries, k, false)
}

/// The `k` other samples of `set` with the largest cosine to each of its samples.
///
/// # Errors
/// Unusable features, `k` of 0 or above the number of the others.
pub fn neighbours_within(set: &Features, k: usize) -> Result<Neighbours, Error> {
    set.check("given")?;
    check_num_neighbours(k, set.len() - 1)?;
    search(NEVER, set, set, k, true)
}

/// Refuses numbers of neighbours that so many samples do not have.
///
/// # Errors
/// [`Error::NumNeighbours`] for `k` of 0 or above `available`.
pub fn check_num_neighbours(k: usize, available: usize) -> Result<(), Error> {
    // Indices are u32.
    let available = available.min(u32::MAX as usize);
    if k == 0 || k > available {
        return Err(Error::NumNeighbours { k, available });
    }
    Ok(())
}

/// Brings rows to length 1; rows of zeros stay.
fn normalise(rows: &mut ArrayViewMut2<'_, f32>) {
    for mut row in rows.rows_mut() {
        // In f64 neither the squares nor their sum leave the range.
        let squares: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        if squares > 0.0 {
            let scale = squares.sqrt().recip();
            #[allow(clippy::cast_possible_truncation)] // at most 1
            row.mapv_inplace(|x| (f64::from(x) * scale) as f32);
        }
    }
}

/// The rows of length 1 as dimensions × samples, in blocks: the matrix product would otherwise spend as long on transposing them again for
/// every block of queries.
fn transposed(features: &Features) -> Result<Vec<Array2<f32>>, Error> {
    let mut rows = Array2::zeros((BASE_BLOCK.min(features.len()), features.dim));
    let blocks = features.matrix();
    let blocks = blocks.axis_chunks_iter(Axis(0), BASE_BLOCK).map(|chunk| {
        let mut rows = rows.slice_mut(s![..chunk.nrows(), ..]);
        rows.assign(&chunk);
        normalise(&mut rows);
        let columns = rows.t();
        let mut block = room("neighbours' normalised features", Some(chunk.len()))?;
        block.extend(columns.iter().copied());
        Ok(Array2::from_shape_vec(columns.raw_dim(), block).expect("as many numbers"))
    });
    blocks.collect()
}

fn search(
    stop: Stop<'_>,
    base: &Features,
    queries: &Features,
    k: usize,
    skip_same: bool,
) -> Result<Neighbours, Error> {
    let base = transposed(base)?;
    let queries = queries.matrix();
    let starts: Vec<usize> = (0..queries.nrows()).step_by(QUERY_BLOCK).collect();
    let blocks: Result<Vec<Vec<Nearest>>, Error> = starts
        .into_par_iter()
        .map_init(
            || Array2::zeros((QUERY_BLOCK, BASE_BLOCK)),
            |products, start| {
                if stop() {
                    return Err(Error::Stopped);
                }
                let end = (start + QUERY_BLOCK).min(queries.nrows());
                let mut block = queries.slice(s![start..end, ..]).to_owned();
                normalise(&mut block.view_mut());
                let same = skip_same.then_some(start);
                Ok(search_block(&base, &block.view(), k, same, products))
            },
        )
        .collect();
    let mut found = Neighbours { k, indices: Vec::new(), cosines: Vec::new() };
    for nearest in blocks?.into_iter().flatten() {
        found.indices.extend(nearest.best.iter().map(|&(_, index)| index));
        found.cosines.extend(nearest.best.iter().map(|&(cosine, _)| cosine));
    }
    Ok(found)
}

/// One block of queries against the whole base, which comes as dimensions × samples in blocks. With `same`, query `i` is sample `same + i` and not its own neighbour.
fn search_block(
    base: &[Array2<f32>],
    queries: &ArrayView2<'_, f32>,
    k: usize,
    same: Option<usize>,
    products: &mut Array2<f32>,
) -> Vec<Nearest> {
    let mut nearest = vec![Nearest::new(k); queries.nrows()];
    for (chunk, start) in base.iter().zip((0..).step_by(BASE_BLOCK)) {
        let mut cosines = products.slice_mut(s![..queries.nrows(), ..chunk.ncols()]);
        general_mat_mul(1.0, queries, chunk, 0.0, &mut cosines);
        for (query, (nearest, row)) in nearest.iter_mut().zip(cosines.rows()).enumerate() {
            let skipped = same.map(|first| first + query);
            for (index, &cosine) in (start..).zip(row) {
                if cosine > nearest.threshold && Some(index) != skipped {
                    nearest.insert(cosine, index);
                }
            }
        }
    }
    nearest
}

/// The best so far, in falling order.
#[derive(Clone, Debug)]
struct Nearest {
    k: usize,
    best: Vec<(f32, u32)>,
    /// What a cosine must exceed to enter: indices rise, so an equal one comes too late.
    threshold: f32,
}

impl Nearest {
    fn new(k: usize) -> Self {
        Self { k, best: Vec::with_capacity(k), threshold: f32::NEG_INFINITY }
    }

    fn insert(&mut self, cosine: f32, index: usize) {
        self.best.truncate(self.k - 1);
        let place = self.best.partition_point(|&(other, _)| other >= cosine);
        self.best.insert(place, (cosine, u32::try_from(index).unwrap_or(u32::MAX)));
        if self.best.len() == self.k {
            self.threshold = self.best[self.k - 1].0;
        }
    }
}
