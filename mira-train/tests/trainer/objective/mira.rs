//! One MIRA step against PyTorch in f64 (`dev/mira_step_golden.py`).

use candle_core::{D, Device, Tensor, Var};
use mira_core::{Mira, StopRule};
use mira_train::objective::{
    Leaves, Loss, Ranks, Reduction, Targets, gradients, swapped_prediction,
};
use serde_json::Value;

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/mira_step.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the file")).expect("JSON")
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        number => vec![number.as_f64().expect("a number")],
    }
}

#[allow(clippy::cast_possible_truncation)] // inputs are exact in f32
fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|x| *x as f32).collect()
}

fn unit_rows(values: &[f64], dim: usize) -> Vec<f64> {
    let rows = values.chunks_exact(dim);
    rows.flat_map(|row| {
        let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        row.iter().map(move |x| x / length)
    })
    .collect()
}

#[track_caller]
pub(crate) fn close(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() <= tolerance, "{what}[{i}]: {got}, PyTorch has {expected}");
    }
}

const REDUCTIONS: [(&str, Reduction); 2] = [("mean", Reduction::Mean), ("sum", Reduction::Sum)];
const SHAPE: (usize, usize, usize) = (6, 5, 7);

#[test]
fn loss_and_gradients_in_f64() -> Result<(), candle_core::Error> {
    let golden = golden();
    let (batch, dim, num_prototypes) = SHAPE;
    for (name, reduction) in REDUCTIONS {
        let expected = &golden["reductions"][name];
        let raw: Vec<Var> = numbers(&golden["student"])
            .chunks(batch * dim)
            .map(|view| Var::from_slice(view, (batch, dim), &Device::Cpu))
            .collect::<Result<_, _>>()?;
        let views = raw
            .iter()
            .map(|view| view.broadcast_div(&view.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?))
            .collect::<Result<Vec<_>, _>>()?;
        let prototypes =
            Var::from_slice(&numbers(&golden["prototypes"]), (num_prototypes, dim), &Device::Cpu)?;
        let targets = numbers(&golden["targets"]);
        let target = |t: usize| {
            let len = batch * num_prototypes;
            Tensor::from_slice(
                &targets[t * len..(t + 1) * len],
                (batch, num_prototypes),
                &Device::Cpu,
            )
        };
        let loss = swapped_prediction(
            &views,
            prototypes.as_tensor(),
            &[target(0)?, target(1)?],
            0.1,
            reduction,
        )?;
        close("loss", &[loss.to_scalar()?], &numbers(&expected["loss"]), 1e-12);
        let gradients = loss.backward()?;
        let of = |var: &Var| {
            gradients.get(var.as_tensor()).expect("a gradient").flatten_all()?.to_vec1::<f64>()
        };
        let student = raw.iter().map(of).collect::<Result<Vec<_>, _>>()?.concat();
        close("student", &student, &numbers(&expected["gradient_student"]), 1e-9);
        close("prototypes", &of(&prototypes)?, &numbers(&expected["gradient_prototypes"]), 1e-9);
    }
    Ok(())
}

#[test]
fn targets_are_the_teachers_assignments_of_each_view() {
    let golden = golden();
    let (batch, dim, num_prototypes) = SHAPE;
    let mut targets =
        Targets::new(batch, dim, num_prototypes, &Ranks::default()).expect("not empty");
    let teacher = narrow(&unit_rows(&numbers(&golden["teacher"]), dim));
    for (view, rows) in teacher.chunks_exact(batch * dim).enumerate() {
        targets.collect(view, rows);
    }
    let method =
        Mira::new(0.225, 0.7).and_then(|m| m.with_stop(StopRule::Sweeps(30))).expect("valid");
    targets
        .assign(&narrow(&numbers(&golden["prototypes"])), method.into())
        .expect("finite embeddings");
    let got: Vec<f64> = [0, 1]
        .iter()
        .flat_map(|&v| targets.rows(v, 0, batch).iter().map(|w| f64::from(*w)))
        .collect();
    close("targets", &got, &numbers(&golden["targets"]), 2e-5);
}

#[test]
fn what_training_calls_agrees_in_f32() {
    let golden = golden();
    let (batch, dim, num_prototypes) = SHAPE;
    let rows = narrow(&unit_rows(&numbers(&golden["student"]), dim));
    let mut leaves = Leaves::new(&rows, batch, dim).expect("whole views");
    let prototypes = narrow(&numbers(&golden["prototypes"]));
    leaves.push("prototypes.weight", &prototypes, &[num_prototypes, dim]).expect("K × dim");
    let targets = narrow(&numbers(&golden["targets"]));
    let target = |t: usize| {
        let rows = &targets[t * batch * num_prototypes..(t + 1) * batch * num_prototypes];
        Tensor::from_slice(rows, (batch, num_prototypes), &Device::Cpu).expect("batch × K")
    };
    for (name, reduction) in REDUCTIONS {
        let expected = &golden["reductions"][name];
        let own = leaves.own();
        let loss = swapped_prediction(
            &leaves.views(),
            &own["prototypes.weight"],
            &[target(0), target(1)],
            0.1,
            reduction,
        );
        let got = gradients(&Loss::from(loss.expect("fitting shapes")), &leaves).expect("smooth");
        close("loss", &[f64::from(got.loss)], &numbers(&expected["loss"]), 2e-6);
        let wide: Vec<f64> = got.own["prototypes.weight"].iter().map(|g| f64::from(*g)).collect();
        close("prototypes", &wide, &numbers(&expected["gradient_prototypes"]), 1e-6);
    }
}
