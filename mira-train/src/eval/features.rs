//! A matrix of features with its labels.

use ndarray::ArrayView2;

use super::Error;
use crate::data::share_of_classes;

/// Features of labelled samples, row-major: sample `i` is `rows[i*dim..(i+1)*dim]`, its class `labels[i] < num_classes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Dimensions of a feature.
    pub dim: usize,
    /// Samples × `dim`.
    pub rows: Vec<f32>,
    /// One class per sample.
    pub labels: Vec<u32>,
    /// Number of classes, those without samples included.
    pub num_classes: usize,
}

impl Features {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Refuses what no evaluation can use; `set` names the features in messages.
    ///
    /// # Errors
    /// No samples, no dimensions, rows that do not fit the labels, labels beyond the classes, numbers that are not finite.
    pub fn check(&self, set: &'static str) -> Result<(), Error> {
        let (rows, dim) = (self.labels.len(), self.dim);
        if dim == 0 {
            return Err(Error::NoDimensions { set });
        }
        if rows.checked_mul(dim) != Some(self.rows.len()) {
            return Err(Error::Shape { set, rows, dim, got: self.rows.len() });
        }
        if rows == 0 {
            return Err(Error::Empty { set });
        }
        let out_of_range = |&label: &u32| label as usize >= self.num_classes;
        if let Some(row) = self.labels.iter().position(out_of_range) {
            let (label, num_classes) = (self.labels[row], self.num_classes);
            return Err(Error::Label { set, row, label, num_classes });
        }
        if let Some(i) = self.rows.iter().position(|x| !x.is_finite()) {
            let value = self.rows[i];
            return Err(Error::NotFinite { set, row: i / dim, column: i % dim, value });
        }
        Ok(())
    }

