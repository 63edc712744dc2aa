//! Every method at small shapes: a recipe, inputs, a loss with its gradients, ranks that are threads.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use mira_core::ThreadCollective;
use mira_train::nn::Initialisation;
use mira_train::objective::{self, Error, Method, Objective, Ranks, Setup, State, Step, Weights};
use mira_train::recipe::Recipe;

pub(crate) const BATCH: usize = 8;
pub(crate) const DIM: usize = 6;
pub(crate) const PROTOTYPES: usize = 5;
/// Images in the training set; more than a batch, so that indices are not positions.
pub(crate) const NUM_IMAGES: usize = 20;
pub(crate) const STEPS_PER_EPOCH: u64 = 2;

/// Settings under `[objective]` without which a method's published defaults do not fit the small shapes.
fn small(method: &str) -> &'static [&'static str] {
    match method {
        "byol" => &["predictor_hidden_dim = 7"],
        "imsvd" => &["variables = 3", "bins = 2"],
        "swav" => &["queue_length = 16", "queue_start_epoch = 0"],
        _ => &[],
    }
}

/// A recipe of a method, with `key=value` settings.
#[track_caller]
pub(crate) fn recipe(method: &Method, settings: &[&str]) -> Recipe {
    let has = |section: &str| method.sections.contains(&section);
    let mut text = format!(
        "[model]\narchitecture = \"resnet8\"\n[projector]\nhidden_dim = 8\nnum_hidden = 1\noutput_dim = {DIM}\n\
         [objective]\nname = \"{}\"\n{}\n[optimizer]\nkind = \"sgd\"\nbase_lr = 0.1\nweight_decay = 0.0\n\
         [schedule]\nepochs = 4\nwarmup_epochs = 1\n[train]\nbatch_size = {BATCH}\n",
        method.name,
        small(method.name).join("\n")
    );
    if has("prototypes") {
        let _ = write!(text, "[prototypes]\ncount = {PROTOTYPES}\n");
    }
    if has("assignment") {
        text += "[assignment]\niterations = 30\n";
    }
    let views: &[&str] = if method.needs.two_views { &["a", "b"] } else { &["a", "b", "c", "d"] };
    for name in views {
        let _ = write!(text, "[[views]]\nname = \"{name}\"\nsize = 16\nscale = [0.2, 1.0]\n");
    }
    let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
    Recipe::from_toml(&text, method.name)
        .and_then(|recipe| recipe.with_overrides(&settings))
        .unwrap_or_else(|e| panic!("{e}"))
}

/// Numbers in (−1, 1) that differ from seed to seed.
pub(crate) fn numbers(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

/// A matrix or vector, row-major.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f64>,
}

impl Values {
    fn var(&self, dtype: DType) -> Var {
        let tensor = Tensor::from_slice(&self.values, self.shape.as_slice(), &Device::Cpu);
        Var::from_tensor(&tensor.and_then(|t| t.to_dtype(dtype)).expect("fits")).expect("a Var")
    }

    /// Rows in another order, or some of them.
    fn rows(&self, rows: &[usize]) -> Self {
        let row = self.values.len() / self.shape[0];
        let values = rows.iter().flat_map(|&i| self.values[i * row..(i + 1) * row].to_vec());
        let shape = [&[rows.len()], &self.shape[1..]].concat();
        Self { shape, values: values.collect() }
    }
}

/// What a step is about: views, the teacher's global views, parameters, which images.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    pub(crate) views: Vec<Values>,
    pub(crate) teacher: [Values; 2],
    pub(crate) own: BTreeMap<String, Values>,
    pub(crate) teachers_own: BTreeMap<String, Values>,
    pub(crate) indices: Vec<u32>,
}

