//! `mira-train assign` as its users run it: the real binary, real files.

mod refusals;
mod support;

use half::f16;
use mira_core::{Matrix, Mira, Shape, verify};
use serde_json::Value;
use support::{Order, Sandbox, golden, npy, to_f32, total_variation};

/// Backends every test that computes runs on.
const BACKENDS: &[&str] = &["cpu", "reference"];

#[test]
fn golden_assignments_f8() {
    let golden = golden();
    for backend in BACKENDS {
        let sandbox = Sandbox::new();
        for case in &golden {
            sandbox.write("s.npy", &npy("<f8", Order::C, case.shape, &case.logits));
            let w = sandbox.assignment::<f64>("s.npy", &case.flags(backend), case.shape);
            for (k, (got, want)) in w.iter().zip(&case.assignment).enumerate() {
                assert!((got - want).abs() <= 1e-10, "{} [{k}]: {got} ≠ {want}", case.name);
            }
        }
    }
}

#[test]
fn golden_assignments_f4() {
    let golden = golden();
    for backend in BACKENDS {
        let sandbox = Sandbox::new();
        // Logits of 1e4 lose more to rounding than the tolerance.
        for case in golden.iter().filter(|case| !case.name.contains("huge")) {
            sandbox.write("s.npy", &npy("<f4", Order::C, case.shape, &case.logits));
            let w = sandbox.assignment::<f32>("s.npy", &case.flags(backend), case.shape);
            let distance = total_variation(&w, &case.assignment, case.shape.1);
            assert!(distance <= 1e-5, "{}: {distance:e}", case.name);
        }
    }
}

#[test]
fn every_layout_of_the_same_logits_gives_the_same_bytes() {
    // Multiples of 1/8 below 16: exact in f2.
    let (shape, logits) = ((7, 5), (0..35).map(|i| f64::from(i * 29 % 103) / 8.0 - 4.0));
    let logits: Vec<f64> = logits.collect();
    for backend in BACKENDS {
        let sandbox = Sandbox::new();
        let answer = |descr: &str, order| {
            sandbox.write("s.npy", &npy(descr, order, shape, &logits));
            let flags = ["--backend", backend, "--out", "w.npy"];
            sandbox.run("s.npy", &flags).succeeds();
            sandbox.read("w.npy")
        };
        let (single, double) = (answer("<f4", Order::C), answer("<f8", Order::C));
        for order in [Order::C, Order::Fortran] {
            for descr in ["<f4", ">f4", "=f4"] {
                assert_eq!(answer(descr, order), single, "{backend} {descr} {order:?}");
            }
            assert_eq!(answer(">f8", order), double, "{backend} >f8 {order:?}");
            assert_eq!(answer("<f2", order), answer(">f2", order), "{backend} f2 {order:?}");
        }
        if *backend == "reference" {
            assert_eq!(answer("<f2", Order::Fortran), single, "f2");
        }
    }
}

#[test]
fn half_precision_logits_get_a_single_precision_answer() {
    let (shape, logits) = ((3, 4), [0.3, -0.7, 0.1, 0.9, 0.0, 0.5, -0.2, 0.8, 0.6, 0.6, -1.0, 0.2]);
    let rounded: Vec<f64> = logits.iter().map(|&x| f16::from_f64(x).to_f64()).collect();
    for backend in BACKENDS {
        let sandbox = Sandbox::new();
        sandbox.write("half.npy", &npy("<f2", Order::C, shape, &logits));
        sandbox.write("double.npy", &npy("<f8", Order::C, shape, &rounded));
        let flags = ["--backend", backend];
        let half = sandbox.assignment::<f32>("half.npy", &flags, shape);
        let exact = sandbox.assignment::<f64>("double.npy", &flags, shape);
        assert!(total_variation(&half, &exact, shape.1) < 1e-5);
    }
}

