//! What stands in a file; goes through the validating constructors on the way in.

use super::{Error, StopRule};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mira {
    temperature: f64,
    beta: f64,
    #[serde(default)]
    stop: StopRule,
}
impl TryFrom<Mira> for super::Mira {
    type Error = Error;
    fn try_from(raw: Mira) -> Result<Self, Error> {
        Self::new(raw.temperature, raw.beta)?.with_stop(raw.stop)
    }
}
impl From<super::Mira> for Mira {
    fn from(m: super::Mira) -> Self {
        Self { temperature: m.temperature, beta: m.beta, stop: m.stop }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sinkhorn {
    epsilon: f64,
    #[serde(default)]
    stop: StopRule,
}
impl TryFrom<Sinkhorn> for super::Sinkhorn {
    type Error = Error;
    fn try_from(raw: Sinkhorn) -> Result<Self, Error> {
        Self::new(raw.epsilon)?.with_stop(raw.stop)
    }
}
impl From<super::Sinkhorn> for Sinkhorn {
    fn from(s: super::Sinkhorn) -> Self {
        Self { epsilon: s.epsilon, stop: s.stop }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Softmax {
    temperature: f64,
}
impl TryFrom<Softmax> for super::Softmax {
    type Error = Error;
    fn try_from(raw: Softmax) -> Result<Self, Error> {
        Self::new(raw.temperature)
    }
}
impl From<super::Softmax> for Softmax {
    fn from(s: super::Softmax) -> Self {
        Self { temperature: s.temperature }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Centered {
    temperature: f64,
    momentum: f64,
}
impl TryFrom<Centered> for super::Centered {
    type Error = Error;
    fn try_from(raw: Centered) -> Result<Self, Error> {
        Self::new(raw.temperature, raw.momentum)
    }
}
impl From<super::Centered> for Centered {
    fn from(c: super::Centered) -> Self {
        Self { temperature: c.temperature, momentum: c.momentum }
    }
}
