//! One tensor's step. Loops are plain and element by element, for the compiler to vectorise.

use super::Part;

#[derive(Clone, Copy, Debug)]
pub(super) struct Sgd {
    pub(super) momentum: f64,
    pub(super) nesterov: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Lars {
    pub(super) momentum: f64,
    pub(super) trust_coefficient: f64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct AdamW {
    pub(super) betas: [f64; 2],
    pub(super) epsilon: f64,
}

#[allow(clippy::cast_possible_truncation)] // scalars are worked out in f64, elements in f32
const fn single(x: f64) -> f32 {
    x as f32
}

impl Sgd {
    pub(super) fn step(self, part: Part<'_>, lr: f64, weight_decay: f64) {
        let (mu, lr, decay) = (single(self.momentum), single(lr), single(weight_decay));
        let elements = part.parameters.iter_mut().zip(part.gradients).zip(part.first);
        if self.nesterov {
            for ((p, &g), b) in elements {
                let g = g + decay * *p;
                *b = mu * *b + g;
                *p -= lr * (g + mu * *b);
            }
        } else {
            for ((p, &g), b) in elements {
                *b = mu * *b + (g + decay * *p);
                *p -= lr * *b;
            }
        }
    }
}

impl Lars {
    pub(super) fn step(self, part: Part<'_>, lr: f64, weight_decay: f64) {
        let decay = single(weight_decay);
        let q = if part.regularised {
            let [p, g] = norms(part.parameters, part.gradients, decay);
            if p > 0.0 && g > 0.0 { single(self.trust_coefficient * p / g) } else { 1.0 }
        } else {
            1.0
        };
        let (mu, lr) = (single(self.momentum), single(lr));
        for ((p, &g), b) in part.parameters.iter_mut().zip(part.gradients).zip(part.first) {
            *b = mu * *b + q * (g + decay * *p);
            *p -= lr * *b;
        }
    }
}

impl AdamW {
    pub(super) fn step(self, part: Part<'_>, lr: f64, weight_decay: f64) {
        let [beta1, beta2] = self.betas;
        let t = f64::from(*part.num_steps);
        let keep = single(1.0 - lr * weight_decay);
        let rate = single(lr / (1.0 - beta1.powf(t)));
        let root = single((1.0 - beta2.powf(t)).sqrt().recip());
        let epsilon = single(self.epsilon);
        let (b1, c1, b2, c2) =
            (single(beta1), single(1.0 - beta1), single(beta2), single(1.0 - beta2));
        let moments = part.first.iter_mut().zip(part.second);
        for ((p, &g), (m, v)) in part.parameters.iter_mut().zip(part.gradients).zip(moments) {
            *m = b1 * *m + c1 * g;
            *v = b2 * *v + c2 * g * g;
            *p = keep * *p - rate * *m / (v.sqrt() * root + epsilon);
        }
    }
}

/// ‖p‖ and ‖g + decay·p‖, each summed in f64 in 8 lanes, whose order the length alone decides.
fn norms(parameters: &[f32], gradients: &[f32], decay: f32) -> [f64; 2] {
    const LANES: usize = 8;
    let mut sums = [[0.0_f64; LANES]; 2];
    let mut add = |lane: usize, p: f32, g: f32| {
        let (p, g) = (f64::from(p), f64::from(g + decay * p));
        sums[0][lane] += p * p;
        sums[1][lane] += g * g;
    };
    let (p, g) = (parameters.chunks_exact(LANES), gradients.chunks_exact(LANES));
    let rest = p.remainder().iter().zip(g.remainder());
    for (p, g) in p.zip(g) {
        for lane in 0..LANES {
            add(lane, p[lane], g[lane]);
        }
    }
    for (lane, (&p, &g)) in rest.enumerate() {
        add(lane, p, g);
    }
    sums.map(|lanes| lanes.iter().sum::<f64>().sqrt())
}
