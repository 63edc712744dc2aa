//! Recipes that are refused, each in one sentence that names the key, what was expected and got, and the remedy.

use mira_train::recipe::Recipe;

use super::{MINIMAL, minimal, set};

/// The message of a minimal recipe in which `old` is `new`.
fn with(old: &str, new: &str) -> String {
    assert!(MINIMAL.contains(old), "{old}");
    let error = Recipe::from_toml(&MINIMAL.replace(old, new), "r.toml").unwrap_err().to_string();
    assert!(error.starts_with("r.toml:") && !error.contains('\n'), "{error}");
    error
}

fn has(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
}

#[test]
fn misspelt_and_misplaced_keys() {
    has(&with("batch_size", "bacth_size"), &["unknown key `train.bacth_size`", "`batch_size`?"]);
    has(&with("[train]", "[trian]"), &["unknown section `trian`", "did you mean [train]?"]);
    has(&with("[optimizer]", "[optimiser]"), &["did you mean [optimizer]?"]);
    has(
        &with("batch_size = 64", "batch_size = 64\ntemperature = 0.1"),
        &[
            "unknown key `train.temperature`",
            "`temperature` belongs in [assignment], [loss] or [objective]",
        ],
    );
    has(
        &with("[train]", "[train]\nblur = 1"),
        &["unknown key `train.blur`", "`blur` belongs in [[views]]"],
    );
    has(&with("size = 32", "size = 32\nsolarise = 1"), &["views.0.solarise", "`solarize`"]);
    has(&with("size = 32", "size = 32\njitter = { prob = 1 }"), &["views.0.jitter.prob"]);
    has(&with("size = 32", "size = 32\nsigma = [1, 2]"), &["`sigma` belongs in [views.blur]"]);
    let bare = Recipe::from_toml(&format!("seed = 1\n{MINIMAL}"), "r").unwrap_err().to_string();
    has(&bare, &["unknown key `seed`", "belongs in [train]"]);
    let far = with("[train]", "[train]\nzzzzzzzzzzzz = 1");
    has(&far, &["[train] has batch_size, accumulation_steps, batch_norm, seed"]);
    has(&with("[train]", "[zzzzzzz]\n[train]"), &["the sections are data, model, projector"]);
}

