//! Random numbers that depend on what they are for, never on who drew before: Philox4x32-10.
//!
//! Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A block of four numbers is a
//! bijection of a 128-bit counter under a 64-bit key. Here the key comes from (seed, purpose) and the counter is (block, stream),
//! so that a stream such as (epoch, index, view) is the same whatever the number or order of the workers.

#![allow(clippy::cast_possible_truncation, reason = "halves of words, and normals from f64 to f32")]

/// A counter-based generator: Philox4x32-10.
///
/// The same seed, purpose and stream give the same numbers, whatever else was drawn. A stream holds 2³⁴ numbers and then repeats.
///
/// ```
/// use mira_nn::rng::{Purpose, Rng};
///
/// let mut rng = Rng::new(7, Purpose::Augment, [0, 41, 1]); // epoch 0, image 41, view 1
/// assert!((0.0..1.0).contains(&rng.uniform()));
/// ```
#[derive(Clone, Debug)]
pub struct Rng {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    /// Numbers of `block` already given out.
    used: usize,
    /// The second of a Box–Muller pair.
    spare_normal: Option<f32>,
}

/// What numbers are for; each purpose has numbers of its own under the same seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// Initial parameters.
    Init,
    /// The order of the images in an epoch.
    Shuffle,
    /// Crops and colours of a view.
    Augment,
    /// Evaluation.
    Eval,
    /// Anything else, told apart by its number.
    Other(u32),
}

impl Purpose {
    const fn code(self) -> [u32; 2] {
        match self {
            Self::Init => [0, 0],
            Self::Shuffle => [1, 0],
            Self::Augment => [2, 0],
            Self::Eval => [3, 0],
            Self::Other(n) => [4, n],
        }
    }
}

impl Rng {
    /// The generator of a stream, such as `[epoch, index, view]` under [`Purpose::Augment`].
    pub fn new(seed: u64, purpose: Purpose, stream: [u32; 3]) -> Self {
        let [kind, number] = purpose.code();
        // A block keyed by the seed is a bijection of the purpose: no two purposes share the 128 bits these 64 come from.
        let derived = philox([kind, number, 0, 0], halves(seed));
        let [a, b, c] = stream;
        Self {
            key: [derived[0], derived[1]],
            counter: [0, a, b, c],
            block: [0; 4],
            used: 4,
            spare_normal: None,
        }
    }

    /// 32 random bits.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        let number = self.block[self.used];
        self.used += 1;
        number
    }

    /// A multiple of 2⁻²⁴ in [0, 1).
    #[inline]
    pub fn uniform(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// A multiple of 2⁻⁵³ in [0, 1), from two draws.
    #[inline]
    pub fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.next_u32()) << 32;
        let bits = (high | u64::from(self.next_u32())) >> 11;
        bits as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Uniform between `low` and `high`; `low` itself where they are equal.
    #[inline]
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// Uniform over 0, …, n − 1 without bias; 0 for n = 0.
    ///
    /// Lemire, "Fast random integer generation in an interval", 2019.
    #[inline]
    pub fn below(&mut self, n: u32) -> u32 {
        loop {
            let product = u64::from(self.next_u32()) * u64::from(n);
            let [low, high] = halves(product);
            // (2³² − n) mod n products at the bottom are too many.
            if low >= n || low >= n.wrapping_neg().checked_rem(n).unwrap_or(0) {
                return high;
            }
        }
    }

    /// True with probability `p`, to a multiple of 2⁻²⁴; one draw, whatever `p` is.
    #[inline]
    pub fn chance(&mut self, p: f32) -> bool {
        self.uniform() < p
    }

    /// Standard normal, by Box and Muller; at most 6.7 standard deviations.
    pub fn normal(&mut self) -> f32 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        let open = (f64::from(self.next_u32()) + 1.0) * (1.0 / 4_294_967_296.0); // (0, 1]
        let angle = std::f64::consts::TAU * f64::from(self.next_u32()) * (1.0 / 4_294_967_296.0);
        let radius = (-2.0 * open.ln()).sqrt();
        self.spare_normal = Some((radius * angle.sin()) as f32);
        (radius * angle.cos()) as f32
    }

    /// Puts items (at most 2³²) into uniformly random order, by Fisher and Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let n = u32::try_from(last + 1).unwrap_or(u32::MAX);
            items.swap(last, self.below(n) as usize);
        }
    }
}

/// Low and high half.
#[inline]
const fn halves(x: u64) -> [u32; 2] {
    [(x & 0xFFFF_FFFF) as u32, (x >> 32) as u32]
}

