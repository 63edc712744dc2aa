//! Learns prototypes of Fashion-MNIST without labels: MIRA assigns each view of a batch, which supervises the other view.
//!
//! `cargo run --release -p mira-candle --example prototypes`
//!
//! Features are 64 principal components (`dev/make_example_features.py`), views are features with noise, prototypes the rows of a
//! linear layer divided by their lengths. Labels only measure. candle's CPU generator takes no seed, so runs differ a little.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::{Linear, Module, Optimizer, SGD};
use mira_candle::{CandleAssigner, swapped_prediction_loss};
use mira_core::{Assigner, Mira, Shape};

const NUM_PROTOTYPES: usize = 30;
const BATCH: usize = 500;
const EPOCHS: usize = 20;
const TEMPERATURE: f64 = 0.1;
const NOISE: f64 = 0.05;

/// Rows of length 1.
fn normalised(rows: &Tensor) -> Result<Tensor> {
    rows.broadcast_div(&rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)
}

/// The share of samples whose class is the commonest in their cluster.
fn purity(logits: &Tensor, classes: &[u8]) -> Result<f64> {
    let mut counts = [[0usize; 10]; NUM_PROTOTYPES];
    for (cluster, class) in logits.argmax(D::Minus1)?.to_vec1::<u32>()?.iter().zip(classes) {
        counts[*cluster as usize][usize::from(*class)] += 1;
    }
    let commonest: usize = counts.iter().filter_map(|of_class| of_class.iter().max()).sum();
    Ok(commonest as f64 / classes.len() as f64)
}

fn main() -> Result<()> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let features = Tensor::read_npy(format!("{folder}/fashion-mnist-features.npy"))?;
    let features = normalised(&features.to_dtype(DType::F32)?)?;
    let classes =
        Tensor::read_npy(format!("{folder}/fashion-mnist-labels.npy"))?.to_vec1::<u8>()?;
    let (num_samples, dim) = features.dims2()?;
    let weight = Tensor::randn(0f32, 1., (NUM_PROTOTYPES, dim), &Device::Cpu)?;
    let weight = Var::from_tensor(&normalised(&weight)?)?;
    let logits_of = |x: &Tensor| Linear::new(normalised(&weight)?, None).forward(x);
    let mut optimizer = SGD::new(vec![weight.clone()], 1.0)?;

    let assigner = CandleAssigner::new(Mira::default());
    let shape = Shape::new(BATCH, NUM_PROTOTYPES).map_err(mira_candle::Error::from)?;
    let mut workspace = assigner.workspace(shape)?;
    let targets = [assigner.output(shape)?, assigner.output(shape)?];
    let before = purity(&logits_of(&features)?, &classes)?;
    for epoch in 1..=EPOCHS {
        let (mut loss_sum, mut sweeps) = (0.0, 0);
        let order = Tensor::rand(0f32, 1., num_samples, &Device::Cpu)?.arg_sort_last_dim(true)?;
        for batch in order.chunk(num_samples / BATCH, 0)? {
            let batch = features.index_select(&batch.contiguous()?, 0)?;
            let view = || normalised(&(&batch + batch.randn_like(0., NOISE)?)?);
            let logits = [logits_of(&view()?)?, logits_of(&view()?)?];
            for (logits, target) in logits.iter().zip(&targets) {
                assigner.assign_into(logits, target, &mut workspace)?;
                sweeps += assigner.report(&workspace)?.iterations;
            }
            let loss = swapped_prediction_loss(&logits, &targets, TEMPERATURE)?;
            optimizer.backward_step(&loss)?;
            loss_sum += f64::from(loss.to_scalar::<f32>()?);
        }
        let (report, num_batches) = (assigner.report(&workspace)?, num_samples / BATCH);
        println!(
            "epoch {epoch:2}: loss {:.3}; {:.1} sweeps an assignment; the last {}: log ratio ≤ {:.0e}, gap ≤ {:.0e}, {:.1} prototypes in use",
            loss_sum / num_batches as f64,
            sweeps as f64 / (2 * num_batches) as f64,
            report.status,
            report.certificate.log_ratio_bound,
            report.certificate.duality_gap,
            report.marginal_entropy.exp(),
        );
    }
    let after = 100.0 * purity(&logits_of(&features)?, &classes)?;
    println!("cluster purity {:.1}% before training, {after:.1}% after", 100.0 * before);
    Ok(())
}
