//! Shares of right predictions.

/// How often the true class is first, or among the first five.
#[derive(Clone, Debug, PartialEq)]
pub struct Accuracy {
    /// Share of samples whose class is predicted, in [0, 1].
    pub top1: f64,
    /// Share of samples whose class is among the first five, in [0, 1].
    pub top5: f64,
    /// Share of right predictions within each class; `None` for a class without test samples.
    pub per_class: Vec<Option<f64>>,
    /// The predicted class of each sample.
    pub predictions: Vec<u32>,
}

impl Accuracy {
    /// From each sample's predicted class and the rank (0 = first) of its true class, if it has one.
    pub(super) fn new(outcomes: &[Outcome], labels: &[u32], num_classes: usize) -> Self {
        let mut right = vec![0_usize; num_classes];
        let mut seen = vec![0_usize; num_classes];
        let mut among_five = 0_usize;
        for (outcome, &label) in outcomes.iter().zip(labels) {
            seen[label as usize] += 1;
            right[label as usize] += usize::from(outcome.rank == Some(0));
            among_five += usize::from(outcome.rank.is_some_and(|rank| rank < 5));
        }
        let share = |part: usize, of: usize| (of > 0).then(|| part as f64 / of as f64);
        Self {
            top1: share(right.iter().sum(), labels.len()).unwrap_or(0.0),
            top5: share(among_five, labels.len()).unwrap_or(0.0),
            per_class: right.iter().zip(&seen).map(|(&r, &n)| share(r, n)).collect(),
            predictions: outcomes.iter().map(|outcome| outcome.predicted).collect(),
        }
    }

    /// The mean of the classes' accuracies, over the classes that have samples, in [0, 1].
    pub fn mean_per_class(&self) -> f64 {
        let present = self.per_class.iter().flatten();
        present.clone().sum::<f64>() / present.count().max(1) as f64
    }
}

/// What a classifier says of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) predicted: u32,
    /// The true class's place in the order of scores; `None` if it was no candidate.
    pub(super) rank: Option<usize>,
}

impl Outcome {
    /// From a score for each class; −∞ is no candidate. Equal scores go to the smaller class.
    pub(super) fn of<T: PartialOrd + num_traits::Float>(scores: &[T], label: u32) -> Self {
        let mut best = 0;
        for (class, score) in scores.iter().enumerate() {
            if *score > scores[best] {
                best = class;
            }
        }
        let truth = label as usize;
        let ahead = |(class, score): &(usize, &T)| {
            **score > scores[truth] || (**score == scores[truth] && *class < truth)
        };
        let rank = (scores[truth] > T::neg_infinity())
            .then(|| scores.iter().enumerate().filter(ahead).count());
        Self { predicted: u32::try_from(best).unwrap_or(u32::MAX), rank }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: f64 = f64::NEG_INFINITY;

    #[test]
    fn ties_go_to_the_smaller_class_and_no_candidate_has_no_rank() {
        let scores = [1.0, 3.0, 3.0, NONE, 2.0];
        let ranks: Vec<_> = (0..5).map(|label| Outcome::of(&scores, label).rank).collect();
        assert_eq!(ranks, [Some(3), Some(0), Some(1), None, Some(2)]);
        assert_eq!(Outcome::of(&scores, 0).predicted, 1);
    }

    #[test]
    fn shares_are_counted_by_hand() {
        let outcome = |predicted, rank| Outcome { predicted, rank };
        let outcomes = [
            outcome(0, Some(0)),
            outcome(1, Some(4)),
            outcome(2, Some(0)),
            outcome(0, Some(5)),
            outcome(0, None),
        ];
        let accuracy = Accuracy::new(&outcomes, &[0, 0, 2, 2, 2], 4);
        assert_eq!(accuracy.top1, 2.0 / 5.0);
        assert_eq!(accuracy.top5, 3.0 / 5.0);
        assert_eq!(accuracy.per_class, [Some(0.5), None, Some(1.0 / 3.0), None]);
        assert_eq!(accuracy.predictions, [0, 1, 2, 0, 0]);
        assert!((accuracy.mean_per_class() - 5.0 / 12.0).abs() < 1e-15);
    }
}
