//! The `layered_vq` tokenizer: one cell of the canvas ↔ one code, and codes drawn in layers.
//!
//! A code is a [`Layer`]: premultiplied colour and coverage. Encoding puts every layer over the
//! picture's background colour and takes the nearest, so that a code names what stands in front,
//! whatever lies behind: an object has the same codes on every background, a code outside an edit
//! never changes, and a new background needs no redrawing. Distances are sums of integers, so every
//! machine and backend finds the same codes.
//!
//! The codebook is made by `trainer tok`. Plain arithmetic on the host; no tensor.
//! Start at [`LayeredVq::encode`] and [`LayeredVq::layer`].

use crate::checkpoint::{HostTensor, TensorMap};
use crate::config::VqConfig;
use crate::error::ModelError;
use crate::ids::{CodeGrid, CodeId};
use crate::image::{background_colour, cell_bytes};
use image::RgbImage;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// What a code shows: `patch²` pixels of premultiplied colour and of coverage, each in `0..=1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Premultiplied RGB, pixel by pixel.
    pub colour: Vec<f32>,
    /// Coverage: 1 hides the background, 0 shows it.
    pub alpha: Vec<f32>,
}

impl Layer {
    /// The layer in steps of 1/255, which half precision holds exactly: stored codebooks are the same
    /// in every type.
    fn in_bytes(self) -> Self {
        let step = |value: f32| (value.clamp(0.0, 1.0) * 255.0).round() / 255.0;
        let steps = |values: Vec<f32>| values.into_iter().map(step).collect();
        Self { colour: steps(self.colour), alpha: steps(self.alpha) }
    }

    /// RGB bytes of the layer over a flat background.
    #[must_use]
    pub fn over(&self, background: [u8; 3]) -> Vec<u8> {
        let channels = self.colour.iter().enumerate().map(|(at, colour)| {
            let behind = f32::from(background[at % 3]);
            let value = colour * 255.0 + (1.0 - self.alpha[at / 3]) * behind;
            value.round().clamp(0.0, 255.0) as u8
        });
        channels.collect()
    }

    /// Mean colour of the layer where it stands over `background`.
    #[must_use]
    pub fn mean_over(&self, background: [u8; 3]) -> [u8; 3] {
        let bytes = self.over(background);
        let pixels = (bytes.len() / 3).max(1) as u32;
        std::array::from_fn(|channel| {
            let sum: u32 = bytes.iter().skip(channel).step_by(3).map(|&b| u32::from(b)).sum();
            ((sum + pixels / 2) / pixels) as u8
        })
    }
}

/// The codebook.
#[derive(Clone, Debug)]
pub struct LayeredVq {
    config: VqConfig,
    layers: Vec<Layer>,
    /// The books used last, newest first: making one takes longer than looking a picture up in it.
    books: Arc<Mutex<Books>>,
}

/// Books by background colour.
type Books = VecDeque<([u8; 3], Arc<Book>)>;

/// Books kept; one of 8,192 codes takes 1.6 MB.
const BOOKS: usize = 4;

/// Name of the codebook's tensor, `[codes, patch² · 4]`: premultiplied RGB (`patch² · 3`), then coverage.
pub const CODES: &str = "vision.codes";

impl LayeredVq {
    /// A tokenizer of these layers.
    ///
    /// # Errors
    /// [`ModelError::Tensors`] if their number or size is not the configuration's.
    pub fn new(config: &VqConfig, layers: Vec<Layer>) -> Result<Self, ModelError> {
        let pixels = config.patch * config.patch;
        let fits = |layer: &Layer| layer.colour.len() == pixels * 3 && layer.alpha.len() == pixels;
        if layers.len() != config.codebook_size || !layers.iter().all(fits) {
            let problem =
                format!("the codebook is not {} layers of {pixels} pixels", config.codebook_size);
            return Err(ModelError::Tensors(problem));
        }
        Ok(Self {
            config: config.clone(),
            layers: layers.into_iter().map(Layer::in_bytes).collect(),
            books: Arc::default(),
        })
    }

    /// The tokenizer among a model's tensors.
    ///
    /// # Errors
    /// [`ModelError::Tensors`] if its tensor is missing or misshapen.
    pub fn from_tensors(config: &VqConfig, tensors: &TensorMap) -> Result<Self, ModelError> {
        let pixels = config.patch * config.patch;
        let wanted = [config.codebook_size, pixels * 4];
        let Some(codes) = tensors.get(CODES).filter(|codes| codes.shape == wanted) else {
            let found = tensors.get(CODES).map(|codes| &codes.shape);
            let problem = format!("`{CODES}` {wanted:?} is missing or misshapen (found {found:?})");
            return Err(ModelError::Tensors(problem));
        };
        let layer = |row: &[f32]| Layer {
            colour: row[..pixels * 3].to_vec(),
            alpha: row[pixels * 3..].to_vec(),
        };
        Self::new(config, codes.data.chunks_exact(pixels * 4).map(layer).collect())
    }

