//! Convolutions over pictures: maps in, maps out.
//!
//! Forward only on flex: the convolutional image tokenizer is frozen. With gradients a convolution
//! is Burn's own. Start at [`Convolution`].

use burn::Tensor;

/// How a kernel walks over a picture.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Each place is repeated this many times down and across before anything else; 1 leaves it.
    pub repeat: usize,
    /// Rows and columns of zeros before and after the picture.
    pub padding: [usize; 2],
    /// Places from one step of the kernel to the next, down and across.
    pub stride: usize,
}

/// A kernel's weights and biases, in the order in which the device reads them.
#[derive(Clone, Debug)]
pub struct Convolution {
    weights: Weights,
    bias: Option<Tensor<1>>,
    /// Side of the kernel.
    side: usize,
}

#[derive(Clone, Debug)]
enum Weights {
    Plain(Box<Tensor<4>>),
    #[cfg(feature = "flex-forward")]
    Packed(crate::fused::conv2d::Kernel),
}

impl Convolution {
    /// # Shapes
    /// - `weight`: `[out, in, side, side]`
    /// - `bias`: `[out]`
    ///
    /// # Panics
    /// If sizes disagree.
    #[must_use]
    pub fn new(weight: Tensor<4>, bias: Option<Tensor<1>>) -> Self {
        let [outputs, _, side, across] = weight.dims();
        assert_eq!(side, across, "conv2d: sides of the kernel");
        let biases = bias.as_ref().map_or(outputs, |bias| bias.dims()[0]);
        assert_eq!(biases, outputs, "conv2d: biases and maps of the kernel");
        #[cfg(feature = "flex-forward")]
        if crate::fused::infers_on(&weight.device()) {
            let weights = Weights::Packed(crate::fused::conv2d::Kernel::pack(weight));
            return Self { weights, bias, side };
        }
        Self { weights: Weights::Plain(Box::new(weight)), bias, side }
    }

    /// Steps of one place that keep the size of the picture, for a kernel of an odd side.
    #[must_use]
    pub fn same(&self) -> Walk {
        Walk { repeat: 1, padding: [(self.side - 1) / 2; 2], stride: 1 }
    }

    /// `onto + bias + Σ weight · x` under the kernel at each of its steps.
    ///
    /// # Shapes
    /// - `x`: `[batch, in, height, width]`
    /// - `onto`: what a residual connection adds, of the result's shape
    /// - returns: `[batch, out, steps down, steps across]`
    ///
    /// # Panics
    /// If sizes disagree or the kernel is larger than the padded picture.
    #[must_use]
    pub fn forward(&self, x: Tensor<4>, onto: Option<Tensor<4>>, walk: Walk) -> Tensor<4> {
        let bias = self.bias.clone();
        match &self.weights {
            Weights::Plain(weight) => elsewhere!(plain(x, (**weight).clone(), bias, onto, walk)),
            #[cfg(feature = "flex-forward")]
            Weights::Packed(kernel) => crate::fused::conv2d::conv2d(x, kernel, bias, onto, walk),
        }
    }
}

