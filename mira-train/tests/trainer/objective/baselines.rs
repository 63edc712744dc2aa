//! The baselines against closed forms, and what their states must do.

use candle_core::{DType, Device, Tensor, Var};
use mira_train::objective::{
    self, Method, Ranks, SelfClassifierTemperatures, Setup, TwistWeights, VicRegWeights, nt_xent,
    prediction_of_embeddings, redundancy_reduction, spherical_kmeans, twin_class,
    uniform_prior_classification, variance_invariance_covariance,
};
use mira_train::recipe::Recipe;

use super::support::{
    BATCH, DIM, Evaluated, Inputs, NUM_IMAGES, PROTOTYPES, STEPS_PER_EPOCH, build, close, numbers,
    recipe, saved, take,
};

fn matrix(rows: &[&[f64]]) -> Tensor {
    let values: Vec<f64> = rows.concat();
    Tensor::from_vec(values, (rows.len(), rows[0].len()), &Device::Cpu).expect("fits")
}

fn constant(value: f64, rows: usize, columns: usize) -> Tensor {
    Tensor::full(value, (rows, columns), &Device::Cpu).expect("fits")
}

#[track_caller]
fn is(what: &str, got: &Tensor, expected: f64) {
    close(what, &[got.to_scalar().expect("a scalar of f64")], &[expected], 1e-9);
}

fn find(name: &str) -> &'static Method {
    objective::find(name).expect("a method")
}

#[test]
fn simclr_of_equal_similarities_is_the_log_of_the_others() {
    // Orthogonal rows, and all of them the same: every other view is as near as the right one.
    let same = constant(0.7, 4, 3);
    is("equal", &nt_xent(&[same.clone(), same], 0.1).expect("a loss"), 7.0_f64.ln());
    let zeros = constant(0.0, 4, 3);
    is("zeros", &nt_xent(&[zeros.clone(), zeros], 0.5).expect("a loss"), 7.0_f64.ln());
    // Orthogonal images whose two views agree: −log e^{1/τ}/(e^{1/τ} + 2N − 2).
    let eye = Tensor::eye(3, DType::F64, &Device::Cpu).expect("fits");
    let e = 2.0_f64.exp();
    is("agreeing", &nt_xent(&[eye.clone(), eye], 0.5).expect("a loss"), ((e + 4.0) / e).ln());
}

#[test]
fn barlow_twins_has_its_minimum_and_its_collapse() {
    let decorrelated = matrix(&[&[1.0, 1.0], &[1.0, -1.0], &[-1.0, 1.0], &[-1.0, -1.0]]);
    // C = 1/(1 + ε) on the diagonal, as the variance is 1.
    let missing = 1.0 - 1.0 / (1.0 + 1e-5_f64);
    let both = [decorrelated.clone(), decorrelated.clone()];
    is("minimum", &redundancy_reduction(&both, 0.5).expect("a loss"), 2.0 * missing * missing);
    let opposite = [decorrelated.clone(), decorrelated.neg().expect("fits")];
    let twice = 2.0 - missing;
    is("opposite", &redundancy_reduction(&opposite, 0.5).expect("a loss"), 2.0 * twice * twice);
    let collapsed = [constant(3.0, 4, 5), constant(3.0, 4, 5)];
    is("collapsed", &redundancy_reduction(&collapsed, 0.5).expect("a loss"), 5.0);
    // Two equal columns: C is all ones (but for ε), of which D (D − 1) are off the diagonal.
    let equal = matrix(&[&[1.0, 1.0], &[-1.0, -1.0]]);
    let c = 1.0 / (1.0 + 1e-5_f64);
    let expected = 2.0 * missing * missing + 0.5 * 2.0 * c * c;
    is("equal", &redundancy_reduction(&[equal.clone(), equal], 0.5).expect("a loss"), expected);
}