#[test]
fn the_report_certifies_the_file_beside_it() {
    let shape = (64, 12);
    let logits: Vec<f64> =
        (0..768).map(|i| f64::from(i * 7919 % 1009) / 1009.0 - f64::from(i % 12) / 20.0).collect();
    for backend in BACKENDS {
        let sandbox = Sandbox::new();
        sandbox.write("s.npy", &npy("<f4", Order::C, shape, &logits));
        let flags = ["--backend", backend, "--out", "w.npy", "--report", "r.json"];
        let ran = sandbox.run("s.npy", &flags).succeeds();
        assert_eq!(ran.stderr, "");
        let report: Value = serde_json::from_slice(&sandbox.read("r.json")).unwrap();
        for (key, value) in [
            ("method", "mira"),
            ("backend", backend),
            ("status", "converged"),
            ("dtype", "f4"),
            ("logits_dtype", "f4"),
        ] {
            assert_eq!(report[key], value, "{key}");
        }
        assert_eq!((report["batch"].as_u64(), report["prototypes"].as_u64()), (Some(64), Some(12)));
        assert_eq!(report["verified"], true);
        assert_eq!((&report["temperature"], &report["tolerance"]), (&0.225.into(), &1e-5.into()));
        assert_eq!(report["beta"], 2.0 / 3.0);
        assert!(report.get("epsilon").is_none());
        assert!(report["iterations"].as_u64().unwrap() > 0);
        let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("no {key}"));
        for key in ["seconds", "verify_seconds", "rounding_allowance", "row_sum_error"] {
            assert!(number(key) > 0.0, "{key}");
        }
        // The same from the two files alone, by a verifier that looks for a dual point of its own.
        let w = sandbox.values::<f32>("w.npy", shape);
        let s: Vec<f32> = logits.iter().map(|&x| to_f32(x)).collect();
        let shape = Shape::new(64, 12).unwrap();
        let (s, w) = (Matrix::new(&s, shape).unwrap(), Matrix::new(&w, shape).unwrap());
        let independent = verify(s, w, &Mira::default().into()).unwrap();
        assert!(number("log_ratio_bound") <= 1e-5 + 2e-6);
        assert!(number("log_ratio_bound") >= 1e-9, "f4 rounds, and the certificate must show it");
        assert!(number("duality_gap") >= 0.0 && number("duality_gap") < 1e-9);
        assert!(number("label_kl_bound") < 1e-9 && number("marginal_error") < 1e-5);
        assert!((number("objective") - independent.objective.unwrap()).abs() < 1e-9);
        assert!((number("marginal_entropy") - independent.marginal_entropy).abs() < 1e-12);
        assert!((number("row_sum_error") - independent.row_sum_error).abs() < 1e-15);
    }
}

#[test]
fn report_to_stdout_is_json_alone_and_the_summary_is_for_people() {
    for backend in BACKENDS {
        let sandbox = Sandbox::with_logits();
        for (method, parameter, absent) in [
            ("mira", "beta", "epsilon"),
            ("sinkhorn", "epsilon", "temperature"),
            ("softmax", "temperature", "beta"),
        ] {
            let flags = ["--backend", backend, "--method", method];
            let json = sandbox.run("s.npy", &[&flags[..], &["--report", "-"]].concat()).succeeds();
            let report: Value = serde_json::from_str(&json.stdout).unwrap();
            assert_eq!(report["method"], method);
            assert!(report[parameter].is_number() && report.get(absent).is_none(), "{method}");
            let summary = sandbox.run("s.npy", &flags).succeeds().stdout;
            assert!(summary.starts_with(&format!("{method} of 4×3 f8 logits")), "{summary}");
            for word in ["converged", "log-ratio bound", "usage", "ms", backend] {
                assert!(summary.contains(word), "{word} in {summary}");
            }
        }
        assert_eq!(sandbox.files(), ["s.npy"], "nothing is written unasked");
    }
}

#[test]
fn an_unproven_answer_is_a_status_with_a_warning() {
    for backend in BACKENDS {
        let sandbox = Sandbox::with_logits();
        let status = |flags: &[&str]| {
            let flags = [flags, &["--backend", backend, "--report", "-"]].concat();
            let ran = sandbox.run("s.npy", &flags).succeeds();
            let report: Value = serde_json::from_str(&ran.stdout).unwrap();
            (report, ran.stderr)
        };
        let swav = ["--method", "sinkhorn", "--iterations", "3"];
        for flags in [&["--iterations", "1"][..], &["--max-sweeps", "2"], &swav] {
            for verify in [&[][..], &["--no-verify"]] {
                let (report, stderr) = status(&[flags, verify].concat());
                assert_eq!(report["status"], "max_iterations", "{flags:?}");
                assert_eq!(report["verified"], verify.is_empty());
                assert!(stderr.starts_with("warning: not converged"), "{stderr}");
                assert_eq!(stderr.lines().count(), 1);
            }
        }
        let (report, stderr) = status(&["--iterations", "200", "--no-verify"]);
        assert_eq!((&report["status"], &*stderr), (&"converged".into(), ""));
        assert!(report["verify_seconds"].is_null() && report["row_sum_error"].is_null());
        let (report, stderr) = status(&["--iterations", "200"]);
        assert_eq!((&report["status"], &*stderr), (&"converged".into(), ""));
        assert_eq!(report["iterations"], 200);
    }
}

