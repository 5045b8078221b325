//! Errors as JavaScript sees them: `{ code, message, hint }`, and for an unknown word `word` and `near`.

use earl_model::ModelError;
use serde::Serialize;
use wasm_bindgen::JsValue;

#[derive(Serialize)]
struct Problem {
    code: &'static str,
    message: String,
    hint: String,
    word: Option<String>,
    near: Vec<String>,
}

/// The error as a plain object; `web/editor.js` turns it into an `EarlError`.
pub(crate) fn to_js(error: &ModelError) -> JsValue {
    let (word, near) = match error {
        ModelError::NotUnderstood { word, near } => (Some(word.clone()), near.clone()),
        _ => (None, Vec::new()),
    };
    let problem =
        Problem { code: error.code(), message: error.to_string(), hint: error.hint(), word, near };
    serde_wasm_bindgen::to_value(&problem).unwrap_or_else(|_| JsValue::from_str(&error.to_string()))
}
