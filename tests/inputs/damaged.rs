//! Models and files that are not what they say, and places that can't be written.

use super::{failure, trainer};
use std::path::Path;

/// The shipped model as safetensors.
fn weights(folder: &Path) -> Vec<u8> {
    let file = folder.join("whole.safetensors");
    let args = [
        "export",
        "--model",
        "models/tiny",
        "--format",
        "safetensors",
        "-o",
        &file.to_string_lossy(),
    ];
    assert!(trainer(&args).status.success());
    std::fs::read(file).unwrap()
}

#[test]
fn damaged_weights_are_refused_by_every_verb_that_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let whole = weights(folder.path());
    let start = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut nan = whole.clone();
    nan[start..start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut lying = whole.clone();
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let header = String::from_utf8(whole[8..start].to_vec()).unwrap();
    let stretched = {
        // The first tensor claims bytes beyond the end; the header keeps its length.
        let at = header.find("\"data_offsets\":[").unwrap() + 16;
        let end = at + header[at..].find(']').unwrap();
        let mut text = header.clone();
        text.replace_range(at..end, &format!("0,{}", "9".repeat(end - at - 2)));
        [&whole[..8], text.as_bytes(), &whole[start..]].concat()
    };
    let out = folder.path().join("out").to_string_lossy().into_owned();
    for (name, bytes, reason) in [
        ("nan.safetensors", nan, "NaN"),
        ("cut.safetensors", whole[..whole.len() / 2].to_vec(), ""),
        ("lying.safetensors", lying, ""),
        ("stretched.safetensors", stretched, ""),
        ("empty.safetensors", Vec::new(), ""),
        ("text.safetensors", b"hello, this is not a model".to_vec(), ""),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        let file = file.to_string_lossy();
        for args in [
            &["edit", "--model", &file, "docs/sample.png", "remove the cat", "-o", &out][..],
            &["eval", "--model", &file, "--limit", "1", "--out", &out],
            &["export", "--model", &file, "-o", &out],
            &["inspect", &file],
        ] {
            let said = failure(args);
            assert!(said.contains(name) && said.contains(reason), "{args:?}: {said}");
            assert!(said.contains("hint: "), "{args:?}: {said}");
        }
    }
    let left = std::fs::read_dir(&out).map_or(0, Iterator::count);
    assert_eq!(left, 0, "nothing is left in the place of results");
}

#[test]
fn places_that_can_not_be_written_are_named_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"mine").unwrap();
    let inside = folder.path().join("file/out").to_string_lossy().into_owned();
    for args in [
        &["edit", "docs/sample.png", "make the background blue", "-o", &inside][..],
        &["eval", "--model", "models/tiny", "--limit", "500", "--out", &inside],
        &["export", "--model", "models/tiny", "-o", &inside],
        &["export", "--model", "models/tiny", "--format", "safetensors", "-o", &inside],
        &["scenes", "--count", "2", "--out", &inside],
    ] {
        let said = failure(args);
        assert!(said.contains("file/out"), "{args:?}: {said}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    let said = failure(&["scenes", "--count", "1", "--out", &folder.path().to_string_lossy()]);
    assert!(said.contains("is not empty") && said.contains("--force"), "{said}");
}

#[test]
fn files_that_are_not_there_or_not_what_they_should_be_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    std::fs::write(path("text.jsonl"), "hello\n").unwrap();
    std::fs::write(path("bytes"), [0xff, 0xfe, 0]).unwrap();
    let eval = ["eval", "--model", "models/tiny", "--bench-file"];
    for (args, reason) in [
        (&["inspect", &path("none")][..], "there is no model at"),
        (&["export", "--model", &path("none"), "-o", &path("x")], "there is no model at"),
        (&["eval", "--model", &path("none")], "there is no model at"),
        (&[&eval[..], &[&path("none.jsonl")]].concat(), "none.jsonl"),
        (&[&eval[..], &[&path("text.jsonl")]].concat(), "holds no example (line 1"),
        (&[&eval[..], &[&path("bytes")]].concat(), "bytes"),
        (&["edit", "--batch", &path("bytes"), "-o", &path("x")], "bytes"),
        (&["edit", "docs/sample.png", "remove the cat", "-o", &path("")], "is a folder"),
    ] {
        let said = failure(args);
        assert!(said.contains(reason), "{args:?}: {said}");
    }
    assert!(!folder.path().join("x").exists());
}