#[test]
fn the_verifier_overrules_a_solver_that_is_better_than_the_file() {
    // The oracle reaches 1e-9 in f64; W in f4 cannot hold it.
    let sandbox = Sandbox::new();
    sandbox.write("s.npy", &npy("<f4", Order::C, (2, 2), &[0.3, 0.1, -0.2, 0.4]));
    let flags = ["--backend", "reference", "--tolerance", "1e-9", "--report", "-"];
    let ran = sandbox.run("s.npy", &flags).succeeds();
    assert!(ran.stderr.starts_with("warning: the solver converged, but for W as written"));
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["status"], "stalled");
    let ran = sandbox.run("s.npy", &[&flags[..], &["--no-verify"]].concat()).succeeds();
    assert_eq!(ran.stderr, "");
}

#[test]
fn numbers_that_are_not_finite_are_null() {
    for backend in BACKENDS {
        let sandbox = Sandbox::new();
        let logits = [0.3, f64::NEG_INFINITY, -0.2, 0.4];
        sandbox.write("s.npy", &npy("<f8", Order::C, (2, 2), &logits));
        let flags = ["--backend", backend, "--method", "sinkhorn", "--epsilon", "0.5"];
        let ran = sandbox.run("s.npy", &[&flags[..], &["--report", "-"]].concat()).succeeds();
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert!(report["log_ratio_bound"].is_null(), "{report}");
    }
}

#[test]
fn an_existing_output_is_replaced_and_links_are_followed() {
    let sandbox = Sandbox::with_logits();
    sandbox.write("w.npy", b"old");
    sandbox.run("s.npy", &["--out", "w.npy"]).succeeds();
    let fresh = sandbox.read("w.npy");
    assert!(fresh.starts_with(b"\x93NUMPY"));
    assert_eq!(sandbox.files(), ["s.npy", "w.npy"]);
    #[cfg(unix)]
    {
        sandbox.write("target", b"old");
        std::os::unix::fs::symlink("target", sandbox.path("link.npy")).unwrap();
        sandbox.run("s.npy", &["--out", "link.npy"]).succeeds();
        assert!(sandbox.path("link.npy").is_symlink());
        assert_eq!(sandbox.read("target"), fresh);
    }
}

#[test]
fn the_example_of_the_readme_converges() {
    for backend in BACKENDS {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/logits.npy");
        let ran = Sandbox::new().run(example, &["--backend", backend]).succeeds();
        assert_eq!(ran.stderr, "");
        assert!(ran.stdout.contains("converged"));
        // The published sweeps reach f4's tolerance here; the solver's own status says so on every backend.
        let flags = ["--backend", backend, "--iterations", "30", "--no-verify"];
        let ran = Sandbox::new().run(example, &flags).succeeds();
        assert_eq!(ran.stderr, "");
    }
}

#[test]
fn nothing_is_proven_where_rounding_may_be_more_than_the_tolerance() {
    let sandbox = Sandbox::new();
    let logits: Vec<f64> = (0..40).map(|i| f64::from(i * 29 % 41) / 20.0 - 1.0).collect();
    sandbox.write("s.npy", &npy("<f4", Order::C, (8, 5), &logits));
    // The bound multiplies marginals' rounding by β/(1−β).
    for flags in [&[][..], &["--iterations", "30"]] {
        let flags = [flags, &["--beta", "0.999999999999", "--report", "-"]].concat();
        let ran = sandbox.run("s.npy", &flags).succeeds();
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        let allowance = report["rounding_allowance"].as_f64().unwrap();
        assert!(allowance > 1e-5, "{allowance}");
        assert_eq!(report["status"], "max_iterations", "{flags:?}");
        assert!(
            ran.stderr.starts_with("warning: not converged: rounding may add"),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains("lower --beta") && !ran.stderr.contains("max-sweeps"));
    }
    // Large logits are no reason: they are taken relative to the largest of their row.
    let logit = |i: u32| if i % 5 == i / 5 % 5 { 1e20 } else { -1e20 * f64::from(i % 7) / 7.0 };
    let logits: Vec<f64> = (0..40).map(logit).collect();
    sandbox.write("s.npy", &npy("<f4", Order::C, (8, 5), &logits));
    for flags in [&[][..], &["--iterations", "30"], &["--method", "softmax"]] {
        assert_eq!(sandbox.run("s.npy", flags).succeeds().stderr, "", "{flags:?}");
    }
    // In f4 itself, by the solver's own account.
    sandbox.write("s.npy", &npy("<f4", Order::C, (2, 2), &[0.3, 0.1, -0.2, 0.4]));
    let flags = ["--tolerance", "1e-9", "--no-verify", "--backend", "cpu", "--report", "-"];
    let ran = sandbox.run("s.npy", &flags).succeeds();
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["status"], "stalled");
    assert!(ran.stderr.contains("rounding may add") && ran.stderr.contains("give f8 logits"));
}

