//! How alike two pictures are: L1, PSNR and SSIM, over all pixels or some.
//!
//! SSIM as in Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural
//! similarity" (2004): an 11×11 Gaussian window of σ 1.5, K₁ 0.01, K₂ 0.03, each channel for itself, borders
//! mirrored. The map is averaged over the pixels asked for. Start at [`similarity`].

use image::RgbImage;
use serde::Serialize;

/// Pixels the window reaches to each side.
const REACH: isize = 5;
/// Deviation of the window.
const SIGMA: f64 = 1.5;
/// Keep quotients finite where a window is flat: (0.01 · 255)² and (0.03 · 255)².
const FLAT: [f64; 2] = [6.5025, 58.5225];
/// PSNR of equal pictures, in dB.
const EQUAL_DB: f64 = 99.0;

/// Three measures of one pair of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Similarity {
    /// Mean absolute difference, 0 (equal) to 1.
    pub l1: f64,
    /// Peak signal-to-noise ratio, dB; 99 for equal pixels.
    pub psnr: f64,
    /// Structural similarity, at most 1.
    pub ssim: f64,
}

impl Similarity {
    /// The mean of several, measure by measure; `None` for none.
    #[must_use]
    pub(crate) fn mean(all: impl Iterator<Item = Self>) -> Option<Self> {
        let add = |sum: Self, one: Self| Self {
            l1: sum.l1 + one.l1,
            psnr: sum.psnr + one.psnr,
            ssim: sum.ssim + one.ssim,
        };
        let (count, sum) = all.fold((0usize, None), |(count, sum), one| {
            (count + 1, Some(sum.map_or(one, |sum| add(sum, one))))
        });
        let n = count as f64;
        sum.map(|sum| Self { l1: sum.l1 / n, psnr: sum.psnr / n, ssim: sum.ssim / n })
    }
}

/// Measures the pixels (x, y) that `counts` picks; `None` if it picks none or the sizes differ.
#[must_use]
pub(crate) fn similarity(
    a: &RgbImage,
    b: &RgbImage,
    counts: impl Fn(u32, u32) -> bool,
) -> Option<Similarity> {
    if a.dimensions() != b.dimensions() {
        return None;
    }
    let width = a.width().max(1);
    let chosen: Vec<usize> = (0..(a.width() * a.height()) as usize)
        .filter(|at| counts(*at as u32 % width, *at as u32 / width))
        .collect();
    if chosen.is_empty() {
        return None;
    }
    let (x, y) = (a.as_raw(), b.as_raw());
    let differences = || {
        let channels = chosen.iter().flat_map(|at| at * 3..at * 3 + 3);
        channels.map(|at| f64::from(x[at].abs_diff(y[at])))
    };
    let values = (chosen.len() * 3) as f64;
    let square = differences().map(|d| d * d).sum::<f64>() / values;
    let map = ssim_map(a, b);
    Some(Similarity {
        l1: differences().sum::<f64>() / values / 255.0,
        psnr: if square == 0.0 {
            EQUAL_DB
        } else {
            (10.0 * (255.0 * 255.0 / square).log10()).min(EQUAL_DB)
        },
        ssim: chosen.iter().map(|at| map[*at]).sum::<f64>() / chosen.len() as f64,
    })
}

/// SSIM around each pixel, the mean of the three channels.
fn ssim_map(a: &RgbImage, b: &RgbImage) -> Vec<f64> {
    let size = (a.width() as usize, a.height() as usize);
    let mut map = vec![0.0; size.0 * size.1];
    for channel in 0..3 {
        let plane = |picture: &RgbImage| -> Vec<f64> {
            picture.as_raw().iter().skip(channel).step_by(3).map(|v| f64::from(*v)).collect()
        };
        let (x, y) = (plane(a), plane(b));
        let blurred = |product: &dyn Fn(usize) -> f64| {
            blur(&(0..x.len()).map(product).collect::<Vec<f64>>(), size)
        };
        let (mean_x, mean_y) = (blurred(&|at| x[at]), blurred(&|at| y[at]));
        let (xx, yy) = (blurred(&|at| x[at] * x[at]), blurred(&|at| y[at] * y[at]));
        let xy = blurred(&|at| x[at] * y[at]);
        for (at, value) in map.iter_mut().enumerate() {
            let (mx, my) = (mean_x[at], mean_y[at]);
            let (vx, vy, cov) = (xx[at] - mx * mx, yy[at] - my * my, xy[at] - mx * my);
            let above = (2.0 * mx * my + FLAT[0]) * (2.0 * cov + FLAT[1]);
            *value += above / ((mx * mx + my * my + FLAT[0]) * (vx + vy + FLAT[1])) / 3.0;
        }
    }
    map
}

