//! The colours of pages and pictures, light and dark.

use std::fmt::Write as _;

/// Colours for series and classes; they repeat beyond this many.
pub(super) const NUM_SERIES: usize = 10;

/// What a colour is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Text,
    Muted,
    Grid,
    Axis,
    Surface,
    Series(usize),
}

// (light, dark); every series stands out from both surfaces by at least 3:1.
const SERIES: [(u32, u32); NUM_SERIES] = [
    (0x003b_6fd4, 0x006e_a0ff),
    (0x00d9_632b, 0x00ff_9a62),
    (0x002a_935c, 0x005f_cf94),
    (0x00a4_4fc4, 0x00cf_8cf0),
    (0x00c9_302c, 0x00ff_7b78),
    (0x0012_8a9e, 0x004c_c7da),
    (0x00ab_7c08, 0x00e6_bd4a),
    (0x00d6_438a, 0x00ff_86bd),
    (0x007a_5c43, 0x00c2_a085),
    (0x006b_7280, 0x00a7_b0be),
];

impl Ink {
    fn colours(self) -> (u32, u32) {
        match self {
            Self::Text => (0x001f_2328, 0x00e6_e8eb),
            Self::Muted => (0x005c_6370, 0x009a_a3af),
            Self::Grid => (0x00e8_eaee, 0x002b_303a),
            Self::Axis => (0x00b5_bac3, 0x0050_5866),
            Self::Surface => (0x00ff_ffff, 0x0018_1b21),
            Self::Series(i) => SERIES[i % NUM_SERIES],
        }
    }

    /// Red, green, blue on paper.
    pub(super) fn rgb(self) -> [u8; 3] {
        let [_, r, g, b] = self.colours().0.to_be_bytes();
        [r, g, b]
    }

    /// Suffix of its classes: `k…` strokes, `f…` fills.
    pub(super) fn class(self) -> String {
        match self {
            Self::Text => "t".into(),
            Self::Muted => "m".into(),
            Self::Grid => "g".into(),
            Self::Axis => "a".into(),
            Self::Surface => "s".into(),
            Self::Series(i) => (i % NUM_SERIES).to_string(),
        }
    }
}

/// Style rules for drawings: colours by class, and values that appear under the pointer.
pub(super) fn style() -> String {
    let mut inks = vec![Ink::Text, Ink::Muted, Ink::Grid, Ink::Axis, Ink::Surface];
    inks.extend((0..NUM_SERIES).map(Ink::Series));
    let rules = |dark: bool| {
        let mut rules = String::new();
        for ink in &inks {
            let (class, (light, night)) = (ink.class(), ink.colours());
            let colour = if dark { night } else { light };
            let _ =
                write!(rules, ".k{class}{{stroke:#{colour:06x}}}.f{class}{{fill:#{colour:06x}}}");
        }
        rules
    };
    format!(
        "svg text{{font-family:Inter,system-ui,-apple-system,\"Segoe UI\",Roboto,\"Liberation Sans\",sans-serif;font-variant-numeric:tabular-nums}}\
         svg .h *{{opacity:0}}svg .h .z{{fill:#000}}svg .h:hover path,svg .h:hover text,svg .h:hover circle{{opacity:1}}\
         {}@media screen and (prefers-color-scheme:dark){{{}}}",
        rules(false),
        rules(true)
    )
}
