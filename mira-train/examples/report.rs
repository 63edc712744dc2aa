//! Writes a report and plots of made-up runs, to look at: `cargo run -p mira-train --example report -- FOLDER`.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_lossless,
    reason = "made-up numbers that are in range"
)]

use std::f64::consts::PI;
use std::path::Path;

use mira_train::pages::metrics::{EvalRecord, Metrics, StepRecord};
use mira_train::pages::plot::{self, Run};
use mira_train::pages::projection::Projection;
use mira_train::pages::report::{GalleryRow, Neighbour, Report, Thumbnail, html};

const CLASSES: [&str; 10] = [
    "T-shirt",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];
const EPOCHS: u32 = 30;
const STEPS: u32 = 47;

/// Numbers that look random enough.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / (1 << 24) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

fn metrics(seed: u64, peak: f64, reached: f64) -> Metrics {
    let mut noise = Noise(seed);
    let mut metrics = Metrics::default();
    let total = f64::from(EPOCHS * STEPS);
    let log_k = 256_f64.ln();
    for step in 0..EPOCHS * STEPS {
        let t = f64::from(step) / total;
        let warm = (t / 0.1).min(1.0);
        let fall = 1.0 - (-5.0 * t).exp();
        metrics.push_step(StepRecord {
            step: step.into(),
            epoch: f64::from(step) / f64::from(STEPS),
            loss: log_k - 2.9 * fall * reached + 0.07 * noise.normal(),
            lr: if t < 0.1 {
                peak * warm
            } else {
                0.5 * peak * (1.0 + ((t - 0.1) / 0.9 * PI).cos())
            },
            beta: 0.7 - 0.0333 * 0.5 * (1.0 - (t * PI).cos()),
            ema_momentum: 1.0 - 0.005 * (1.0 + (t * PI).cos()),
            weight_decay: 1e-6,
            images_per_second: 1850.0 + 90.0 * noise.normal()
                - if step % 200 < 5 { 700.0 } else { 0.0 },
            data_wait_fraction: 0.01,
            sweeps: (5.0 + 4.0 * fall + noise.uniform() * 2.0).floor(),
            duality_gap: 1e-9,
            log_ratio_bound: 1e-6,
            marginal_entropy: log_k - 0.25 * (-8.0 * t).exp() - 0.05 - 0.01 * noise.uniform(),
            log_prototypes: log_k,
            gradient_norm: 0.4 + 1.2 * (-4.0 * t).exp() * (1.0 + 0.2 * noise.normal()),
        });
    }
    let mut eval = |epoch: u32, encoder: &str, metric: &str, value: f64| {
        metrics.push_eval(EvalRecord {
            step: (epoch * STEPS).into(),
            epoch: epoch.into(),
            encoder: encoder.into(),
            metric: metric.into(),
            value,
            settings: None,
        });
    };
    eval(0, "pixels", "knn_top1", 0.781);
    eval(0, "untrained", "knn_top1", 0.742);
    eval(0, "untrained", "linear_top1", 0.779);
    for epoch in (5..=EPOCHS).step_by(5) {
        let t = f64::from(epoch) / f64::from(EPOCHS);
        eval(epoch, "trained", "knn_top1", 0.75 + 0.10 * reached * t.sqrt());
    }
    eval(EPOCHS, "trained", "linear_top1", 0.80 + 0.07 * reached);
    eval(0, "pixels", "linear_top1", 0.823);
    metrics
}

