//! What logits and labels may be: several types, rows apart, two views in one launch, over ranks, at each kind of width.

use std::sync::Arc;

use half::{bf16, f16};
use mira_core::{Assigner, Matrix, Method, Mira, Shape, SingleProcess, Sinkhorn, verify};
use mira_cuda::cudarc::driver::CudaStream;
use mira_cuda::{CudaAssigner, DeviceMatrix, Logit, Probability, Rows, RowsMut, ThroughHost};

use crate::reference::Stored;
use crate::shapes::hardware;
use crate::stream;

/// Columns of rows that a block has to itself, that blocks share where there are several for a view, and more than all blocks of a view can share.
fn shapes() -> [(usize, usize); 3] {
    let blocks_of_a_view = hardware().multiprocessors as usize / 2;
    [(23, 150), (7, 4100), (3, 4096 * blocks_of_a_view + 100)]
}

/// How much further rows lie apart than they are long.
const APART: usize = 3;

fn logit(view: usize, row: usize, column: usize) -> f64 {
    let number = 1.7 * ((row * row + 13 * column + 31 * view) % 997) as f64;
    0.5 * number.sin() + 0.3 * (column % 7) as f64 / 7.0
}

fn wide<T: Stored>(x: T) -> f64 {
    x.into()
}

/// Rows on the device with numbers between them that nobody may read or write.
struct Apart<T> {
    elements: DeviceMatrix<T>,
    shape: Shape,
}

impl<T: Logit + Stored + Copy> Apart<T> {
    fn new(
        stream: &Arc<CudaStream>,
        shape: Shape,
        of: impl Fn(usize, usize) -> T,
        between: T,
    ) -> Self {
        let (rows, columns) = (shape.batch(), shape.num_prototypes());
        let wide = Shape::new(rows, columns + APART).expect("small");
        let values: Vec<T> = (0..rows)
            .flat_map(|i| (0..columns + APART).map(move |j| (i, j)))
            .map(|(i, j)| if j < columns { of(i, j) } else { between })
            .collect();
        Self { elements: DeviceMatrix::from_host(stream, wide, &values).expect("memory"), shape }
    }

    fn stride(&self) -> usize {
        self.shape.num_prototypes() + APART
    }

    fn rows(&self) -> Rows<'_, T> {
        let view = self.elements.elements.as_view();
        Rows::new(view, self.shape, self.stride()).expect("they fit")
    }

    fn rows_mut(&mut self) -> RowsMut<'_, T> {
        let (shape, stride) = (self.shape, self.stride());
        RowsMut::new(self.elements.elements.as_view_mut(), shape, stride).expect("they fit")
    }

    /// The matrix, and what lies between its rows.
    fn fetched(&self) -> (Vec<T>, Vec<T>) {
        let (columns, all) =
            (self.shape.num_prototypes(), self.elements.to_host().expect("memory"));
        let rows = || all.chunks_exact(self.stride());
        let matrix = rows().flat_map(|row| row[..columns].to_vec()).collect();
        (matrix, rows().flat_map(|row| row[columns..].to_vec()).collect())
    }
}