#[test]
fn vicreg_terms_are_those_of_the_definition() {
    let weights = |invariance_weight, variance_weight, covariance_weight| VicRegWeights {
        invariance_weight,
        variance_weight,
        covariance_weight,
    };
    let loss = |views: &[Tensor; 2], weights| {
        variance_invariance_covariance(views, &weights).expect("a loss")
    };
    let collapsed = [constant(2.0, 4, 3), constant(-1.0, 4, 3)];
    is("invariance", &loss(&collapsed, weights(1.0, 0.0, 0.0)), 9.0);
    // std = √1e-4 in both views.
    is("variance", &loss(&collapsed, weights(0.0, 25.0, 0.0)), 25.0 * 0.99);
    is("covariance of nothing", &loss(&collapsed, weights(0.0, 0.0, 1.0)), 0.0);
    // Columns ±a twice: covariance 4a²/3 off the diagonal, twice, over D = 2; two views.
    let a = 0.5_f64;
    let equal = matrix(&[&[a, a], &[a, a], &[-a, -a], &[-a, -a]]);
    let covariance = 4.0 * a * a / 3.0;
    let both = [equal.clone(), equal];
    is("covariance", &loss(&both, weights(0.0, 0.0, 1.0)), 2.0 * covariance * covariance);
    let std = (covariance + 1e-4).sqrt();
    is("variance of N − 1", &loss(&both, weights(0.0, 2.0, 0.0)), 2.0 * (1.0 - std));
}

#[test]
fn twist_is_lowest_for_sharp_balanced_classes() {
    let weights = TwistWeights { sharpness_weight: 1.0, diversity_weight: 1.0 };
    let classes = 4;
    let sharp =
        (Tensor::eye(classes, DType::F64, &Device::Cpu).expect("fits") * 400.0).expect("fits");
    let both = [sharp.clone(), sharp.clone()];
    is("sharp", &twin_class(&both, &weights).expect("a loss"), -(classes as f64).ln());
    let uniform = constant(0.3, 5, classes);
    is("uniform", &twin_class(&[uniform.clone(), uniform], &weights).expect("a loss"), 0.0);
    // p = (¾, ¼) and its mirror image: KL = ½ log 3 both ways, entropies H(¾); one sample, so that mean and sample are the same.
    let (one, two) = (matrix(&[&[3.0_f64.ln(), 0.0]]), matrix(&[&[0.0, 3.0_f64.ln()]]));
    let kl = 0.5 * 3.0_f64.ln();
    is("consistency", &twin_class(&[one.clone(), two.clone()], &weights).expect("a loss"), kl);
    let h = -(0.75 * 0.75_f64.ln() + 0.25 * 0.25_f64.ln());
    let weights = TwistWeights { sharpness_weight: 3.0, diversity_weight: 0.5 };
    is("weights", &twin_class(&[one, two], &weights).expect("a loss"), kl + 2.5 * h);
}

#[test]
fn self_classifier_of_no_information_and_of_all() {
    let temperatures =
        SelfClassifierTemperatures { row_temperature: 0.1, column_temperature: 0.05 };
    let loss =
        |views: &[Tensor]| uniform_prior_classification(views, &temperatures).expect("a loss");
    // p(y|x)/Σ p(y|x̃) = 1/N, so that the logarithm is of N/C · 1/N.
    for (n, classes) in [(8, 3), (3, 8)] {
        let uniform = constant(0.4, n, classes);
        is("uniform", &loss(&[uniform.clone(), uniform]), (classes as f64).ln());
    }
    let sharp = (Tensor::eye(4, DType::F64, &Device::Cpu).expect("fits") * 50.0).expect("fits");
    is("one-hot", &loss(&[sharp.clone(), sharp]), 0.0);
}

#[test]
fn byol_is_zero_for_right_predictions_and_leaves_targets_alone() {
    let target = |seed| Var::from_slice(&numbers(seed, 12), (4, 3), &Device::Cpu).expect("fits");
    let (one, two) = (target(1), target(2));
    let targets = [one.as_tensor().clone(), two.as_tensor().clone()];
    let views: Vec<Var> = [(&two, 3.0), (&one, 0.2)]
        .map(|(of, scale)| {
            Var::from_tensor(&(of.as_tensor() * scale).expect("fits")).expect("fits")
        })
        .into();
    let tensors: Vec<Tensor> = views.iter().map(|v| v.as_tensor().detach()).collect();
    is("right", &prediction_of_embeddings(&tensors, &targets).expect("a loss"), 0.0);
    let opposite: Vec<Tensor> = tensors.iter().map(|v| v.neg().expect("fits")).collect();
    is("opposite", &prediction_of_embeddings(&opposite, &targets).expect("a loss"), 8.0);
    let other = [target(3), target(4)];
    let views: Vec<Tensor> = other.iter().map(|v| v.as_tensor().clone()).collect();
    let loss = prediction_of_embeddings(&views, &targets).expect("a loss");
    let gradients = loss.backward().expect("gradients");
    assert!(gradients.get(other[0].as_tensor()).is_some());
    assert!(gradients.get(one.as_tensor()).is_none() && gradients.get(two.as_tensor()).is_none());
}

