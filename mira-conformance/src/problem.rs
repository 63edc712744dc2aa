//! Problems, drawn at random but the same each time.

use std::fmt;

use mira_core::{Method, Mira, Shape, Sinkhorn, StopRule};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

use crate::Backend;

/// Stores a logit in single precision.
#[allow(clippy::cast_possible_truncation)] // storing in fewer bits is what is meant
pub fn to_f32(logit: f64) -> f32 {
    logit as f32
}

/// `SplitMix64`: small, seedable, and the same numbers on every platform.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In (0, 1).
    pub fn uniform(&mut self) -> f64 {
        ((self.bits() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    /// Of mean 0 and deviation 1.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// As many of those.
    pub fn normals(&mut self, len: usize) -> Vec<f64> {
        (0..len).map(|_| self.normal()).collect()
    }

    /// In `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        #[allow(clippy::cast_possible_truncation)] // below n, a usize
        let index = (self.bits() % n as u64) as usize;
        index
    }

    /// One of `from`.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// `0..n` in random order.
    pub fn shuffled(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

/// How logits are distributed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Of mean 0 and deviation 1, independent.
    Gaussian,
    /// Products of random unit vectors, as with normalised features and prototypes.
    Cosine,
    /// One near prototype a row, some prototypes popular and most of them not: marginals with a long tail.
    Clusters,
    /// Uniform in ±1e4.
    Extreme,
}

/// One assignment problem; its `Debug` form is all that is needed to make it again.
#[derive(Clone)]
pub struct Problem {
    /// Where logits come from.
    pub kind: Kind,
    /// Rows and prototypes.
    pub shape: Shape,
    /// τ of MIRA, ε of Sinkhorn–Knopp.
    pub temperature: f64,
    /// β of MIRA.
    pub beta: f64,
    /// What logits were drawn with.
    pub seed: u64,
    /// S, B × K, each as the backend stores it.
    pub logits: Vec<f64>,
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, shape, temperature, beta, seed, .. } = self;
        write!(f, "{kind:?} {shape}, τ = {temperature}, β = {beta}, seed {seed}")
    }
}

/// Temperatures of random problems.
pub const TEMPERATURES: [f64; 7] = [0.02, 0.05, 0.07, 0.1, 0.225, 0.5, 1.0];
/// Weights β of random problems.
pub const BETAS: [f64; 8] = [0.1, 0.3, 0.5, 2.0 / 3.0, 0.8, 0.9, 0.95, 0.98];

impl Problem {
    /// Logits of `kind` drawn from `seed`, each as `stored` has it.
    pub fn new(
        kind: Kind,
        shape: Shape,
        temperature: f64,
        beta: f64,
        seed: u64,
        stored: fn(f64) -> f64,
    ) -> Self {
        let mut random = Random::new(seed);
        let mut logits = kind.logits(shape, &mut random);
        for s in &mut logits {
            *s = stored(*s);
        }
        Self { kind, shape, temperature, beta, seed, logits }
    }

    /// Everything drawn from one seed, for loops too long for proptest's bookkeeping.
    pub fn random(seed: u64, stored: fn(f64) -> f64) -> Self {
        let mut random = Random::new(seed ^ 0x005e_ed0f_a11b_0b5e);
        let kind = random.pick(&[Kind::Gaussian, Kind::Cosine, Kind::Clusters]);
        let shape = shape(1 + random.below(40), 1 + random.below(40));
        let (temperature, beta) = (random.pick(&TEMPERATURES), random.pick(&BETAS));
        Self::new(kind, shape, temperature, beta, seed, stored)
    }

    /// K.
    pub fn num_prototypes(&self) -> usize {
        self.shape.num_prototypes()
    }

    /// MIRA at its τ and β.
    pub fn mira(&self, stop: StopRule) -> Method {
        let mira = Mira::new(self.temperature, self.beta).and_then(|m| m.with_stop(stop));
        mira.expect("valid by construction").into()
    }

