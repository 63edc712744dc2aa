//! Ranks as threads.

use super::*;

/// Runs `work` on every rank and returns its results in rank order.
fn on_ranks<T: Send>(
    world: Vec<ThreadCollective>,
    work: impl Fn(ThreadCollective) -> T + Sync,
) -> Vec<T> {
    std::thread::scope(|scope| {
        let handles: Vec<_> = world.into_iter().map(|rank| scope.spawn(|| work(rank))).collect();
        handles.into_iter().map(|h| h.join().expect("no panic")).collect()
    })
}

#[test]
fn sums_in_rank_order_over_many_rounds() {
    // 1e16 + 1 − 1e16 depends on the order; rank order gives 0.0 (1 is lost), whatever the arrival order.
    let results = on_ranks(ThreadCollective::world(3), |rank| {
        (0..200u32)
            .map(|round| {
                if round as usize % 3 == rank.rank() {
                    std::thread::yield_now();
                }
                let mut values = [[1e16, 1.0, -1e16][rank.rank()], f64::from(round)];
                rank.sum(&mut values).unwrap();
                let mut top = [rank.rank() as f64];
                rank.max(&mut top).unwrap();
                assert_eq!(values, [0.0, 3.0 * f64::from(round)]);
                top[0]
            })
            .sum::<f64>()
    });
    assert_eq!(results, [400.0; 3]);
}

#[test]
fn every_rank_gathers_all_in_rank_order() {
    let results = on_ranks(ThreadCollective::world(3), |rank| {
        let mine = [rank.rank() as f64 + 0.1, f64::NEG_INFINITY];
        let mut all = [f64::NAN; 6];
        rank.gather(&mine, &mut all).unwrap();
        let short = rank.gather(&mine, &mut all[1..]).unwrap_err();
        assert_eq!(short, CollectiveError::Length { expected: 6, got: 5 });
        all
    });
    let none = f64::NEG_INFINITY;
    assert_eq!(results, [[0.1, none, 1.1, none, 2.1, none]; 3]);
}

#[test]
fn disagreement_is_an_error_on_every_rank() {
    let results =
        on_ranks(ThreadCollective::world(2), |rank| rank.sum(&mut vec![0.0; 1 + rank.rank()]));
    for result in results {
        assert!(matches!(result, Err(CollectiveError::Mismatch { rank: 1, .. })), "{result:?}");
    }
}

/// Rank 1 is a call behind: what it brings must not be added to what rank 0 brings next.
#[test]
fn after_a_timeout_or_a_mismatch_nothing_is_summed() {
    let out_of_step = |first| {
        let first = Box::new(first);
        Err(CollectiveError::OutOfStep { first })
    };
    let world = ThreadCollective::world_with_timeout(3, Duration::from_millis(20));
    let timeout = CollectiveError::Timeout { rank: 2, waited: Duration::from_millis(20) };
    let waiting = std::thread::scope(|scope| {
        [0, 1]
            .map(|r| {
                scope.spawn({
                    let rank = &world[r];
                    || rank.sum(&mut [1.0])
                })
            })
            .map(|h| h.join().expect("no panic"))
    });
    assert!(waiting.contains(&Err(timeout.clone())), "{waiting:?}");
    for rank in [2, 0, 1] {
        assert_eq!(world[rank].sum(&mut [1.0]), out_of_step(timeout.clone()), "rank {rank}");
    }
    let results = on_ranks(ThreadCollective::world(2), |rank| {
        let first = rank.sum(&mut vec![0.0; 1 + rank.rank()]);
        (first, rank.sum(&mut [1.0]))
    });
    for (first, second) in results {
        assert_eq!(second, out_of_step(first.expect_err("of other lengths")));
    }
}

#[test]
fn patience_without_end_waits() {
    let world = ThreadCollective::world_with_timeout(2, Duration::MAX);
    let results = on_ranks(world, |rank| {
        if rank.rank() == 1 {
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut values = [1.0];
        let summed = (rank.sum(&mut values), values);
        // One that leaves is noticed all the same.
        (summed, rank.rank() == 1 || rank.sum(&mut values).is_err())
    });
    for result in results {
        assert_eq!(result, ((Ok(()), [2.0]), true));
    }
}

#[test]
fn a_rank_that_leaves_or_sleeps_is_named() {
    let results = on_ranks(ThreadCollective::world(3), |rank| {
        if rank.rank() == 2 { Ok(()) } else { rank.sum(&mut [1.0]) }
    });
    assert_eq!(results[0], Err(CollectiveError::RankLeft { rank: 2 }));
    let mut world = ThreadCollective::world_with_timeout(2, Duration::from_millis(20));
    let asleep = world.pop();
    assert_eq!(
        world[0].sum(&mut [1.0]),
        Err(CollectiveError::Timeout { rank: 1, waited: Duration::from_millis(20) })
    );
    drop(asleep);
}

/// Two views of a rank at the same time, as threads would assign them.
#[test]
fn calls_of_one_rank_at_once_are_refused_and_never_mixed() {
    for round in 0..200 {
        let results = on_ranks(ThreadCollective::world(2), |rank| {
            let of = |value: f64| {
                let mut values = vec![value; if value == 1.0 { 3 } else { 40 }];
                let result = rank.sum(&mut values);
                result.map(|()| values[0])
            };
            std::thread::scope(|scope| {
                let threads = [1.0, 100.0].map(|value| scope.spawn(move || of(value)));
                threads.map(|thread| thread.join().expect("no panic"))
            })
        });
        for (view, result) in results.iter().flat_map(|of_rank| of_rank.iter().enumerate()) {
            match result {
                Ok(sum) => assert_eq!(*sum, [2.0, 200.0][view], "round {round}"),
                Err(
                    CollectiveError::ConcurrentCalls { .. }
                    | CollectiveError::Mismatch { .. }
                    | CollectiveError::OutOfStep { .. }
                    | CollectiveError::RankLeft { .. },
                ) => {}
                Err(other) => panic!("round {round}: {other}"),
            }
        }
    }
    // One that is waiting, and another of its rank.
    let world = ThreadCollective::world(2);
    let error = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| world[0].sum(&mut [1.0]));
        while !world[0].lock().is_calling[0] {
            std::thread::yield_now();
        }
        let error = world[0].sum(&mut [2.0]).unwrap_err();
        assert_eq!(waiting.join().expect("no panic"), Err(error.clone()));
        error
    });
    assert_eq!(error, CollectiveError::ConcurrentCalls { rank: 0 });
    assert!(matches!(world[1].sum(&mut [1.0]), Err(CollectiveError::OutOfStep { .. })));
}