/// A blob whose shape depends on its class, tinted a little.
fn picture(class: usize, noise: &mut Noise, side: usize) -> Thumbnail {
    let (turn, size) = (noise.uniform() * 0.6, 0.7 + 0.3 * noise.uniform());
    let mut rgb = Vec::new();
    for y in 0..side {
        for x in 0..side {
            let (u, v) = (x as f64 / side as f64 - 0.5, y as f64 / side as f64 - 0.5);
            let angle = v.atan2(u) + turn;
            let edge = 0.33 * size * (1.0 + 0.35 * (angle * (class as f64 % 5.0 + 1.0)).cos());
            let inside = 1.0 / (1.0 + ((u.hypot(v) - edge) * 60.0).exp());
            let shade = inside * (150.0 + 80.0 * (x as f64 * (class / 5 + 1) as f64 * 0.7).sin())
                + 6.0 * noise.normal();
            rgb.extend([shade.clamp(0.0, 255.0) as u8; 3]);
        }
    }
    Thumbnail { width: side, height: side, rgb, caption: CLASSES[class].into() }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).unwrap_or("target/report-example".into());
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let mut noise = Noise(7);

    let (dim, n) = (512, 2000);
    let centres: Vec<Vec<f64>> =
        CLASSES.iter().map(|_| (0..dim).map(|_| noise.normal()).collect()).collect();
    let mut features = Vec::new();
    for i in 0..n {
        let spread = 0.9 + 0.5 * noise.uniform();
        features.extend(
            centres[i % 10]
                .iter()
                .map(|c| (c * (1.0 + 0.3 * spread) + spread * noise.normal()) as f32),
        );
    }
    let labels: Vec<Option<u32>> = (0..n as u32).map(|i| Some(i % 10)).collect();
    let class_names = CLASSES.map(String::from);
    let usage: Vec<f64> = (0..256).map(|_| (0.45 * noise.normal()).exp()).collect();
    let total: f64 = usage.iter().sum();
    let usage: Vec<f32> = usage.iter().map(|u| (u / total) as f32).collect();
    let gallery: Vec<GalleryRow> = (0..10)
        .map(|class| GalleryRow {
            query: picture(class, &mut noise, 28),
            neighbours: (0..8)
                .map(|_| {
                    let found = if noise.uniform() < 0.85 { class } else { (class + 3) % 10 };
                    Neighbour {
                        thumbnail: picture(found, &mut noise, 28),
                        is_match: Some(found == class),
                    }
                })
                .collect(),
        })
        .collect();
    let views: Vec<Vec<Thumbnail>> = (0..6)
        .map(|class| {
            let captions =
                ["original", "global 1", "global 2", "local 1", "local 2", "local 3", "local 4"];
            let side = |i: usize| if i < 3 { 28 } else { 16 };
            let views = captions.iter().enumerate();
            views
                .map(|(i, c)| Thumbnail {
                    caption: (*c).into(),
                    ..picture(class, &mut noise, side(i))
                })
                .collect()
        })
        .collect();
    let metrics_a = metrics(1, 0.8, 1.0);
    let facts = [
        ("Encoder", "ResNet-14, width 16"),
        ("Parameters", "203,216 (encoder 174,608)"),
        ("Data", "Fashion-MNIST subset, 6,000 images"),
        ("Prototypes", "256"),
        ("Device", "CPU, 2 threads"),
        ("Duration", "2 min 41 s"),
        ("Seed", "0"),
    ];
    let warnings =
        ["The learning rate was reached only after 3 steps with <large> gradients.".to_owned()];
    let page = html(&Report {
        title: "fashion-mnist-resnet14",
        command: "mira-train run default --out runs/demo --set train.seed=0",
        recipe_toml: "[data]\nsource = \"embedded\"\n\n[model]\narchitecture = \"resnet14\"\nwidth = 16\n",
        metrics: &metrics_a,
        facts: facts.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec(),
        prototype_usage: &usage,
        embeddings: Some(Projection {
            features: &features,
            dim,
            labels: &labels,
            class_names: &class_names,
        }),
        gallery: &gallery,
        views: &views,
        warnings: &warnings,
    });
    std::fs::write(folder.join("report.html"), page)?;

    let runs = [
        Run { name: "mira-seed0".into(), metrics: metrics_a },
        Run { name: "sinkhorn-seed0".into(), metrics: metrics(2, 0.6, 0.9) },
        Run {
            name: "softmax-with-a-rather-long-name-of-a-folder".into(),
            metrics: metrics(3, 1.0, 0.7),
        },
    ];
    for name in ["plot.html", "plot.svg", "plot.png"] {
        plot::write(&runs, &folder.join(name))?;
    }
    println!("wrote report.html and plot.{{html,svg,png}} to {}", folder.display());
    Ok(())
}
