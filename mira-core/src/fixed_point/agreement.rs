//! What the ranks of a batch compare before they begin: they make one assignment only if all do the same from the same state.

use super::{Arithmetic, FixedPoint};
use crate::{Collective, CollectiveError, Error, Method, StopRule};

const METHOD: &str = "the method";
const ARITHMETIC: &str = "the arithmetic";
const STOP: &str = "the stop rule";

/// What must be the same on all ranks, beside the centre.
const TERMS: [&str; 9] = [
    "the number of prototypes",
    METHOD,
    ARITHMETIC,
    "ε",
    "the relaxation (β for MIRA)",
    "the momentum",
    STOP,
    "the tolerance",
    "the number of sweeps",
];

/// The terms, the centre, whether a rank is cold, its weights.
const LEN: usize = TERMS.len() + 2 + 1 + 2;

/// Whether a rank refuses, then all of the above, then their negatives: one maximum finds the highest and the lowest.
type Message = [f64; 1 + 2 * LEN];

impl FixedPoint {
    /// For a rank that cannot take its part in an assignment over ranks, because of its arguments, say, and so will not call
    /// [`run`](Self::run): the others end with [`Error::PeerFailed`] instead of waiting for it.
    pub fn refuse(collective: &dyn Collective) {
        if collective.world_size() > 1 {
            let mut message: Message = [0.0; 1 + 2 * LEN];
            message[0] = 1.0;
            // This rank has an error of its own already.
            let _ = collective.max(&mut message);
        }
    }

    /// Whether the run is to start from this state's weights: only if all ranks want that and have the same.
    ///
    /// # Errors
    /// [`CollectiveError::Differ`] for another method or centre, [`Error::PeerFailed`] when a rank refuses.
    pub(super) fn agreed_start(
        &self,
        method: &Method,
        arithmetic: Arithmetic,
        warm: bool,
        collective: &dyn Collective,
    ) -> Result<bool, Error> {
        if collective.world_size() == 1 {
            return Ok(warm);
        }
        let mut values = [0.0; LEN];
        values[..TERMS.len()].copy_from_slice(&self.terms(method, arithmetic));
        let rest = &mut values[TERMS.len()..];
        if matches!(method, Method::Centered(_)) {
            rest[..2].copy_from_slice(&fingerprint(&self.center));
        }
        rest[2] = f64::from(u8::from(!warm));
        if warm {
            rest[3..].copy_from_slice(&fingerprint(&self.log_weights));
        }
        let mut message: Message = [0.0; 1 + 2 * LEN];
        let (high, low) = message[1..].split_at_mut(LEN);
        for ((high, low), value) in high.iter_mut().zip(low).zip(values) {
            (*high, *low) = (value, -value);
        }
        collective.max(&mut message)?;
        if message[0] > 0.0 {
            return Err(Error::PeerFailed);
        }
        let (high, low) = message[1..].split_at(LEN);
        let differs = |i: usize| high[i] != -low[i];
        let what = if let Some(i) = (0..TERMS.len()).find(|&i| differs(i)) {
            format!("{} ({} and {})", TERMS[i], words(i, -low[i]), words(i, high[i]))
        } else if (TERMS.len()..TERMS.len() + 2).any(differs) {
            "the centre".to_owned()
        } else {
            return Ok(warm && !(TERMS.len() + 2..LEN).any(differs));
        };
        Err(CollectiveError::Differ { what }.into())
    }

    fn terms(&self, method: &Method, arithmetic: Arithmetic) -> [f64; TERMS.len()] {
        let (kind, momentum) = match method {
            Method::Softmax(_) => (0.0, 0.0),
            Method::Centered(m) => (1.0, m.momentum()),
            Method::Mira(_) => (2.0, 0.0),
            Method::Sinkhorn(_) => (3.0, 0.0),
        };
        let (stop, tolerance, sweeps) = match method.stop() {
            StopRule::Sweeps(n) => (0.0, 0.0, n),
            StopRule::Tolerance { tolerance, max_sweeps } => {
                (1.0, tolerance.unwrap_or(arithmetic.default_tolerance), max_sweeps)
            }
            StopRule::DualityGap { tolerance, max_sweeps } => (2.0, tolerance, max_sweeps),
        };
        let scaling = method.scaling();
        [
            self.log_weights.len() as f64,
            kind,
            arithmetic.unit_roundoff,
            scaling.epsilon,
            scaling.relaxation,
            momentum,
            stop,
            tolerance,
            sweeps as f64,
        ]
    }
}

/// A term's value as people know it.
fn words(term: usize, value: f64) -> String {
    const METHODS: [&str; 4] = ["softmax", "centered", "mira", "sinkhorn"];
    const STOPS: [&str; 3] = ["a number of sweeps", "a tolerance", "a duality gap"];
    const ARITHMETICS: [(&str, f64); 2] =
        [("f32", 0.5 * f32::EPSILON as f64), ("f64", 0.5 * f64::EPSILON)];
    let name = |names: &'static [&'static str]| {
        names.iter().zip(0u32..).find(|(_, i)| f64::from(*i) == value).map(|(name, _)| *name)
    };
    let known = match TERMS[term] {
        METHOD => name(&METHODS),
        STOP => name(&STOPS),
        ARITHMETIC => ARITHMETICS.iter().find(|(_, u)| *u == value).map(|(name, _)| *name),
        _ => None,
    };
    known.map_or_else(|| value.to_string(), str::to_owned)
}

/// 64 bits that tell vectors apart, as two numbers that f64 holds exactly (FNV-1a over whole words).
fn fingerprint(values: &[f64]) -> [f64; 2] {
    let hash = values.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, x| {
        (hash ^ x.to_bits()).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
    });
    let low = u32::try_from(hash & u64::from(u32::MAX)).expect("32 bits");
    let high = u32::try_from(hash >> 32).expect("32 bits");
    [f64::from(high), f64::from(low)]
}
