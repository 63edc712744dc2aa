//! tmp
use mira::{cpu::CpuAssigner, *};
use ndarray::Array2;
use std::time::Instant;
fn main() {
    println!("{}", mira::cpu::instruction_set());
    for (b, k) in [(512usize, 3000usize), (4096, 3000)] {
        let mut seed = 1u64;
        let mut rnd = || {
            let mut s = 0.0;
            for _ in 0..4 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                s += (seed >> 33) as f64 / 2f64.powi(31) - 0.5;
            }
            s
        };
        let logits = Array2::from_shape_fn((b, k), |_| (rnd() * 0.0625 * 1.7) as f32);
        for (name, m) in [
            ("mira30", Method::from(Mira::published())),
            ("mira-cert", Mira::default().into()),
            ("sk3", Sinkhorn::swav().into()),
            ("softmax", Softmax::new(0.225).unwrap().into()),
        ] {
            let a = CpuAssigner::<f32>::new(m);
            let shape = Shape::new(b, k).unwrap();
            let mut ws = a.workspace(shape).unwrap();
            let mut out = a.output(shape);
            let mut ts = vec![];
            for _ in 0..15 {
                let t = Instant::now();
                a.assign_into(logits.view(), out.view_mut(), &mut ws).unwrap();
                ts.push(t.elapsed().as_secs_f64() * 1e3);
            }
            ts.sort_by(f64::total_cmp);
            let r = a.report(&ws).unwrap();
            println!(
                "{b}x{k} {name}: median {:.2} ms min {:.2}  it {} {} bound {:.2e} gap {:.2e}",
                ts[7],
                ts[0],
                r.iterations,
                r.status,
                r.certificate.log_ratio_bound,
                r.certificate.duality_gap
            );
        }
    }
}