    /// Its tensors by name: what [`LayeredVq::from_tensors`] reads.
    #[must_use]
    pub fn tensors(&self) -> TensorMap {
        let row = |layer: &Layer| layer.colour.iter().chain(&layer.alpha).copied().collect();
        let rows: Vec<Vec<f32>> = self.layers.iter().map(row).collect();
        let shape = vec![self.layers.len(), self.config.patch * self.config.patch * 4];
        let codes = HostTensor { shape, data: rows.concat() };
        TensorMap::from([(CODES.to_owned(), codes)])
    }

    /// The configuration it was made with.
    #[must_use]
    pub fn config(&self) -> &VqConfig {
        &self.config
    }

    /// What a code shows; the last layer for a code beyond the codebook.
    #[must_use]
    pub fn layer(&self, code: CodeId) -> &Layer {
        &self.layers[(code.0 as usize).min(self.layers.len() - 1)]
    }

    /// The codes of a picture of the canvas's size.
    ///
    /// # Errors
    /// [`ModelError::Picture`] for another size.
    pub fn encode(&self, picture: &RgbImage) -> Result<CodeGrid, ModelError> {
        let (grid, patch, canvas) = (self.config.grid, self.config.patch, self.config.canvas());
        if picture.dimensions() != (canvas as u32, canvas as u32) {
            let (width, height) = picture.dimensions();
            let problem = format!("is {width}×{height}, the canvas is {canvas}×{canvas}");
            return Err(ModelError::Picture { problem });
        }
        let book = self.book(background_colour(picture, patch));
        let cell = |at: usize| book.nearest(&cell_bytes(picture, patch, at / grid, at % grid));
        Ok(CodeGrid { height: grid, width: grid, codes: (0..grid * grid).map(cell).collect() })
    }

    /// [`LayeredVq::over`], kept for the next picture on this background.
    fn book(&self, background: [u8; 3]) -> Arc<Book> {
        let lock = || self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().iter().find(|(colour, _)| *colour == background).cloned();
        let (_, book) = known.unwrap_or_else(|| (background, Arc::new(self.over(background))));
        let mut books = lock();
        books.retain(|(colour, _)| *colour != background);
        books.push_front((background, Arc::clone(&book)));
        books.truncate(BOOKS);
        book
    }

    /// The whole codebook over one background colour, to look cells up in.
    #[must_use]
    pub fn over(&self, background: [u8; 3]) -> Book {
        let width = self.config.patch * self.config.patch * 3;
        let bytes: Vec<u8> = self.layers.iter().flat_map(|layer| layer.over(background)).collect();
        let sums = bytes.chunks_exact(width).map(sum);
        let mut by_sum: Vec<(u32, u32)> = sums.zip(0..).collect();
        by_sum.sort_unstable();
        Book { width, bytes, by_sum }
    }
}

/// A codebook over one background colour.
#[derive(Debug)]
pub struct Book {
    width: usize,
    bytes: Vec<u8>,
    /// (sum of its bytes, code), rising.
    by_sum: Vec<(u32, u32)>,
}

impl Book {
    /// The code nearest to a cell's RGB bytes; the lowest of equally near ones.
    ///
    /// Codes are tried by how near their byte sums are: a squared distance is at least the squared
    /// difference of the sums over the number of bytes, so that most codes are never looked at.
    #[must_use]
    pub fn nearest(&self, cell: &[u8]) -> CodeId {
        let sum = sum(cell);
        let start = self.by_sum.partition_point(|&(other, _)| other < sum);
        let (below, above) = self.by_sum.split_at(start);
        let (mut below, mut above) = (below.iter().rev().peekable(), above.iter().peekable());
        let gap = |next: Option<&&(u32, u32)>| next.map_or(u32::MAX, |next| next.0.abs_diff(sum));
        let mut best = (u32::MAX, 0);
        loop {
            let (down, up) = (gap(below.peek()), gap(above.peek()));
            let next = if down < up { below.next() } else { above.next() };
            let least = u64::from(down.min(up)).pow(2);
            match next {
                Some(&(_, code)) if least <= u64::from(best.0) * self.width as u64 => {
                    best = best.min((self.distance(code, cell, best.0), code));
                }
                _ => return CodeId(best.1),
            }
        }
    }