    /// The mean of every column, in f64.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn column_means(&self) -> Result<Vec<f64>, Error> {
        self.check("given")?;
        let mut means = vec![0.0; self.dim];
        for row in self.rows.chunks_exact(self.dim) {
            for (mean, &x) in means.iter_mut().zip(row) {
                *mean += f64::from(x);
            }
        }
        for mean in &mut means {
            *mean /= self.len() as f64;
        }
        Ok(means)
    }

    /// `x ← x − means`, as for a baseline of raw pixels, whose cosines say little while all of them are positive.
    ///
    /// # Errors
    /// Means of another dimension.
    pub fn subtract(&mut self, means: &[f64]) -> Result<(), Error> {
        self.map_columns(means, |x, mean| x - mean)
    }

    /// `x ← (x − mean) / standard deviation` of the columns of `reference`; a constant column becomes 0.
    ///
    /// # Errors
    /// As [`check`](Self::check) for `reference`; another dimension.
    pub fn standardise_by(&mut self, reference: &Self) -> Result<(), Error> {
        let means = reference.column_means()?;
        let mut variances = vec![0.0; reference.dim];
        for row in reference.rows.chunks_exact(reference.dim) {
            for ((variance, &x), mean) in variances.iter_mut().zip(row).zip(&means) {
                *variance += (f64::from(x) - mean).powi(2) / reference.len() as f64;
            }
        }
        // Rounding leaves a constant column a variance of up to about (n·ε·mean)²; one step of f32 in one of a million rows is more.
        let constant = |mean: f64, variance: f64| variance <= (1e-10 * mean).powi(2);
        let columns: Vec<_> = means
            .iter()
            .zip(&variances)
            .map(|(&m, &v)| (m, if constant(m, v) { 0.0 } else { v.sqrt().recip() }))
            .collect();
        self.map_columns(&columns, |x, (mean, scale)| (x - mean) * scale)
    }

    fn map_columns<T: Copy>(
        &mut self,
        columns: &[T],
        map: impl Fn(f64, T) -> f64,
    ) -> Result<(), Error> {
        if columns.len() != self.dim {
            return Err(Error::DimensionsDiffer { train: columns.len(), test: self.dim });
        }
        for row in self.rows.chunks_exact_mut(self.dim) {
            for (x, &column) in row.iter_mut().zip(columns) {
                #[allow(clippy::cast_possible_truncation)] // back to the type of features
                let mapped = map(f64::from(*x), column) as f32;
                *x = mapped;
            }
        }
        Ok(())
    }

    /// The samples at `indices`, in that order; `None` if one of them does not exist.
    pub fn select(&self, indices: &[usize]) -> Option<Self> {
        let mut rows = Vec::with_capacity(indices.len().checked_mul(self.dim)?);
        let mut labels = Vec::with_capacity(indices.len());
        for &i in indices {
            let start = i.checked_mul(self.dim)?;
            rows.extend_from_slice(self.rows.get(start..start.checked_add(self.dim)?)?);
            labels.push(*self.labels.get(i)?);
        }
        Some(Self { dim: self.dim, rows, labels, num_classes: self.num_classes })
    }

    /// A share of every class, such as the 1 % and 10 % label subsets: `round(fraction·n_c)` of the `n_c` samples of class `c`, but at
    /// least one, drawn without replacement, in the order they stand here. Smaller fractions of one seed are subsets of larger ones.
    ///
    /// # Errors
    /// As [`check`](Self::check); a fraction outside (0, 1].
    pub fn label_subset(&self, fraction: f64, seed: u64) -> Result<Self, Error> {
        self.check("train")?;
        if !(fraction > 0.0 && fraction <= 1.0) {
            let expected = "above 0 and at most 1";
            return Err(Error::Setting { name: "the label fraction", expected, got: fraction });
        }
        let labels = self.labels.iter().copied().enumerate();
        let chosen = share_of_classes(labels, self.num_classes, fraction, seed);
        self.select(&chosen).ok_or(Error::Empty { set: "train" })
    }

    /// The matrix; only after [`check`](Self::check).
    pub(super) fn matrix(&self) -> ArrayView2<'_, f32> {
        ArrayView2::from_shape((self.len(), self.dim), &self.rows).expect("checked")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sample `i` has the feature `i`, so that a subset shows where it comes from.
    fn counted(labels: &[u32], num_classes: usize) -> Features {
        let rows = (0u16..).take(labels.len()).map(f32::from).collect();
        Features { dim: 1, rows, labels: labels.to_vec(), num_classes }
    }

    #[test]
    fn a_subset_takes_the_share_of_every_class() {
        // 40 of class 0, 20 of class 1, 3 of class 2, none of class 3
        let labels: Vec<u32> =
            (0..63).map(|i| if i < 40 { 0 } else { u32::from(i >= 60) + 1 }).collect();
        let all = counted(&labels, 4);
        let tenth = all.label_subset(0.1, 7).unwrap();
        let counts =
            |f: &Features| [0, 1, 2, 3].map(|c| f.labels.iter().filter(|&&l| l == c).count());
        assert_eq!(counts(&tenth), [4, 2, 1, 0]);
        assert_eq!(counts(&all.label_subset(0.5, 7).unwrap()), [20, 10, 2, 0]);
        assert_eq!(all.label_subset(1.0, 7).unwrap(), all);
        // Labels still belong to their rows; no sample twice.
        for f in [&tenth, &all.label_subset(0.5, 3).unwrap()] {
            assert!(f.rows.windows(2).all(|w| w[0] < w[1]));
            let class = |x: f32| if x < 40.0 { 0 } else { u32::from(x >= 60.0) + 1 };
            assert!(f.rows.iter().zip(&f.labels).all(|(&x, &l)| class(x) == l));
        }
    }

    #[test]
    fn subsets_are_nested_reproducible_and_differ_between_seeds() {
        let all = counted(&vec![0; 200], 1);
        let of = |fraction, seed| all.label_subset(fraction, seed).unwrap().rows;
        let (small, large) = (of(0.1, 1), of(0.5, 1));
        assert!(small.iter().all(|x| large.contains(x)));
        assert_eq!(small, of(0.1, 1));
        assert_ne!(small, of(0.1, 2));
    }

    #[test]
    fn standardised_columns_have_mean_0_and_variance_1() {
        let rows = vec![1.0, 5.0, 0.1, 3.0, 5.0, 0.1, 5.0, 5.0, 0.1];
        let train = Features { dim: 3, rows, labels: vec![0; 3], num_classes: 1 };
        let mut scaled = train.clone();
        scaled.standardise_by(&train).unwrap();
        let x = 1.5_f32.sqrt(); // (5 − 3) / √(8/3)
        let expected = [-x, 0.0, 0.0, 0.0, 0.0, 0.0, x, 0.0, 0.0];
        for (got, expected) in scaled.rows.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-6, "{got} {expected}");
        }
        let mut centred = train.clone();
        centred.subtract(&train.column_means().unwrap()).unwrap();
        assert_eq!([centred.rows[0], centred.rows[1], centred.rows[6]], [-2.0, 0.0, 2.0]);
    }

    #[test]
    fn features_that_cannot_be_used_are_refused() {
        let good = Features { dim: 2, rows: vec![0.0; 6], labels: vec![0, 1, 1], num_classes: 2 };
        good.check("train").unwrap();
        let set = "train";
        let cases = [
            (Features { dim: 0, ..good.clone() }, Error::NoDimensions { set }),
            (
                Features { rows: vec![0.0; 5], ..good.clone() },
                Error::Shape { set, rows: 3, dim: 2, got: 5 },
            ),
            (Features { rows: vec![], labels: vec![], ..good.clone() }, Error::Empty { set }),
            (
                Features { num_classes: 1, ..good.clone() },
                Error::Label { set, row: 1, label: 1, num_classes: 1 },
            ),
            (
                Features { rows: vec![0.0, 0.0, 0.0, f32::INFINITY, 0.0, 0.0], ..good.clone() },
                Error::NotFinite { set, row: 1, column: 1, value: f32::INFINITY },
            ),
        ];
        for (features, expected) in cases {
            assert_eq!(features.check(set), Err(expected));
        }
        for fraction in [0.0, -0.1, 1.5, f64::NAN] {
            assert!(matches!(good.label_subset(fraction, 0), Err(Error::Setting { .. })));
        }
        assert_eq!(good.select(&[3]), None);
        let other = Features { dim: 3, rows: vec![0.0; 9], ..good.clone() };
        assert!(matches!(good.clone().standardise_by(&other), Err(Error::DimensionsDiffer { .. })));
    }
}
