//! `mira-train recipes`, and the recipe that flags of `mira-train run` ask for.

use std::process::{Command, Output};

use clap::{Args as _, FromArgMatches as _};
use mira_train::cli::run::{Device, RunArgs, resolve};
use mira_train::objective::METHODS;
use mira_train::recipe::{Recipe, builtins};

fn mira_train(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mira-train")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn run_args(args: &[&str]) -> RunArgs {
    let command = RunArgs::augment_args(clap::Command::new("run")).no_binary_name(true);
    RunArgs::from_arg_matches(&command.try_get_matches_from(args).unwrap()).unwrap()
}

fn resolved(args: &[&str]) -> Result<Recipe, String> {
    resolve(&run_args(args)).map_err(|e| e.to_string())
}

#[test]
fn recipes_lists_all_and_prints_one() {
    let list = mira_train(&["recipes"]);
    assert!(list.status.success());
    for builtin in builtins() {
        let of_family = builtin.name.split_once('/');
        let is_method = |name: &str| METHODS.iter().any(|method| method.name == name);
        if let Some((family, objective)) = of_family.filter(|(_, name)| is_method(name)) {
            // Three lines for all of them.
            assert!(
                text(&list.stdout).contains(&format!("{family}/OBJECTIVE")),
                "{}",
                builtin.name
            );
            let mut names = text(&list.stdout).split([',', '\n']).map(str::trim);
            assert!(names.any(|name| name == objective), "{}", builtin.name);
            continue;
        }
        let line = text(&list.stdout).lines().find(|l| l.split(' ').next() == Some(builtin.name));
        assert!(line.is_some_and(|l| l.ends_with(builtin.description)), "{}", builtin.name);
        assert!(line.is_some_and(|l| l.chars().count() <= 110), "{}", builtin.name);
    }
    let one = mira_train(&["recipes", "imagenet-r50-100ep"]);
    assert!(one.status.success());
    let recipe = Recipe::from_toml(text(&one.stdout), "stdout").unwrap();
    assert_eq!(recipe, Recipe::builtin("imagenet-r50-100ep").unwrap());
    assert!(text(&one.stdout).starts_with("# "), "comments are kept");
}

#[test]
fn recipes_prints_all_settings() {
    let listed = mira_train(&["recipes", "--settings"]);
    assert!(listed.status.success());
    let listed = text(&listed.stdout);
    assert!(listed.contains("extends = "), "{listed}");
    // Of every recipe there is, in its own or another order.
    for builtin in builtins() {
        let recipe = toml::Table::try_from(Recipe::builtin(builtin.name).unwrap()).unwrap();
        for (section, values) in &recipe {
            let table = |value: &toml::Value| value.as_table().cloned();
            let (section, values) = match values.as_array() {
                Some(views) => ("views.*", views.iter().find_map(table)),
                None => (section.as_str(), table(values)),
            };
            for (name, value) in values.unwrap() {
                let inside = value.as_table().into_iter().flat_map(toml::Table::keys);
                let inside: Vec<String> =
                    inside.map(|inside| format!("{section}.{name}.{inside}")).collect();
                let paths =
                    if inside.is_empty() { vec![format!("{section}.{name}")] } else { inside };
                for path in paths {
                    let is_listed = |line: &str| line.split(' ').next() == Some(&path);
                    assert!(listed.lines().any(is_listed), "{}: {path}", builtin.name);
                }
            }
        }
    }
    let both = mira_train(&["recipes", "default", "--settings"]);
    assert_eq!(both.status.code(), Some(2));
    assert!(text(&both.stderr).contains("see 'mira-train recipes --help'"));
}

