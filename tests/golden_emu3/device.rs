//! Where the checks of a model's arithmetic run: flex, or what `EARL_DEVICE` names.

use burn::tensor::Device;

/// The device of this run. `EARL_DEVICE=wgpu` takes the default GPU through wgpu, or Mesa's software
/// Vulkan where there is none, in a build with `--features wgpu`.
pub(crate) fn device() -> Device {
    match std::env::var("EARL_DEVICE").as_deref() {
        Err(_) | Ok("flex") => Device::flex(),
        #[cfg(feature = "wgpu")]
        Ok("wgpu") => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        Ok(other) => panic!(
            "`EARL_DEVICE` is `{other}`; this build knows `flex`{}",
            if cfg!(feature = "wgpu") { ", `wgpu`" } else { "" }
        ),
    }
}
