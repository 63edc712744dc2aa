//! The suite of `mira-conformance` for every backend, and what is of one of them alone. A new backend implements [`mira_conformance::Backend`] and adds one
//! line below.
//!
//! - `properties`: the theory behind the certificates, at arbitrary column weights, against definitions.

mod candle;
#[cfg(feature = "cpu")]
mod cpu;
#[cfg(feature = "cuda")]
mod device;
mod driven;
mod emulated;
mod oracle;
mod properties;
#[cfg(feature = "cpu")]
mod ranks;
mod rows;

use mira_conformance::conforms;

conforms!(oracle_f64: mira_conformance::oracle::Oracle);
conforms!(driven_f64: crate::driven::Driven, distributed);
#[cfg(feature = "cpu")]
conforms!(cpu_f64: crate::cpu::F64, distributed);
#[cfg(feature = "cpu")]
conforms!(cpu_f32: crate::cpu::F32, distributed);
#[cfg(feature = "cpu")]
conforms!(cpu_f16: crate::cpu::F16, distributed);
#[cfg(feature = "cpu")]
conforms!(cpu_bf16: crate::cpu::Bf16, distributed);
conforms!(cuda_f32: crate::emulated::F32, distributed);
conforms!(cuda_f16: crate::emulated::F16);
conforms!(cuda_bf16: crate::emulated::Bf16, distributed);
conforms!(candle_f64: crate::candle::F64, distributed);
conforms!(candle_f32: crate::candle::F32, distributed);
conforms!(candle_f16: crate::candle::F16, distributed);
conforms!(candle_bf16: crate::candle::Bf16, distributed);
#[cfg(feature = "cuda")]
conforms!(cuda_device_f32: crate::device::F32, distributed);
#[cfg(feature = "cuda")]
conforms!(cuda_device_f16: crate::device::F16, distributed);
#[cfg(feature = "cuda")]
conforms!(cuda_device_bf16: crate::device::Bf16, distributed);
#[cfg(feature = "candle-cuda")]
conforms!(candle_cuda_device_f32: crate::candle::on_device::F32);
#[cfg(feature = "candle-cuda")]
conforms!(candle_cuda_device_f16: crate::candle::on_device::F16);
#[cfg(feature = "candle-cuda")]
conforms!(candle_cuda_device_bf16: crate::candle::on_device::Bf16);