/// A plane under the window, along rows, then columns.
fn blur(plane: &[f64], (width, height): (usize, usize)) -> Vec<f64> {
    let weight = |offset: isize| (-0.5 * (offset as f64 / SIGMA).powi(2)).exp();
    let total: f64 = (-REACH..=REACH).map(weight).sum();
    let weights: Vec<f64> = (-REACH..=REACH).map(|offset| weight(offset) / total).collect();
    let along = |line: &dyn Fn(usize) -> f64, len: usize, at: usize| -> f64 {
        (-REACH..=REACH)
            .zip(&weights)
            .map(|(offset, weight)| weight * line(mirrored(at as isize + offset, len)))
            .sum()
    };
    let rows: Vec<f64> = (0..plane.len())
        .map(|at| along(&|x| plane[at / width * width + x], width, at % width))
        .collect();
    (0..plane.len())
        .map(|at| along(&|y| rows[y * width + at % width], height, at / width))
        .collect()
}

/// A position mirrored at the borders: `b a | a b c | c b`.
fn mirrored(at: isize, len: usize) -> usize {
    let period = 2 * len as isize;
    let at = at.rem_euclid(period);
    (if at < len as isize { at } else { period - 1 - at }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (RgbImage, RgbImage) {
        let a = RgbImage::from_fn(24, 17, |x, y| {
            image::Rgb([(x * 9 + y) as u8, (x * y % 251) as u8, (200 - y * 5) as u8])
        });
        let mut b = a.clone();
        for (x, y, pixel) in b.enumerate_pixels_mut() {
            if x > 7 && y < 9 {
                pixel.0 = [pixel.0[0] / 2, pixel.0[1].wrapping_add(40), 255 - pixel.0[2]];
            }
        }
        (a, b)
    }

    /// Numbers of scikit-image 0.26's `structural_similarity` (Gaussian weights, σ 1.5, population covariance,
    /// the whole map averaged) and of `NumPy` for the others, on the same pictures.
    #[test]
    fn measures_agree_with_scikit_image() {
        let (a, b) = pair();
        let whole = similarity(&a, &b, |_, _| true).unwrap();
        let inside = similarity(&a, &b, |x, y| x > 7 && y < 9).unwrap();
        let outside = similarity(&a, &b, |x, y| !(x > 7 && y < 9)).unwrap();
        for (found, wanted) in [
            (whole, [0.100_115_340_253_748_56, 14.658_575_211_051_591, 0.644_599_139_467_95]),
            (inside, [0.283_660_130_718_954_24, 10.135_598_501_105_289, 0.338_045_907_565_490_2]),
            (outside, [0.0, EQUAL_DB, 0.811_809_993_232_928_1]),
        ] {
            for (found, wanted) in [found.l1, found.psnr, found.ssim].into_iter().zip(wanted) {
                assert!((found - wanted).abs() < 1e-9, "{found} {wanted}");
            }
        }
    }

    #[test]
    fn equal_pictures_are_wholly_alike_and_nothing_is_not_measured() {
        let (a, _) = pair();
        let equal = similarity(&a, &a, |_, _| true).unwrap();
        assert!((equal.ssim - 1.0).abs() < 1e-12 && equal.l1 < 1e-12, "{equal:?}");
        assert_eq!(similarity(&a, &a, |_, _| false), None);
        assert_eq!(similarity(&a, &RgbImage::new(3, 3), |_, _| true), None);
        let (dot, other) = (RgbImage::new(1, 1), RgbImage::from_pixel(1, 1, image::Rgb([255; 3])));
        let opposite = similarity(&dot, &other, |_, _| true).unwrap();
        assert!(
            opposite.l1 > 0.999 && opposite.psnr < 1e-9 && opposite.ssim < 1e-3,
            "{opposite:?}"
        );
    }
}