#[test]
fn objectives_lists_all_and_prints_the_settings_of_one() {
    let list = mira_train(&["objectives"]);
    assert!(list.status.success());
    for method in METHODS {
        let line = text(&list.stdout).lines().find(|l| l.split(' ').next() == Some(method.name));
        assert!(line.is_some_and(|l| l.ends_with(method.title)), "{}", method.name);
        // What is printed of one is the part of a recipe.
        let one = mira_train(&["objectives", method.name]);
        let table: toml::Table = toml::from_str(text(&one.stdout)).unwrap();
        let objective = table["objective"].as_table().unwrap();
        assert_eq!(objective.len(), 1 + method.keys.len(), "{}", method.name);
        assert_eq!(objective["name"].as_str(), Some(method.name));
        for section in method.sections {
            assert!(table[*section].as_table().is_some_and(|t| !t.is_empty()), "{}", method.name);
        }
    }
    // With what is printed, a recipe is what it is without.
    let mira = mira_train(&["objectives", "mira"]);
    let table: toml::Table = toml::from_str(text(&mira.stdout)).unwrap();
    let assignment = table["assignment"].as_table().unwrap();
    let names: Vec<_> = assignment.keys().map(String::as_str).collect();
    assert_eq!(names, ["method", "temperature", "beta_start", "beta_end", "iterations"]);
    assert_eq!(assignment["temperature"].as_float(), Some(0.225));
    assert_eq!(assignment["iterations"].as_integer(), Some(30));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mira.toml");
    std::fs::write(&file, format!("extends = \"default\"\n{}", text(&mira.stdout))).unwrap();
    let recipe = resolved(&[file.to_str().unwrap()]).unwrap();
    assert_eq!(recipe.assignment.unwrap().iterations, Some(30));
    assert_eq!((recipe.prototypes.unwrap().count, recipe.loss.unwrap().temperature), (3000, 0.1));
    let unknown = mira_train(&["objectives", "siwav"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("did you mean `swav`?"));
}

#[test]
fn a_refusal_is_one_line_and_exit_code_2() {
    for (args, part) in [
        (&["recipes", "defalt"][..], "did you mean `default`?"),
        (&["recipes", "a", "b"], "see 'mira-train recipes --help'"),
        (&["assign", "--no-such-flag"], "see 'mira-train assign --help'"),
    ] {
        let refused = mira_train(args);
        assert_eq!(refused.status.code(), Some(2));
        assert!(refused.stdout.is_empty());
        let stderr = text(&refused.stderr);
        assert!(stderr.contains(part) && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn every_recipe_says_how_to_run_it_and_what_to_expect() {
    for builtin in builtins() {
        for label in ["# Command:   mira-train run", "# Hardware:", "# Time:", "# Accuracy:"] {
            assert!(builtin.text.contains(label), "{}: {label}", builtin.name);
        }
        let command = builtin.text.lines().find(|l| l.starts_with("# Command:")).unwrap();
        let mut words = command.split_whitespace().skip_while(|w| *w != "run").skip(1).peekable();
        let name = words.next_if(|w| !w.starts_with('-')).unwrap_or("default");
        assert_eq!(name, builtin.name);
    }
}

#[test]
fn run_resolves_names_files_and_flags() {
    assert_eq!(resolved(&[]).unwrap(), Recipe::builtin("default").unwrap());
    let recipe = resolved(&[
        "cifar10-small-cpu",
        "--seed",
        "7",
        "--data",
        "x",
        "--set",
        "views.0.size=24",
        "--set",
        "views.1.size=24",
    ])
    .unwrap();
    assert_eq!((recipe.train.seed, recipe.views[0].size, recipe.views[1].size), (7, 24, 24));
    assert_eq!(recipe.data.path.as_deref(), Some("x".as_ref()));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, super::MINIMAL).unwrap();
    assert_eq!(resolved(&[path]).unwrap(), super::minimal());
    std::fs::write(&file, super::MINIMAL.replace("batch_size", "batchsize")).unwrap();
    let error = resolved(&[path]).unwrap_err();
    assert!(error.starts_with(path) && error.contains("`batch_size`?"), "{error}");
    std::fs::write(&file, [0xff, 0xfe]).unwrap();
    assert!(resolved(&[path]).unwrap_err().contains("no UTF-8"));
    std::fs::write(path, "#".repeat(2 << 20)).unwrap();
    assert!(resolved(&[path]).unwrap_err().contains("more than 1048576 bytes"));
    assert!(resolved(&["no/such.toml"]).unwrap_err().contains("cannot read the recipe no/such"));
    assert!(resolved(&["cifar10-small"]).unwrap_err().contains("did you mean `cifar10-small-cpu`"));
    for twice in [["--seed", "3", "--set", "train.seed=3"], ["--data", "x", "--set", "data.path=y"]]
    {
        let error = resolved(&twice).unwrap_err();
        assert!(error.ends_with("too; remove one of the two"), "{error}");
    }
    for no_setting in ["train.seed", "=3", "train.seed=", "train.seed=[3"] {
        let error = resolved(&["--set", no_setting]).unwrap_err();
        assert!(error.ends_with("; write it as --set train.seed=3"), "{error}");
    }
}

#[test]
fn devices() {
    assert_eq!(run_args(&[]).device, Device::Cpu);
    assert_eq!(run_args(&["--device", "cuda:1"]).device, Device::Cuda(1));
    for wrong in ["gpu", "cuda", "cuda:", "cuda:-1", "CPU", ""] {
        assert!(wrong.parse::<Device>().is_err(), "{wrong}");
    }
    assert_eq!(Device::Cuda(1).to_string().parse(), Ok(Device::Cuda(1)));
}

#[test]
fn data_pack_packs_goes_on_and_refuses() {
    let root = tempfile::tempdir().unwrap();
    let (src, dst) = (root.path().join("src"), root.path().join("dst"));
    std::fs::create_dir(&src).unwrap();
    for name in ["a.png", "b.png"] {
        let file = std::fs::File::create(src.join(name)).unwrap();
        let mut encoder = png::Encoder::new(file, 6, 4);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header().unwrap().write_image_data(&[7; 72]).unwrap();
    }
    let run = |dst: &std::path::Path, flags: &[&str]| {
        let paths = [src.to_str().unwrap(), dst.to_str().unwrap()];
        let output = mira_train(&[&["data", "pack"], &paths[..], flags].concat());
        let code = output.status.code().unwrap();
        (code, text(&output.stdout).to_owned(), text(&output.stderr).to_owned())
    };
    let (code, said, _) = run(&dst, &["--raw", "2", "--dry-run"]);
    assert!(code == 0 && said.contains("2 training and 0 test images into"), "{said}");
    assert!(said.contains("nothing was written") && !dst.exists());
    let (code, said, silence) = run(&dst, &["--raw", "2", "--threads", "1"]);
    assert!(code == 0 && said.starts_with("2 training and 0 test images in "), "{said}");
    // The prologue of 64 bytes, a shard's 16 and its length, and 40 bytes and 3 × 2 pixels an image; of names, 32 bytes, then 4 bytes
    // and 5 letters an image.
    assert!(said.ends_with("dst, 254 B\n") && silence.is_empty(), "{said}{silence}");
    let (code, said, _) = run(&dst, &["--raw", "2"]);
    assert!(code == 0 && said.ends_with("; 2 were there from before\n"), "{said}");
    let refused = |dst: &std::path::Path, flags: &[&str], words: &str| {
        let (code, said, error) = run(dst, flags);
        assert!(code == 2 && said.is_empty() && error.contains(words), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    };
    refused(&dst, &["--short-side", "2"], "another packed set");
    refused(&src.join("packed"), &[], "it is inside");
    std::fs::write(root.path().join("file"), "mine").unwrap();
    refused(&root.path().join("file"), &[], "file cannot take the packed set: it is no folder");
    refused(&root.path().join("x"), &["--quality", "50"], "--short-side");
    std::fs::write(src.join("c.jpg"), b"?").unwrap();
    refused(&root.path().join("y"), &["--max-bad-fraction", "0"], "1 of 3 images cannot be read");
    let (code, said, _) = run(&root.path().join("y"), &["--max-bad-fraction", "0.5"]);
    assert!(code == 0 && said.contains("1 that cannot be read are listed in skipped"), "{said}");
}
