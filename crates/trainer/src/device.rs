//! Which device a command runs on. The only place where a backend is named.

use anyhow::{Result, bail};
use burn::tensor::Device;
use clap::ValueEnum;

/// Devices a command may be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeviceName {
    /// The CPU, with Burn's flex backend and our fused kernels.
    #[default]
    Flex,
    /// The first CUDA device; needs a build with `--features cuda`.
    Cuda,
    /// The default GPU through wgpu; needs a build with `--features wgpu`.
    Wgpu,
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
                    "this build has no `{feature}` backend; build with `cargo run --release -p trainer --features {feature}`, or use `--device flex`"
                )
            }
        }
    }
}