    /// Sinkhorn–Knopp at its ε.
    pub fn sinkhorn(&self, stop: StopRule) -> Method {
        let sinkhorn = Sinkhorn::new(self.temperature).and_then(|m| m.with_stop(stop));
        sinkhorn.expect("valid by construction").into()
    }

    /// ε of MIRA's kernel.
    pub fn epsilon(&self) -> f64 {
        self.temperature * (1.0 - self.beta)
    }
}

impl Kind {
    fn logits(self, shape: Shape, random: &mut Random) -> Vec<f64> {
        let (batch, k) = (shape.batch(), shape.num_prototypes());
        match self {
            Self::Gaussian => random.normals(shape.len()),
            Self::Extreme => (0..shape.len()).map(|_| 2e4 * (random.uniform() - 0.5)).collect(),
            Self::Cosine => {
                const DIMENSIONS: usize = 8;
                let mut unit_vector = || {
                    let v = random.normals(DIMENSIONS);
                    let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
                    v.into_iter().map(|x| x / norm).collect::<Vec<_>>()
                };
                let prototypes: Vec<_> = (0..k).map(|_| unit_vector()).collect();
                let rows: Vec<_> = (0..batch).map(|_| unit_vector()).collect();
                let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum();
                rows.iter().flat_map(|r| prototypes.iter().map(|p| dot(r, p))).collect()
            }
            Self::Clusters => {
                let mut logits = Vec::with_capacity(shape.len());
                for _ in 0..batch {
                    // Zipf-like: prototype j is near with a density falling as 1/j.
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                    let near = ((k as f64).powf(random.uniform()) as usize - 1).min(k - 1);
                    for j in 0..k {
                        let center = if j == near { 0.8 } else { 0.1 };
                        logits.push(center + 0.06 * random.normal());
                    }
                }
                logits
            }
        }
    }
}

/// B × K, neither 0.
pub fn shape(batch: usize, num_prototypes: usize) -> Shape {
    Shape::new(batch, num_prototypes).expect("not empty")
}

/// Problems as `B` stores them, shrinking towards few rows and prototypes.
pub fn problems<B: Backend>() -> impl Strategy<Value = Problem> {
    problems_of(&[Kind::Gaussian, Kind::Cosine, Kind::Clusters], 24, B::stored)
}

/// Problems of these kinds with up to `largest` rows and prototypes.
pub fn problems_of(
    kinds: &'static [Kind],
    largest: usize,
    stored: fn(f64) -> f64,
) -> impl Strategy<Value = Problem> {
    let select = proptest::sample::select::<f64>;
    (
        proptest::sample::select(kinds),
        1..=largest,
        1..=largest,
        select(&TEMPERATURES[..]),
        select(&BETAS[..]),
        any::<u64>(),
    )
        .prop_map(move |(kind, batch, k, temperature, beta, seed)| {
            Problem::new(kind, shape(batch, k), temperature, beta, seed, stored)
        })
}

/// Runs `check` on problems of `strategy`: `PROPTEST_CASES` of them or `cases`, the same ones each time unless `PROPTEST_RNG_SEED` says otherwise.
///
/// # Panics
/// With the smallest failing problem.
pub fn for_all<S: Strategy>(
    cases: u32,
    strategy: &S,
    check: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let from_environment = ProptestConfig::default();
    let given = |name| std::env::var_os(name).is_some();
    let config = ProptestConfig {
        cases: if given("PROPTEST_CASES") { from_environment.cases } else { cases },
        rng_seed: if given("PROPTEST_RNG_SEED") {
            from_environment.rng_seed
        } else {
            RngSeed::Fixed(0x6d69_7261)
        },
        failure_persistence: None,
        ..from_environment
    };
    if let Err(failure) = TestRunner::new(config).run(strategy, check) {
        panic!("{failure}");
    }
}
