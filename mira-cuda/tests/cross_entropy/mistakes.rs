//! The same kernels with a mistake planted: the comparison must see it.

use crate::launch::{Layout, SMALL, alternatives};
use crate::reference::Problem;

/// For how many of 8 seeds each kernel that can compute the problem is found wrong when named with `suffix`.
fn caught(problem: &Problem, suffix: &str, gaps: [usize; 3]) -> Vec<(String, usize)> {
    let kernels = alternatives::<f32, f32>(problem, SMALL).into_iter();
    let wrong = |mut emulated: crate::launch::Emulated| {
        emulated.kernel += suffix;
        let wrong = |seed: &u64| {
            let done = emulated
                .run::<f32, f32>(problem, Layout { gaps, seed: *seed, ..Layout::default() });
            done.and_then(|answer| problem.compare::<f32>(&answer)).is_err()
        };
        let times = (0..8).filter(wrong).count();
        (emulated.kernel, times)
    };
    kernels.map(wrong).collect()
}

#[test]
fn without_a_mistake_nothing_is_found() {
    let problem = Problem::new::<f32, f32>((9, 100), 0.1, 1.0);
    for (kernel, times) in caught(&problem, "", [0; 3]) {
        assert_eq!(times, 0, "{kernel}");
    }
}

#[test]
fn missing_barriers_are_caught() {
    let problem = Problem::new::<f32, f32>((9, 100), 0.1, 1.0);
    for (kernel, times) in caught(&problem, "_without_barriers", [0; 3]) {
        assert!(times > 0, "{kernel}");
    }
}

#[test]
fn a_tail_one_too_long_is_caught() {
    for gaps in [[0; 3], [1, 2, 3]] {
        let problem = Problem::new::<f32, f32>((9, 100), 0.1, 1.0);
        for (kernel, times) in caught(&problem, "_tail_too_long", gaps) {
            assert_eq!(times, 8, "{kernel} with gaps of {gaps:?}");
        }
    }
}