/// Steps of a method on seeds of its inputs.
fn steps(method: &Method, recipe: &Recipe, seeds: &[u64]) -> (Vec<Evaluated>, objective::State) {
    let ranks = Ranks::default();
    let mut objective = build(recipe, &ranks);
    let mut all = Vec::new();
    for (number, seed) in seeds.iter().enumerate() {
        let inputs = Inputs::new(method, recipe, *seed);
        let step = inputs.step(number as u64, &ranks);
        all.push(take(method, &mut *objective, &inputs, DType::F64, &step).expect(method.name));
    }
    (all, saved(&*objective))
}

#[test]
fn dinos_centre_follows_the_teachers_mean_logits() {
    let method = find("dino");
    let recipe = recipe(method, &[]);
    let mut expected = vec![0.0; PROTOTYPES];
    for seed in [5, 6] {
        let inputs = Inputs::new(method, &recipe, seed);
        let prototypes = &inputs.teachers_own["prototypes.weight"].values;
        for (j, prototype) in prototypes.chunks(DIM).enumerate() {
            let length = prototype.iter().map(|x| x * x).sum::<f64>().sqrt();
            let rows = inputs.teacher.iter().flat_map(|view| view.values.chunks(DIM));
            let logits =
                rows.map(|row| row.iter().zip(prototype).map(|(x, c)| x * c).sum::<f64>() / length);
            let mean = logits.sum::<f64>() / (2 * BATCH) as f64;
            expected[j] = 0.9 * expected[j] + 0.1 * mean;
        }
    }
    let (_, state) = steps(method, &recipe, &[5, 6]);
    let center: Vec<f64> = state["center"].iter().map(|c| f64::from(*c)).collect();
    close("centre", &center, &expected, 1e-6);
}

#[test]
fn swavs_queue_is_used_once_full_and_holds_the_newest_first() {
    let method = find("swav");
    let with = |settings: &[&str]| recipe(method, settings);
    let seeds = [1, 2, 3, 4];
    // Two batches long, from epoch 1 (step 2) on: full after steps 2 and 3, used from step 4.
    let late = with(&["objective.queue_start_epoch=1"]);
    let never = with(&["objective.queue_length=0"]);
    let (a, state) = steps(method, &late, &seeds);
    let (b, _) = steps(method, &never, &seeds);
    assert_eq!(a, b, "a queue that is not full");
    let seeds = [1, 2, 3, 4, 5];
    let (a, _) = steps(method, &late, &seeds);
    let (b, _) = steps(method, &never, &seeds);
    assert_eq!(a[..4], b[..4]);
    assert!((a[4].loss - b[4].loss).abs() > 1e-4, "a full queue changes targets");
    for (view, name) in ["queue.0", "queue.1"].iter().enumerate() {
        let of = |seed| Inputs::new(method, &late, seed).views[view].values.clone();
        let expected: Vec<f32> = of(4).into_iter().chain(of(3)).map(|x| x as f32).collect();
        assert_eq!(state[*name], expected, "{name}");
    }
    // A queue of the batch itself changes nothing: Sinkhorn of every row twice.
    let (doubled, _) = steps(method, &with(&["objective.queue_length=8"]), &[7, 7]);
    let (single, _) = steps(method, &never, &[7]);
    close("doubled", &[doubled[1].loss], &[single[0].loss], 1e-5);
    let odd = never.with_overrides(&["objective.queue_length=12".into()]);
    assert!(odd.expect_err("no multiple").to_string().contains("multiple of the 8"));
}

