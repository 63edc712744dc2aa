//! Layers against candle's autograd, in f64: forward, and gradients by weights and by a layer's input.

use candle_core::{Device, Tensor, Var};
use mira_train::nn::cpu::{Executor, Statistics};
use mira_train::nn::{Convolution, GraphBuilder, Normalisation, Parameters, Pass};
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

/// Batch norm of B × C × H × W with the batch's statistics.
fn batch_norm(x: &Tensor, scale: &Tensor, offset: &Tensor) -> Result<Tensor, candle_core::Error> {
    let channels = x.dim(1)?;
    let mean = |x: &Tensor| x.mean_keepdim(3)?.mean_keepdim(2)?.mean_keepdim(0);
    let centred = x.broadcast_sub(&mean(x)?)?;
    let variance = mean(&centred.sqr()?)?;
    let normalised = centred.broadcast_div(&(variance + Normalisation::EPSILON)?.sqrt()?)?;
    let scaled = normalised.broadcast_mul(&scale.reshape((1, channels, 1, 1))?)?;
    scaled.broadcast_add(&offset.reshape((1, channels, 1, 1))?)
}

/// 3×3 windows, stride 2, padding 1, of values that are not negative.
fn max_pool(x: &Tensor) -> Result<Tensor, candle_core::Error> {
    let (height, width) = (x.dim(2)?, x.dim(3)?);
    let padded = x.pad_with_zeros(2, 1, 2)?.pad_with_zeros(3, 1, 2)?;
    let every_other = |first: u32, len: usize| {
        let indices: Vec<u32> = (first..).step_by(2).take((len - 1) / 2 + 1).collect();
        Tensor::new(indices, &Device::Cpu)
    };
    let mut largest: Option<Tensor> = None;
    for y in 0..3 {
        for x in 0..3 {
            let rows = padded.index_select(&every_other(y, height)?, 2)?;
            let tap = rows.index_select(&every_other(x, width)?, 3)?;
            largest = Some(match largest {
                Some(largest) => largest.maximum(&tap)?,
                None => tap,
            });
        }
    }
    Ok(largest.expect("nine taps"))
}

/// Every other layer: batch norms with and without shortcut and ReLU, over images and over vectors, pools, linear layers, normalisation.
#[test]
fn a_residual_block_and_a_head() -> Result<(), candle_core::Error> {
    let (batch, side, channels, middle, out) = (4, 7, 3, 18, 5);
    let relu = Normalisation { shortcut: None, relu: true, zero_init: false };
    let mut parameters = Parameters::default();
    let mut graph = GraphBuilder::new(&mut parameters, batch);
    let conv = |kernel, padding| Convolution {
        out_channels: middle,
        kernel,
        stride: 1,
        padding,
        bias: false,
    };
    let x = graph.input(side, side, channels).expect("not empty");
    let x = graph.convolution("a", x, conv(3, 1)).expect("fits");
    let x = graph.batch_norm("na", x, relu).expect("fits");
    let pooled = graph.max_pool(x);
    let x = graph.convolution("b", pooled, conv(1, 0)).expect("fits");
    let shortcut = Normalisation { shortcut: Some(pooled), ..relu };
    let x = graph.batch_norm("nb", x, shortcut).expect("fits");
    let x = graph.average_pool(x);
    let x = graph.linear("c", x, out, false).expect("fits");
    let x = graph.batch_norm("nc", x, Normalisation { relu: false, ..relu }).expect("fits");
    let x = graph.linear("d", x, out, true).expect("fits");
    let x = graph.l2_normalise(x);
    let mut executor = Executor::<f64>::new(graph.finish(&[x]), &parameters, Pass::Training);
    let values = random(parameters.num_values(), 4);
    let pixels = random(batch * side * side * channels, 5);
    let cotangent = random(batch * out, 6);
    executor.input_mut().copy_from_slice(&pixels);
    executor.forward(&values, Statistics::Batch);
    let mut gradients = vec![0.0; values.len()];
    executor.backward(&values, &cotangent, &mut gradients);

    // Parameters as they lie in memory: HWIO, input × output, vectors.
    let vars = parameters
        .parameters()
        .iter()
        .map(|p| Var::from_slice(&values[p.range.clone()], &p.shape[..], &Device::Cpu))
        .collect::<Result<Vec<_>, _>>()?;
    let var = |name: &str| {
        let i = parameters.parameters().iter().position(|p| p.name == name).expect("a layer");
        vars[i].as_tensor()
    };
    let kernel = |name: &str| var(name).permute([3, 2, 0, 1])?.contiguous();
    let norm = |x: &Tensor, name: &str| {
        batch_norm(x, var(&format!("{name}.weight")), var(&format!("{name}.bias")))
    };
    let images = Tensor::from_slice(&pixels, (batch, side, side, channels), &Device::Cpu)?;
    let images = images.permute([0, 3, 1, 2])?.contiguous()?;
    let x = norm(&images.conv2d(&kernel("a.weight")?, 1, 1, 1, 1)?, "na")?.relu()?;
    let pooled = max_pool(&x)?;
    let x = norm(&pooled.conv2d(&kernel("b.weight")?, 0, 1, 1, 1)?, "nb")?;
    let x = (x + pooled)?.relu()?.mean(3)?.mean(2)?;
    let linear = |x: &Tensor, name: &str, out: usize| {
        let weight = var(name);
        x.matmul(&weight.reshape((weight.elem_count() / out, out))?)
    };
    let x = linear(&x, "c.weight", out)?;
    let x = norm(&x.reshape((batch, out, 1, 1))?, "nc")?.reshape((batch, out))?;
    let x = linear(&x, "d.weight", out)?.broadcast_add(var("d.bias"))?;
    let x = x.broadcast_div(&x.sqr()?.sum_keepdim(1)?.sqrt()?)?;
    close("output", executor.output(0), &x.flatten_all()?.to_vec1::<f64>()?);
    let cotangent = Tensor::from_slice(&cotangent, (batch, out), &Device::Cpu)?;
    let theirs = (x * cotangent)?.sum_all()?.backward()?;
    for (parameter, var) in parameters.parameters().iter().zip(&vars) {
        let expected = theirs.get(var.as_tensor()).expect("a gradient").flatten_all()?;
        let ours = &gradients[parameter.range.clone()];
        close(&parameter.name, ours, &expected.to_vec1::<f64>()?);
    }
    Ok(())
}
