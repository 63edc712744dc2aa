//! What several settings must agree on.

use super::{Assignment, Error, Method, Recipe, View};
use crate::objective;

/// Of images and views, in pixels.
const MIN_SIDE: usize = 8;

pub(super) fn check(recipe: &Recipe, origin: &str) -> Result<(), Error> {
    let conflict = |problem: String, remedy: &str| {
        Err(Error::Conflict { origin: origin.into(), problem, remedy: remedy.into() })
    };
    let (schedule, train) = (&recipe.schedule, &recipe.train);
    if schedule.warmup_epochs >= schedule.epochs as f64 {
        return conflict(
            format!(
                "`schedule.warmup_epochs` is {}, expected fewer than the {} of `schedule.epochs`",
                schedule.warmup_epochs, schedule.epochs
            ),
            "shorten the warm-up (schedule.warmup_epochs=0 is none) or train for longer",
        );
    }
    if let (Some(_), Some(fraction)) = (&recipe.data.label_list, recipe.data.label_fraction) {
        return conflict(
            format!(
                "`data` has both label_list and label_fraction = {fraction}, expected at most one"
            ),
            "remove one",
        );
    }
    let peak = recipe.peak_lr();
    for (key, lr) in [
        ("schedule.final_lr", schedule.final_lr),
        ("schedule.warmup_start_lr", schedule.warmup_start_lr),
    ] {
        if lr > peak {
            return conflict(
                format!(
                    "`{key}` is {lr}, expected at most the peak {peak} = `optimizer.base_lr` × `train.batch_size` / 256"
                ),
                "lower it or raise `optimizer.base_lr`",
            );
        }
    }
    if !train.batch_size.is_multiple_of(train.accumulation_steps) {
        return conflict(
            format!(
                "`train.accumulation_steps` is {}, expected a divisor of the {} of `train.batch_size`",
                train.accumulation_steps, train.batch_size
            ),
            "choose a batch that splits evenly",
        );
    }
    if train.batch_size / train.accumulation_steps < 2 {
        return conflict(
            format!(
                "`train.accumulation_steps` is {}, expected parts of at least 2 images of the {} of `train.batch_size`, since batch norm needs two",
                train.accumulation_steps, train.batch_size
            ),
            "accumulate over fewer steps",
        );
    }
    if let Some(assignment) = &recipe.assignment {
        check_assignment(assignment, origin)?;
    }
    check_views(&recipe.views, origin)?;
    if (1..MIN_SIDE).contains(&recipe.eval.image_size) {
        return conflict(
            format!(
                "`eval.image_size` is {}, expected 0 or at least {MIN_SIDE} pixels",
                recipe.eval.image_size
            ),
            "set it to 0, which stands for the size of the global views",
        );
    }
    let Some(method) = objective::find(&recipe.objective.name) else { return Ok(()) };
    let total: usize = recipe.views.iter().map(|view| view.count).sum();
    if method.needs.two_views && total != 2 {
        return conflict(
            format!("`views` has {total} in all, but {} compares exactly two", method.name),
            "remove the others, or choose a method that takes more, as mira does",
        );
    }
    if let Err((problem, remedy)) = (method.check)(recipe) {
        return conflict(problem, remedy);
    }
    Ok(())
}

fn check_assignment(assignment: &Assignment, origin: &str) -> Result<(), Error> {
    let conflict = |problem: String, remedy: &str| {
        Err(Error::Conflict { origin: origin.into(), problem, remedy: remedy.into() })
    };
    match (assignment.method, assignment.iterations, assignment.tolerance) {
        (Method::Softmax, ..) | (_, Some(_), None) | (_, None, Some(_)) => {}
        (_, None, None) => {
            return conflict(
                "`assignment` has neither `iterations` nor `tolerance`, expected exactly one"
                    .into(),
                "add iterations = 30 as published, or tolerance = 1e-5",
            );
        }
        (_, Some(iterations), Some(tolerance)) => {
            return conflict(
                format!(
                    "`assignment` has iterations = {iterations} and tolerance = {tolerance:e}, expected exactly one"
                ),
                "remove one",
            );
        }
    }
    Ok(())
}

fn check_views(views: &[View], origin: &str) -> Result<(), Error> {
    let conflict = |problem: String, remedy: &str| {
        Err(Error::Conflict { origin: origin.into(), problem, remedy: remedy.into() })
    };
    let total: usize = views.iter().map(|view| view.count).sum();
    if total < 2 {
        return conflict(
            format!("`views` has {total} in all, expected at least the two global ones"),
            "set views.0.count = 2, or add a second [[views]]",
        );
    }
    let mut sizes = views.iter().flat_map(|view| std::iter::repeat_n(view.size, view.count));
    if let (Some(first), Some(second)) = (sizes.next(), sizes.next())
        && first != second
    {
        return conflict(
            format!(
                "the first two views are {first} and {second} pixels wide, expected one size, since they are the global ones"
            ),
            "give both the same `size`, local views come after them",
        );
    }
    for (i, view) in views.iter().enumerate() {
        if views[..i].iter().any(|earlier| earlier.name == view.name) {
            return conflict(
                format!(
                    "`views.{i}.name` is \"{}\" like an earlier view's, expected names of their own",
                    view.name
                ),
                "rename one",
            );
        }
        let jitter = &view.jitter;
        let strengths = [jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue];
        if jitter.probability > 0.0 && strengths.iter().all(|&s| s == 0.0) {
            return conflict(
                format!(
                    "`views.{i}.jitter` has probability {} and no strength, expected one above 0",
                    jitter.probability
                ),
                "set probability = 0, or for example brightness = 0.4",
            );
        }
    }
    Ok(())
}
