//! The Rust half of `dev/bench_vs_pytorch`: times single assignments on request, so that both halves can take turns.
//!
//! Requests on standard input, one a line; answers on standard output:
//!
//! | request | answer |
//! |---|---|
//! | `load B K FILE` (row-major little-endian f32) | `ok` |
//! | `time mira-sweeps N`, `time mira-certified`, `time sinkhorn-sweeps N`, `time softmax` | `SECONDS ITERATIONS LOG_RATIO_BOUND` |
//! | `save FILE` (of the last assignment) | `ok` |

use std::io::{BufRead, Write};
use std::time::Instant;

use mira::cpu::{CpuAssigner, CpuWorkspace};
use mira::{Assigner, Mira, Shape};
use ndarray::Array2;

mod request;

type Failure = Box<dyn std::error::Error>;

struct Problem {
    logits: Array2<f32>,
    assignment: Array2<f32>,
    workspace: CpuWorkspace<f32>,
}

fn main() -> Result<(), Failure> {
    let mut problem = None;
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), &mut problem) {
            (["load", batch, prototypes, file], _) => {
                problem = Some(load(Shape::new(batch.parse()?, prototypes.parse()?)?, file)?);
                writeln!(out, "ok")?;
            }
            (["time", method @ ..], Some(problem)) => {
                let assigner = CpuAssigner::<f32>::new(request::method(method)?);
                let start = Instant::now();
                assigner.assign_into(
                    problem.logits.view(),
                    problem.assignment.view_mut(),
                    &mut problem.workspace,
                )?;
                let seconds = start.elapsed().as_secs_f64();
                let report = assigner.report(&problem.workspace)?;
                writeln!(
                    out,
                    "{seconds} {} {} {}",
                    report.iterations, report.passes, report.certificate.log_ratio_bound
                )?;
            }
            (["save", file], Some(problem)) => {
                let bytes: Vec<u8> =
                    problem.assignment.iter().flat_map(|w| w.to_le_bytes()).collect();
                std::fs::write(file, bytes)?;
                writeln!(out, "ok")?;
            }
            // `cargo bench` passes no requests; anything else is a mistake.
            _ => return Err(format!("unknown request, or no problem loaded: {line}").into()),
        }
        out.flush()?;
    }
    Ok(())
}

fn load(shape: Shape, file: &str) -> Result<Problem, Failure> {
    let bytes = std::fs::read(file)?;
    let values = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let assigner = CpuAssigner::<f32>::new(Mira::default());
    Ok(Problem {
        logits: Array2::from_shape_vec((shape.batch(), shape.num_prototypes()), values)?,
        assignment: assigner.output(shape)?,
        workspace: assigner.workspace(shape)?,
    })
}
