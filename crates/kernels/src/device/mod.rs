//! Packed inference on WebGPU devices: the reference arithmetic of the CPU in kernels of our own.
//!
//! Integers are summed exactly and floats in the CPU's order, so that a device whose divisions and
//! roots round as IEEE asks gives the CPU's bits; WGSL promises less (a fused product and sum, 2.5 ulp
//! a division), so an answer on a device is the device's own. Shaders are WGSL under `wgsl/`, launched
//! through `CubeCL` beside Burn's own kernels, with constants written before the text. A line that ends
//! in `//?name` is there only with that option; `@bind` takes the next binding.
//! Start at [`block`], then [`matrix`] for the packing.

pub(crate) mod block;
pub(crate) mod matrix;
pub(crate) mod operations;
#[cfg(all(test, feature = "flex"))]
#[allow(clippy::expect_used, reason = "test code: a panic is a failed test")]
mod tests;

use crate::exp::{EXP_CEILING, EXP_FLOOR};
use burn::Tensor;
use burn::backend::{
    BackendTensor, DispatchAutodiffContext, DispatchDevice, DispatchTensor, DispatchTensorKind,
};
use burn::tensor::{DType, Device, Shape};
use burn_cubecl::CubeDevice;
use burn_cubecl::cubecl::prelude::KernelId;
use burn_cubecl::cubecl::server::{KernelArguments, MetadataBindingInfo};
use burn_cubecl::cubecl::{CubeCount, CubeDim, ExecutionMode};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::template::{KernelSource, SourceKernel, SourceTemplate};
use burn_cubecl::tensor::CubeTensor;

/// Threads of a workgroup, where a shader has no others.
const THREADS: usize = 64;

/// Whether tensors of this device take these kernels: wgpu's, without gradients.
pub(crate) fn infers_on(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Cube(CubeDevice::Wgpu(_)))
}

/// A constant of a shader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Constant {
    Whole(u32),
    /// The bits of a float32.
    Float(u32),
}

/// A shader with its constants and options.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Shader {
    name: &'static str,
    text: &'static str,
    /// Functions it shares with others.
    shared: &'static str,
    threads: usize,
    constants: Vec<(&'static str, Constant)>,
    options: Vec<&'static str>,
}

impl Shader {
    fn new(name: &'static str, text: &'static str) -> Self {
        let (constants, options) = (Vec::new(), Vec::new());
        Self { name, text, shared: "", threads: THREADS, constants, options }
            .float("EXP_FLOOR", EXP_FLOOR)
            .float("EXP_CEILING", EXP_CEILING)
            .float("LOG2_E", std::f32::consts::LOG2_E)
    }

    /// Puts functions before the text.
    fn with(self, shared: &'static str) -> Self {
        Self { shared, ..self }
    }

    /// For a text whose workgroups have other than [`THREADS`] threads.
    fn threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    fn whole(mut self, name: &'static str, value: usize) -> Self {
        self.constants.push((name, Constant::Whole(value as u32)));
        self
    }

    fn float(mut self, name: &'static str, value: f32) -> Self {
        self.constants.push((name, Constant::Float(value.to_bits())));
        self
    }

    fn option(mut self, name: &'static str, is_on: bool) -> Self {
        if is_on {
            self.options.push(name);
        }
        self
    }

    /// The whole WGSL text.
    fn wgsl(&self) -> String {
        let mut wgsl = String::new();
        for &(name, value) in &self.constants {
            wgsl.push_str(&match value {
                Constant::Whole(value) => format!("const {name} = {value}u;\n"),
                Constant::Float(bits) => format!("const {name} = {:?}f;\n", f32::from_bits(bits)),
            });
        }
        wgsl.push_str(include_str!("wgsl/exact.wgsl"));
        wgsl.push_str(self.shared);
        let mut binding = 0;
        for line in self.text.lines() {
            let (line, option) = line.split_once("//?").unwrap_or((line, ""));
            if !option.is_empty() && !self.options.contains(&option) {
                continue;
            }
            if let Some(rest) = line.strip_prefix("@bind") {
                wgsl.push_str(&format!("@group(0) @binding({binding}){rest}\n"));
                binding += 1;
            } else {
                wgsl.push_str(line);
                wgsl.push('\n');
            }
        }
        wgsl
    }

    /// Runs `grid` workgroups over the buffers, in the order of the text's bindings; `info` is its
    /// uniform, if it has one.
    fn launch(self, grid: [usize; 2], buffers: &[&CubeTensor], info: Option<[usize; 4]>) {
        let Some(first) = buffers.first() else { return };
        let mut arguments = KernelArguments::new();
        for buffer in buffers {
            arguments = arguments.with_buffer(buffer.handle.clone().binding());
        }
        if let Some([a, b, c, d]) = info {
            let pair = |low: usize, high: usize| low as u64 | (high as u64) << 32;
            arguments =
                arguments.with_info(MetadataBindingInfo::custom(vec![pair(a, b), pair(c, d)]));
        }
        let count = CubeCount::Static(grid[0] as u32, grid[1] as u32, 1);
        let dim = CubeDim::new_1d(self.threads as u32);
        let kernel = SourceKernel::new(self, dim);
        first.client.launch(Box::new(kernel), count, arguments);
    }
}

impl KernelSource for Shader {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.wgsl())
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info(self.clone()).mode(ExecutionMode::Unchecked)
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

/// The tensor inside, float or int, in row order.
#[allow(
    clippy::panic,
    clippy::match_wildcard_for_single_variants,
    reason = "two devices in one operation: Burn's own operations panic too; other builds have more kinds"
)]
fn inner(tensor: DispatchTensor) -> CubeTensor {
    match tensor.kind {
        DispatchTensorKind::Cube(BackendTensor::Float(inner) | BackendTensor::Int(inner)) => {
            into_contiguous(inner)
        }
        other => panic!("a kernel of the device got {other:?}"),
    }
}

/// A float tensor as Burn's.
fn outer<const D: usize>(tensor: CubeTensor) -> Tensor<D> {
    Tensor::from_dispatch(DispatchTensor {
        kind: DispatchTensorKind::Cube(BackendTensor::Float(tensor)),
        autodiff: DispatchAutodiffContext::Disabled,
    })
}

/// Room of the kind and on the device of `like`, for a kernel to fill.
fn room(like: &CubeTensor, shape: impl Into<Shape>) -> CubeTensor {
    typed_room(like, shape, like.dtype)
}

/// The same of another kind.
fn typed_room(like: &CubeTensor, shape: impl Into<Shape>, dtype: DType) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, shape.into(), dtype)
}
