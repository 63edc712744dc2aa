//! Whole residual networks against torchvision's: outputs, running statistics and gradients (`dev/reference_resnet.py`).
//!
//! `MIRA_RESNET_REFERENCE=FILE` checks a file of that script of any size, too; `just reference-resnet` makes one of ResNet-50.

use std::path::Path;

use mira_simd::Scalar;
use mira_train::model::{Block, ResNet, Stem};
use mira_train::nn::cpu::{Executor, Number, Statistics};
use mira_train::nn::{GraphBuilder, Parameters, Pass};
use mira_train::weights::{Weights, hwio_from_oihw};

fn nhwc(images: &[f32], [n, c, h, w]: [usize; 4]) -> Vec<f32> {
    let mut out = Vec::with_capacity(images.len());
    for pixel in 0..n * h * w {
        let (image, at) = (pixel / (h * w), pixel % (h * w));
        out.extend((0..c).map(|channel| images[(image * c + channel) * h * w + at]));
    }
    out
}

/// How far results may be from the reference's, which is f64 stored as f32.
#[derive(Clone, Copy, PartialEq)]
enum Allowed {
    /// Rounding to storage: for a computation in f64.
    Storage,
    /// A few times what PyTorch's own f32 is off by.
    AsPyTorch,
}

/// Squares of ‖got − expected‖, of PyTorch's ‖f32 − f64‖ and of ‖expected‖.
#[derive(Clone, Copy, Default)]
struct Distance {
    ours: f64,
    theirs: f64,
    size: f64,
}

impl Distance {
    fn of<T: Scalar>(got: &[T], reference: &Weights, key: &str) -> Self {
        let expected = &reference.tensor(key).expect(key).values;
        assert_eq!(got.len(), expected.len(), "{key}");
        let sum = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
        let ours = sum(&mut got.iter().zip(expected).map(|(g, e)| g.as_() - f64::from(*e)));
        let size = sum(&mut expected.iter().map(|e| f64::from(*e)));
        let theirs = f64::from(reference.tensor(&format!("error.{key}")).expect("error").values[0]);
        Self { ours, theirs: theirs * theirs * size, size }
    }

    #[track_caller]
    fn check(self, name: &str, allowed: Allowed) {
        let (off, theirs, size) = (self.ours.sqrt(), self.theirs.sqrt(), self.size.sqrt());
        let limit = match allowed {
            Allowed::Storage => 2e-6 * size + 1e-7,
            Allowed::AsPyTorch => 8.0 * theirs + 2e-6 * size + 1e-7,
        };
        let (off_by, theirs) = (off / size, theirs / size);
        println!("{name:40} off by {off_by:.1e}; PyTorch's f32 by {theirs:.1e}");
        assert!(off <= limit, "{name}: off by {off_by:e}, PyTorch's f32 by {theirs:e}");
    }
}

/// Runs the reference's steps. Gradients in f32 are compared each for itself only where `each`: in a deep network an activation within
/// rounding of zero may fall on the other side of a ReLU, which changes single gradients by far more than rounding, PyTorch's too.
fn check<T: Number>(path: &Path, allowed: Allowed, each: bool) {
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
    let mut executor = Executor::<T>::new(builder.finish(&[output]), &parameters, Pass::Training);

    let from_f32 =
        |values: &[f32]| -> Vec<T> { values.iter().map(|x| T::from_f64(f64::from(*x))).collect() };
    let mut values = vec![T::zero(); parameters.num_values()];
    for p in parameters.parameters() {
        let theirs =
            &reference.tensor(&format!("parameter.{}", p.name)).expect("torchvision's key").values;
        let ours = match p.shape[..] {
            [h, w, i, o] => hwio_from_oihw(theirs, [o, i, h, w]).expect("a kernel"),
            _ => theirs.clone(),
        };
        values[p.range.clone()].copy_from_slice(&from_f32(&ours));
    }
    let mut running = from_f32(&parameters.initial_buffers());
    let input = &reference.tensor("input").expect("input").values;
    executor.input_mut().copy_from_slice(&from_f32(&nhwc(input, [batch, 3, size, size])));
    executor.forward(&values, Statistics::BatchUpdating(&mut running));
    let agree = |name: &str, got: &[T]| Distance::of(got, &reference, name).check(name, allowed);
    agree("output.train", executor.output(0));
    for b in parameters.buffers() {
        for (what, range) in [("running_mean", &b.mean), ("running_var", &b.variance)] {
            let key = format!("running.{}.{what}", b.name);
            agree(&key, &running[range.clone()]);
        }
    }
    let mut gradients = vec![T::zero(); values.len()];
    let cotangent = from_f32(&reference.tensor("cotangent").expect("cotangent").values);
    executor.backward(&values, &cotangent, &mut gradients);
    let mut whole = Distance::default();
    for p in parameters.parameters() {
        let key = format!("gradient.{}", p.name);
        let ours = &gradients[p.range.clone()];
        let ours = match p.shape[..] {
            [h, w, i, o] => oihw_from_hwio_of(ours, [h, w, i, o]),
            _ => ours.to_vec(),
        };
        // Large ones are cut to every sixteenth row in the committed files.
        let rows = reference.tensor(&key).expect("torchvision's key").shape[0];
        let all = *p.shape.last().expect("not a scalar");
        let row_len = ours.len() / all;
        let kept: Vec<T> = if rows == all {
            ours
        } else {
            ours.chunks_exact(row_len).step_by(16).flatten().copied().collect()
        };
        let distance = Distance::of(&kept, &reference, &key);
        if each {
            distance.check(&key, allowed);
        }
        whole.ours += distance.ours;
        whole.theirs += distance.theirs;
        whole.size += distance.size;
    }
    whole.check("the whole gradient", allowed);
    executor.forward(&values, Statistics::Running(&running));
    agree("output.eval", executor.output(0));
}

/// `[o, i, h, w]` from `[h, w, i, o]`, in any precision.
fn oihw_from_hwio_of<T: Scalar>(values: &[T], [h, w, i, o]: [usize; 4]) -> Vec<T> {
    let mut out = Vec::with_capacity(values.len());
    for at_o in 0..o {
        for at_i in 0..i {
            out.extend((0..h * w).map(|at| values[(at * i + at_i) * o + at_o]));
        }
    }
    out
}

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn basic_blocks_with_the_stem_for_small_images() {
    check::<f32>(&golden("resnet_tiny_basic.safetensors"), Allowed::AsPyTorch, true);
    check::<f64>(&golden("resnet_tiny_basic.safetensors"), Allowed::Storage, true);
}

#[test]
fn bottlenecks_with_the_stem_for_large_images() {
    check::<f32>(&golden("resnet_tiny_bottleneck.safetensors"), Allowed::AsPyTorch, true);
    check::<f64>(&golden("resnet_tiny_bottleneck.safetensors"), Allowed::Storage, true);
}

#[test]
fn a_reference_of_any_size() {
    let Some(path) = std::env::var_os("MIRA_RESNET_REFERENCE") else {
        println!("skipped: MIRA_RESNET_REFERENCE names no file");
        return;
    };
    check::<f64>(Path::new(&path), Allowed::Storage, true);
    check::<f32>(Path::new(&path), Allowed::AsPyTorch, false);
}
