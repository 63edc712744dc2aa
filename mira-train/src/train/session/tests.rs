//! Sessions that are asked to stop before their first step.

use std::collections::BTreeMap;
use std::fs;

use super::*;

/// Six steps an epoch, two epochs, without evaluations.
fn tiny() -> (Recipe, Sources) {
    let settings = [
        "data.max_train=240",
        "model.width=4",
        "projector.hidden_dim=16",
        "projector.output_dim=8",
        "prototypes.count=12",
        "schedule.epochs=2",
        "train.batch_size=40",
        "views.0.size=16",
        "views.1.size=16",
    ];
    let settings = settings.map(String::from);
    let recipe = Recipe::builtin("default").and_then(|r| r.with_overrides(&settings)).unwrap();
    let train = Sources::open(&recipe.data).unwrap().train;
    (recipe, Sources { train, test: None, no_test: Some("none is wanted".into()) })
}

/// A session, and what asks it to stop.
fn session(out: &Path, start: Start, is_asked: bool) -> (Result<Session, Error>, StopRequest) {
    let (recipe, sources) = tiny();
    let stop = StopRequest::never();
    if is_asked {
        stop.ask(Signal::Interrupt);
    }
    (Session::new(&recipe, sources, out, start, stop.clone(), true), stop)
}

/// Every file of a folder with its contents, but for the lock's.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else if !path.ends_with("lock") {
            all.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    all
}

const RESUMED: Start = Start::Resumed { strict: false };

#[test]
fn asked_to_stop_while_it_is_set_up_it_writes_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let out = temporary.path().join("run");
    let stopped = session(&out, Start::New, true).0.unwrap_err();
    assert!(matches!(stopped, Error::Stopped { signal: Signal::Interrupt }), "{stopped}");
    assert!(stopped.to_string().contains("SIGINT") && stopped.exit_code() == 75, "{stopped}");
    assert!(!out.exists());

    // Nor cuts anything off, where it goes on with a run from its middle or begins it anew.
    session(&out, Start::New, false).0.unwrap().train().unwrap();
    for checkpoint in ["step-00000012.mira", "step-00000006.mira"] {
        fs::remove_file(out.join("checkpoints").join(checkpoint)).unwrap();
        let before = contents(&out);
        assert!(before.len() >= 3, "{:?}", before.keys());
        assert!(matches!(session(&out, RESUMED, true).0, Err(Error::Stopped { .. })));
        assert_eq!(contents(&out), before);
    }
}

#[test]
fn asked_to_stop_before_its_first_step_it_makes_none() {
    let temporary = tempfile::tempdir().unwrap();
    let out = temporary.path().join("run");
    let asked = |start, step: u64| {
        let (session, stop) = session(&out, start, false);
        let mut session = session.unwrap();
        stop.ask(Signal::Terminate);
        let Ending::Interrupted(signal, path) = session.train().unwrap() else { panic!() };
        assert_eq!((signal, session.state.step), (Signal::Terminate, step));
        assert!(path.ends_with(format!("checkpoints/step-{step:08}.mira")) && path.is_file());
    };
    asked(Start::New, 0);
    session(&out, RESUMED, false).0.unwrap().train().unwrap();
    fs::remove_file(out.join("checkpoints/step-00000012.mira")).unwrap();
    asked(RESUMED, 6);
}
