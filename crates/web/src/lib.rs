//! The editor as JavaScript sees it: bundle bytes and pixels in, pixels and facts out; picture files
//! are read and written here too, so that every browser sees the same pixels.
//!
//! Runs in a module worker (`web/worker.js`). One source, four modules: feature `cpu` (flex, simd128)
//! or `gpu` (WebGPU through wgpu), each without and with `full`, which loads published models too (`load_full`) and
//! doubles the CPU module's size. Nothing here touches the network or the page.
//! Start at [`decode`], [`load`] and [`WebEditor::edit`].

mod error;
#[cfg(feature = "full")]
mod full;
mod messages;
mod pictures;

use burn::tensor::Device;
use earl_model::checkpoint::bundle::Bundle;
use earl_model::checkpoint::known::{Agreement, KnownAnswer};
use earl_model::files::on_white;
use earl_model::{EditEvent, Editor, ModelError};
use error::to_js;
#[cfg(feature = "full")]
pub use full::{WebFullEditor, load_full};
use messages::{Agrees, Edited, Info, Known, Options, Token};
pub use pictures::{decode, encode, sha256};
use std::ops::ControlFlow;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

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
    known: Vec<KnownAnswer>,
}

/// Loads a bundle: the manifest's bytes and its chunks as `Uint8Array`s, in the manifest's order.
/// Every chunk's size and SHA-256 is checked.
///
/// # Errors
/// An object `{ code, message, hint }`.
#[wasm_bindgen]
pub async fn load(manifest: Vec<u8>, chunks: js_sys::Array) -> Result<WebEditor, JsValue> {
    let bundle = open(&manifest, &chunks).map_err(|error| to_js(&error))?;
    let device = device().await.map_err(|error| to_js(&error))?;
    let editor = Editor::load(&bundle, &device).map_err(|error| to_js(&error))?;
    let known = bundle.manifest().kat.clone();
    Ok(WebEditor { editor, model_hash: bundle.hash().to_owned(), known })
}

/// A bundle from its bytes, every chunk checked.
fn open(manifest: &[u8], chunks: &js_sys::Array) -> Result<Bundle, ModelError> {
    let mut next = 0;
    Bundle::open(manifest, |chunk| {
        let bytes = chunks.get(next);
        next += 1;
        let missing =
            || ModelError::Read { what: chunk.path(), problem: "it was not fetched".into() };
        let bytes = bytes.dyn_into::<js_sys::Uint8Array>().ok().ok_or_else(missing)?;
        Ok(bytes.to_vec())
    })
}

/// Dispatches handed to the device at once: all of a token's, since each hand-over goes through the
/// browser's GPU process.
#[cfg(feature = "gpu")]
const DISPATCHES_AT_ONCE: usize = 512;

#[cfg(feature = "gpu")]
async fn device() -> Result<Device, ModelError> {
    let options = Device::wgpu_options().tasks_max(DISPATCHES_AT_ONCE);
    options.init_async().await.map_err(|error| ModelError::Device(format!("{error:?}")))
}

#[cfg(not(feature = "gpu"))]
#[allow(clippy::unused_async, reason = "the other backend has to wait for its adapter")]
async fn device() -> Result<Device, ModelError> {
    Ok(Device::flex())
}

#[wasm_bindgen]
impl WebEditor {
    /// `{ backend, modelHash, name, canvas, patch, names, tints, tintable, backgrounds, words }`.
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
            patch: config.vision.patch,
            names: &text.names,
            tintable: &text.tintable,
            tints: &text.tints,
            backgrounds: &text.backgrounds,
            words: &text.words,
        };
        Ok(serde_wasm_bindgen::to_value(&info)?)
    }

    /// The edits whose outcome the model tells: `[{ instruction, mode, temperature, sure }]`.
    ///
    /// # Errors
    /// If the list can't be made.
    pub fn known(&self) -> Result<JsValue, JsValue> {
        let list: Vec<Known<'_>> = self.known.iter().map(Known::of).collect();
        Ok(serde_wasm_bindgen::to_value(&list)?)
    }

    /// Asks for a known answer again: `{ tokens, pixels, exact, offBy }`, whether each is the same, and how
    /// far the margins of its choices are off, if the tokens are the same and the bundle tells margins.
    ///
    /// # Errors
    /// An object `{ code, message, hint }`.
    pub async fn check_known(&self, at: usize) -> Result<JsValue, JsValue> {
        let missing = || ModelError::Option { name: "known", problem: format!("has no {at}") };
        let known = self.known.get(at).ok_or_else(missing).map_err(|error| to_js(&error))?;
        let Agreement { tokens, pixels, exact, off_by } =
            known.check(&self.editor).await.map_err(|error| to_js(&error))?;
        Ok(serde_wasm_bindgen::to_value(&Agrees { tokens, pixels, exact, off_by })?)
    }

    /// Edits a picture, `width` × `height` RGBA bytes. `options` is
    /// `{ instruction, mode, seed, temperature, plan, within, topK, ahead, verify, decided }`; `on_token` gets every token, may return a
    /// promise to be waited for, and stops the edit with `false`. Resolves to the edit's facts with
    /// `source` and `edited` (RGBA bytes of the canvas).
    ///
    /// # Errors
    /// An object `{ code, message, hint }`.
    pub async fn edit(
        &self,
        rgba: Vec<u8>,
        width: u32,
        height: u32,
        options: JsValue,
        on_token: js_sys::Function,
    ) -> Result<JsValue, JsValue> {
        let options: Options = serde_wasm_bindgen::from_value(options).map_err(|error| {
            to_js(&ModelError::Option { name: "options", problem: error.to_string() })
        })?;
        let picture = pictures::of(rgba, width, height).map_err(|error| to_js(&error))?;
        let opened = on_white(&picture);
        let (request, start) = (options.request(), now_ms());
        let mut tell = async |event: &EditEvent| match token(event, &on_token).await {
            Ok(true) => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        };
        let edit = self.editor.edit_after(&opened.picture, &request, &options.decided, &mut tell);
        let outcome = edit.await.map_err(|error| to_js(&error))?;
        let verdict = if options.verify {
            let asked = self.editor.verdict(&request.instruction, &outcome);
            asked.await.map_err(|error| to_js(&error))?
        } else {
            None
        };
        let facts = Edited::of(&outcome, verdict, &opened.notes, now_ms() - start);
        let result = serde_wasm_bindgen::to_value(&facts)?;
        put(&result, "source", &pictures::rgba(&outcome.source))?;
        put(&result, "edited", &pictures::rgba(&outcome.image))?;
        Ok(result)
    }
}

/// Tells the page of a token and waits for what it answers; `false` asks to stop.
async fn token(event: &EditEvent, on_token: &js_sys::Function) -> Result<bool, JsValue> {
    let message = serde_wasm_bindgen::to_value(&Token::of(event))?;
    let answer = on_token.call1(&JsValue::NULL, &message)?;
    let answer = match answer.dyn_into::<js_sys::Promise>() {
        Ok(promise) => JsFuture::from(promise).await?,
        Err(answer) => answer,
    };
    Ok(answer.as_bool() != Some(false))
}

pub(crate) fn put(object: &JsValue, key: &str, value: &JsValue) -> Result<(), JsValue> {
    js_sys::Reflect::set(object, &JsValue::from_str(key), value).map(|_| ())
}

/// Milliseconds on the worker's clock; 0 outside a worker.
fn now_ms() -> f64 {
    let scope = js_sys::global().dyn_into::<web_sys::WorkerGlobalScope>().ok();
    scope.and_then(|scope| scope.performance()).map_or(0.0, |clock| clock.now())
}
