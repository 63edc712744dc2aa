//! Which settings a recipe has by its objective, and recipes that extend others.

use mira_train::objective::METHODS;
use mira_train::recipe::{Recipe, builtins};

use super::{MINIMAL, minimal, set};

/// The minimal recipe with another objective, and without the section that is MIRA's.
fn of(objective: &str) -> String {
    MINIMAL.replace("[assignment]\niterations = 30\n", &format!("[objective]\n{objective}\n"))
}

fn refused(text: &str) -> String {
    Recipe::from_toml(text, "r.toml").unwrap_err().to_string()
}

#[track_caller]
fn has(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
}

#[test]
fn every_objective_has_its_published_settings_and_sections() {
    for method in METHODS.iter().filter(|method| method.name != "mira") {
        let recipe = Recipe::from_toml(&of(&format!("name = \"{}\"", method.name)), "r").unwrap();
        let has = |section: &str| method.sections.contains(&section);
        assert_eq!(recipe.prototypes.is_some(), has("prototypes"), "{}", method.name);
        assert_eq!(recipe.teacher.is_some(), has("teacher"), "{}", method.name);
        assert_eq!(recipe.assignment.is_some(), has("assignment"), "{}", method.name);
        assert_eq!(recipe.loss.is_some(), has("loss"), "{}", method.name);
        assert_eq!(recipe.objective.settings.len(), method.keys.len(), "{}", method.name);
        for (path, value) in method.defaults {
            let table: toml::Table = toml::from_str(&recipe.to_toml()).unwrap();
            let (section, key) = path.split_once('.').unwrap();
            let expected: toml::Table = toml::from_str(&format!("v = {value}")).unwrap();
            assert_eq!(table[section][key], expected["v"], "{}: {path}", method.name);
        }
        assert_eq!(Recipe::from_toml(&recipe.to_toml(), "again").unwrap(), recipe);
        // Any recipe can be turned into one of it, and back.
        let turned = set(&minimal(), &[&format!("objective.name={}", method.name)]);
        let back = match turned {
            Ok(turned) => {
                assert_eq!(turned.objective, recipe.objective, "{}", method.name);
                set(&turned, &["objective.name=mira", "assignment.iterations=30"]).unwrap()
            }
            // The number of outputs is another.
            Err(error) => {
                assert!(error.contains("projector.output_dim"), "{}: {error}", method.name);
                continue;
            }
        };
        assert_eq!(
            (back.assignment, back.prototypes),
            (minimal().assignment, minimal().prototypes)
        );
    }
}

#[test]
fn temperatures_have_a_least_one() {
    let mut found = 0;
    for method in METHODS {
        for key in method.keys.iter().filter(|key| key.path.ends_with("temperature")) {
            let (_, name) = key.path.split_once('.').unwrap();
            let text = |x: &str| of(&format!("name = \"{}\"\n{name} = {x}", method.name));
            has(&refused(&text("9.99e-7")), &[key.path, "of at least 1e-6"]);
            assert!(Recipe::from_toml(&text("1e-6"), "r").is_ok(), "{}", method.name);
            found += 1;
        }
    }
    assert!(found >= 8, "{found}");
}

#[test]
fn settings_of_other_objectives_are_refused() {
    let imsvd = "name = \"imsvd\"";
    has(&refused(&of("name = \"imsdv\"")), &["objective.name", "did you mean \"imsvd\"?"]);
    has(
        &refused(&of(&format!("{imsvd}\n[assignment]\niterations = 3"))),
        &["`assignment.iterations` does not apply", "objective.name = \"imsvd\"", "\"mira\""],
    );
    has(
        &refused(&of(&format!("{imsvd}\nmoment_decay = 0.5"))),
        &["`objective.moment_decay` does not apply", "\"minc\""],
    );
    has(&refused(&of(&format!("{imsvd}\nbins = 1"))), &["objective.bins` is 1"]);
    has(
        &refused(&of(&format!("{imsvd}\nbins = 7"))),
        &["`projector.output_dim` is 8160", "102", "× the 7"],
    );
    let three = of(imsvd).replace("count = 2", "count = 3");
    has(&refused(&three), &["`views` has 3 in all", "imsvd compares exactly two"]);
    assert!(set(&minimal(), &["objective.name=nothing"]).is_err());
}

