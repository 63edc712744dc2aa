//! Every kernel against the oracle: widths, devices, ranks, orders of threads, what is not a logit.

use super::*;

/// What the kernels have a pass of their own for.
fn methods(problem: &Problem) -> [Method; 5] {
    [
        problem.mira(StopRule::Sweeps(4)),
        problem.mira(StopRule::default()),
        problem.sinkhorn(StopRule::Sweeps(3)),
        Softmax::new(0.1).expect("valid").into(),
        Centered::new(0.1, 0.9).expect("valid").into(),
    ]
}

/// Every kernel, by the number of columns, with rows on chip and not, against the oracle.
#[test]
fn rows_of_any_length_on_any_device() {
    let kernels = [
        (5, 64, "assign_1"),
        (75, 60, "assign_1"),
        (9, 65, "assign_2"),
        (13, 255, "assign_4"),
        (43, 130, "assign_4"),
        (10, 257, "assign_6"),
        (43, 300, "assign_6"),
        (11, 512, "assign_8"),
        (43, 400, "assign_8"),
        (7, 513, "assign_wide_6"),
        (3, 768, "assign_wide_6"),
        (70, 600, "assign_wide_6"),
        (50, 1000, "assign_wide_8"),
    ];
    for (batch, columns, kernel) in kernels {
        let problem = Problem::new(Kind::Clusters, shape(batch, columns), 0.1, 0.8, 3, F32::stored);
        for method in methods(&problem) {
            let expected = oracle::answer(method, problem.shape, &problem.logits);
            for hardware in [SMALL, CRAMPED, BETWEEN, ROOMY] {
                let context = format!("{batch}×{columns}, {method:?}, {hardware:?}");
                let dtypes = (Dtype::F32, Dtype::F32);
                let mut emulated = Emulated::new(method, problem.shape, dtypes, hardware);
                let alone = kernel.starts_with("assign_wide") && hardware == CRAMPED;
                assert_eq!(emulated.plan.kernel, if alone { "assign_long" } else { kernel });
                let logits: Vec<f32> = problem.logits.iter().map(|s| to_f32(*s)).collect();
                let mut assignment = Guarded::<f32>::poisoned(batch * columns);
                let answer = emulated
                    .assign(&Guarded::from_slice(&logits), &mut assignment, columns, false)
                    .unwrap_or_else(|e| panic!("{context}: {e:?}"));
                let tv = total_variation(&answer.assignment, &expected.assignment, columns);
                assert!(tv < 1e-5, "{context}: total variation {tv:e}");
                let (ours, theirs) = (answer.report, expected.report);
                if matches!(method.stop(), StopRule::Tolerance { .. }) {
                    // Accelerated as on the CPU, but for what rounding decides.
                    let cpu = crate::cpu::F32::assign(method, problem.shape, &problem.logits);
                    let cpu = cpu.expect("valid logits").report.iterations;
                    assert!(ours.iterations <= cpu + cpu / 4, "{context}: {ours:?}, {cpu}");
                } else {
                    // No more passes either: a wrong sum would be repeated in the log domain.
                    assert_eq!(
                        (ours.iterations, ours.passes),
                        (theirs.iterations, theirs.passes),
                        "{context}"
                    );
                }
                if let (Some(ours), Some(theirs)) = (ours.objective, theirs.objective) {
                    assert!((ours - theirs).abs() < 1e-5 * theirs.abs().max(1.0), "{context}");
                }
            }
        }
    }
}

