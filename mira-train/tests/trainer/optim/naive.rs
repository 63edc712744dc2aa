//! The optimisers' equations, one number at a time, in f64.

use mira_train::optim::Segment;
use mira_train::recipe::{self, OptimizerKind};

pub(crate) struct Naive {
    settings: recipe::Optimizer,
    pub(crate) parameters: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
    steps: Vec<i32>,
}

impl Naive {
    pub(crate) fn new(settings: &recipe::Optimizer, start: &[f32]) -> Self {
        let parameters: Vec<f64> = start.iter().map(|&x| x.into()).collect();
        let zeros = vec![0.0; parameters.len()];
        let steps = vec![0; parameters.len()];
        Self { settings: settings.clone(), parameters, first: zeros.clone(), second: zeros, steps }
    }

    pub(crate) fn step(
        &mut self,
        gradients: &[f32],
        segments: &[Segment],
        frozen: &dyn Fn(usize) -> bool,
        lr: f64,
        weight_decay: f64,
    ) {
        for (number, segment) in segments.iter().enumerate() {
            if frozen(number) {
                continue;
            }
            let decay = if segment.regularised { weight_decay } else { 0.0 };
            let norm = |of: &dyn Fn(usize) -> f64| {
                segment.range.clone().map(|i| of(i) * of(i)).sum::<f64>().sqrt()
            };
            let p_norm = norm(&|i| self.parameters[i]);
            let g_norm = norm(&|i| f64::from(gradients[i]) + decay * self.parameters[i]);
            for i in segment.range.clone() {
                let g = f64::from(gradients[i]);
                match self.settings.kind {
                    OptimizerKind::Sgd => self.momentum_step(i, g + decay * self.parameters[i], lr),
                    OptimizerKind::Lars => {
                        let trusted = segment.regularised && p_norm > 0.0 && g_norm > 0.0;
                        let q = if trusted { 0.001 * p_norm / g_norm } else { 1.0 };
                        self.momentum_step(i, q * (g + decay * self.parameters[i]), lr);
                    }
                    OptimizerKind::Adamw => self.adamw_step(i, g, lr, decay),
                    other => panic!("no equations for {other:?}"),
                }
            }
        }
    }

    fn momentum_step(&mut self, i: usize, g: f64, lr: f64) {
        let mu = self.settings.momentum.unwrap_or(0.9);
        self.first[i] = mu * self.first[i] + g;
        let nesterov = self.settings.nesterov == Some(true);
        let step = if nesterov { g + mu * self.first[i] } else { self.first[i] };
        self.parameters[i] -= lr * step;
    }

    fn adamw_step(&mut self, i: usize, g: f64, lr: f64, decay: f64) {
        self.steps[i] += 1;
        self.parameters[i] *= 1.0 - lr * decay;
        self.first[i] = 0.9 * self.first[i] + 0.1 * g;
        self.second[i] = 0.999 * self.second[i] + 0.001 * g * g;
        let m = self.first[i] / (1.0 - 0.9_f64.powi(self.steps[i]));
        let v = self.second[i] / (1.0 - 0.999_f64.powi(self.steps[i]));
        self.parameters[i] -= lr * m / (v.sqrt() + 1e-8);
    }
}