#[test]
fn kmeans_finds_separable_clusters_and_keeps_empty_ones() {
    let directions = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let noise = numbers(3, 90);
    let mut rows: Vec<f32> = Vec::new();
    for i in 0..30 {
        let row: Vec<f64> = (0..3).map(|d| directions[i % 3][d] + 0.1 * noise[3 * i + d]).collect();
        let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        rows.extend(row.iter().map(|x| (x / length) as f32));
    }
    // One begins within each cluster, one where no row is nearest.
    let mut centroids = [&rows[..9], &[-1.0, 0.0, 0.0]].concat();
    let labels = spherical_kmeans(&rows, 3, &mut centroids, 10);
    assert_eq!(labels, (0..30).map(|i| i % 3).collect::<Vec<_>>());
    assert_eq!(centroids[9..], [-1.0, 0.0, 0.0]);
    for (cluster, centroid) in centroids[..9].chunks(3).enumerate() {
        let members = rows.chunks(3).skip(cluster).step_by(3);
        let mut mean = [0.0_f64; 3];
        members.for_each(|row| mean.iter_mut().zip(row).for_each(|(m, x)| *m += f64::from(*x)));
        let length = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
        let got: Vec<f64> = centroid.iter().map(|x| f64::from(*x)).collect();
        close("centroid", &got, &mean.map(|m| m / length), 1e-5);
    }
}

#[test]
fn deepclusters_labels_change_between_epochs_only() {
    let method = find("deepcluster-v2");
    for assignment in ["kmeans", "sinkhorn"] {
        let recipe = recipe(method, &[&format!("objective.assignment={assignment}")]);
        let seeds = [1, 2, 3, 4, 5, 6];
        let states: Vec<_> =
            (1..=seeds.len()).map(|n| steps(method, &recipe, &seeds[..n]).1).collect();
        assert!(states[1]["labels"].iter().all(|label| *label == -1.0), "while the bank fills");
        let per_epoch = STEPS_PER_EPOCH as usize;
        for number in per_epoch..seeds.len() {
            let (before, after) = (&states[number - 1], &states[number]);
            assert_eq!(before["epoch"] == after["epoch"], number % per_epoch != 0);
            if number % per_epoch != 0 {
                assert_eq!(before["labels"], after["labels"], "{assignment}, step {number}");
            }
        }
        // The bank holds each image's last first view, others nothing; whoever was in it has a label.
        let last = states.last().expect("some");
        let before_epoch = &states[2 * per_epoch - 1]["bank"];
        for image in 0..NUM_IMAGES {
            let row = |bank: &[f32]| bank[image * DIM..(image + 1) * DIM].to_vec();
            let seen = row(before_epoch).iter().any(|x| *x != 0.0);
            assert_eq!(last["labels"][image] >= 0.0, seen, "{assignment}, image {image}");
            let newest = seeds.iter().rev().find_map(|seed| {
                let inputs = Inputs::new(method, &recipe, *seed);
                let place = inputs.indices.iter().position(|i| *i as usize == image)?;
                Some(inputs.views[0].values[place * DIM..(place + 1) * DIM].to_vec())
            });
            let got: Vec<f64> = row(&last["bank"]).iter().map(|x| f64::from(*x)).collect();
            close("bank", &got, &newest.unwrap_or_else(|| vec![0.0; DIM]), 1e-6);
        }
    }
}

/// Clusters begin with images of their own; two of one image would be the same for ever.
#[test]
fn deepcluster_has_no_more_clusters_than_images() {
    let method = objective::find("deepcluster-v2").expect("a method");
    let build = |num_images, settings: &[&str]| {
        let recipe = recipe(method, settings);
        let ranks = Ranks::default();
        let setup = Setup { recipe: &recipe, num_images, steps_per_epoch: 2, ranks: &ranks };
        objective::new(&setup).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(build(5, &[]), Ok(()));
    let refused = build(4, &[]).expect_err("five clusters of four images");
    for part in ["5 clusters", "prototypes.count", "4 images"] {
        assert!(refused.contains(part), "{refused}");
    }
    // Sinkhorn's labels do not start from images.
    assert_eq!(build(4, &["objective.assignment=sinkhorn"]), Ok(()));
}