/// The answers of ranks with `parts` rows each.
fn on_ranks(
    method: Method,
    problem: &Problem,
    parts: &[usize],
    max_passes: usize,
) -> Vec<Result<Answer, Failure>> {
    let columns = problem.num_prototypes();
    let mut rows = problem.logits.chunks(columns);
    let world = ThreadCollective::world(parts.len());
    std::thread::scope(|scope| {
        let ranks: Vec<_> = world
            .into_iter()
            .zip(parts)
            .map(|(collective, &part)| {
                let logits: Vec<f32> =
                    rows.by_ref().take(part).flatten().map(|s| to_f32(*s)).collect();
                scope.spawn(move || {
                    let dtypes = (Dtype::F32, Dtype::F32);
                    let shape = shape(part, columns);
                    let collective = Arc::new(collective);
                    let mut emulated =
                        Emulated::on_rank(method, shape, dtypes, collective, max_passes);
                    let mut assignment = Guarded::<f32>::poisoned(shape.len());
                    let logits = Guarded::from_slice(&logits);
                    emulated.assign(&logits, &mut assignment, columns, false)
                })
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect()
    })
}

/// A pass a launch, by every kernel: what the oracle has for the whole batch.
#[test]
fn ranks_with_rows_of_any_length() {
    for columns in [5, 65, 255, 257, 512, 513, 1000] {
        let problem = Problem::new(Kind::Clusters, shape(12, columns), 0.1, 0.8, 3, F32::stored);
        for method in methods(&problem) {
            let expected = oracle::answer(method, problem.shape, &problem.logits);
            for parts in [vec![12], vec![1, 4, 7]] {
                let context = format!("12×{columns}, {method:?}, {parts:?}");
                let answers: Vec<Answer> = on_ranks(method, &problem, &parts, 40)
                    .into_iter()
                    .map(|answer| answer.unwrap_or_else(|e| panic!("{context}: {e:?}")))
                    .collect();
                let together: Vec<f64> =
                    answers.iter().flat_map(|a| a.assignment.iter().copied()).collect();
                let tv = total_variation(&together, &expected.assignment, columns);
                assert!(tv < 1e-5, "{context}: total variation {tv:e}");
                if !matches!(method.stop(), StopRule::Tolerance { .. }) {
                    // A wrong sum would be repeated in the log domain.
                    let (ours, theirs) = (answers[0].report, expected.report);
                    assert_eq!(ours.passes, theirs.passes, "{context}");
                }
            }
        }
    }
}

/// Whether products of elements and weights underflow depends on the lowest element, which the first pass finds: the later ones, a launch each,
/// must know it. Offsets of columns, 100 bits apart, make weights as far apart the other way; where one logit is 95 bits lower, its element is
/// normal and its label is, but the product of element and weight is not.
#[test]
fn ranks_remember_the_lowest_element() {
    let bit = 0.1 * std::f64::consts::LN_2;
    let shape = shape(12, 8);
    let mut problem = Problem::new(Kind::Gaussian, shape, 0.1, 0.5, 5, F32::stored);
    for (i, s) in problem.logits.iter_mut().enumerate() {
        let (row, column) = (i / 8, i % 8);
        let offset = if column % 2 == 0 { 50.0 } else { -50.0 };
        let lower = if row == column && column % 2 == 0 { 95.0 } else { 0.0 };
        *s = F32::stored(0.01 * *s + (offset - lower) * bit);
    }
    let method = problem.sinkhorn(StopRule::Sweeps(4));
    let expected = oracle::answer(method, shape, &problem.logits).assignment;
    let answers = on_ranks(method, &problem, &[5, 7], 40);
    let together = answers.iter().flat_map(|a| a.as_ref().expect("valid logits").assignment.iter());
    let mut tiny = 0;
    for (ours, exact) in together.zip(&expected) {
        tiny += u32::from(*exact < 2f64.powi(-80));
        assert!((ours / exact - 1.0).abs() < 1e-4, "{ours:e} for {exact:e}");
    }
    assert_eq!(tiny, 4, "labels of a lower logit");
}

/// When the passes that were enqueued are used up, the best weights so far are written, and the report says that they are not the target's.
#[test]
fn passes_of_ranks_are_bounded() {
    let problem = Problem::new(Kind::Clusters, shape(12, 70), 0.1, 0.9, 3, F32::stored);
    let method = problem.mira(StopRule::default());
    let unbounded = on_ranks(method, &problem, &[5, 7], 100);
    let enough = unbounded[0].as_ref().expect("valid logits").report;
    assert_eq!(enough.status, Status::Converged, "{enough:?}");
    assert!(enough.passes > 7, "a problem that takes more passes: {enough:?}");
    for max_passes in [3, 4, 7] {
        let bounded = on_ranks(method, &problem, &[5, 7], max_passes);
        let report = bounded[0].as_ref().expect("valid logits").report;
        assert_eq!(report.status, Status::MaxIterations, "{report:?}");
        assert!([max_passes - 1, max_passes].contains(&report.passes), "one to spare: {report:?}");
        for answer in &bounded {
            let answer = answer.as_ref().expect("valid logits");
            for row in answer.assignment.chunks(70) {
                let sum: f64 = row.iter().sum();
                assert!((sum - 1.0).abs() < 1e-5, "an assignment: {sum}");
            }
        }
    }
}

/// Rows apart: what lies between them is neither read nor written. The assignment may be bfloat16.
#[test]
fn rows_apart_and_assignments_in_bfloat16() {
    for (batch, columns) in [(6, 5), (9, 130), (4, 530)] {
        let problem = Problem::new(Kind::Gaussian, shape(batch, columns), 0.2, 0.5, 8, F32::stored);
        let method = problem.mira(StopRule::Sweeps(5));
        let expected = oracle::answer(method, problem.shape, &problem.logits);
        let stride = columns + 7;
        let mut apart = vec![f32::NAN; batch * stride];
        for (row, from) in apart.chunks_mut(stride).zip(problem.logits.chunks(columns)) {
            for (to, s) in row.iter_mut().zip(from) {
                *to = to_f32(*s);
            }
        }
        let mut emulated = Emulated::new(method, problem.shape, (Dtype::F32, Dtype::Bf16), SMALL);
        let untouched = bf16::from_f32(-3.0);
        let mut assignment = Guarded::from_slice(&vec![untouched; batch * stride]);
        let answer = emulated
            .assign(&Guarded::from_slice(&apart), &mut assignment, stride, false)
            .expect("valid logits");
        for (ours, exact) in answer.assignment.iter().zip(&expected.assignment) {
            // Half a unit in the last of 8 bits, and f32's own error.
            assert!((ours - exact).abs() <= exact * 2f64.powi(-8) + 1e-6, "{ours} for {exact}");
        }
        for row in assignment.as_slice().chunks(stride) {
            assert!(row[columns..].iter().all(|w| *w == untouched), "wrote between the rows");
        }
    }
}

/// The order in which threads run is drawn by a seed; the bits must not depend on it.
#[test]
fn any_order_of_threads_gives_the_same_bits() {
    for (batch, columns) in [(33, 40), (12, 300), (9, 600)] {
        let problem =
            Problem::new(Kind::Clusters, shape(batch, columns), 0.05, 0.9, 2, F32::stored);
        for method in [problem.mira(StopRule::default()), problem.sinkhorn(StopRule::Sweeps(3))] {
            let dtypes = (Dtype::F32, Dtype::F32);
            let logits: Vec<f32> = problem.logits.iter().map(|s| to_f32(*s)).collect();
            let mut answers = (0..4).map(|seed| {
                let mut emulated = Emulated::new(method, problem.shape, dtypes, SMALL);
                emulated.seed = 1000 * seed;
                let mut assignment = Guarded::<f32>::poisoned(batch * columns);
                emulated
                    .assign(&Guarded::from_slice(&logits), &mut assignment, columns, false)
                    .expect("valid logits")
            });
            let first = answers.next().expect("four");
            assert!(answers.all(|other| other == first), "{batch}×{columns}, {method:?}");
        }
    }
}

/// Problems of one launch have nothing to do with each other, also where they stop at different times.
#[test]
fn several_problems_in_one_launch() {
    several_problems(StopRule::default(), 0.1);
    several_problems(StopRule::Sweeps(12), 0.8);
}

fn several_problems(stop: StopRule, temperature: f64) {
    let (batch, columns, stride) = (14, 70, 70);
    let problems: Vec<Problem> = [Kind::Clusters, Kind::Gaussian, Kind::Cosine]
        .iter()
        .enumerate()
        .map(|(i, kind)| {
            Problem::new(*kind, shape(batch, columns), temperature, 0.9, i as u64, F32::stored)
        })
        .collect();
    let method = problems[0].mira(stop);
    let is_fixed = matches!(stop, StopRule::Sweeps(_));
    let plan =
        Plan::new(method, shape(batch, columns), (Dtype::F32, Dtype::F32), problems.len(), SMALL)
            .expect("a small problem");
    let logits: Vec<Guarded<f32>> = problems
        .iter()
        .map(|p| Guarded::from_slice(&p.logits.iter().map(|s| to_f32(*s)).collect::<Vec<_>>()))
        .collect();
    let mut assignments: Vec<Guarded<f32>> =
        problems.iter().map(|_| Guarded::poisoned(batch * columns)).collect();
    let mut workspace = Guarded::from_slice(&vec![0u8; problems.len() * plan.workspace_bytes]);
    let mut params = plan.params;
    for (p, (logits, assignment)) in logits.iter().zip(&mut assignments).enumerate() {
        params.logits[p] = logits.as_ptr().addr() as u64;
        params.assignment[p] = assignment.as_mut_ptr().addr() as u64;
    }
    params.workspace = workspace.as_mut_ptr().addr() as u64;
    (params.logits_stride, params.assignment_stride) = (stride, stride);
    let grid = (plan.blocks, u32::try_from(problems.len()).expect("3"));
    // SAFETY: as in `Emulated::assign`.
    unsafe { launch(plan.kernel, grid, SMALL.threads, plan.shared_bytes, &params, 5) }
        .expect("a correct kernel");
    let (shared, both) = (Plan::certify_shared_bytes(SMALL), (1, grid.1));
    // SAFETY: as above.
    unsafe { launch(CERTIFY, both, SMALL.threads, shared, &params, 6) }.expect("a correct kernel");
    workspace.check().expect("nothing written beside the workspace");
    let mut sweeps = Vec::new();
    for (p, (problem, assignment)) in problems.iter().zip(&mut assignments).enumerate() {
        assignment.check().expect("nothing written beside the assignment");
        let bytes = &workspace.as_slice()[p * plan.workspace_bytes..];
        let (control, summary) = (&bytes[plan.at_control()..], &bytes[plan.at_summary()..]);
        // SAFETY: written by the kernels; read unaligned.
        let (control, summary) = unsafe {
            (
                control.as_ptr().cast::<Control>().read_unaligned(),
                summary.as_ptr().cast::<params::Summary>().read_unaligned(),
            )
        };
        let report = plan.report(&control, summary, false).expect("valid logits");
        assert_eq!(report.status == Status::Converged, !is_fixed, "problem {p}: {report:?}");
        assert_eq!(control.unjudged > 0, is_fixed, "problem {p}: {report:?}");
        sweeps.push(report.iterations);
        let expected = oracle::answer(method, problem.shape, &problem.logits);
        let ours: Vec<f64> = assignment.as_slice().iter().map(|w| f64::from(*w)).collect();
        let tv = total_variation(&ours, &expected.assignment, columns);
        assert!(tv < 1e-5, "problem {p}: total variation {tv:e}");
    }
    let alike = sweeps.iter().all(|n| *n == sweeps[0]);
    assert!(alike == is_fixed, "all alike in work: {sweeps:?}");
}

/// The others are equal, so that nothing but what is missing tells that the marginal is not uniform.
#[test]
fn a_prototype_that_is_forbidden_everywhere_has_no_bound_on_its_share() {
    let problem = Problem::new(Kind::Clusters, shape(2, 3), 0.1, 0.5, 3, F32::stored);
    let method = problem.sinkhorn(StopRule::Sweeps(3));
    let logits = [0.25, 0.25, f64::NEG_INFINITY, 0.25, 0.25, f64::NEG_INFINITY];
    let answer = F32::assign(method, problem.shape, &logits).expect("valid logits");
    assert_eq!(answer.assignment, [0.5, 0.5, 0.0, 0.5, 0.5, 0.0]);
    assert_eq!(answer.report.certificate.log_ratio_bound, f64::INFINITY);
    assert_eq!(answer.report.certificate.duality_gap, f64::INFINITY);
}

/// Rows of more columns than a block takes are spread over several: what one of them finds must reach the others.
#[test]
fn what_is_forbidden_in_one_segment_counts_in_the_whole_row() {
    let (batch, columns) = (6, 600); // two segments of 320 and 280 columns
    let problem = Problem::new(Kind::Clusters, shape(batch, columns), 0.1, 0.8, 3, F32::stored);
    let sinkhorn = problem.sinkhorn(StopRule::Sweeps(3));
    let row = |i: usize| i * columns..(i + 1) * columns;
    // A segment of a row, and the other one of another but for an entry.
    let mut logits = problem.logits.clone();
    logits[row(1)][..320].fill(f64::NEG_INFINITY);
    logits[row(4)][321..].fill(f64::NEG_INFINITY);
    for method in [problem.mira(StopRule::default()), sinkhorn] {
        let answer = F32::assign(method, problem.shape, &logits).expect("every row has an entry");
        let expected = oracle::answer(method, problem.shape, &logits);
        let tv = total_variation(&answer.assignment, &expected.assignment, columns);
        assert!(tv < 1e-5, "{method:?}: total variation {tv:e}");
        for (got, logit) in answer.assignment.iter().zip(&logits) {
            assert!(
                *logit > f64::NEG_INFINITY || *got == 0.0,
                "{method:?}: a forbidden label {got}"
            );
        }
    }
    // One entry that is forbidden makes the range of logits infinite, and with it Sinkhorn–Knopp's gap.
    for column in [3, 599] {
        let mut logits = problem.logits.clone();
        let finite = F32::assign(sinkhorn, problem.shape, &logits).expect("valid logits");
        assert!(finite.report.certificate.duality_gap < f64::INFINITY);
        logits[row(2)][column] = f64::NEG_INFINITY;
        let answer = F32::assign(sinkhorn, problem.shape, &logits).expect("valid logits");
        assert_eq!(answer.report.certificate.duality_gap, f64::INFINITY, "column {column}");
    }
    let mut logits = problem.logits.clone();
    logits[row(3)].fill(f64::NEG_INFINITY);
    let failure = F32::assign(sinkhorn, problem.shape, &logits).expect_err("a row has no entry");
    assert!(matches!(failure, Failure::Core(mira::Error::AllForbidden { row: 3 })), "{failure:?}");
    for (bad, column) in [(f64::NAN, 5), (f64::INFINITY, 580)] {
        let mut logits = problem.logits.clone();
        logits[row(5)][column] = bad;
        let failure = F32::assign(sinkhorn, problem.shape, &logits).expect_err("no logit");
        assert!(
            matches!(&failure, Failure::Core(mira::Error::NonFiniteLogit { row: 5, column: c, .. }) if *c == column),
            "{failure:?}"
        );
    }
}

/// Softmax as MIRA's with β = 0, from the weights of a run with another β: they are no optimum of it.
#[test]
fn a_warm_start_does_not_outlast_beta() {
    for stop in [StopRule::duality_gap(1e-6), StopRule::default()] {
        let problem = Problem::new(Kind::Clusters, shape(20, 9), 0.1, 0.9, 7, F32::stored);
        let dtypes = (Dtype::F32, Dtype::F32);
        let logits: Vec<f32> = problem.logits.iter().map(|s| to_f32(*s)).collect();
        let logits = Guarded::from_slice(&logits);
        let mut assignment = Guarded::<f32>::poisoned(20 * 9);
        let mut emulated =
            Emulated::new(problem.mira(StopRule::default()), problem.shape, dtypes, SMALL);
        emulated.assign(&logits, &mut assignment, 9, false).expect("valid logits");
        let softmax = Problem { beta: 0.0, ..problem.clone() }.mira(stop);
        emulated.plan = Plan::new(softmax, problem.shape, dtypes, 1, SMALL).expect("small");
        let warm = emulated.assign(&logits, &mut assignment, 9, true).expect("valid logits");
        let expected = oracle::answer(softmax, problem.shape, &problem.logits);
        let tv = total_variation(&warm.assignment, &expected.assignment, 9);
        assert!(tv < 1e-6, "{stop:?}: {tv:e}, {:?}", warm.report);
    }
}