    /// Squared distance of a code and a cell; given up on once it passes `limit`.
    fn distance(&self, code: u32, cell: &[u8], limit: u32) -> u32 {
        const PIECES: usize = 4;
        let layer = &self.bytes[code as usize * self.width..][..self.width];
        let piece = self.width.div_ceil(PIECES);
        let mut distance = 0;
        for (a, b) in layer.chunks(piece).zip(cell.chunks(piece)) {
            distance += squared_distance(a, b);
            if distance > limit {
                break;
            }
        }
        distance
    }
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().map(|&byte| u32::from(byte)).sum()
}

fn squared_distance(a: &[u8], b: &[u8]) -> u32 {
    let square = |(&a, &b): (&u8, &u8)| {
        let difference = i32::from(a) - i32::from(b);
        (difference * difference) as u32
    };
    a.iter().zip(b).map(square).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(colour: [f32; 3], alpha: [f32; 4]) -> Layer {
        Layer {
            colour: alpha.iter().flat_map(|a| colour.map(|c| c * a)).collect(),
            alpha: alpha.to_vec(),
        }
    }

    /// Codes: blue ground, red upper left pixel, half-covering white.
    fn tokenizer() -> LayeredVq {
        let layers = vec![
            layer([0.0, 0.0, 1.0], [1.0; 4]),
            layer([1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]),
            layer([1.0, 1.0, 1.0], [0.5; 4]),
            layer([0.0, 1.0, 0.0], [1.0; 4]),
        ];
        LayeredVq::new(&VqConfig { grid: 2, patch: 2, codebook_size: 4 }, layers).unwrap()
    }

    #[test]
    fn a_code_names_what_stands_in_front_whatever_lies_behind() {
        let tokenizer = tokenizer();
        for background in [[0, 0, 255], [0, 255, 0]] {
            let book = tokenizer.over(background);
            assert_eq!(book.nearest(&tokenizer.layers[1].over(background)), CodeId(1));
            assert_eq!(book.nearest(&tokenizer.layers[2].over(background)), CodeId(2));
        }
        assert_eq!(tokenizer.layers[2].over([0, 0, 255])[..3], [128, 128, 255]);
        assert_eq!(tokenizer.layers[2].mean_over([0, 0, 255]), [128, 128, 255]);
    }

    #[test]
    fn kept_books_are_few_and_change_no_code() {
        let kept = tokenizer();
        for round in 0..3u8 {
            for shade in 0..6u8 {
                let pixel = |x: u32, y: u32| {
                    let own = [255, 128, round].map(|value| image::Rgb([value, shade, 0]));
                    let corner = x == 1 && y == 2;
                    if corner {
                        own[usize::from(shade) % 3]
                    } else {
                        image::Rgb([0, 40 * shade, 9])
                    }
                };
                let picture = RgbImage::from_fn(4, 4, pixel);
                let fresh = tokenizer().encode(&picture).unwrap();
                assert_eq!(kept.encode(&picture).unwrap(), fresh);
            }
        }
        assert_eq!(kept.books.lock().unwrap().len(), BOOKS);
    }

    /// The search by byte sums finds what looking at every code finds, ties included.
    #[test]
    fn the_search_finds_the_nearest_of_all() {
        let mut state = 1u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 30) as u8 * 85
        };
        let layers: Vec<Layer> = (0..64)
            .map(|_| layer([byte(), byte(), byte()].map(|b| f32::from(b) / 255.0), [1.0; 4]))
            .collect();
        let config = VqConfig { grid: 2, patch: 2, codebook_size: 64 };
        let book = LayeredVq::new(&config, layers).unwrap().over([9, 9, 9]);
        for _ in 0..200 {
            let cell: Vec<u8> = (0..12).map(|_| byte()).collect();
            let far = |code: &u32| {
                (squared_distance(&book.bytes[*code as usize * 12..][..12], &cell), *code)
            };
            assert_eq!(Some(book.nearest(&cell).0), (0..64).min_by_key(far));
        }
    }

    #[test]
    fn pictures_of_another_size_are_refused() {
        let mut picture = RgbImage::from_pixel(4, 4, image::Rgb([0, 0, 255]));
        picture.put_pixel(0, 2, image::Rgb([255, 0, 0]));
        let codes = tokenizer().encode(&picture).unwrap().codes;
        assert_eq!(codes, [0, 0, 1, 0].map(CodeId));
        let error = tokenizer().encode(&RgbImage::new(5, 4)).unwrap_err();
        assert_eq!(error.to_string(), "picture is 5×4, the canvas is 4×4");
    }
}