#[test]
fn a_recipe_may_state_only_in_what_it_differs() {
    let child = "extends = \"default\"\n[train]\nbatch_size = 64\n[optimizer]\nkind = \"lars\"\n";
    let recipe = Recipe::from_toml(child, "child").unwrap();
    let base = Recipe::builtin("default").unwrap();
    let expected = set(&base, &["train.batch_size=64", "optimizer.kind=lars"]).unwrap();
    assert_eq!(recipe, expected);
    let other = "extends = \"default\"\n[objective]\nname = \"minc\"\n[[views]]\nname = \"v\"\ncount = 2\nsize = 28\nscale = [0.5, 1]\n";
    let recipe = Recipe::from_toml(other, "child").unwrap();
    assert_eq!((recipe.views.len(), recipe.views[0].flip), (1, 0.0));
    assert_eq!((recipe.assignment, recipe.prototypes), (None, None));
    assert_eq!(recipe.teacher, base.teacher);

    // To name the objective that is there already takes nothing away, neither its own settings nor a method's that is the default.
    let swav = Recipe::builtin("small/swav").unwrap();
    let again = "extends = \"small/swav\"\n[objective]\nname = \"swav\"\nqueue_start_epoch = 15\n";
    assert_eq!(Recipe::from_toml(again, "child").unwrap(), swav);
    let tuned = set(&swav, &["objective.epsilon=0.03"]).unwrap();
    assert_eq!(set(&tuned, &["objective.name=swav"]).unwrap(), tuned);
    let mira = set(&base, &["assignment.beta_end=0.5"]).unwrap();
    assert_eq!(set(&mira, &["objective.name=mira"]).unwrap(), mira);

    // Files are found beside the one that names them.
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("a.toml"), "extends = \"default\"\n[train]\nseed = 7\n").unwrap();
    let origin = path("b.toml").display().to_string();
    let recipe = Recipe::from_toml("extends = \"a.toml\"\n[train]\nbatch_size = 32\n", &origin);
    let recipe = recipe.unwrap();
    assert_eq!((recipe.train.seed, recipe.train.batch_size), (7, 32));

    has(&refused("extends = \"defualt\""), &["no recipe or file `defualt`", "`default`?"]);
    has(&refused("extends = 3"), &["`extends` is 3", "name of a recipe"]);
    has(&refused("extends = \"nowhere.toml\""), &["cannot read the recipe", "nowhere.toml"]);
    std::fs::write(path("c.toml"), "extends = \"c.toml\"\n").unwrap();
    let error = Recipe::from_toml("extends = \"c.toml\"", &origin).unwrap_err().to_string();
    has(&error, &["recipes extend one another", "none extends itself"]);
}

#[test]
fn there_is_a_recipe_of_each_family_for_every_objective() {
    for method in METHODS {
        for (family, base) in [
            ("small", "default"),
            ("cifar10-small", "cifar10-small-cpu"),
            ("cifar10-r18", "cifar10-r18-1000ep"),
            ("imagenet-r50", "imagenet-r50-100ep"),
        ] {
            let name = format!("{family}/{}", method.name);
            let found = builtins().iter().find(|b| b.name == name).expect(&name);
            let recipe = Recipe::builtin(&name).unwrap();
            assert_eq!(recipe.objective.name, method.name, "{name}");
            // What is the objective's own is there to be read, and what is not is the base's.
            let text: toml::Table = toml::from_str(found.text).unwrap();
            assert_eq!(text["extends"].as_str(), Some(base), "{name}");
            for key in recipe.objective.settings.keys() {
                assert!(text["objective"].get(key).is_some(), "{name}: {key} is not written");
            }
            let base = Recipe::builtin(base).unwrap();
            assert_eq!((&recipe.model, &recipe.views), (&base.model, &base.views), "{name}");
            assert_eq!((&recipe.data, &recipe.eval), (&base.data, &base.eval), "{name}");
            if family.ends_with("small") {
                assert_eq!((&recipe.train, &recipe.schedule), (&base.train, &base.schedule));
            }
        }
        assert_eq!(Recipe::builtin("small/mira").unwrap(), Recipe::builtin("default").unwrap());
    }
}