#[test]
fn values_out_of_range() {
    let table: &[(&str, &str, &[&str])] = &[
        ("base_lr = 1", "base_lr = nan", &["optimizer.base_lr", "nan", "a number above 0"]),
        ("base_lr = 1", "base_lr = inf", &["optimizer.base_lr", "inf", "a number above 0"]),
        ("base_lr = 1", "base_lr = -0.1", &["optimizer.base_lr", "-0.1"]),
        ("base_lr = 1", "base_lr = \"NaN\"", &["\"NaN\"", "a number above 0"]),
        ("batch_size = 64", "batch_size = 0", &["train.batch_size` is 0", "from 2"]),
        ("batch_size = 64", "batch_size = 1", &["train.batch_size` is 1", "from 2"]),
        ("batch_size = 64", "batch_size = 64.0", &["is 64.0", "whole number"]),
        ("batch_size = 64", "batch_size = -64", &["is -64"]),
        ("epochs = 3\n", "epochs = 0\n", &["schedule.epochs` is 0"]),
        ("iterations = 30", "iterations = 0", &["assignment.iterations` is 0"]),
        ("iterations = 30", "iterations = 3\nbeta_start = 1", &["beta_start` is 1", "in [0, 1)"]),
        ("iterations = 30", "iterations = 3\nbeta_end = -0.5", &["beta_end` is -0.5"]),
        ("iterations = 30", "tolerance = 0.0", &["assignment.tolerance` is 0"]),
        (
            "[train]",
            "[loss]\ntemperature = 1e-7\n[train]",
            &["loss.temperature", "a number of at least 1e-6"],
        ),
        ("[train]", "[data]\nclasses = 3\n[train]", &["data.classes` is 3", "an array of names"]),
        ("[train]", "[data]\nclasses = []\n[train]", &["data.classes` is []"]),
        ("[train]", "[data]\nclasses = [\"a\", 1]\n[train]", &["data.classes` is [\"a\", 1]"]),
        ("[train]", "[data]\nlabel_fraction = 0\n[train]", &["label_fraction` is 0", "(0, 1]"]),
        ("[train]", "[prototypes]\ncount = 1\n[train]", &["prototypes.count` is 1", "from 2"]),
        ("[0.2, 1]", "[1, 0.2]", &["views.0.scale", "low ≤ high", "[0.08, 1.0]"]),
        ("[0.2, 1]", "[0.0, 1]", &["views.0.scale", "in (0, 1]"]),
        ("[0.2, 1]", "[0.2, 1.5]", &["views.0.scale", "in (0, 1]"]),
        ("[0.2, 1]", "[0.2]", &["views.0.scale` is [0.2]"]),
        ("\"sgd\"", "\"sdg\"", &["optimizer.kind", "one of \"lars\", \"sgd\"", "mean \"sgd\"?"]),
        ("[train]", "[data]\nstd = [1, 0, 1]\n[train]", &["data.std", "above 0"]),
        ("size = 32", "size = 32\nflip = 1.5", &["views.0.flip` is 1.5", "in [0, 1]"]),
        ("[train]", "train = 3\n[other]", &["`train` is 3, expected a table"]),
    ];
    for (old, new, parts) in table {
        if new.starts_with("train = 3") {
            let text = format!("train = 3\n{}", MINIMAL.replace("[train]\nbatch_size = 64", ""));
            has(&Recipe::from_toml(&text, "r").unwrap_err().to_string(), parts);
        } else {
            has(&with(old, new), parts);
        }
    }
    let text = MINIMAL.split("[[views]]").next().unwrap();
    let error = |text: &str| Recipe::from_toml(text, "r").unwrap_err().to_string();
    has(&error(&format!("views = 1\n{text}")), &["`views` is 1, expected an array of tables"]);
    has(&error(&format!("views = [1]\n{text}")), &["`views.0` is 1, expected a table"]);
    has(&error(text), &["`views` has 0 in all", "two global"]);
}

#[test]
fn settings_that_do_not_apply() {
    let lars = with("kind = \"sgd\"", "kind = \"sgd\"\ntrust_coefficient = 0.001");
    has(&lars, &["optimizer.trust_coefficient", "optimizer.kind = \"sgd\"", "= \"lars\""]);
    has(&with("iterations = 30", "iterations = 3\nepsilon = 0.05"), &["assignment.epsilon"]);
    let sinkhorn = with("iterations = 30", "iterations = 3\nmethod = \"sinkhorn\"\nbeta_end = 0");
    has(&sinkhorn, &["assignment.beta_end", "assignment.method = \"mira\""]);
    let teacher = with("[train]", "[teacher]\nema = false\nmomentum_start = 0.9\n[train]");
    has(&teacher, &["teacher.momentum_start", "teacher.ema = false", "teacher.ema = true"]);
    let stem = with("[assignment]", "stem_padding = 1\n[assignment]");
    has(&stem, &["model.stem_padding", "model.stem = \"imagenet\""]);
    let set = set(&minimal(), &["optimizer.kind=adamw", "optimizer.momentum=0.9"]).unwrap_err();
    has(&set, &["--set: `optimizer.momentum` does not apply"]);
}

