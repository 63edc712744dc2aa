//! The Rust half of `dev/bench_training_step`: one training step of a ResNet on random images, forward, backward and SGD. Prints one JSON
//! line: images a second of each step, and peak memory.

use std::time::Instant;

use mira_train::model::{ResNet, Stem};
use mira_train::nn::cpu::{Executor, Statistics};
use mira_train::nn::{GraphBuilder, Parameters, Pass};
use mira_train::rng::{Purpose, Rng};

fn main() {
    let argument = |name: &str, default: &str| {
        let mut arguments = std::env::args().skip_while(|a| a != name);
        arguments.nth(1).unwrap_or_else(|| default.into())
    };
    let number =
        |name: &str, default: &str| -> usize { argument(name, default).parse().expect("a number") };
    let (batch, side) = (number("--batch", "128"), number("--size", "32"));
    let (warm_up, steps) = (number("--warm-up", "1"), number("--steps", "3"));
    let architecture = argument("--arch", "resnet18");
    let stem = if argument("--stem", "cifar") == "cifar" {
        Stem::Cifar { padding: 1 }
    } else {
        Stem::ImageNet
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(number("--threads", "2"))
        .build_global()
        .expect("threads");

    let architecture = serde_json::from_value(architecture.into()).expect("a known architecture");
    let (block, stages) = ResNet::stages(architecture);
    let width = number("--width", "64");
    let resnet = ResNet { block, stages: stages.to_vec(), width, stem, zero_init_residual: false };
    let mut parameters = Parameters::default();
    let mut builder = GraphBuilder::new(&mut parameters, batch);
    let images = builder.input(side, side, 3).expect("not empty");
    let output = resnet.build(&mut builder, images).expect("a valid network");
    let graph = builder.finish(&[output]);
    let flops = graph.forward_flops() + graph.backward_flops();
    let mut executor = Executor::<f32>::new(graph, &parameters, Pass::Training);

    let mut values = parameters.initial_values(0);
    let mut running = parameters.initial_buffers();
    let mut gradients = vec![0.0f32; values.len()];
    let mut momentum = vec![0.0f32; values.len()];
    let mut rng = Rng::new(0, Purpose::Eval, [0; 3]);
    let pixels: Vec<f32> = (0..executor.input_mut().len()).map(|_| rng.normal()).collect();
    let cotangent: Vec<f32> = (0..batch * resnet.output_dim()).map(|_| rng.normal()).collect();
    let mut seconds = Vec::new();
    let (mut forward, mut backward) = (0.0, 0.0);
    for step in 0..warm_up + steps {
        let start = Instant::now();
        executor.input_mut().copy_from_slice(&pixels);
        executor.forward(&values, Statistics::BatchUpdating(&mut running));
        let after_forward = start.elapsed().as_secs_f64();
        gradients.fill(0.0);
        executor.backward(&values, &cotangent, &mut gradients);
        let after_backward = start.elapsed().as_secs_f64();
        for ((value, gradient), momentum) in values.iter_mut().zip(&gradients).zip(&mut momentum) {
            *momentum = 0.9 * *momentum + gradient;
            *value -= 1e-4 * *momentum;
        }
        if step >= warm_up {
            seconds.push(start.elapsed().as_secs_f64());
            forward += after_forward;
            backward += after_backward - after_forward;
        }
    }
    let rates: Vec<f64> = seconds.iter().map(|s| batch as f64 / s).collect();
    let total: f64 = seconds.iter().sum();
    println!(
        "{{\"images_per_second\": {rates:?}, \"gflops\": {:.1}, \"forward_seconds\": {:.4}, \"backward_seconds\": {:.4}, \"peak_bytes\": {}}}",
        flops as f64 * steps as f64 / total / 1e9,
        forward / steps as f64,
        backward / steps as f64,
        peak_bytes(),
    );
}

/// The process's largest resident set so far.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    1024 * line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0)
}