impl Inputs {
    /// Of unit length where the method wants that.
    pub(crate) fn new(method: &Method, recipe: &Recipe, seed: u64) -> Self {
        let matrix = |seed: u64| {
            let mut values = numbers(seed, BATCH * DIM);
            if method.needs.unit_length {
                for row in values.chunks_mut(DIM) {
                    let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                    for x in row {
                        *x /= length;
                    }
                }
            }
            Values { shape: vec![BATCH, DIM], values }
        };
        let num_views: usize = recipe.views.iter().map(|view| view.count).sum();
        let own = |seed: u64| -> BTreeMap<String, Values> {
            let parameters = objective::own_parameters(recipe);
            let drawn = parameters.into_iter().enumerate().map(|(i, parameter)| {
                let count = parameter.shape.iter().product();
                let middle = match parameter.initialisation {
                    Initialisation::Constant(c) => f64::from(c),
                    _ => 0.0,
                };
                let values = numbers(seed + i as u64, count);
                let values = values.iter().map(|x| middle + 0.5 * x).collect();
                (parameter.name, Values { shape: parameter.shape, values })
            });
            drawn.collect()
        };
        let first = own(seed + 101);
        Self {
            views: (0..num_views as u64).map(|v| matrix(seed + 11 + v)).collect(),
            teacher: if recipe.has_teacher() {
                [matrix(seed + 31), matrix(seed + 32)]
            } else {
                [matrix(seed + 11), matrix(seed + 12)]
            },
            teachers_own: if recipe.has_teacher() { own(seed + 201) } else { first.clone() },
            own: first,
            indices: (0..BATCH as u32).map(|i| (i * 3 + seed as u32) % NUM_IMAGES as u32).collect(),
        }
    }

    /// The same of some samples, or in another order.
    pub(crate) fn rows(&self, rows: &[usize]) -> Self {
        Self {
            views: self.views.iter().map(|view| view.rows(rows)).collect(),
            teacher: [self.teacher[0].rows(rows), self.teacher[1].rows(rows)],
            indices: rows.iter().map(|&i| self.indices[i]).collect(),
            ..self.clone()
        }
    }

    /// A step at the number, whose epoch follows from it.
    pub(crate) fn step<'a>(&'a self, number: u64, ranks: &'a Ranks) -> Step<'a> {
        Step { number, epoch: number / STEPS_PER_EPOCH, indices: &self.indices, ranks }
    }
}

/// A loss and its gradients, as f64.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Evaluated {
    pub(crate) loss: f64,
    pub(crate) views: Vec<Vec<f64>>,
    pub(crate) own: BTreeMap<String, Vec<f64>>,
}

/// Builds a method for its recipe.
#[track_caller]
pub(crate) fn build(recipe: &Recipe, ranks: &Ranks) -> Box<dyn Objective> {
    let setup = Setup { recipe, num_images: NUM_IMAGES, steps_per_epoch: STEPS_PER_EPOCH, ranks };
    objective::new(&setup).unwrap_or_else(|e| panic!("{}: {e}", recipe.objective.name))
}

fn vars(values: &BTreeMap<String, Values>, dtype: DType) -> BTreeMap<String, Var> {
    values.iter().map(|(name, v)| (name.clone(), v.var(dtype))).collect()
}

fn tensors(vars: &BTreeMap<String, Var>) -> BTreeMap<String, Tensor> {
    vars.iter().map(|(name, v)| (name.clone(), v.as_tensor().clone())).collect()
}

fn wide(tensor: &Tensor) -> Vec<f64> {
    let wide = tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all()?.to_vec1());
    wide.expect("floating point")
}

/// Gives the method its targets, if it wants any.
pub(crate) fn prepare(
    method: &Method,
    objective: &mut dyn Objective,
    inputs: &Inputs,
    dtype: DType,
    step: &Step<'_>,
) -> Result<(), Error> {
    if !method.needs.targets {
        return Ok(());
    }
    let tensor = |values: &Values| values.var(dtype).as_tensor().clone();
    let teacher = [tensor(&inputs.teacher[0]), tensor(&inputs.teacher[1])];
    let weights = Weights::new(
        tensors(&vars(&inputs.own, dtype)),
        tensors(&vars(&inputs.teachers_own, dtype)),
    );
    objective.prepare(&teacher, &weights, step).map(drop)
}