#[test]
fn settings_that_contradict_each_other() {
    has(&with("warmup_epochs = 0", "warmup_epochs = 3"), &["warmup_epochs` is 3", "than the 3 of"]);
    has(&with("iterations = 30\n", ""), &["neither `iterations` nor `tolerance`"]);
    has(&with("iterations = 30", "iterations = 30\ntolerance = 1e-5"), &["iterations = 30 and"]);
    has(&with("[train]", "[train]\naccumulation_steps = 3"), &["accumulation_steps` is 3", "64"]);
    has(&with("[train]", "[train]\naccumulation_steps = 64"), &["at least 2 images"]);
    has(&with("count = 2", "count = 1"), &["`views` has 1 in all"]);
    let both = with("[train]", "[data]\nlabel_list = \"x\"\nlabel_fraction = 0.1\n[train]");
    has(&both, &["both label_list and label_fraction = 0.1", "remove one"]);
    has(&with("warmup_epochs = 0", "warmup_epochs = 0\nfinal_lr = 1"), &["final_lr` is 1", "0.25"]);
    has(&with("warmup_epochs = 0", "warmup_epochs = 1\nwarmup_start_lr = 1"), &["warmup_start_lr"]);
    let second = "count = 1\nsize = 32\nscale = [0.2, 1]\n[[views]]\nname = \"global\"";
    has(&with("count = 2", second), &["`views.1.name` is \"global\""]);
    let second = second.replace("\"global\"", "\"other\"").replace("32", "24");
    has(&with("count = 2", &second), &["24 and 32 pixels"]);
    let no_strength = "size = 32\njitter = {probability = 1, brightness = 0, contrast = 0, saturation = 0, hue = 0}";
    has(&with("size = 32", no_strength), &["views.0.jitter", "no strength"]);
}

#[test]
fn missing_keys() {
    has(&with("batch_size = 64", ""), &["`train.batch_size` is missing", "train.batch_size = 256"]);
    has(&with("architecture = \"resnet20\"", ""), &["`model.architecture` is missing", "resnet8"]);
    has(&with("size = 32", ""), &["`views.0.size` is missing"]);
    // A begun table without its switch would silently do nothing.
    has(
        &with("size = 32", "size = 32\nblur = { sigma = [0.1, 1] }"),
        &["`views.0.blur.probability` is missing"],
    );
}

#[test]
fn text_that_is_no_toml() {
    has(&with("batch_size = 64", "batch_size = "), &["r.toml:14: "]);
    has(
        &with("batch_size = 64", "batch_size = 64\nbatch_size = 65"),
        &["r.toml:15: ", "duplicate"],
    );
    let error = Recipe::builtin("imagenet-r50-100ep-multicorp").unwrap_err().to_string();
    has(&error, &["no recipe", "did you mean `imagenet-r50-100ep-multicrop`?"]);
    has(&Recipe::builtin("x").unwrap_err().to_string(), &["`mira-train recipes` lists"]);
}

#[test]
fn overrides_that_are_none() {
    let refused = |text: &str| set(&minimal(), &[text]).unwrap_err();
    has(&refused("train.seed"), &["--set train.seed: expected key=value, got no `=`"]);
    has(&refused("=3"), &["empty key"]);
    has(&refused("train.seed="), &["empty value"]);
    has(&refused("views.0.scale=[0.2,"), &["is no TOML"]);
    has(&refused("seed=3"), &["unknown key `seed`", "belongs in [train]"]);
    has(&refused("train.sed=3"), &["did you mean `seed`?"]);
    has(&refused("views.7.size=24"), &["there is no views.7, expected 0 to 0"]);
    has(&refused("views.size=24"), &["unknown key `views.size`", "[[views]]"]);
    has(&refused("train=3"), &["`train` is a section", "such as `train."]);
    // A table sets each of its keys.
    assert_eq!(set(&minimal(), &["train={seed=3}"]).unwrap().train.seed, 3);
    has(&refused("train={sed=3}"), &["did you mean `seed`?"]);
    has(&refused("train.seed=NaN"), &["--set: `train.seed` is \"NaN\"", "whole number"]);
    has(&refused("train.seed=18446744073709551615"), &["train.seed"]);
    has(&refused("optimizer.base_lr=nan"), &["`optimizer.base_lr` is nan"]);
}
