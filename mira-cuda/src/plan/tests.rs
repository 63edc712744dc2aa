//! Layouts of problems of many shapes over many devices: nothing overlaps, everything is covered.

use mira_core::Mira;

use super::*;

const H200: Hardware =
    Hardware { multiprocessors: 132, shared_memory: 232_448, threads: crate::params::THREADS };

fn plan(batch: usize, columns: usize, num_problems: usize) -> Plan {
    let shape = Shape::new(batch, columns).unwrap();
    Plan::new(Mira::default().into(), shape, (Dtype::F32, Dtype::F32), num_problems, H200).unwrap()
}

#[test]
fn every_row_and_column_has_a_block_and_everything_fits() {
    for batch in [1, 2, 31, 512, 4096, 65_536] {
        for columns in [1, 2, 300, 3000, 3072, 3073, 4097, 8192, 8193, 131_072, 600_000] {
            for num_problems in [1, 2, 4] {
                let plan = plan(batch, columns, num_problems);
                let p = &plan.params;
                let context = format!("{batch}×{columns}, {num_problems} problems: {plan:?}");
                assert!(p.rows_per_block * p.row_blocks >= p.batch, "{context}");
                assert!(p.rows_per_block * (p.row_blocks - 1) < p.batch, "{context}");
                assert!(p.rows_per_block <= 64, "{context}");
                assert!(p.slice * p.column_blocks >= p.columns, "{context}");
                assert!(p.slice * (p.column_blocks - 1) < p.columns, "{context}");
                assert!(p.column_blocks <= plan.blocks.cast_signed(), "{context}");
                if columns <= 4096 {
                    // Who has neither rows nor columns is waited for by nobody, and could fall behind.
                    let needed = p.row_blocks.max(p.column_blocks);
                    assert!(needed >= plan.blocks.cast_signed(), "{context}");
                }
                assert!(plan.blocks as usize * num_problems <= 132, "{context}");
                assert!(plan.shared_bytes <= 232_448, "{context}");
                assert!(p.padded_columns >= p.columns, "{context}");
                assert_eq!(p.segments > 0, plan.kernel.starts_with("assign_wide"), "{context}");
                if p.segments > 0 {
                    // Every block of a team has columns, and all columns a block.
                    assert!(p.segments * p.segment_columns >= p.columns, "{context}");
                    assert!((p.segments - 1) * p.segment_columns < p.columns, "{context}");
                    assert!(p.segments * p.teams <= plan.blocks.cast_signed(), "{context}");
                    assert!(p.depth >= 1, "{context}");
                }
            }
        }
    }
}

#[test]
fn columns_that_shared_memory_has_no_place_for_are_too_many() {
    let plan = |columns| {
        let shape = Shape::new(8, columns).unwrap();
        Plan::new(Mira::default().into(), shape, (Dtype::F32, Dtype::F32), 4, H200)
    };
    // Of 33 blocks, each keeps a sum of 8 bytes for its share of the columns.
    let most = 33 * (232_448 - 8 * 1024) / 8;
    plan(most).unwrap();
    let error = plan(33 * 232_448 / 8).unwrap_err();
    assert!(matches!(error, Error::ShapeTooLarge { batch: 8, .. }), "{error}");
}

#[test]
fn ranks_agree_or_are_told_what_differs() {
    let ranks =
        |multiprocessors, max_passes| Ranks { rank: 0, world_size: 3, multiprocessors, max_passes };
    let terms = |k, beta, multiprocessors, max_passes| {
        let method = Mira::new(0.1, beta).unwrap().into();
        ranks(multiprocessors, max_passes).terms(&method, k, 1, true)
    };
    let alike = [terms(300, 0.5, 132, 32), terms(300, 0.5, 108, 32), terms(300, 0.5, 132, 32)];
    let agreed = ranks(132, 32).agree(alike.as_flattened()).unwrap();
    assert_eq!(agreed, ranks(108, 32), "the smallest device decides");
    for (rank, other, what) in [
        (1, terms(301, 0.5, 132, 32), "prototypes 301"),
        (2, terms(300, 0.6, 132, 32), "ε 0.04"),
        (2, terms(300, 0.5, 132, 31), "passes at most 31"),
    ] {
        let mut told = alike;
        told[rank] = other;
        let error = ranks(132, 32).agree(told.as_flattened()).unwrap_err();
        assert!(
            matches!(&error, CollectiveError::Mismatch { rank: r, got, .. } if *r == rank && got.contains(what)),
            "{error}"
        );
    }
}

#[test]
fn a_common_batch_uses_the_whole_chip() {
    let plan = plan(4096, 3000, 1);
    assert_eq!((plan.kernel, plan.params.rows_per_block), ("assign_6", 32));
    assert_eq!(plan.blocks, 128);
    // More than half of the kernel stays in shared memory: 18 of 32 rows of 12,288 bytes.
    assert_eq!(plan.params.rows_on_chip, 18);
    assert_eq!(self::plan(512, 3000, 1).params.rows_on_chip, 4, "all of them");
}

#[test]
fn no_block_has_many_more_rows_than_others() {
    let devices = [132, 108, 114, 142].map(|multiprocessors| Hardware { multiprocessors, ..H200 });
    for hardware in devices {
        for batch in [4096, 4225, 8192, 8449, 12_288, 16_384, 65_536] {
            for (columns, num_problems) in [(3000, 1), (3000, 2), (65_536, 1)] {
                let shape = Shape::new(batch, columns).unwrap();
                let method = Mira::default().into();
                let dtypes = (Dtype::F32, Dtype::F32);
                let plan = Plan::new(method, shape, dtypes, num_problems, hardware).unwrap();
                let p = &plan.params;
                // Of a team, where rows are long.
                let workers = if p.teams > 0 { p.teams } else { plan.blocks.cast_signed() };
                let [batch, rows, workers] =
                    [p.batch, p.rows_per_block, workers].map(|n| usize::try_from(n).unwrap());
                let busiest = batch.div_ceil(rows).div_ceil(workers) * rows;
                let rounds = batch.div_ceil(64 * workers);
                assert!(
                    busiest < batch.div_ceil(workers) + rounds,
                    "{batch}×{columns} on {hardware:?}: {busiest} rows of one, {rows} at once"
                );
            }
        }
    }
}

#[test]
fn teams_of_blocks_share_long_rows() {
    let wide = plan(4096, 65_536, 1);
    let p = &wide.params;
    assert_eq!((wide.kernel, p.segments, p.segment_columns), ("assign_wide_8", 16, 4096));
    assert_eq!((p.teams, p.depth), (8, 3), "of 132 multiprocessors 128 read rows");
    let p = plan(4096, 131_072, 1).params;
    assert_eq!((p.segments, p.teams, p.depth), (32, 4, 3));
    // Of 16 rows, 16 KB each of a block, 3 beside three groups of three on the way: 192 KB, and 24 KB for the columns.
    let p = plan(512, 16_384, 1).params;
    assert_eq!((p.teams, p.rows_per_block, p.rows_on_chip), (33, 16, 3));
    let p = plan(128, 16_384, 1).params;
    assert_eq!((p.rows_per_block, p.rows_on_chip), (4, 4), "all of them");
    assert_eq!(plan(4096, 600_000, 1).kernel, "assign_long", "more segments than blocks");
}
