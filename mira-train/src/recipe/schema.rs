//! Every key: what its value may be, what it defaults to, and when it applies.

use Bounds::{HalfUnit, Positive, PositiveUnit, Temperature, Unit, UnitOpen, ZeroUp};
use Fallback::{Optional, Required, Value, Width};
use Kind::{Choice, Flag, Names, Number, Pair, Range, Text, Triple, Whole};

/// One key; `*` in its path is a position in an array.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Dotted; `*` is a position in an array.
    pub path: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// What it is where it is absent.
    pub default: Fallback,
    /// A selector key and the values of it under which this one applies; always, where absent.
    pub only: Option<(&'static str, &'static [&'static str])>,
    /// A value that would do, for messages.
    pub example: &'static str,
}

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// true or false.
    Flag,
    /// A text.
    Text,
    /// A text, or an array of them.
    Names,
    /// One of these.
    Choice(&'static [&'static str]),
    /// From the first to the second, both included.
    Whole(u64, u64),
    /// A number.
    Number(Bounds),
    /// Low and high, in order.
    Range(Bounds),
    /// Two numbers.
    Pair(Bounds),
    /// Three numbers.
    Triple(Bounds),
}

/// Ranges of numbers; infinities and NaN are in none.
#[derive(Clone, Copy, Debug)]
pub enum Bounds {
    /// [0, 1]
    Unit,
    /// [0, 1)
    UnitOpen,
    /// (0, ∞)
    Positive,
    /// [0, ∞)
    ZeroUp,
    /// (0, 1]
    PositiveUnit,
    /// [0, 1/2]
    HalfUnit,
    /// [10⁻⁶, ∞): what similarities are divided by in f32, with gradients as many times as large
    Temperature,
}

/// What is used where a key is absent.
#[derive(Clone, Copy, Debug)]
pub enum Fallback {
    /// It must be given.
    Required,
    /// It may be absent.
    Optional,
    /// The architecture's own.
    Width,
    /// TOML.
    Value(&'static str),
}

const MANY: u64 = 1 << 40;
const WITH_TEMPERATURE: &[&str] = &["mira", "softmax"];
const ITERATED: &[&str] = &["mira", "sinkhorn"];

pub(crate) const fn key(
    path: &'static str,
    kind: Kind,
    default: Fallback,
    example: &'static str,
) -> Key {
    Key { path, kind, default, only: None, example }
}

impl Key {
    pub(crate) const fn only(
        self,
        selector: &'static str,
        values: &'static [&'static str],
    ) -> Self {
        Self { only: Some((selector, values)), ..self }
    }

    /// The path without its section.
    pub(crate) fn leaf(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }
}

pub(super) const ARCHITECTURES: &[&str] =
    &["resnet8", "resnet14", "resnet20", "resnet18", "resnet34", "resnet50", "resnet101"];

/// Sections of which a method of training has some.
pub(crate) const OF_METHODS: &[&str] = &["prototypes", "assignment", "loss", "teacher"];

