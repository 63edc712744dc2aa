//! Losses and gradients of the baselines against PyTorch in f64 (`dev/objectives_golden.py`).

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use mira_train::objective::{
    self, Error, Ranks, SelfClassifierTemperatures, TwistWeights, VicRegWeights,
    label_cross_entropy, nt_xent, redundancy_reduction, twin_class, twist_logits,
    uniform_prior_classification, variance_invariance_covariance,
};
use serde_json::Value;

use super::support::{Inputs, Values, build, close, evaluate, prepare, recipe, saved};

struct Case {
    inputs: BTreeMap<String, Values>,
    loss: f64,
    gradients: BTreeMap<String, Vec<f64>>,
}

fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        number => vec![number.as_f64().expect("a number")],
    }
}

fn case(name: &str) -> Case {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/objectives/baselines.json");
    let text = std::fs::read_to_string(path).expect("the file");
    let golden: Value = serde_json::from_str(&text).expect("JSON");
    let case = &golden["cases"][name];
    let entries = |of: &str| case[of].as_object().expect("by name").clone().into_iter();
    let values = |value: &Value| {
        let rows = value.as_array().expect("rows");
        let columns = rows[0].as_array().map(Vec::len);
        let shape = [rows.len()].into_iter().chain(columns).collect();
        Values { shape, values: flat(value) }
    };
    Case {
        inputs: entries("inputs").map(|(name, value)| (name, values(&value))).collect(),
        loss: case["loss"].as_f64().expect("a number"),
        gradients: entries("gradients").map(|(name, value)| (name, flat(&value))).collect(),
    }
}

/// Compares a pure function of the views.
#[track_caller]
fn pure(name: &str, loss: impl Fn(&[Tensor]) -> Result<Tensor, Error>) {
    let case = case(name);
    let var = |values: &Values| {
        Var::from_slice(&values.values, values.shape.as_slice(), &Device::Cpu).expect("fits")
    };
    let views: Vec<(&String, Var)> = case
        .inputs
        .iter()
        .filter(|(name, _)| name.starts_with("view"))
        .map(|(name, values)| (name, var(values)))
        .collect();
    let tensors: Vec<Tensor> = views.iter().map(|(_, v)| v.as_tensor().clone()).collect();
    let loss = loss(&tensors).expect(name);
    close(name, &[loss.to_scalar().expect("f64")], &[case.loss], 1e-9);
    let store = loss.backward().expect(name);
    for (view, var) in views {
        let gradient = store.get(var.as_tensor()).expect("a gradient");
        let gradient = gradient.flatten_all().and_then(|g| g.to_vec1::<f64>()).expect("f64");
        close(&format!("{name}, {view}"), &gradient, &case.gradients[view], 1e-9);
    }
}

fn pair(views: &[Tensor]) -> [Tensor; 2] {
    [views[0].clone(), views[1].clone()]
}

#[test]
fn pure_functions_agree() {
    pure("simclr", |views| nt_xent(&pair(views), 0.1));
    pure("barlow-twins", |views| redundancy_reduction(&pair(views), 0.0051));
    let weights =
        VicRegWeights { invariance_weight: 25.0, variance_weight: 25.0, covariance_weight: 1.0 };
    pure("vicreg", |views| variance_invariance_covariance(&pair(views), &weights));
    let weights = TwistWeights { sharpness_weight: 1.0, diversity_weight: 1.0 };
    pure("twist", |views| {
        let logits = views.iter().map(twist_logits).collect::<Result<Vec<_>, _>>()?;
        twin_class(&logits, &weights)
    });
    let temperatures =
        SelfClassifierTemperatures { row_temperature: 0.1, column_temperature: 0.05 };
    pure("self-classifier", |views| uniform_prior_classification(views, &temperatures));
    let labels: Vec<f32> =
        case("deepcluster-v2").inputs["labels"].values.iter().map(|x| *x as f32).collect();
    pure("deepcluster-v2", |views| {
        let (sum, count) = label_cross_entropy(views, &labels, 0.1)?;
        Ok((sum / count as f64)?)
    });
}

/// Through the trait, with the published settings that recipes begin with.
#[test]
fn methods_agree_as_recipes_build_them() {
    let names =
        ["simclr", "barlow-twins", "vicreg", "twist", "byol", "linear-byol", "dino", "swav"];
    for name in names {
        let method = objective::find(name).expect("a method");
        let case = case(name);
        let recipe = recipe(method, &[]);
        let mut inputs = Inputs::new(method, &recipe, 1);
        let values = |name: &str| case.inputs[name].clone();
        for (v, view) in inputs.views.iter_mut().enumerate() {
            *view = values(&format!("view{v}"));
        }
        if method.needs.targets {
            inputs.teacher = [values("target0"), values("target1")];
        }
        for (name, own) in &mut inputs.own {
            *own = values(name);
        }
        for (name, own) in &mut inputs.teachers_own {
            let of_teacher = case.inputs.get(&format!("teacher.{name}"));
            *own = of_teacher.cloned().unwrap_or_else(|| values(name));
        }
        let ranks = Ranks::default();
        let mut objective = build(&recipe, &ranks);
        let mut tolerance = if name == "swav" { 2e-5 } else { 1e-9 };
        if let Some(center) = case.inputs.get("center") {
            let mut state = saved(&*objective);
            state.insert("center".into(), center.values.iter().map(|x| *x as f32).collect());
            objective.restore(state).expect("a centre");
            tolerance = 1e-8;
        }
        let step = inputs.step(0, &ranks);
        prepare(method, &mut *objective, &inputs, DType::F64, &step).expect(name);
        let got = evaluate(&mut *objective, &inputs, DType::F64, 0, &step).expect(name);
        close(name, &[got.loss], &[case.loss], tolerance);
        for (v, gradient) in got.views.iter().enumerate() {
            close(name, gradient, &case.gradients[&format!("view{v}")], tolerance);
        }
        for (own, gradient) in &got.own {
            close(&format!("{name}, {own}"), gradient, &case.gradients[own], tolerance);
        }
    }
}
