//! EARLW bundles: what is written is read back, and nothing damaged is.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use burn::tensor::Device;
use earl_model::checkpoint::bundle::{Bundle, Packed, hex_sha256, pack};
use earl_model::checkpoint::quantize::Dtype;
use earl_model::checkpoint::{TensorMap, safetensors};
use earl_model::{Editor, ModelError};
use earl_tests::{greys, small_config, weights};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::rc::Rc;

fn tensors() -> TensorMap {
    let config = small_config();
    let mut tensors = weights(&config, 11);
    tensors.extend(greys(&config).tensors());
    tensors
}

fn packed(dtype: Dtype) -> Packed {
    pack(&small_config(), "tiny", "MIT", &tensors(), |_, shape| {
        if shape.len() < 2 { Dtype::F32 } else { dtype }
    })
    .unwrap()
}

fn open(manifest: &[u8], packed: &Packed) -> Result<Bundle, ModelError> {
    Bundle::open(manifest, |chunk| {
        let found = packed.chunks.iter().find(|(path, _)| *path == chunk.path());
        found
            .map(|(_, bytes)| bytes.clone())
            .ok_or(ModelError::Read { what: chunk.path(), problem: "absent".into() })
    })
}

/// The manifest with one value changed.
fn altered(packed: &Packed, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut manifest: Value = serde_json::from_slice(&packed.manifest).unwrap();
    change(&mut manifest);
    manifest.to_string().into_bytes()
}

#[test]
fn every_type_is_read_back_within_its_step() {
    let original = tensors();
    for (dtype, step) in [
        (Dtype::F32, 0.0),
        (Dtype::F16, 1e-3),
        (Dtype::Q8, 1.0 / 127.0),
        (Dtype::Q4, 1.0 / 7.0),
        (Dtype::T2, 1.0),
    ] {
        let packed = packed(dtype);
        let bundle = open(&packed.manifest, &packed).unwrap();
        let read = bundle.tensors().unwrap();
        assert_eq!(read.keys().collect::<Vec<_>>(), original.keys().collect::<Vec<_>>());
        for (name, tensor) in &read {
            let largest = original[name].data.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            for (a, b) in tensor.data.iter().zip(&original[name].data) {
                assert!((a - b).abs() <= largest * step, "{dtype:?} `{name}`: {a} is not {b}");
            }
        }
        Editor::load(&bundle, &Device::flex()).unwrap();
    }
}

/// The same bundle in chunks of so many bytes.
fn recut(packed: &Packed, bytes: usize) -> Packed {
    let stream: Vec<u8> = packed.chunks.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    let (mut entries, mut chunks) = (Vec::new(), Vec::new());
    for (at, piece) in stream.chunks(bytes).enumerate() {
        let sha256 = hex_sha256(piece);
        chunks.push((format!("chunks/{sha256}.bin"), piece.to_vec()));
        entries.push(json!({"sha256": sha256, "offset": at * bytes, "length": piece.len()}));
    }
    let manifest = altered(packed, |manifest| manifest["chunks"] = entries.into());
    Packed { manifest, chunks }
}

#[test]
fn chunks_on_demand_are_read_when_wanted_and_then_given_up() {
    let packed = recut(&packed(Dtype::Q8), 256);
    let whole = open(&packed.manifest, &packed).unwrap();
    let (reads, chunks) = (Rc::new(RefCell::new(Vec::new())), packed.chunks.clone());
    let noted = reads.clone();
    let bundle = Bundle::open_on_demand(&packed.manifest, move |at| {
        noted.borrow_mut().push(at);
        Ok(chunks[at].1.clone())
    })
    .unwrap();
    assert!(packed.chunks.len() > 20 && reads.borrow().is_empty());

    let matrix = |bundle: &Bundle| bundle.packed("lm.layers.0.down_proj.weight").unwrap().unwrap();
    let (held, again) = (matrix(&bundle), reads.borrow().len());
    assert!(again > 0 && again < packed.chunks.len() / 2, "{again} reads");
    drop(matrix(&bundle));
    let scales = reads.borrow().len() - again;
    assert!(
        scales < again,
        "what the first holds is not read again: {scales} reads, {again} at first"
    );
    for row in 0..held.rows() {
        assert_eq!(held.row_values(row), matrix(&whole).row_values(row));
    }
    drop(held);
    let before = reads.borrow().len();
    drop(matrix(&bundle));
    assert_eq!(reads.borrow().len() - before, again, "nothing was kept");

    let (on_demand, at_once) = (bundle.tensors().unwrap(), whole.tensors().unwrap());
    assert!(on_demand.iter().all(|(name, tensor)| *tensor == at_once[name]));
}

