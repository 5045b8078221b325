//! The editor as JavaScript sees it: bundle bytes and picture bytes in, PNG bytes and facts out.
//!
//! Runs in a module worker (`web/worker.js`). One source, two modules: feature `cpu` (flex, simd128)
//! and `gpu` (WebGPU through wgpu). Nothing here touches the network or the page.
//! Start at [`load`] and [`WebEditor::edit`].

mod error;
mod messages;

use burn::tensor::Device;
use earl_model::checkpoint::bundle::{Bundle, hex_sha256};
use earl_model::files::{decode, encode_png};
use earl_model::{EditEvent, EditOutcome, EditRequest, Editor, ModelError, Seed};
use error::to_js;
use messages::{Edited, Info, Options, Token};
use std::ops::ControlFlow;
use wasm_bindgen::prelude::*;

/// Which backend this module was built for.
pub const BACKEND: &str = if cfg!(feature = "gpu") { "webgpu" } else { "cpu" };

/// Shows Rust panics on the console instead of a bare trap.
#[wasm_bindgen(start)]
pub fn start() {
    #[cfg(target_family = "wasm")]
    console_error_panic_hook::set_once();
}

/// A loaded model.
#[wasm_bindgen]
pub struct WebEditor {
    editor: Editor,
    model_hash: String,
}

/// Loads a bundle: the manifest's bytes and its chunks as `Uint8Array`s, in the manifest's order.
/// Every chunk's size and SHA-256 is checked.
///
/// # Errors
/// An object `{ code, message, hint }`.
#[wasm_bindgen]
pub async fn load(manifest: Vec<u8>, chunks: js_sys::Array) -> Result<WebEditor, JsValue> {
    let mut next = 0;
    let bundle = Bundle::open(&manifest, |chunk| {
        let bytes = chunks.get(next);
        next += 1;
        let missing =
            || ModelError::Read { what: chunk.path(), problem: "it was not fetched".into() };
        let bytes = bytes.dyn_into::<js_sys::Uint8Array>().ok().ok_or_else(missing)?;
        Ok(bytes.to_vec())
    });
    let bundle = bundle.map_err(|error| to_js(&error))?;
    let device = device().await.map_err(|error| to_js(&error))?;
    let editor = Editor::load(&bundle, &device).map_err(|error| to_js(&error))?;
    Ok(WebEditor { editor, model_hash: bundle.hash().to_owned() })
}

#[cfg(feature = "gpu")]
async fn device() -> Result<Device, ModelError> {
    let options = Device::wgpu_options();
    options.init_async().await.map_err(|error| ModelError::Device(format!("{error:?}")))
}

#[cfg(not(feature = "gpu"))]
#[allow(clippy::unused_async, reason = "the other backend has to wait for its adapter")]
async fn device() -> Result<Device, ModelError> {
    Ok(Device::flex())
}

#[wasm_bindgen]
impl WebEditor {
    /// `{ backend, modelHash, name, canvas, names, tints, tintable, backgrounds, words }`.
    ///
    /// # Errors
    /// If the object can't be made.
    pub fn info(&self) -> Result<JsValue, JsValue> {
        let (config, text) = (self.editor.config(), &self.editor.config().text);
        let info = Info {
            backend: BACKEND,
            model_hash: &self.model_hash,
            name: &config.name,
            canvas: config.vision.canvas(),
            names: &text.names,
            tintable: &text.tintable,
            tints: &text.tints,
            backgrounds: &text.backgrounds,
            words: &text.words,
        };
        Ok(serde_wasm_bindgen::to_value(&info)?)
    }

    /// Edits the picture in `file` (PNG, JPEG or WebP bytes). `options` is
    /// `{ instruction, mode, seed, temperature }`; `on_token` gets every token and stops the edit by
    /// returning `false`. Resolves to the edit's facts with `png` (bytes, recipe inside), `source` and
    /// `edited` (RGBA bytes of the canvas).
    ///
    /// # Errors
    /// An object `{ code, message, hint }`.
    pub async fn edit(
        &self,
        file: Vec<u8>,
        options: JsValue,
        on_token: js_sys::Function,
    ) -> Result<JsValue, JsValue> {
        let options: Options = serde_wasm_bindgen::from_value(options).map_err(|error| {
            to_js(&ModelError::Option { name: "options", problem: error.to_string() })
        })?;
        let opened = decode(&file).map_err(|error| to_js(&error))?;
        let start = now_ms();
        let mut tell = |event: &EditEvent| match token(event, &on_token) {
            Ok(true) => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        };
        let outcome = self.editor.edit(&opened.picture, &options.request(), &mut tell).await;
        let outcome = outcome.map_err(|error| to_js(&error))?;
        let milliseconds = now_ms() - start;
        self.edited(&options, &opened.notes, &outcome, milliseconds)
    }

    fn edited(
        &self,
        options: &Options,
        notes: &[String],
        outcome: &EditOutcome,
        milliseconds: f64,
    ) -> Result<JsValue, JsValue> {
        let recipe = serde_json::json!({
            "v": 1, "model": self.model_hash, "instruction": options.instruction,
            "mode": options.mode, "seed": options.seed, "temperature": options.temperature,
            "image": hex_sha256(outcome.source.as_raw()),
        });
        let recipe = recipe.to_string();
        let png = encode_png(&outcome.image, Some(("earl-recipe", &recipe)));
        let png = png.map_err(|error| to_js(&error))?;
        let facts = Edited {
            width: outcome.image.width(),
            height: outcome.image.height(),
            notes: notes.iter().chain(&outcome.fitted).cloned().collect(),
            doubt: &outcome.doubt,
            plan: &outcome.plan,
            outside: messages::Outside {
                pixels: outcome.outside_pixels,
                changed: outcome.outside_changed,
            },
            tokens: outcome.tokens,
            forwards: outcome.forwards,
            milliseconds,
            recipe,
        };
        let result = serde_wasm_bindgen::to_value(&facts)?;
        put(&result, "png", &js_sys::Uint8Array::from(&png[..]))?;
        put(&result, "source", &rgba(&outcome.source))?;
        put(&result, "edited", &rgba(&outcome.image))?;
        Ok(result)
    }
}

impl Options {
    fn request(&self) -> EditRequest {
        EditRequest {
            instruction: self.instruction.clone(),
            mode: self.mode,
            seed: Seed(self.seed),
            temperature: self.temperature,
            plan: None,
        }
    }
}

/// Tells the page of a token; `false` asks to stop.
fn token(event: &EditEvent, on_token: &js_sys::Function) -> Result<bool, JsValue> {
    let message = serde_wasm_bindgen::to_value(&Token::of(event))?;
    Ok(on_token.call1(&JsValue::NULL, &message)?.as_bool() != Some(false))
}

fn put(object: &JsValue, key: &str, value: &JsValue) -> Result<(), JsValue> {
    js_sys::Reflect::set(object, &JsValue::from_str(key), value).map(|_| ())
}

fn rgba(picture: &earl_model::files::Rgb) -> js_sys::Uint8ClampedArray {
    let bytes: Vec<u8> =
        picture.pixels().flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255]).collect();
    js_sys::Uint8ClampedArray::from(&bytes[..])
}

/// Milliseconds on the worker's clock; 0 outside a worker.
fn now_ms() -> f64 {
    let scope = js_sys::global().dyn_into::<web_sys::WorkerGlobalScope>().ok();
    scope.and_then(|scope| scope.performance()).map_or(0.0, |clock| clock.now())
}