/// Ten rounds of Philox4x32.
#[inline]
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let [low0, high0] = halves(u64::from(counter[0]) * 0xD251_1F53);
        let [low1, high1] = halves(u64::from(counter[2]) * 0xCD9E_8D57);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng(stream: [u32; 3]) -> Rng {
        Rng::new(3, Purpose::Augment, stream)
    }

    /// The `philox4x32 10` lines of Random123's `kat_vectors`.
    #[test]
    fn published_known_answers() {
        for (counter, key, answer) in [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(philox(counter, key), answer);
        }
    }

    #[test]
    fn streams_are_the_counter_and_differ_in_every_part() {
        let [low, high] = halves(0x0123_4567_89ab_cdef);
        let key = philox([2, 0, 0, 0], [low, high]);
        let mut rng = Rng::new(0x0123_4567_89ab_cdef, Purpose::Augment, [5, 6, 7]);
        let got: Vec<u32> = (0..8).map(|_| rng.next_u32()).collect();
        let blocks = [0, 1].map(|block| philox([block, 5, 6, 7], [key[0], key[1]]));
        assert_eq!(got, blocks.concat());

        let mut seen = std::collections::HashSet::new();
        for seed in [0, 1, 1 << 32] {
            for purpose in [
                Purpose::Init,
                Purpose::Shuffle,
                Purpose::Augment,
                Purpose::Eval,
                Purpose::Other(0),
                Purpose::Other(1),
            ] {
                for stream in [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]] {
                    let mut rng = Rng::new(seed, purpose, stream);
                    assert!(seen.insert([rng.next_u32(), rng.next_u32()]));
                }
            }
        }
    }

    /// Means and variances within five standard errors of the closed forms.
    #[test]
    fn moments_of_the_distributions() {
        let n = 100_000;
        let check = |name: &str, mean: f64, variance: f64, fourth: f64, draws: Vec<f64>| {
            let m = draws.iter().sum::<f64>() / f64::from(n);
            let v = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
            let standard_error = (variance / f64::from(n)).sqrt();
            assert!((m - mean).abs() < 5.0 * standard_error, "{name}: mean {m}, expected {mean}");
            let standard_error = ((fourth - variance * variance) / f64::from(n)).sqrt();
            assert!((v - variance).abs() < 5.0 * standard_error, "{name}: variance {v}");
        };
        let draw = |f: &dyn Fn(&mut Rng) -> f64| {
            let mut rng = rng([1, 2, 3]);
            (0..n).map(|_| f(&mut rng)).collect::<Vec<_>>()
        };
        check("uniform", 0.5, 1.0 / 12.0, 1.0 / 80.0, draw(&|r| f64::from(r.uniform())));
        check("uniform_f64", 0.5, 1.0 / 12.0, 1.0 / 80.0, draw(&Rng::uniform_f64));
        check("range", 3.0, 4.0 / 12.0, 16.0 / 80.0, draw(&|r| f64::from(r.range(2.0, 4.0))));
        check("below", 3.0, 4.0, 28.0, draw(&|r| f64::from(r.below(7))));
        check("normal", 0.0, 1.0, 3.0, draw(&|r| f64::from(r.normal())));
        check("chance", 0.2, 0.16, 0.0832, draw(&|r| f64::from(u8::from(r.chance(0.2)))));
    }

    /// With n = 3·2³⁰ a plain remainder or product would give a third of the values twice as often.
    #[test]
    fn below_has_no_bias_for_large_n() {
        let (mut rng, n) = (rng([0, 0, 0]), 3 << 30);
        let low = (0..30_000).filter(|_| rng.below(n) < 1 << 30).count();
        assert!(low.abs_diff(10_000) < 410, "{low}"); // five standard errors
        assert_eq!((rng.below(0), rng.below(1)), (0, 0));
        let multiples_of_three = (0..30_000).filter(|_| rng.below(n) % 3 == 0).count();
        assert!(multiples_of_three.abs_diff(10_000) < 410, "{multiples_of_three}");
    }

    #[test]
    fn the_ends_of_chance_are_certain() {
        let mut rng = rng([9, 9, 9]);
        assert!((0..10_000).all(|_| rng.chance(1.0) && !rng.chance(0.0)));
        assert_eq!(rng.range(0.3, 0.3), 0.3);
    }

    /// All 24 orders of four items, each within five standard errors of its share.
    #[test]
    fn shuffles_are_uniform() {
        let mut counts = std::collections::HashMap::new();
        for i in 0..24_000 {
            let mut items = [0, 1, 2, 3];
            rng([i, 0, 0]).shuffle(&mut items);
            *counts.entry(items).or_insert(0_usize) += 1;
        }
        assert_eq!(counts.len(), 24);
        for (order, count) in counts {
            assert!(count.abs_diff(1000) < 155, "{order:?}: {count}");
        }
    }
}
