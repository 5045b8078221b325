//! A published model (tier `full`) as JavaScript sees it: bundle bytes and pixels in, codes and pixels out.

use crate::error::to_js;
use crate::pictures;
use crate::{device, open, put};
use earl_model::ModelError;
use earl_model::emu3::{FullEditor, FullRequest, Progress};
use earl_model::files::on_white;
use serde::Serialize;
use wasm_bindgen::prelude::*;

/// A loaded published model.
#[wasm_bindgen]
pub struct WebFullEditor(FullEditor);

/// Loads a bundle of tier `full`; arguments and checks are those of [`crate::load`].
///
/// # Errors
/// An object `{ code, message, hint }`.
#[wasm_bindgen]
pub async fn load_full(manifest: Vec<u8>, chunks: js_sys::Array) -> Result<WebFullEditor, JsValue> {
    let bundle = open(&manifest, &chunks).map_err(|error| to_js(&error))?;
    let device = device().await.map_err(|error| to_js(&error))?;
    let editor = FullEditor::from_bundle(&bundle, &device).map_err(|error| to_js(&error))?;
    Ok(WebFullEditor(editor))
}

/// What an edit gives beside its pixels.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Facts<'a> {
    width: u32,
    height: u32,
    source_codes: Vec<u32>,
    codes: Vec<u32>,
    reasoning: &'a Option<String>,
    passes: Option<usize>,
}

#[wasm_bindgen]
impl WebFullEditor {
    /// Edits a picture, `width` × `height` RGBA bytes. `options` is
    /// `{ instruction, mode, region, area, seed, temperature, ahead }`; `on_code` gets how many of how
    /// many ids of the image are written and stops the edit with `false`. Resolves to
    /// `{ width, height, sourceCodes, codes, reasoning, passes, edited }`, `edited` in RGBA bytes.
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
        let outcome = self.0.edit(&on_white(&picture).picture, &request, &mut watch).await;
        let outcome = outcome.map_err(|error| to_js(&error))?;
        let codes =
            |grid: &earl_model::CodeGrid| grid.codes.iter().map(|code| code.0).collect::<Vec<_>>();
        let facts = Facts {
            width: outcome.picture.width(),
            height: outcome.picture.height(),
            source_codes: codes(&outcome.source),
            codes: codes(&outcome.codes),
            reasoning: &outcome.reasoning,
            passes: outcome.drafted.as_ref().map(|drafted| drafted.passes),
        };
        let result = serde_wasm_bindgen::to_value(&facts)?;
        put(&result, "edited", &pictures::rgba(&outcome.picture))?;
        Ok(result)
    }
}