#[test]
fn a_damaged_chunk_on_demand_is_found_by_what_needs_it() {
    let packed = recut(&packed(Dtype::Q8), 256);
    let chunks = packed.chunks.clone();
    let bundle = Bundle::open_on_demand(&packed.manifest, move |at| {
        let mut bytes = chunks[at].1.clone();
        bytes[7] ^= u8::from(at == 3);
        Ok(bytes)
    })
    .unwrap();
    assert!(matches!(bundle.tensors().err(), Some(ModelError::Hash { .. })));
    let gone = || ModelError::Read { what: "chunk".into(), problem: "gone".into() };
    let bundle = Bundle::open_on_demand(&packed.manifest, move |_| Err(gone())).unwrap();
    assert!(matches!(bundle.tensors().err(), Some(ModelError::Read { .. })));
}

#[test]
fn one_flipped_bit_anywhere_is_found() {
    let packed = packed(Dtype::Q8);
    for at in [0, packed.chunks[0].1.len() / 2, packed.chunks[0].1.len() - 1] {
        let mut bytes = packed.chunks.clone();
        bytes[0].1[at] ^= 4;
        let damaged = Packed { manifest: packed.manifest.clone(), chunks: bytes };
        let error = open(&damaged.manifest, &damaged).err().unwrap();
        assert!(matches!(error, ModelError::Hash { .. }), "{error}");
    }
}

#[test]
fn newer_versions_other_formats_and_lies_are_refused() {
    let packed = packed(Dtype::Q8);
    let problem = |change: &dyn Fn(&mut Value)| {
        open(&altered(&packed, change), &packed).err().unwrap().to_string()
    };
    assert!(problem(&|m| m["version"] = json!(2)).contains("version 2"));
    assert!(problem(&|m| m["format"] = json!("GGUF")).contains("GGUF"));
    let long = problem(&|m| m["chunks"][0]["length"] = json!(u64::MAX));
    assert!(!long.is_empty(), "{long}");
    problem(&|m| m["tensors"][0]["offset"] = json!(u64::MAX - 3));
    problem(&|m| m["tensors"][0]["length"] = json!(1u64 << 62));
    problem(&|m| m["tensors"][0]["shape"] = json!([u32::MAX, u32::MAX]));
    problem(&|m| m["tensors"][1]["offset"] = m["tensors"][0]["offset"].clone());
    problem(&|m| m["chunks"][0]["sha256"] = json!("../../etc/passwd"));
    problem(&|m| m["tensors"][0]["dtype"] = json!("q2"));
    assert!(open(&packed.manifest[..packed.manifest.len() / 2], &packed).is_err());
    assert!(open(b"", &packed).is_err());
}

#[test]
fn safetensors_keep_every_bit_and_refuse_cut_files() {
    let original = tensors();
    let bytes = safetensors::write(&original, "{\"name\":\"x\"}").unwrap();
    let (read, config) = safetensors::read(&bytes).unwrap();
    assert_eq!(config.as_deref(), Some("{\"name\":\"x\"}"));
    for (name, tensor) in &original {
        assert_eq!(read[name].data, tensor.data, "{name}");
    }
    for cut in [0, 7, 8, 100, bytes.len() - 1] {
        assert!(safetensors::read(&bytes[..cut]).is_err(), "{cut} bytes were accepted");
    }
    let mut lying = bytes;
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(safetensors::read(&lying).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn a_garbled_manifest_never_panics(at in 0usize..4000, byte in any::<u8>(), cut in 0usize..4000) {
        let packed = packed(Dtype::Q8);
        let mut manifest = packed.manifest.clone();
        let length = manifest.len();
        manifest[at % length] = byte;
        manifest.truncate(length - cut % length / 2);
        if let Ok(bundle) = open(&manifest, &packed) {
            drop(bundle.tensors());
        }
    }
}