/// The loss of the samples from `start` on and its gradients; targets are those prepared before.
pub(crate) fn evaluate(
    objective: &mut dyn Objective,
    inputs: &Inputs,
    dtype: DType,
    start: usize,
    step: &Step<'_>,
) -> Result<Evaluated, Error> {
    let views: Vec<Var> = inputs.views.iter().map(|view| view.var(dtype)).collect();
    let own = vars(&inputs.own, dtype);
    let weights = Weights::new(tensors(&own), tensors(&vars(&inputs.teachers_own, dtype)));
    let tensors: Vec<Tensor> = views.iter().map(|view| view.as_tensor().clone()).collect();
    let loss = objective.loss(&tensors, &weights, start, step)?.value;
    assert_eq!(loss.dims(), [0usize; 0], "a loss is a scalar");
    let store = loss.backward()?;
    let gradient = |var: &Var| match store.get(var.as_tensor()) {
        Some(gradient) => wide(gradient),
        None => vec![0.0; var.as_tensor().elem_count()],
    };
    Ok(Evaluated {
        loss: wide(&loss)[0],
        views: views.iter().map(gradient).collect(),
        own: own.iter().map(|(name, var)| (name.clone(), gradient(var))).collect(),
    })
}

/// One whole step, committed.
pub(crate) fn take(
    method: &Method,
    objective: &mut dyn Objective,
    inputs: &Inputs,
    dtype: DType,
    step: &Step<'_>,
) -> Result<Evaluated, Error> {
    prepare(method, objective, inputs, dtype, step)?;
    let evaluated = evaluate(objective, inputs, dtype, 0, step)?;
    objective.commit();
    Ok(evaluated)
}

/// The state as a checkpoint holds it.
pub(crate) fn saved(objective: &dyn Objective) -> State {
    objective.state().into_iter().map(|(name, values)| (name.to_owned(), values.to_vec())).collect()
}

/// What each of the ranks gives, in rank order.
pub(crate) fn on_ranks<T: Send>(count: usize, work: impl Fn(usize, Ranks) -> T + Sync) -> Vec<T> {
    let world = ThreadCollective::world(count).into_iter().enumerate();
    std::thread::scope(|scope| {
        let work = &work;
        let handles: Vec<_> = world
            .map(|(rank, collective)| {
                scope.spawn(move || work(rank, Ranks::new(Arc::new(collective))))
            })
            .collect();
        handles.into_iter().map(|h| h.join().expect("no panic")).collect()
    })
}

/// Whether numbers agree to a tolerance relative to the largest of those expected.
#[track_caller]
pub(crate) fn close(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-3_f64, |most, x| most.max(x.abs()));
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs();
        // Not the other way round, so that NaN fails.
        assert!(error <= tolerance * scale, "{what}[{i}]: {got}, expected {expected}");
    }
}

/// As [`close`], of losses and all gradients.
#[track_caller]
pub(crate) fn same(what: &str, got: &Evaluated, expected: &Evaluated, tolerance: f64) {
    close(&format!("{what}: loss"), &[got.loss], &[expected.loss], tolerance);
    assert_eq!(got.views.len(), expected.views.len(), "{what}");
    for (v, (got, expected)) in got.views.iter().zip(&expected.views).enumerate() {
        close(&format!("{what}: view {v}"), got, expected, tolerance);
    }
    assert!(got.own.keys().eq(expected.own.keys()), "{what}");
    for (name, expected) in &expected.own {
        close(&format!("{what}: {name}"), &got.own[name], expected, tolerance);
    }
}

/// A scalar function's derivative by every element of a list of matrices, by central differences.
pub(crate) fn differences(
    at: &[Vec<f64>],
    step: f64,
    mut function: impl FnMut(&[Vec<f64>]) -> f64,
) -> Vec<Vec<f64>> {
    let mut point = at.to_vec();
    let mut all = Vec::new();
    for i in 0..at.len() {
        let mut gradient = Vec::new();
        for j in 0..at[i].len() {
            let mut value = |x: f64| {
                point[i][j] = x;
                function(&point)
            };
            let (up, down) = (value(at[i][j] + step), value(at[i][j] - step));
            point[i][j] = at[i][j];
            gradient.push((up - down) / (2.0 * step));
        }
        all.push(gradient);
    }
    all
}
