//! tmp
use mira::{cpu::CpuAssigner, *};
use ndarray::Array2;
use std::time::Instant;
fn main() {
    for (b, k) in [(8usize, 3000usize), (512, 3000), (1024, 3000), (4096, 3000)] {
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
        let mut t2 = [0.0; 2];
        for (i, n) in [10usize, 110].into_iter().enumerate() {
            let a =
                CpuAssigner::<f32>::new(Mira::default().with_stop(StopRule::Sweeps(n)).unwrap());
            let shape = Shape::new(b, k).unwrap();
            let mut ws = a.workspace(shape).unwrap();
            let mut out = a.output(shape);
            let mut ts = vec![];
            for _ in 0..7 {
                let t = Instant::now();
                a.assign_into(logits.view(), out.view_mut(), &mut ws).unwrap();
                ts.push(t.elapsed().as_secs_f64() * 1e3);
            }
            ts.sort_by(f64::total_cmp);
            t2[i] = ts[3];
        }
        let ms = (t2[1] - t2[0]) / 100.0;
        println!(
            "{b}x{k}: sweep {:.3} ms  {:.1} GB/s; rest {:.2} ms",
            ms,
            b as f64 * k as f64 * 4.0 / ms / 1e6,
            t2[0] - 10.0 * ms
        );
    }
}
