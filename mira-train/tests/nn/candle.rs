//! Layers against candle's autograd, in f64: forward, and gradients by weights and by a layer's input.

use candle_core::{Device, Tensor, Var};
use mira_train::nn::cpu::{Executor, Statistics};
use mira_train::nn::{Convolution, GraphBuilder, Parameters, Pass};
use mira_train::rng::{Purpose, Rng};

fn random(len: usize, stream: u32) -> Vec<f64> {
    let mut rng = Rng::new(11, Purpose::Other(2), [stream, 0, 0]);
    (0..len).map(|_| f64::from(rng.normal())).collect()
}

#[track_caller]
fn close(what: &str, got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!(
            (got - expected).abs() <= 1e-12 * scale,
            "{what}[{i}]: {got}, candle has {expected}"
        );
    }
}

/// NHWC or HWIO as candle has it, by a permutation of axes.
fn flat(tensor: &Tensor, axes: [usize; 4]) -> Result<Vec<f64>, candle_core::Error> {
    tensor.permute(axes)?.contiguous()?.flatten_all()?.to_vec1()
}

#[test]
fn two_convolutions_and_a_mean() -> Result<(), candle_core::Error> {
    let (batch, side) = (3, 9);
    for (channels, middle, out, kernel, stride, padding) in
        [(3, 20, 7, 3, 1, 1), (17, 16, 40, 3, 2, 1), (5, 64, 6, 1, 2, 0), (3, 8, 8, 5, 2, 2)]
    {
        let mut parameters = Parameters::default();
        let mut graph = GraphBuilder::new(&mut parameters, batch);
        let images = graph.input(side, side, channels).expect("not empty");
        let conv = |out_channels, kernel, stride, padding| Convolution {
            out_channels,
            kernel,
            stride,
            padding,
            bias: false,
        };
        let x = graph.convolution("a", images, conv(middle, 3, 1, 1)).expect("fits");
        let x = graph.convolution("b", x, conv(out, kernel, stride, padding)).expect("fits");
        let x = graph.average_pool(x);
        let graph = graph.finish(&[x]);
        let mut executor = Executor::<f64>::new(graph, &parameters, Pass::Training);
        let values = random(parameters.num_values(), 1);
        let pixels = random(batch * side * side * channels, 2);
        let cotangent = random(batch * out, 3);
        executor.input_mut().copy_from_slice(&pixels);
        executor.forward(&values, Statistics::Batch);
        let mut gradients = vec![0.0; values.len()];
        executor.backward(&values, &cotangent, &mut gradients);

        let range = |name: &str| parameters.find(name).expect("a layer").range.clone();
        let weight = |name: &str, shape: (usize, usize, usize, usize)| {
            let hwio = Tensor::from_slice(&values[range(name)], shape, &Device::Cpu)?;
            Var::from_tensor(&hwio.permute([3, 2, 0, 1])?.contiguous()?)
        };
        let a = weight("a.weight", (3, 3, channels, middle))?;
        let b = weight("b.weight", (kernel, kernel, middle, out))?;
        let images = Tensor::from_slice(&pixels, (batch, side, side, channels), &Device::Cpu)?;
        let images = images.permute([0, 3, 1, 2])?.contiguous()?;
        let x = images.conv2d(a.as_tensor(), 1, 1, 1, 1)?.conv2d(
            b.as_tensor(),
            padding,
            stride,
            1,
            1,
        )?;
        let x = x.mean(3)?.mean(2)?;
        close("output", executor.output(0), &x.flatten_all()?.to_vec1::<f64>()?);
        let cotangent = Tensor::from_slice(&cotangent, (batch, out), &Device::Cpu)?;
        let theirs = (x * cotangent)?.sum_all()?.backward()?;
        for (name, var) in [("a.weight", &a), ("b.weight", &b)] {
            let expected = flat(theirs.get(var.as_tensor()).expect("a gradient"), [2, 3, 1, 0])?;
            close(name, &gradients[range(name)], &expected);
        }
    }
    Ok(())
}