/// The keys that are not a method's own, in the order of the resolved recipe.
#[rustfmt::skip]
const KEYS: &[Key] = &[
    key("data.source", Choice(&["auto", "embedded", "idx", "cifar10", "cifar100", "image-folder", "parquet", "packed", "webdataset"]), Value("\"auto\""), "\"auto\""),
    key("data.path", Text, Optional, "\"/data/imagenet\""),
    key("data.mean", Triple(Unit), Value("[0.485, 0.456, 0.406]"), "[0.485, 0.456, 0.406]"),
    key("data.std", Triple(Positive), Value("[0.229, 0.224, 0.225]"), "[0.229, 0.224, 0.225]"),
    key("data.classes", Names, Optional, "\"imagenet100.txt\""),
    key("data.label_list", Text, Optional, "\"1percent.txt\""),
    key("data.label_fraction", Number(PositiveUnit), Optional, "0.01"),
    key("data.max_train", Whole(2, MANY), Optional, "10000"),
    key("data.max_test", Whole(1, MANY), Optional, "2000"),
    key("data.num_workers", Whole(0, 1024), Value("0"), "0"),
    key("data.prefetch", Whole(1, 1024), Value("4"), "4"),
    key("data.max_bad_fraction", Number(Unit), Value("0.001"), "0.001"),
    key("data.read_timeout", Number(ZeroUp), Value("300.0"), "300"),
    key("model.architecture", Choice(ARCHITECTURES), Required, "\"resnet18\""),
    key("model.width", Whole(1, 4096), Width, "64"),
    key("model.stem", Choice(&["imagenet", "cifar"]), Value("\"imagenet\""), "\"cifar\""),
    key("model.stem_padding", Whole(0, 16), Value("1"), "1").only("model.stem", &["cifar"]),
    key("model.zero_init_residual", Flag, Value("true"), "true"),
    key("projector.hidden_dim", Whole(1, 1 << 20), Value("2048"), "2048"),
    key("projector.num_hidden", Whole(0, 16), Value("2"), "2"),
    key("projector.output_dim", Whole(1, 1 << 20), Value("256"), "256"),
    key("projector.batch_norm_last", Flag, Value("false"), "false"),
    key("objective.name", Text, Value("\"mira\""), "\"mira\""),
    key("prototypes.count", Whole(2, 1 << 24), Value("3000"), "3000"),
    key("prototypes.freeze_epochs", Number(ZeroUp), Value("1.0"), "1"),
    key("assignment.method", Choice(&["mira", "sinkhorn", "softmax"]), Value("\"mira\""), "\"mira\""),
    key("assignment.temperature", Number(Temperature), Value("0.225"), "0.225").only("assignment.method", WITH_TEMPERATURE),
    key("assignment.beta_start", Number(UnitOpen), Value("0.7"), "0.7").only("assignment.method", &["mira"]),
    key("assignment.beta_end", Number(UnitOpen), Value("0.6666666666666666"), "0.6666666666666666").only("assignment.method", &["mira"]),
    key("assignment.epsilon", Number(Temperature), Value("0.05"), "0.05").only("assignment.method", &["sinkhorn"]),
    key("assignment.iterations", Whole(1, 1_000_000), Optional, "30").only("assignment.method", ITERATED),
    key("assignment.tolerance", Number(Positive), Optional, "1e-5").only("assignment.method", ITERATED),
    key("loss.temperature", Number(Temperature), Value("0.1"), "0.1"),
    key("loss.reduction", Choice(&["mean", "sum"]), Value("\"mean\""), "\"mean\""),
    key("teacher.ema", Flag, Value("true"), "true"),
    key("teacher.momentum_start", Number(Unit), Value("0.99"), "0.99").only("teacher.ema", &["true"]),
    key("teacher.momentum_end", Number(Unit), Value("1.0"), "1").only("teacher.ema", &["true"]),
    key("teacher.evaluate", Flag, Value("false"), "true").only("teacher.ema", &["true"]),
    key("optimizer.kind", Choice(&["lars", "sgd", "adamw"]), Required, "\"sgd\""),
    key("optimizer.base_lr", Number(Positive), Required, "0.3"),
    key("optimizer.momentum", Number(UnitOpen), Value("0.9"), "0.9").only("optimizer.kind", &["lars", "sgd"]),
    key("optimizer.nesterov", Flag, Value("false"), "false").only("optimizer.kind", &["sgd"]),
    key("optimizer.trust_coefficient", Number(Positive), Value("0.001"), "0.001").only("optimizer.kind", &["lars"]),
    key("optimizer.betas", Pair(UnitOpen), Value("[0.9, 0.999]"), "[0.9, 0.999]").only("optimizer.kind", &["adamw"]),
    key("optimizer.epsilon", Number(Positive), Value("1e-8"), "1e-8").only("optimizer.kind", &["adamw"]),
    key("optimizer.weight_decay", Number(ZeroUp), Required, "1e-4"),
    key("optimizer.weight_decay_end", Number(ZeroUp), Optional, "1e-4"),
    key("schedule.epochs", Whole(1, 1_000_000), Required, "100"),
    key("schedule.warmup_epochs", Number(ZeroUp), Required, "10"),
    key("schedule.warmup_start_lr", Number(ZeroUp), Value("0.0"), "0.3"),
    key("schedule.final_lr", Number(ZeroUp), Value("0.0"), "0"),
    key("train.batch_size", Whole(2, 1 << 24), Required, "256"),
    key("train.accumulation_steps", Whole(1, 1 << 16), Value("1"), "1"),
    key("train.batch_norm", Choice(&["per-size", "per-view"]), Value("\"per-size\""), "\"per-view\""),
    key("train.seed", Whole(0, i64::MAX as u64), Value("0"), "0"),
    key("train.num_threads", Whole(0, 4096), Value("0"), "0"),
    key("train.max_skipped_steps", Whole(0, MANY), Value("10"), "10"),
    key("views.*.name", Text, Required, "\"global1\""),
    key("views.*.count", Whole(1, 64), Value("1"), "1"),
    key("views.*.size", Whole(8, 4096), Required, "224"),
    key("views.*.scale", Range(PositiveUnit), Required, "[0.08, 1.0]"),
    key("views.*.ratio", Range(Positive), Value("[0.75, 1.3333333333333333]"), "[0.75, 1.3333333333333333]"),
    key("views.*.interpolation", Choice(&["bicubic", "bilinear"]), Value("\"bicubic\""), "\"bicubic\""),
    key("views.*.flip", Number(Unit), Value("0.0"), "0.5"),
    key("views.*.grayscale", Number(Unit), Value("0.0"), "0.2"),
    key("views.*.jitter.probability", Number(Unit), Value("0.0"), "0.8"),
    key("views.*.jitter.brightness", Number(ZeroUp), Value("0.4"), "0.4"),
    key("views.*.jitter.contrast", Number(ZeroUp), Value("0.4"), "0.4"),
    key("views.*.jitter.saturation", Number(ZeroUp), Value("0.2"), "0.2"),
    key("views.*.jitter.hue", Number(HalfUnit), Value("0.1"), "0.1"),
    key("views.*.blur.probability", Number(Unit), Value("0.0"), "0.5"),
    key("views.*.blur.sigma", Range(Positive), Value("[0.1, 2.0]"), "[0.1, 2.0]"),
    key("views.*.solarize.probability", Number(Unit), Value("0.0"), "0.2"),
    key("views.*.solarize.threshold", Whole(0, 255), Value("128"), "128"),
    key("eval.knn_neighbours", Whole(1, 1_000_000), Value("20"), "20"),
    key("eval.knn_temperature", Number(Positive), Value("0.07"), "0.07"),
    key("eval.every_epochs", Whole(0, 1_000_000), Value("1"), "1"),
    key("eval.linear_epochs", Whole(0, 1_000_000), Value("100"), "100"),
    key("eval.linear_lr", Number(Positive), Value("0.3"), "0.3"),
    key("eval.linear_batch_size", Whole(1, 1 << 24), Value("1024"), "1024"),
    key("eval.linear_standardise", Flag, Value("false"), "false"),
    key("eval.image_size", Whole(0, 4096), Value("0"), "224"),
    key("checkpoint.every_epochs", Whole(1, 1_000_000), Value("1"), "1"),
    key("checkpoint.every_minutes", Number(Positive), Optional, "30"),
    key("checkpoint.keep", Whole(1, 1_000_000), Value("2"), "2"),
];

/// The keys that are not a method's own.
pub(crate) const fn shared() -> &'static [Key] {
    KEYS
}

/// All keys, each method's own after the others; methods may have keys of the same path.
pub(crate) fn keys() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().chain(crate::objective::METHODS.iter().flat_map(|method| method.keys))
}

/// The key at a path with positions (`views.0.size`).
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    let pattern = pattern(path);
    keys().find(|key| key.path == pattern)
}

/// A path with its positions as `*`.
pub(super) fn pattern(path: &str) -> String {
    let part =
        |part: &str| if part.parse::<usize>().is_ok() { "*".into() } else { part.to_owned() };
    path.split('.').map(part).collect::<Vec<_>>().join(".")
}

/// Sections, in the order of the resolved recipe.
pub(crate) fn sections() -> Vec<&'static str> {
    let mut sections: Vec<&str> =
        KEYS.iter().filter_map(|key| key.path.split('.').next()).collect();
    sections.dedup();
    sections
}
