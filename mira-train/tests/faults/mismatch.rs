//! Resuming with another recipe.

use std::path::Path;

use mira_train::run_folder::{Error, check_resume, diff};
use serde_json::{Value, json};

fn recipe() -> Value {
    json!({
        "data": { "source": "auto", "path": "/a", "num_workers": 0, "max_train": null },
        "assignment": { "method": "mira", "beta_start": 0.7, "iterations": 30 },
        "views": [{ "name": "global", "size": 32 }, { "name": "local", "size": 16 }],
        "schedule": { "epochs": 10 },
        "eval": { "knn_neighbours": 20 },
        "checkpoint": { "keep": 2 },
        "train": { "seed": 1, "num_threads": 2 },
    })
}

#[test]
fn differences_are_named_with_both_values() {
    let mut given = recipe();
    given["schedule"]["epochs"] = json!(20);
    given["views"][1]["size"] = json!(8);
    given["views"].as_array_mut().unwrap().push(json!({ "name": "third" }));
    given["assignment"] = json!({ "method": "mira", "beta_start": 0.7, "tolerance": 1e-5 });
    let shown: Vec<String> = diff(&recipe(), &given).iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "assignment.iterations (saved 30, given none)",
            "assignment.tolerance (saved none, given 0.00001)",
            "schedule.epochs (saved 10, given 20)",
            "views[1].size (saved 16, given 8)",
            "views[2] (saved none, given {\"name\":\"third\"})",
        ]
    );
    let error = check_resume(Path::new("runs/a"), &recipe(), &given).unwrap_err();
    let Error::Mismatch { differences, .. } = &error else { panic!("{error:?}") };
    assert_eq!(differences.len(), 5);
    let message = error.to_string();
    assert!(shown.iter().all(|difference| message.contains(difference)), "{message}");
    assert!(message.contains("runs/a") && message.contains("another folder"), "{message}");
}

#[test]
fn equal_recipes_do_not_differ() {
    assert_eq!(diff(&recipe(), &recipe()), []);
    let mut same = recipe();
    same["schedule"]["epochs"] = json!(10.0);
    same["data"].as_object_mut().unwrap().remove("max_train");
    same["train"]["resume_from"] = Value::Null;
    assert_eq!(diff(&recipe(), &same), []);
    // 2^53 and the next: equal as f64.
    let seed = |seed: u64| json!({ "seed": seed });
    assert_eq!(diff(&seed(1 << 53), &seed((1 << 53) + 1)).len(), 1);
}

#[test]
fn where_and_how_fast_may_change_what_is_learned_may_not() {
    let mut given = recipe();
    given["data"]["path"] = json!("/b");
    given["data"]["num_workers"] = json!(8);
    given["data"]["prefetch"] = json!(4);
    given["train"]["num_threads"] = json!(4);
    given["eval"]["knn_neighbours"] = json!(200);
    given["checkpoint"] = json!({ "every_minutes": 5 });
    let harmless = check_resume(Path::new("r"), &recipe(), &given).unwrap();
    assert_eq!(harmless.len(), 7, "{harmless:?}");
    for (table, key) in
        [("data", "source"), ("data", "pathology"), ("train", "seed"), ("schedule", "epochs")]
    {
        let mut given = given.clone();
        given[table][key] = json!(7);
        let error = check_resume(Path::new("r"), &recipe(), &given).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(&format!("{table}.{key} (saved")), "{message}");
        assert!(!message.contains("num_workers"), "the harmless ones are not blamed: {message}");
    }
    let mut given = recipe();
    given["evaluation"] = json!(1);
    assert!(check_resume(Path::new("r"), &recipe(), &given).is_err());
}

#[test]
fn long_lists_are_cut() {
    let other: Value = (0..40).map(|i| (format!("key{i:02}"), json!(i))).collect();
    let error = check_resume(Path::new("r"), &json!({}), &other).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("key11") && !message.contains("key12"), "{message}");
    assert!(message.contains(" and 28 more"), "{message}");
}