/// Two views of logits `L` into labels `A`, all of them with rows apart, in one launch (or, over ranks, one a pass).
fn right<L: Logit + Stored + Copy, A: Probability + Logit + Stored + Copy>(
    (rows, columns): (usize, usize),
    method: Method,
    over_ranks: bool,
) {
    let stream = stream();
    let shape = Shape::new(rows, columns).expect("small");
    let what = format!("{rows}×{columns}, over ranks: {over_ranks}, {method:?}");
    let mut assigner = CudaAssigner::<L, A>::new(method, &stream).expect("the kernels load");
    if over_ranks {
        assigner = assigner.with_collective(Arc::new(ThroughHost(Arc::new(SingleProcess))));
    }
    let views = [0, 1].map(|view| {
        let of = |i, j| L::stored(logit(view, i, j));
        Apart::new(&stream, shape, of, L::stored(f64::NAN))
    });
    let untouched = A::stored(-3.0);
    let mut labels = [0, 1].map(|_| Apart::new(&stream, shape, |_, _| untouched, untouched));
    let mut workspace = assigner.workspace_for(shape, 2).expect("memory");
    let logits = views.each_ref().map(Apart::rows);
    let mut out = labels.each_mut().map(Apart::rows_mut);
    assigner.assign_all_into(&logits, &mut out, &mut workspace).expect("enqueued");
    let reports = assigner.reports(&workspace).expect("valid logits");
    for (view, (labels, report)) in labels.iter().zip(reports).enumerate() {
        let (labels, between) = labels.fetched();
        assert!(between.iter().all(|w| wide(*w) == -3.0), "{what}: wrote between the rows");
        let labels: Vec<f64> = labels.iter().map(|w| wide(*w)).collect();
        let logits: Vec<f64> = (0..rows * columns)
            .map(|i| wide(L::stored(logit(view, i / columns, i % columns))))
            .collect();
        // What f32 or bf16 leave of a sum of 1 and of a label.
        let unit = if size_of::<A>() == 2 { 2f64.powi(-9) } else { 2f64.powi(-24) };
        let labels: Vec<f64> = labels
            .chunks_exact(columns)
            .flat_map(|row| {
                let sum: f64 = row.iter().sum();
                assert!((sum - 1.0).abs() < 8.0 * unit, "{what}: a row sums to {sum}");
                row.iter().map(move |w| w / sum)
            })
            .collect();
        let [logits, labels] =
            [&logits, &labels].map(|values| Matrix::new(values, shape).expect("as large"));
        let found = verify(logits, labels, &method).expect("an assignment").certificate;
        let expected = report.certificate.label_kl_bound + 64.0 * unit * unit;
        assert!(found.label_kl_bound <= 1.1 * expected + 1e-13, "{what}: {found:?}, {report:?}");
    }
}

#[test]
fn two_views_with_rows_apart_of_every_type() {
    for (i, shape) in shapes().into_iter().enumerate() {
        let mira = Mira::default().into();
        right::<f32, f32>(shape, mira, false);
        right::<bf16, bf16>(shape, mira, false);
        if i == 0 {
            right::<f16, bf16>(shape, Sinkhorn::new(0.5).expect("valid").into(), false);
            right::<f16, f32>(shape, mira, false);
        }
    }
}

#[test]
fn two_views_over_ranks() {
    for shape in shapes() {
        right::<bf16, f32>(shape, Mira::default().into(), true);
    }
    right::<f32, bf16>(shapes()[0], Sinkhorn::new(0.5).expect("valid").into(), true);
}

/// What runs beside an assignment may need multiprocessors, too.
#[test]
fn a_part_of_the_device_is_enough() {
    let stream = stream();
    for (rows, columns) in shapes() {
        let shape = Shape::new(rows, columns).expect("small");
        let values: Vec<f32> =
            (0..shape.len()).map(|i| f32::stored(logit(0, i / columns, i % columns))).collect();
        let logits = DeviceMatrix::from_host(&stream, shape, &values).expect("memory");
        let assigner = CudaAssigner::<f32>::new(Mira::default(), &stream).expect("they load");
        let half = hardware().multiprocessors / 2;
        for (part, bytes) in [(half, u32::MAX), (half + 1, u32::MAX), (u32::MAX, 64 << 10)] {
            let assigner = assigner.clone().with_multiprocessors(part).with_shared_memory(bytes);
            let (labels, report) = assigner.assign(logits.rows()).expect("valid logits");
            let what = format!("{shape} on {part} multiprocessors: {report:?}");
            assert!(report.certificate.log_ratio_bound < 1e-5, "{what}");
            let labels = labels.to_host().expect("memory");
            let view = Matrix::new(&values, shape).expect("as long");
            let labels = Matrix::new(&labels, shape).expect("as long");
            let found = verify(view, labels, &Mira::default().into()).expect("labels");
            assert!(found.certificate.log_ratio_bound < 2e-5, "{what}, {found:?}");
        }
    }
}