#[test]
fn the_allowance_of_the_log_ratio_is_none_of_the_marginal() {
    // Sinkhorn-Knopp amplifies rounding of the log ratio without bound where logits are far apart; its marginal is what it is.
    let logits: Vec<f64> = (0..40).map(|i| f64::from(i * 29 % 41) / 20.0 - 1.0).collect();
    let sandbox = Sandbox::new();
    sandbox.write("s.npy", &npy("<f4", Order::C, (8, 5), &logits));
    let flags = ["--method", "sinkhorn", "--iterations", "1", "--report", "-"];
    let report: Value =
        serde_json::from_str(&sandbox.run("s.npy", &flags).succeeds().stdout).unwrap();
    assert!(report["rounding_allowance"].as_f64().unwrap() > 1.0, "{report}");
    assert!(report["marginal_error"].as_f64().unwrap() > 1e-3, "{report}");
    assert_eq!(report["status"], "max_iterations");
}

#[test]
fn small_parameters_are_not_shown_as_none() {
    let sandbox = Sandbox::with_logits();
    let shown = |flags: &[&str]| sandbox.run("s.npy", flags).succeeds().stdout;
    assert!(shown(&[]).contains("temperature 0.225, beta 0.6667"), "{}", shown(&[]));
    assert!(shown(&["--temperature", "1e-30"]).contains("temperature 1e-30, "));
    assert!(shown(&["--beta", "0.00012346"]).contains("beta 1.235e-4"));
    assert!(shown(&["--beta", "0"]).contains("beta 0, "));
}

/// Sentences are of the numbers that they stand beside.
#[test]
fn the_summary_says_what_its_numbers_mean() {
    let shape = (20, 5);
    let sandbox = Sandbox::new();
    let logits: Vec<f64> = (0..100).map(|i| f64::from(i * 7919 % 1009) / 1009.0).collect();
    sandbox.write("s.npy", &npy("<f8", Order::C, shape, &logits));
    let without = |column: usize| {
        let of = |(i, x): (usize, &f64)| if i % 5 == column { f64::NEG_INFINITY } else { *x };
        logits.iter().enumerate().map(of).collect::<Vec<f64>>()
    };
    sandbox.write("never.npy", &npy("<f8", Order::C, shape, &without(2)));
    // No plan uses a prototype as much as the others that no row may use: more sweeps are no remedy.
    let ran = sandbox.run("never.npy", &["--method", "sinkhorn", "--epsilon", "0.5"]).succeeds();
    assert!(ran.stderr.contains("none has equal usage"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("--max-sweeps"), "{}", ran.stderr);
    let sharp = sandbox.run("s.npy", &["--method", "sinkhorn", "--epsilon", "0.01"]).succeeds();
    assert!(sharp.stdout.contains("says nothing"), "{}", sharp.stdout);
    let soft = sandbox.run("s.npy", &["--method", "sinkhorn", "--epsilon", "1"]).succeeds();
    assert!(soft.stdout.contains("no |log w"), "{}", soft.stdout);
    let near_one = sandbox.run("s.npy", &["--beta", "0.9999999", "--iterations", "3"]).succeeds();
    assert!(near_one.stdout.contains("beta 0.9999999,"), "{}", near_one.stdout);
    let large: Vec<f64> = logits.iter().map(|x| 1e30 * x).collect();
    sandbox.write("large.npy", &npy("<f8", Order::C, shape, &large));
    let large = sandbox.run("large.npy", &["--iterations", "3"]).succeeds();
    let objective = large.stdout.lines().find(|line| line.starts_with("objective")).expect("one");
    assert!(objective.contains('e') && objective.len() < 40, "{objective}");
}
