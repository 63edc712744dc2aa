//! Against plain loops in f64, by definition.

use super::*;

/// Deterministic numbers in [−1, 1).
fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from(u16::try_from(state >> 48).unwrap()) / 32768.0 - 1.0
    }
}

/// Clusters with overlap, rows of different lengths.
fn clusters(n: u32, dim: usize, num_classes: usize, seed: u64) -> Features {
    let mut centre_noise = noise(99);
    let centres: Vec<f32> = (0..num_classes * dim).map(|_| centre_noise()).collect();
    let mut random = noise(seed);
    let mut features = Features { dim, rows: vec![], labels: vec![], num_classes };
    for i in 0..n {
        let label = i as usize * 7 % num_classes;
        let length = 1.5 + random();
        for d in 0..dim {
            features.rows.push(length * (centres[label * dim + d] + 0.9 * random()));
        }
        features.labels.push(u32::try_from(label).unwrap());
    }
    features
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
    };
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms > 0.0 { dot(a, b) / norms } else { 0.0 }
}

fn row(features: &Features, i: usize) -> &[f32] {
    &features.rows[i * features.dim..(i + 1) * features.dim]
}

#[test]
fn neighbours_are_those_of_a_full_sort() {
    // More than one block of each, the last one ragged.
    let (base, queries) = (clusters(2100, 7, 5, 1), clusters(300, 7, 5, 2));
    let found = neighbours(&base, &queries, 12).unwrap();
    for q in 0..queries.len() {
        let mut all: Vec<(f64, usize)> =
            (0..base.len()).map(|i| (cosine(row(&base, i), row(&queries, q)), i)).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (indices, cosines) = found.of(q);
        for (place, (&index, &c)) in indices.iter().zip(cosines).enumerate() {
            let own = cosine(row(&base, index as usize), row(&queries, q));
            assert!((f64::from(c) - own).abs() < 1e-6, "{c} {own}");
            // Another sample may stand here only if it is as near.
            assert!((all[place].0 - own).abs() < 1e-6, "query {q} place {place}");
        }
        let mut distinct = indices.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 12);
    }
}

#[test]
fn predictions_follow_the_definition() {
    let (train, test) = (clusters(1500, 6, 9, 3), clusters(260, 6, 9, 4));
    let settings = [(1, 0.07), (20, 0.07), (20, 1.0), (200, 0.5), (1500, f64::INFINITY)];
    let settings = settings.map(|(k, temperature)| Setting { k, temperature });
    let results = sweep(&train, &test, &settings).unwrap();
    for (setting, result) in settings.iter().zip(&results) {
        let (mut unclear, mut right, mut among_five) = (0, 0, 0);
        for q in 0..test.len() {
            let mut all: Vec<(f64, u32)> = (0..train.len())
                .map(|i| (cosine(row(&train, i), row(&test, q)), train.labels[i]))
                .collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0));
            let mut votes = [0.0; 9];
            for &(c, label) in &all[..setting.k] {
                votes[label as usize] += (c / setting.temperature).exp();
            }
            let mut order: Vec<usize> = (0..9).collect();
            order.sort_by(|&a, &b| votes[b].total_cmp(&votes[a]));
            if votes[order[1]] > votes[order[0]] * (1.0 - 1e-4) {
                unclear += 1;
                continue;
            }
            assert_eq!(result.accuracy.predictions[q] as usize, order[0], "{setting:?} query {q}");
            let truth = test.labels[q] as usize;
            right += usize::from(order[0] == truth);
            among_five += usize::from(votes[truth] > 0.0 && order[..5].contains(&truth));
        }
        assert!(unclear < 5 || setting.k == 1500, "{setting:?}: {unclear}");
        let slack = (f64::from(unclear) + 0.5) / test.len() as f64;
        assert!((result.accuracy.top1 - right as f64 / test.len() as f64).abs() < slack);
        // Equal fifth places (no or equal votes) are decided by class; few.
        let top5 = among_five as f64 / test.len() as f64;
        assert!((result.accuracy.top5 - top5).abs() < slack + 0.01, "{setting:?}");
        assert_eq!(*result, top1(&train, &test, setting.k, setting.temperature).unwrap());
    }
    // The clusters overlap, so these numbers mean something.
    assert!(results[1].accuracy.top1 > 0.5 && results[1].accuracy.top1 < 0.99);
}

/// Two dimensions, one row per angle in degrees.
fn angles(degrees: &[f32], labels: &[u32], num_classes: usize) -> Features {
    let rows = degrees.iter().flat_map(|d| [d.to_radians().cos(), d.to_radians().sin()]).collect();
    Features { dim: 2, rows, labels: labels.to_vec(), num_classes }
}

