//! Files of the public benches' schemas, made here, read by the maps that ship.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use earl_benches::{BadRow, BenchMap, Row, read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

#[cfg(feature = "parquet")]
mod parquet_files;

fn maps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches")
}

fn shipped(name: &str) -> BenchMap {
    BenchMap::parse(&std::fs::read_to_string(maps().join(format!("{name}.toml"))).unwrap()).unwrap()
}

/// All rows and all bad rows.
fn all(map: &BenchMap, data: &Path) -> Result<(Vec<Row>, Vec<BadRow>), earl_benches::BenchError> {
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    read(map, data, &mut |row| {
        match row {
            Ok(row) => rows.push(row),
            Err(problem) => bad.push(problem),
        }
        ControlFlow::Continue(())
    })?;
    Ok((rows, bad))
}

fn said(bad: &[BadRow]) -> Vec<String> {
    bad.iter().map(ToString::to_string).collect()
}

/// A tar file of entries.
fn shard(file: &Path, entries: &[(&str, &[u8])]) {
    let mut archive = tar::Builder::new(std::fs::File::create(file).unwrap());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    archive.finish().unwrap();
}

#[test]
fn every_shipped_map_is_whole_and_says_where_its_names_come_from() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(maps()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let map = BenchMap::parse(&std::fs::read_to_string(&path).unwrap());
        let map = map.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!map.names_from.is_empty(), "{}", path.display());
        names.push(map.name);
    }
    names.sort();
    let wanted = [
        "AURORA-Bench",
        "Emu Edit",
        "GEdit-Bench",
        "I2EBench",
        "ImgEdit-Bench",
        "MagicBrush",
        "OmniEdit",
        "VisMin",
        "WebDataset",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn shards_are_read_row_by_row_and_bad_rows_are_numbered() {
    let folder = tempfile::tempdir().unwrap();
    let task = br#"{"instruction": "remove the cat", "task": "remove"}"#;
    shard(
        &folder.path().join("0.tar"),
        &[
            ("a/1.input.jpg", b"in"),
            ("a/1.output.jpg", b"out"),
            ("a/1.json", task),
            ("a/2.input.jpg", b"in"),
            ("a/2.output.jpg", b"out"),
            ("a/2.json", b"{\"instruction\": "),
            ("a/3.output.jpg", b"out"),
            ("a/3.json", task),
            ("a/4.input.jpg", b""),
            ("a/4.output.jpg", b"out"),
            ("a/4.json", task),
            ("a/5.input.jpg", b"in"),
            ("a/5.output.jpg", b"out"),
            ("a/5.json", b"{\"task\": \"x\", \"instruction\": 5}"),
        ],
    );
    shard(
        &folder.path().join("1.tar"),
        &[("b.input.jpg", b"in2"), ("b.output.jpg", b"out2"), ("b.json", task)],
    );
    let (rows, bad) = all(&shipped("webdataset"), folder.path()).unwrap();
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["0.tar-1", "0.tar-5", "1.tar-1"]);
    assert_eq!((rows[0].op.as_deref(), rows[1].instruction.as_str()), (Some("remove"), "5"));
    assert_eq!((&rows[2].source[..], rows[2].target.as_deref()), (&b"in2"[..], Some(&b"out2"[..])));
    let bad = said(&bad);
    assert!(bad[0].starts_with("`0.tar`, row 2: `json` is no JSON"), "{bad:?}");
    assert_eq!(bad[1], "`0.tar`, row 3: there is no `input.jpg`");
    assert_eq!(bad[2], "`0.tar`, row 4: `input.jpg` holds no picture: it is empty");
    assert_eq!(bad.len(), 3);
}

#[test]
fn a_torn_shard_keeps_the_rows_before_the_tear() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("torn.tar");
    let task = br#"{"instruction": "remove the cat", "task": "remove"}"#;
    let big = [7u8; 2_000];
    shard(
        &file,
        &[
            ("1.input.jpg", b"in"),
            ("1.output.jpg", b"out"),
            ("1.json", task),
            ("2.json", task),
            ("2.output.jpg", b"out"),
            ("2.input.jpg", &big),
        ],
    );
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 2_500]).unwrap();
    let (rows, bad) = all(&shipped("webdataset"), &file).unwrap();
    assert_eq!((rows.len(), bad.len()), (1, 1), "{bad:?}");
    std::fs::write(&file, b"not a tar at all").unwrap();
    let found = all(&shipped("webdataset"), &file);
    assert!(found.is_err() || !found.unwrap().1.is_empty());
}

#[test]
fn columns_that_are_not_there_are_named_beside_those_that_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.tar");
    shard(&file, &[("1.source.png", b"in"), ("1.output.jpg", b"out"), ("1.json", b"{}")]);
    let error = all(&shipped("webdataset"), &file).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`x.tar` has no column `input.jpg`, which the map `WebDataset` asks for; it has `json`, `output.jpg`, `source.png`"
    );
    assert!(error.hint().contains("[columns]"), "{}", error.hint());
    let error = all(&shipped("webdataset"), &folder.path().join("none.tar")).unwrap_err();
    assert!(error.to_string().contains("none.tar"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = all(&shipped("webdataset"), empty.path()).unwrap_err();
    assert!(error.to_string().contains("holds no file that ends in `.tar`"), "{error}");
}

#[test]
fn an_index_finds_pictures_beside_it_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("animal")).unwrap();
    std::fs::write(folder.path().join("animal/1.jpg"), b"jpeg").unwrap();
    std::fs::write(
        folder.path().join("singleturn.json"),
        r#"{"17": {"id": "animal/1.jpg", "prompt": "Remove the dog.", "edit_type": "remove"},
            "18": {"id": "animal/none.jpg", "prompt": "x", "edit_type": "remove"},
            "19": {"id": "../secret", "prompt": "x", "edit_type": "remove"},
            "20": {"id": "animal/1.jpg", "prompt": "", "edit_type": "remove"}}"#,
    )
    .unwrap();
    let (rows, bad) = all(&shipped("imgedit"), folder.path()).unwrap();
    assert_eq!((rows.len(), rows[0].id.as_str(), &rows[0].source[..]), (1, "17", &b"jpeg"[..]));
    let bad = said(&bad);
    assert!(bad[0].contains("row 2: `id`: `animal/none.jpg` can't be read"), "{bad:?}");
    assert!(bad[1].contains("row 3: `id`: `../secret` leaves the folder of the index"), "{bad:?}");
    assert!(bad[2].contains("row 4: `prompt` is empty"), "{bad:?}");
    std::fs::write(folder.path().join("singleturn.json"), "[3").unwrap();
    let error = all(&shipped("imgedit"), folder.path()).unwrap_err().to_string();
    assert!(error.contains("singleturn.json") && error.contains("no JSON"), "{error}");
}
