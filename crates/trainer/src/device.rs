//! Which device a command runs on, and what it multiplies. The only place where a backend is named.

use anyhow::{Result, bail};
use burn::tensor::{Device, FloatDType};
use clap::ValueEnum;

/// Devices a command may be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeviceName {
    /// The CPU, with Burn's flex backend and our fused kernels.
    #[default]
    #[value(name = "cpu", alias = "flex")]
    Flex,
    /// The first CUDA device; needs a build with `--features cuda`.
    Cuda,
    /// The default GPU through wgpu; needs a build with `--features wgpu`.
    Wgpu,
}

/// What a published model's matrices are kept and multiplied in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dtype {
    /// Four bytes a weight.
    #[default]
    F32,
    /// Two bytes a weight, the range of float32.
    Bf16,
    /// Two bytes a weight, finer but above 65,504 nothing: for GPUs without bfloat16.
    F16,
}

impl Dtype {
    /// The type itself.
    pub(crate) fn float(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
            Self::F16 => FloatDType::F16,
        }
    }

    /// How a memory plan calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "in float32",
            Self::Bf16 => "in bfloat16",
            Self::F16 => "in float16",
        }
    }

    /// Bytes of a weight.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

impl DeviceName {
    /// The device itself.
    ///
    /// # Errors
    /// If this build has no such backend: says which feature to build with.
    pub(crate) fn open(self) -> Result<Device> {
        match self {
            Self::Flex => Ok(Device::flex()),
            #[cfg(feature = "cuda")]
            Self::Cuda => Ok(Device::cuda(0)),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
            #[allow(unreachable_patterns, reason = "reached where a feature is off")]
            other => {
                let feature = format!("{other:?}").to_lowercase();
                bail!(
                    "this build has no `{feature}` backend; build with `cargo run --release -p trainer --features {feature}`, or use `--device cpu`"
                )
            }
        }
    }
}
