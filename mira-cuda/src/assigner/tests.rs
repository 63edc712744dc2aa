//! What workspaces have in common.

use mira_core::{Centered, Mira, Sinkhorn, Softmax};

use super::*;
use crate::params::KVector;
use crate::plan::Hardware;

#[test]
fn the_layout_of_a_workspace_is_of_its_shape_alone() {
    let hardware = Hardware { multiprocessors: 132, shared_memory: 232_448, threads: 512 };
    let methods: [Method; 4] = [
        Mira::default().into(),
        Sinkhorn::swav().into(),
        Centered::dino().into(),
        Softmax::new(0.1).unwrap().into(),
    ];
    for shape in [Shape::new(64, 300).unwrap(), Shape::new(4096, 9000).unwrap()] {
        let layout = |method, dtypes| {
            let plan = Plan::new(method, shape, dtypes, 2, hardware).unwrap();
            let vectors = [KVector::LogWeights, KVector::LogMarginal, KVector::Center];
            let structs = (plan.at_control(), plan.at_summary());
            (plan.workspace_bytes, structs, vectors.map(|v| plan.at(v)))
        };
        let first = layout(methods[0], (Dtype::F32, Dtype::F32));
        for method in methods {
            for logits in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
                assert_eq!(layout(method, (logits, Dtype::Bf16)), first, "{method:?}");
            }
        }
    }
}
