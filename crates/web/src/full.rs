//! A published model (tier `full`) as JavaScript sees it: bundle bytes and pixels in, codes and pixels out.

use crate::error::to_js;
use crate::messages::{FullEdited, Info};
use crate::{BACKEND, device, pictures, put};
use burn::tensor::FloatDType;
use earl_model::ModelError;
use earl_model::checkpoint::bundle::Bundle;
use earl_model::emu3::{FullEditor, FullRequest, Progress, pixels};
use earl_model::files::on_white;
use wasm_bindgen::prelude::*;

/// A loaded published model.
#[wasm_bindgen]
pub struct WebFullEditor {
    editor: FullEditor,
    model_hash: String,
    name: String,
}

/// Loads a bundle of tier `full`: the manifest's bytes, and what answers with the bytes of its chunk of a number
/// as a `Uint8Array`. A chunk is asked for when a tensor in it is loaded, and its size and SHA-256 are checked;
/// on a GPU its bytes then leave this memory, so that models beyond 4 GiB can be loaded.
///
/// # Errors
/// An object `{ code, message, hint }`.
#[wasm_bindgen]
pub async fn load_full(
    manifest: Vec<u8>,
    read: js_sys::Function,
) -> Result<WebFullEditor, JsValue> {
    let bundle = Bundle::open_on_demand(&manifest, move |at| {
        let bytes = read.call1(&JsValue::NULL, &JsValue::from(at as u32)).ok();
        let bytes = bytes.and_then(|bytes| bytes.dyn_into::<js_sys::Uint8Array>().ok());
        let what = format!("chunk {at}");
        let problem = "the browser does not give it".into();
        bytes.map(|bytes| bytes.to_vec()).ok_or(ModelError::Read { what, problem })
    })
    .map_err(|error| to_js(&error))?;
    let device = device().await.map_err(|error| to_js(&error))?;
    let editor = FullEditor::from_bundle(&bundle, FloatDType::F32, &device)
        .map_err(|error| to_js(&error))?;
    let name = bundle.manifest().model.name.clone();
    Ok(WebFullEditor { editor, model_hash: bundle.hash().to_owned(), name })
}

#[wasm_bindgen]
impl WebFullEditor {
    /// As [`crate::WebEditor::info`]: no fixed canvas, and no lists of words.
    ///
    /// # Errors
    /// If the object can't be made.
    pub fn info(&self) -> Result<JsValue, JsValue> {
        let info = Info {
            backend: BACKEND,
            model_hash: &self.model_hash,
            name: &self.name,
            canvas: 0,
            patch: self.editor.vq.config().factor(),
            names: &[],
            tintable: &[],
            tints: &[],
            backgrounds: &[],
            words: &[],
        };
        Ok(serde_wasm_bindgen::to_value(&info)?)
    }

    /// Edits a picture, `width` × `height` RGBA bytes. `options` is
    /// `{ instruction, mode, region, area, seed, temperature, ahead }`; `on_code` gets how many of how
    /// many ids of the image are written and stops the edit with `false`. Resolves to
    /// `{ notes, width, height, sourceCodes, codes, reasoning, passes }` with pictures in RGBA bytes: `source`
    /// and `edited` of that size, `scaled`, the edited one, of the size of the picture that was given.
    ///
    /// # Errors
    /// An object `{ code, message, hint }`.
    pub async fn edit(
        &self,
        rgba: Vec<u8>,
        width: u32,
        height: u32,
        options: JsValue,
        on_code: js_sys::Function,
    ) -> Result<JsValue, JsValue> {
        let request: FullRequest = serde_wasm_bindgen::from_value(options).map_err(|error| {
            to_js(&ModelError::Option { name: "options", problem: error.to_string() })
        })?;
        let picture = pictures::of(rgba, width, height).map_err(|error| to_js(&error))?;
        let mut watch = |progress| match progress {
            Progress::Thought => true,
            Progress::Code { place, places } => {
                let (place, places) = (JsValue::from(place as u32), JsValue::from(places as u32));
                let answer = on_code.call2(&JsValue::NULL, &place, &places);
                answer.is_ok_and(|answer| answer.as_bool() != Some(false))
            }
        };
        let opened = on_white(&picture);
        let outcome = self.editor.edit(&opened.picture, &request, &mut watch).await;
        let outcome = outcome.map_err(|error| to_js(&error))?;
        let scaled = pixels::bicubic(&outcome.picture, height, width);
        let scaled = scaled.map_err(|error| to_js(&error))?;
        let result = serde_wasm_bindgen::to_value(&FullEdited::of(&outcome, &opened.notes))?;
        put(&result, "source", &pictures::rgba(&outcome.fitted))?;
        put(&result, "edited", &pictures::rgba(&outcome.picture))?;
        put(&result, "scaled", &pictures::rgba(&scaled))?;
        Ok(result)
    }
}
