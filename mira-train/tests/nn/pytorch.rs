//! Whole residual networks against torchvision's: outputs, running statistics and gradients (`dev/reference_resnet.py`).
//!
//! `MIRA_RESNET_REFERENCE=FILE` checks a file of that script of any size, too; `just reference-resnet` makes one of ResNet-50.

use std::path::Path;

use mira_train::model::{Block, ResNet, Stem};
use mira_train::nn::cpu::{Executor, Statistics};
use mira_train::nn::{GraphBuilder, Parameters, Pass};
use mira_train::weights::{Weights, hwio_from_oihw, oihw_from_hwio};

fn nhwc(images: &[f32], [n, c, h, w]: [usize; 4]) -> Vec<f32> {
    let mut out = Vec::with_capacity(images.len());
    for pixel in 0..n * h * w {
        let (image, at) = (pixel / (h * w), pixel % (h * w));
        out.extend((0..c).map(|channel| images[(image * c + channel) * h * w + at]));
    }
    out
}

/// ‖got − expected‖/‖expected‖ against what PyTorch's own f32 is off by.
#[track_caller]
fn agree(name: &str, got: &[f32], reference: &Weights, key: &str) {
    let expected = &reference.tensor(key).expect(key).values;
    assert_eq!(got.len(), expected.len(), "{name}");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let off = norm(&mut got.iter().zip(expected).map(|(g, e)| f64::from(g - e)));
    let size = norm(&mut expected.iter().map(|e| f64::from(*e)));
    let theirs = f64::from(reference.tensor(&format!("error.{key}")).expect("error").values[0]);
    let allowed = (8.0 * theirs + 2e-6) * size + 1e-7;
    assert!(off <= allowed, "{name}: off by {:e}, PyTorch's f32 by {theirs:e}", off / size);
}

fn check(path: &Path) {
    let reference = Weights::read(path).expect("a reference");
    let config: serde_json::Value =
        serde_json::from_str(&reference.metadata["config"]).expect("JSON");
    let number = |key: &str| usize::try_from(config[key].as_u64().expect(key)).expect("small");
    let (batch, size, width) = (number("batch"), number("size"), number("width"));
    let block = if config["block"] == "BasicBlock" { Block::Basic } else { Block::Bottleneck };
    let stages = config["blocks"]
        .as_array()
        .expect("blocks")
        .iter()
        .map(|b| usize::try_from(b.as_u64().expect("a count")).expect("few"));
    let stem = if config["stem"] == "cifar" { Stem::Cifar { padding: 1 } } else { Stem::ImageNet };
    let resnet = ResNet { block, stages: stages.collect(), width, stem, zero_init_residual: false };

    let mut parameters = Parameters::default();
    let mut builder = GraphBuilder::new(&mut parameters, batch);
    let images = builder.input(size, size, 3).expect("not empty");
    let output = resnet.build(&mut builder, images).expect("a valid network");
    let mut executor = Executor::<f32>::new(builder.finish(&[output]), &parameters, Pass::Training);

    let mut values = vec![0.0; parameters.num_values()];
    for p in parameters.parameters() {
        let theirs =
            &reference.tensor(&format!("parameter.{}", p.name)).expect("torchvision's key").values;
        let ours = match p.shape[..] {
            [h, w, i, o] => hwio_from_oihw(theirs, [o, i, h, w]).expect("a kernel"),
            _ => theirs.clone(),
        };
        values[p.range.clone()].copy_from_slice(&ours);
    }
    let mut running = parameters.initial_buffers();
    let input = &reference.tensor("input").expect("input").values;
    executor.input_mut().copy_from_slice(&nhwc(input, [batch, 3, size, size]));
    executor.forward(&values, Statistics::BatchUpdating(&mut running));
    agree("train output", executor.output(0), &reference, "output.train");
    for b in parameters.buffers() {
        for (what, range) in [("running_mean", &b.mean), ("running_var", &b.variance)] {
            let key = format!("running.{}.{what}", b.name);
            agree(&key, &running[range.clone()], &reference, &key);
        }
    }
    let mut gradients = vec![0.0; values.len()];
    let cotangent = reference.tensor("cotangent").expect("cotangent").values.clone();
    executor.backward(&values, &cotangent, &mut gradients);
    for p in parameters.parameters() {
        let key = format!("gradient.{}", p.name);
        let ours = &gradients[p.range.clone()];
        let ours = match p.shape[..] {
            [h, w, i, o] => oihw_from_hwio(ours, [h, w, i, o]).expect("a kernel"),
            _ => ours.to_vec(),
        };
        // Large ones are cut to every sixteenth row in the committed files.
        let rows = reference.tensor(&key).expect("torchvision's key").shape[0];
        let all = *p.shape.last().expect("not a scalar");
        let row_len = ours.len() / all;
        let kept: Vec<f32> = if rows == all {
            ours
        } else {
            ours.chunks_exact(row_len).step_by(16).flatten().copied().collect()
        };
        agree(&key, &kept, &reference, &key);
    }
    executor.forward(&values, Statistics::Running(&running));
    agree("eval output", executor.output(0), &reference, "output.eval");
}

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn basic_blocks_with_the_stem_for_small_images() {
    check(&golden("resnet_tiny_basic.safetensors"));
}

#[test]
fn bottlenecks_with_the_stem_for_large_images() {
    check(&golden("resnet_tiny_bottleneck.safetensors"));
}

#[test]
fn a_reference_of_any_size() {
    match std::env::var_os("MIRA_RESNET_REFERENCE") {
        Some(path) => check(Path::new(&path)),
        None => println!("skipped: MIRA_RESNET_REFERENCE names no file"),
    }
}
