//! The fused operations of the flex backend: from Burn tensors to slices and back.
//!
//! Place in the flow: the public functions at the crate root ask [`runs_on`], then hand an
//! [`Operation`] and its inputs to [`run`], which records the backward pass when the tensors carry
//! autodiff. Kernels see `&[f32]` only: [`simd`] gives them vectors, [`parallel`] cores,
//! [`gemm`] small matrix products. Every reduction has a fixed order, so one thread and many give
//! the same bits; without gradients so do all machines (see [`simd::Level`]), but for products with
//! float weights ([`linear`]).
//! Start at [`run`].

#![cfg_attr(
    not(feature = "flex"),
    allow(dead_code, reason = "without feature `flex` nothing records a backward pass")
)]

#[cfg(feature = "flex")]
pub(crate) mod adamw;
pub(crate) mod attention;
mod attention_backward;
mod attention_few;
pub(crate) mod conv2d;
pub(crate) mod cross_entropy;
pub(crate) mod gather_sum;
mod gemm;
pub(crate) mod group_norm;
pub(crate) mod linear;
#[cfg(target_arch = "x86_64")]
mod mixed;
#[cfg(feature = "flex")]
pub(crate) mod muon;
#[cfg(feature = "flex")]
pub(crate) mod norm;
pub(crate) mod packed_attention;
mod parallel;
pub(crate) mod rms_norm;
pub(crate) mod rope;
pub(crate) mod scores;
pub(crate) mod simd;
pub(crate) mod swiglu;

use std::fmt::Debug;

use burn::Tensor;
use burn::backend::{BackendTensor, DispatchTensor, DispatchTensorKind};
use burn::tensor::{Bytes, DType, Device, Shape};
use burn_flex::{FlexTensor, Layout};
use simd::Level;

/// Whether tensors of this device take the fused operations.
pub(crate) fn runs_on(device: &Device) -> bool {
    // Equality compares the hardware and ignores autodiff.
    *device == Device::flex() && (cfg!(feature = "flex") || !device.is_autodiff())
}

/// Whether tensors of this device take the fused operations and record no gradients.
pub(crate) fn infers_on(device: &Device) -> bool {
    *device == Device::flex() && !device.is_autodiff()
}

/// One fused operation: its constants are fields, its `N` differentiable tensors are inputs.
pub(crate) trait Operation<const N: usize>: Clone + Debug + Send + 'static {
    /// What the backward pass needs: inputs (shared, not copied) and small row statistics.
    type Saved: Clone + Debug + Send + 'static;

    /// The result, computed on `level`, and what to keep for [`backward`](Operation::backward).
    fn forward(&self, inputs: [FlexTensor; N], level: Level) -> (FlexTensor, Self::Saved);

    /// The gradient of each input where `wanted`, given the gradient of the result.
    fn backward(
        &self,
        saved: Self::Saved,
        gradient: FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N];
}

/// Runs `operation` on flex tensors, recorded for the backward pass if any carries autodiff.
///
/// Training takes the fastest arithmetic of the machine, inference the one that all machines share.
pub(crate) fn run<O: Operation<N>, const N: usize, const D: usize>(
    operation: &O,
    inputs: [DispatchTensor; N],
) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if inputs.iter().any(autodiff::is_enabled) {
        return Tensor::from_dispatch(autodiff::run(operation, inputs));
    }
    let (output, _) = operation.forward(inputs.map(constant), Level::exact());
    finished(output)
}

/// A flex tensor as Burn's, without autodiff.
pub(crate) fn finished<const D: usize>(tensor: FlexTensor) -> Tensor<D> {
    Tensor::from_dispatch(DispatchTensor {
        kind: DispatchTensorKind::Flex(BackendTensor::Float(tensor)),
        autodiff: burn::backend::DispatchAutodiffContext::Disabled,
    })
}

/// The flex tensor inside, float or int, without its autodiff history.
#[allow(clippy::panic, reason = "two devices in one operation: Burn's own operations panic too")]
pub(crate) fn constant(tensor: DispatchTensor) -> FlexTensor {
    match tensor.kind {
        DispatchTensorKind::Flex(BackendTensor::Float(inner) | BackendTensor::Int(inner)) => inner,
        #[cfg(feature = "flex")]
        DispatchTensorKind::Autodiff(kind) => match *kind {
            DispatchTensorKind::Flex(BackendTensor::Autodiff(inner)) => inner.into_primitive(),
            other => panic!("a fused operation got {other:?} beside tensors of the flex device"),
        },
        #[allow(unreachable_patterns, reason = "reachable with a second backend compiled in")]
        other => panic!("a fused operation got {other:?} beside tensors of the flex device"),
    }
}