/// The specification, and what backends other than flex run.
#[cfg(feature = "plain")]
pub(crate) fn plain(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    onto: Option<Tensor<4>>,
    Walk { repeat, padding: [before, after], stride }: Walk,
) -> Tensor<4> {
    use burn::tensor::ops::{ConvOptions, PadMode};

    let [_, _, height, width] = x.dims();
    let x = if repeat == 1 { x } else { crate::nearest(x, height * repeat, width * repeat) };
    let x = if before == after {
        x
    } else {
        x.pad([(before, after), (before, after)], PadMode::Constant(0.0))
    };
    let around = if before == after { before } else { 0 };
    let options = ConvOptions::new([stride; 2], [around; 2], [1; 2], 1);
    let made = burn::tensor::module::conv2d(x, weight, bias, options);
    match onto {
        Some(onto) => onto + made,
        None => made,
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::{Convolution, Walk, plain};
    use crate::testing::{assert_close, noise, values};
    use burn::Tensor;
    use burn::tensor::Device;

    fn picture(shape: [usize; 4], seed: u64) -> Tensor<4> {
        let noise = noise(shape.iter().product(), seed);
        Tensor::<1>::from_floats(noise.as_slice(), &Device::flex()).reshape(shape)
    }

    fn conv2d(
        x: Tensor<4>,
        weight: Tensor<4>,
        bias: Option<Tensor<1>>,
        onto: Option<Tensor<4>>,
        walk: Walk,
    ) -> Tensor<4> {
        Convolution::new(weight, bias).forward(x, onto, walk)
    }

    /// Keeps the size for an odd kernel.
    fn same(side: usize) -> Walk {
        Walk { repeat: 1, padding: [side / 2; 2], stride: 1 }
    }

    fn bias(maps: usize) -> Tensor<1> {
        Tensor::from_floats(noise(maps, 3).as_slice(), &Device::flex())
    }

    #[test]
    fn worked_by_hand() {
        let numbers = |shape: [usize; 4]| {
            let count = shape.iter().product();
            let values: Vec<f32> = (1..=count).map(|value: usize| value as f32).collect();
            Tensor::<1>::from_floats(values.as_slice(), &Device::flex()).reshape(shape)
        };
        let two = Tensor::<1>::from_floats([0.5], &Device::flex());
        let walk = Walk { repeat: 1, padding: [0, 1], stride: 2 };
        // 1 2 3 0        1 2
        // 4 5 6 0   by   3 4   at every second place
        // 7 8 9 0
        // 0 0 0 0
        let got = conv2d(numbers([1, 1, 3, 3]), numbers([1, 1, 2, 2]), Some(two), None, walk);
        assert_eq!(got.dims(), [1, 1, 2, 2]);
        assert_close(&values(got), &[37.5, 21.5, 23.5, 9.5], 1e-6);
        // 1 1 2 2, twice: sums of four neighbours
        let ones = Tensor::<4>::ones([1, 1, 2, 2], &Device::flex());
        let walk = Walk { repeat: 2, padding: [0, 0], stride: 1 };
        let got = conv2d(numbers([1, 1, 1, 2]), ones, None, None, walk);
        assert_close(&values(got), &[4.0, 6.0, 8.0], 1e-6);
    }

    /// Batch, in, out, height, width, side of the kernel.
    #[test]
    fn agrees_with_plain_at_odd_sizes() {
        for ([batch, inputs, outputs, height, width, kernel], walk) in [
            ([1, 1, 1, 1, 1, 1], same(1)),
            ([1, 3, 64, 19, 33, 3], same(3)),
            ([2, 64, 13, 16, 16, 3], same(3)),
            ([1, 300, 8, 4, 6, 3], same(3)),
            ([1, 67, 30, 8, 48, 1], same(1)),
            ([3, 33, 15, 5, 7, 5], same(5)),
            ([2, 20, 65, 17, 40, 3], Walk { repeat: 1, padding: [0, 1], stride: 2 }),
            ([1, 5, 4, 11, 9, 2], Walk { repeat: 1, padding: [1, 0], stride: 3 }),
            ([2, 6, 16, 9, 17, 3], Walk { repeat: 2, padding: [1, 1], stride: 1 }),
        ] {
            let x = picture([batch, inputs, height, width], 1);
            let weight = picture([outputs, inputs, kernel, kernel], 2);
            for bias in [None, Some(bias(outputs))] {
                let onto = bias.is_some().then(|| {
                    let [down, across] = [height, width].map(|size| walk.steps(size, kernel));
                    picture([batch, outputs, down, across], 4)
                });
                let run = |of: fn(_, _, _, _, _) -> Tensor<4>| {
                    of(x.clone(), weight.clone(), bias.clone(), onto.clone(), walk)
                };
                let (got, want) = (run(conv2d), run(plain));
                assert_eq!(got.dims(), want.dims());
                assert_close(&values(got), &values(want), 1e-5);
            }
        }
    }

    #[test]
    fn a_view_is_read_as_what_it_shows() {
        let x = picture([1, 4, 6, 10], 1).swap_dims(2, 3).narrow(1, 1, 2);
        let weight = picture([5, 2, 3, 3], 2);
        let got = conv2d(x.clone(), weight.clone(), None, None, same(3));
        assert_close(&values(got), &values(plain(x, weight, None, None, same(3))), 1e-5);
    }

    #[test]
    fn one_thread_or_many() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
            let (x, weight) = (picture([2, 40, 40, 24], 1), picture([70, 40, 3, 3], 2));
            pool.install(|| values(conv2d(x, weight, Some(bias(70)), None, same(3))))
        };
        assert_eq!(run(1), run(5));
    }

    #[test]
    #[should_panic(expected = "maps of the picture and of the kernel")]
    fn maps_that_disagree_are_refused() {
        let (x, weight) = (picture([1, 4, 6, 6], 1), picture([5, 3, 3, 3], 2));
        drop(conv2d(x, weight, None, None, same(3)));
    }
}
