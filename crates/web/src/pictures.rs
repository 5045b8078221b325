//! Picture files ↔ RGBA bytes, as JavaScript hands them over.

use crate::error::to_js;
use crate::put;
use earl_model::ModelError;
use earl_model::checkpoint::bundle::hex_sha256;
use earl_model::files::{Rgb, Rgba, decode_rgba, encode_rgba};
use wasm_bindgen::prelude::*;

/// `{ width, height, rgba }` of the bytes of a PNG, JPEG or WebP file, upright.
///
/// # Errors
/// An object `{ code, message, hint }`.
#[wasm_bindgen]
pub fn decode(file: &[u8]) -> Result<JsValue, JsValue> {
    let picture = decode_rgba(file).map_err(|error| to_js(&error))?;
    let result = js_sys::Object::new().into();
    put(&result, "width", &picture.width().into())?;
    put(&result, "height", &picture.height().into())?;
    put(&result, "rgba", &js_sys::Uint8ClampedArray::from(&picture.as_raw()[..]))?;
    Ok(result)
}

/// PNG bytes of a picture, `width` × `height` RGBA bytes, with the `recipe` as a text chunk if given.
///
/// # Errors
/// An object `{ code, message, hint }`.
#[wasm_bindgen]
#[allow(clippy::needless_pass_by_value, reason = "the boundary hands over owned strings")]
pub fn encode(
    rgba: Vec<u8>,
    width: u32,
    height: u32,
    recipe: Option<String>,
) -> Result<Vec<u8>, JsValue> {
    let text = recipe.as_deref().map(|recipe| ("earl-recipe", recipe));
    let bytes = of(rgba, width, height).and_then(|picture| encode_rgba(&picture, text));
    bytes.map_err(|error| to_js(&error))
}

/// SHA-256 of bytes as 64 hexadecimal digits, for pages without `crypto.subtle`.
#[wasm_bindgen]
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex_sha256(bytes)
}

/// Checks that the bytes are a picture of this size.
pub(crate) fn of(rgba: Vec<u8>, width: u32, height: u32) -> Result<Rgba, ModelError> {
    let found = rgba.len();
    Rgba::from_raw(width, height, rgba)
        .filter(|picture| picture.as_raw().len() == found)
        .ok_or_else(|| ModelError::Picture {
            problem: format!("of {width}×{height} pixels has {found} bytes"),
        })
}

/// RGBA bytes of an opaque picture.
pub(crate) fn rgba(picture: &Rgb) -> js_sys::Uint8ClampedArray {
    let bytes: Vec<u8> =
        picture.pixels().flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255]).collect();
    js_sys::Uint8ClampedArray::from(&bytes[..])
}