/// The elements in row order; `tensor` comes from [`contiguous`].
pub(crate) fn floats(tensor: &FlexTensor) -> &[f32] {
    let storage = tensor.storage::<f32>();
    match tensor.layout().contiguous_offsets() {
        Some((start, end)) => &storage[start..end],
        None => storage,
    }
}

/// The same elements in row order, copied only if they are not already.
pub(crate) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

/// A tensor that is only read or overwritten: on flex, in row order, without its autodiff history.
pub(crate) fn in_rows<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    contiguous(constant(tensor.into_dispatch()))
}

/// The elements of a tensor from [`contiguous`] for overwriting, if nobody else holds them.
pub(crate) fn floats_mut(tensor: &mut FlexTensor) -> Option<&mut [f32]> {
    let (start, end) = tensor.layout().contiguous_offsets()?;
    tensor.try_storage_mut::<f32>().map(|storage| &mut storage[start..end])
}

/// A tensor of `values` in row order.
pub(crate) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape.into()), DType::F32)
}

/// Room for `len` floats that the caller overwrites, every one, before reading any.
#[allow(clippy::uninit_vec, reason = "zeroing costs as much as a pass of the kernel that follows")]
pub(crate) fn room(len: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    // SAFETY: the capacity is there; any bits make an f32, and callers write before they read.
    unsafe { values.set_len(len) };
    values
}

/// Recording of fused operations for the backward pass.
#[cfg(feature = "flex")]
mod autodiff {
    use std::marker::PhantomData;

    use super::{Operation, constant};
    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
    use burn::backend::tensor::FloatTensor;
    use burn::backend::{
        Autodiff, AutodiffBackend, BackendTensor, DispatchAutodiffContext, DispatchTensor,
        DispatchTensorKind, Flex,
    };

    pub(super) fn is_enabled(tensor: &DispatchTensor) -> bool {
        tensor.autodiff != DispatchAutodiffContext::Disabled
    }

    /// The autodiff tensor inside; a tensor without autodiff becomes an untracked leaf.
    #[allow(
        clippy::match_wildcard_for_single_variants,
        reason = "more variants with a second backend compiled in"
    )]
    fn tracked(tensor: DispatchTensor) -> FloatTensor<Autodiff<Flex>> {
        match tensor.kind {
            DispatchTensorKind::Autodiff(kind) => match *kind {
                DispatchTensorKind::Flex(BackendTensor::Autodiff(inner)) => inner,
                other => Autodiff::<Flex>::from_inner(constant(DispatchTensor {
                    kind: other,
                    autodiff: DispatchAutodiffContext::Disabled,
                })),
            },
            other => Autodiff::<Flex>::from_inner(constant(DispatchTensor {
                kind: other,
                autodiff: DispatchAutodiffContext::Disabled,
            })),
        }
    }

    #[allow(
        clippy::redundant_closure_for_method_calls,
        reason = "burn-autodiff does not export the type of its tensors"
    )]
    pub(super) fn run<O: Operation<N>, const N: usize>(
        operation: &O,
        inputs: [DispatchTensor; N],
    ) -> DispatchTensor {
        let context = inputs.iter().fold(DispatchAutodiffContext::Disabled, |context, input| {
            context.merge(input.autodiff)
        });
        let inputs = inputs.map(tracked);
        let nodes = inputs.each_ref().map(|input| input.node());
        let (output, saved) =
            operation.forward(inputs.map(|input| input.into_primitive()), super::Level::widest());
        // Saved tensors share the inputs' memory, so there is nothing to recompute later: the
        // strategy of the device does not matter here.
        let step = Step::<O>(PhantomData);
        let output = match step.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((operation.clone(), saved), output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        };
        DispatchTensor {
            kind: DispatchTensorKind::Autodiff(Box::new(DispatchTensorKind::Flex(
                BackendTensor::Autodiff(output),
            ))),
            autodiff: context,
        }
    }

    /// The backward step of any [`Operation`].
    #[derive(Debug)]
    struct Step<O>(PhantomData<O>);

    impl<O: Operation<N>, const N: usize> Backward<Flex, N> for Step<O> {
        type State = (O, O::Saved);

        fn backward(
            self,
            ops: Ops<Self::State, N>,
            grads: &mut Gradients,
            _checkpointer: &mut Checkpointer,
        ) {
            let gradient = grads.consume::<Flex>(&ops.node);
            let (operation, saved) = ops.state;
            let wanted = ops.parents.each_ref().map(Option::is_some);
            let gradients = operation.backward(saved, gradient, wanted);
            for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
                if let (Some(parent), Some(gradient)) = (parent, gradient) {
                    grads.register::<Flex>(parent.id, gradient);
                }
            }
        }
    }
}