#[test]
fn temperature_decides_between_one_near_and_two_far() {
    // One neighbour of class 1 at 0°, two of class 0 at 60°: 1 against 2·exp(−0.5/T), equal at T = 0.5/ln 2 = 0.7213.
    let train = angles(&[60.0, -60.0, 0.0], &[0, 0, 1], 2);
    let test = angles(&[0.0], &[1], 2);
    let predicted = |t| top1(&train, &test, 3, t).unwrap().accuracy.predictions[0];
    assert_eq!((predicted(0.71), predicted(0.73)), (1, 0));
    // Far below f64's exponents, still the nearest.
    assert_eq!((predicted(1e-5), predicted(f64::MIN_POSITIVE)), (1, 1));
    assert_eq!(predicted(f64::INFINITY), 0);
}

#[test]
fn ties_go_to_the_smaller_class_and_the_earlier_sample() {
    let train = Features {
        dim: 2,
        rows: vec![0.0, 2.0, 3.0, 0.0, 0.0, 1.0, 1.0, 0.0],
        labels: vec![2, 1, 2, 1],
        num_classes: 3,
    };
    let test = Features { dim: 2, rows: vec![1.0, 1.0], labels: vec![1], num_classes: 3 };
    let result = top1(&train, &test, 4, 0.07).unwrap();
    assert_eq!((result.accuracy.predictions[0], result.accuracy.top1), (1, 1.0));
    assert_eq!(neighbours(&train, &test, 3).unwrap().indices, [0, 1, 2]);
}

#[test]
fn classes_without_a_vote_are_not_among_the_first_five() {
    let train = angles(&[0.0, 90.0], &[0, 1], 6);
    let result = top1(&train, &angles(&[1.0, 1.0, 1.0], &[0, 1, 2], 6), 2, 0.07).unwrap();
    assert_eq!(result.accuracy.top5, 2.0 / 3.0);
    assert_eq!(result.accuracy.per_class[..4], [Some(1.0), Some(0.0), Some(0.0), None]);
}

#[test]
fn zeros_and_extreme_lengths_are_handled() {
    // A row of zeros has cosine 0: behind 89°, ahead of 91°. Lengths of 1e-42 and 1e38 are lengths.
    let mut train = angles(&[89.0, 91.0], &[0, 1], 3);
    train.rows.extend([0.0, 0.0, 1e-42, 0.0, 1e38, 1e38]);
    train.labels.extend([2, 0, 1]);
    let mut test = angles(&[0.0], &[0], 3);
    assert_eq!(neighbours(&train, &test, 5).unwrap().indices, [3, 4, 0, 2, 1]);
    test.rows = vec![0.0, -0.0];
    let found = neighbours(&train, &test, 5).unwrap();
    assert_eq!((found.indices, found.cosines), (vec![0, 1, 2, 3, 4], vec![0.0; 5]));
}

#[test]
fn a_sample_is_not_its_own_neighbour_but_its_duplicate_is() {
    let set = angles(&[0.0, 40.0, 0.0, 50.0], &[0, 1, 0, 1], 2);
    let found = neighbours_within(&set, 2).unwrap();
    assert_eq!(found.indices, [2, 1, 3, 0, 0, 1, 1, 0]);
    assert!(matches!(neighbours_within(&set, 4), Err(Error::NumNeighbours { k: 4, available: 3 })));
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    let train = clusters(10, 3, 2, 1);
    let test = clusters(4, 3, 2, 2);
    for k in [0, 11] {
        let expected = Error::NumNeighbours { k, available: 10 };
        assert_eq!(top1(&train, &test, k, 0.07), Err(expected));
    }
    top1(&train, &test, 10, 0.07).unwrap();
    for t in [0.0, -1.0, f64::NAN] {
        assert!(matches!(top1(&train, &test, 3, t), Err(Error::Setting { .. })));
    }
    let mut bad = test.clone();
    bad.rows[5] = f32::NAN;
    let refused = top1(&train, &bad, 3, 0.07).unwrap_err();
    assert!(matches!(refused, Error::NotFinite { set: "test", row: 1, column: 2, .. }));
    assert!(refused.to_string().contains("got NaN at row 1, column 2 of the test set"));
    let narrow = clusters(4, 2, 2, 2);
    let expected = Error::DimensionsDiffer { train: 3, test: 2 };
    assert_eq!(top1(&train, &narrow, 3, 0.07), Err(expected.clone()));
    assert_eq!(neighbours(&train, &narrow, 3), Err(expected));
    let expected = Error::ClassesDiffer { train: 2, test: 3 };
    assert_eq!(top1(&train, &clusters(4, 3, 3, 2), 3, 0.07), Err(expected));
    assert_eq!(sweep(&train, &test, &[]), Ok(vec![]));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let (train, test) = (clusters(1100, 33, 4, 5), clusters(270, 33, 4, 6));
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| neighbours(&train, &test, 20).unwrap())
    };
    assert_eq!(with(1), with(5));
}
