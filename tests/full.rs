//! Published models through the program: random tiny ones of the published vocabulary, as
//! directories in both layouts and as bundles; picture in, codes of the grammar, picture out.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use burn::tensor::{Device, FloatDType};
use earl_model::Region;
use earl_model::checkpoint::bundle::{Bundle, hex_sha256};
use earl_model::emu3::names::vq_in_transformers;
use earl_model::emu3::wanted::{Wanted, lm_tensors, vq_tensors};
use earl_model::emu3::{Emu3Config, FullEditor, FullRequest, MadeUp, ReadAt};
use earl_model::{Mode, Seed};
use image::RgbImage;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn config() -> Value {
    json!({
        "text_config": {
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1,
        },
        "vq_config": {
            "base_channels": 32, "channel_multiplier": [1, 1, 1, 1], "num_res_blocks": 1,
            "attn_resolutions": [3],
        },
    })
}

fn wanted() -> (Vec<Wanted>, Vec<Wanted>) {
    let config = Emu3Config::parse(config().to_string().as_bytes()).unwrap();
    (lm_tensors(&config.lm.unwrap()), vq_tensors(&config.vq.unwrap()))
}

fn write(path: &Path, wanted: &[Wanted]) {
    let file = MadeUp::new(wanted);
    let mut bytes = vec![0; usize::try_from(file.size()).unwrap()];
    let header = 8 + usize::try_from(u64::from_le_bytes({
        let mut length = [0; 8];
        file.read_at(0, &mut length).unwrap();
        length
    }))
    .unwrap();
    file.read_at(0, &mut bytes[..header]).unwrap();
    file.read_at(header as u64, &mut bytes[header..]).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Two directories, as BAAI has them.
fn baai(folder: &Path) -> (PathBuf, PathBuf) {
    let (lm, vq) = wanted();
    let config = config();
    let mut short = config["vq_config"].clone();
    short["ch"] = short["base_channels"].clone();
    short["ch_mult"] = short["channel_multiplier"].clone();
    let dirs = [("lm", lm, &config["text_config"]), ("vq", vq, &short)];
    let [lm, vq] = dirs.map(|(name, tensors, config)| {
        let path = folder.join(name);
        std::fs::create_dir(&path).unwrap();
        write(&path.join("model.safetensors"), &tensors);
        std::fs::write(path.join("config.json"), config.to_string()).unwrap();
        path
    });
    (lm, vq)
}

/// One directory with transformers' names; the same values.
fn transformers(folder: &Path) -> PathBuf {
    let (mut lm, mut vq) = wanted();
    for tensor in &mut lm {
        tensor.name = format!("text_model.{}", tensor.name);
    }
    for tensor in &mut vq {
        let maps = [".q.weight", ".k.weight", ".v.weight", ".proj_out.weight"];
        if maps.iter().any(|end| tensor.name.ends_with(end)) {
            tensor.shape.truncate(2);
        }
        tensor.name = format!("vqmodel.{}", vq_in_transformers(&tensor.name));
    }
    let path = folder.join("both");
    std::fs::create_dir(&path).unwrap();
    write(&path.join("model-1.safetensors"), &lm);
    write(&path.join("model-2.safetensors"), &vq);
    std::fs::write(path.join("config.json"), config().to_string()).unwrap();
    path
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command.args(args);
    command
}

fn trainer(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// The JSON object that a run that must succeed prints.
fn facts(args: &[&str]) -> Value {
    let output = trainer(&[args, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a run that must fail says.
fn refused(args: &[&str]) -> String {
    let output = trainer(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!(said.contains("error: ") && said.contains("hint: "), "{said}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn pixels(path: &Path) -> RgbImage {
    image::open(path).unwrap().to_rgb8()
}

/// A picture of an odd size.
fn picture(folder: &Path) -> PathBuf {
    let path = folder.join("in.png");
    let at = |x: u32, y: u32| image::Rgb([(x * 3) as u8, (y * 5) as u8, (x * y % 251) as u8]);
    RgbImage::from_fn(75, 61, at).save(&path).unwrap();
    path
}

/// About 64² pixels: 8 × 8 codes or near it.
const AREA: [&str; 2] = ["--area", "4096"];

#[test]
#[allow(clippy::too_many_lines, reason = "one model on disk, many runs with it")]
fn edits_from_both_layouts_and_from_bundles_agree() {
    let folder = tempfile::tempdir().unwrap();
    let ((lm, vq), both, input) =
        (baai(folder.path()), transformers(folder.path()), picture(folder.path()));
    let out = |name: &str| folder.path().join(name);
    let edit = |model: &Path, more: &[&str], name: &str| {
        let (path, words) = (out(name), "make it <|image start|>9*9<|image token|> red");
        let args = ["edit", "--model", text(model), text(&input), words, "-o", text(&path)];
        (facts(&[&args[..], &AREA, more].concat()), pixels(&path))
    };
    let (said, first) = edit(&lm, &["--vision", text(&vq)], "a.png");
    assert_eq!(said["codes"].as_u64().unwrap(), u64::from(first.width() * first.height() / 64));
    assert_eq!((first.width() % 8, first.height() % 8), (0, 0));
    assert_eq!(first, edit(&both, &[], "b.png").1, "both layouts");
    assert_eq!(first, edit(&both, &["--ahead", "6"], "c.png").1, "with drafts");
    let sampled = |seed| edit(&both, &["--temperature", "1", "--seed", seed], "d.png").1;
    assert_eq!(sampled("1"), sampled("1"), "one seed");
    assert_ne!(sampled("1"), sampled("2"), "two seeds");

    for dtype in ["bf16", "f16"] {
        let (_, half) = edit(&both, &["--dtype", dtype], "half.png");
        assert_eq!(half.dimensions(), first.dimensions());
        assert_ne!(half, first, "{dtype} rounds, and random codes are nearly equal");
    }

    let (said, thought) = edit(&both, &["--mode", "think"], "e.png");
    assert!(said["reasoning"].as_str().unwrap().starts_with("Let's think step by step."));
    assert!(thought.width() >= 8 && thought.height() >= 8);

    let narrow = ["--mode", "local", "--region", "10,10,20,20", "--top-k", "9"];
    let (said, local) = edit(&both, &narrow, "f.png");
    let recipe = &said["recipe"];
    assert_eq!((&recipe["region"]["y"], &recipe["topK"]), (&10.into(), &9.into()), "{recipe}");
    let same = |x: u32, y: u32| local.get_pixel(x, y) == first.get_pixel(x, y);
    let outside = (0..local.width()).flat_map(|x| (40..local.height()).map(move |y| (x, y)));
    let (width, height) = local.dimensions();
    let source = image::open(&input).unwrap().to_rgb8();
    let source = earl_model::emu3::pixels::bicubic(&source, height, width).unwrap();
    assert!(outside.clone().all(|(x, y)| local.get_pixel(x, y) == source.get_pixel(x, y)));
    assert!(!outside.clone().all(|(x, y)| same(x, y)), "the whole picture is the model's");

    for (quant, exact) in
        [("f32", true), ("q8", false), ("mixed", false), ("t2", false), ("q4", false)]
    {
        let bundle = out(quant);
        let args = ["export", "--model", text(&both), "--quant", quant, "-o", text(&bundle)];
        let said = facts(&[&args[..], &["--check"]].concat());
        let (kl, agree) = (&said["check"]["kl_mean_nats"], &said["check"]["code_agreement"]);
        println!("{quant}: KL {kl}, agreement {agree}, worst {}", said["worst"]);
        assert!(kl.as_f64().unwrap() < 1.0 && (!exact || kl.as_f64().unwrap().abs() < 1e-9));
        let (_, edited) = edit(&bundle, &[], "g.png");
        assert_eq!(edited.dimensions(), first.dimensions());
        if exact {
            assert_eq!(edited, first, "through a float32 bundle");
        }
        let drafted = edit(&bundle, &["--ahead", "5"], "h.png").1;
        assert_eq!(edited, drafted, "{quant}, with drafts");
        let said = facts(&["inspect", text(&bundle)]);
        assert_eq!((&said["tier"], &said["files"]), (&json!("full"), &json!(["qwen.tiktoken"])));
        let report = std::fs::read(bundle.join("export.json")).unwrap();
        let report: Value = serde_json::from_slice(&report).unwrap();
        assert!(report["tensors"][0]["rms_error"].is_number());
    }

    let lines = [
        json!({"image": "in.png", "instruction": "red"}),
        json!({"image": "none.png", "instruction": "red"}),
        json!({"image": "in.png", "instruction": "blue", "seed": 3}),
    ];
    let batch = out("batch.jsonl");
    std::fs::write(&batch, lines.map(|line| line.to_string()).join("\n")).unwrap();
    let (model, many) = (out("q4"), out("many"));
    let args = ["edit", "--model", text(&model), "--batch", text(&batch), "-o", text(&many)];
    let said = facts(&[&args[..], &AREA].concat());
    assert_eq!((&said["edited"], &said["failed"]), (&json!(2), &json!(1)));
    assert!(many.join("000000.png").is_file() && many.join("000002.png").is_file());
}

/// A bundle on disk, loaded as the page loads it.
fn loaded(bundle: &Path) -> FullEditor {
    let manifest = std::fs::read(bundle.join("manifest.json")).unwrap();
    let opened =
        Bundle::open(&manifest, |chunk| Ok(std::fs::read(bundle.join(chunk.path())).unwrap()));
    FullEditor::from_bundle(&opened.unwrap(), FloatDType::F32, &Device::flex()).unwrap()
}

/// What a page that loads such a bundle must write: kept in the folder that `EARL_PAGE_FIXTURE` names, for
/// `tests/web/full.test.js`.
#[test]
fn the_page_has_codes_to_compare_with() {
    let temporary = tempfile::tempdir().unwrap();
    let folder =
        std::env::var_os("EARL_PAGE_FIXTURE").map_or(temporary.path().into(), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    let model = transformers(temporary.path());
    let input = picture(&folder);
    let mut all = Vec::new();
    for quant in ["q8", "q4", "f32"] {
        let bundle = folder.join(quant);
        facts(&["export", "--model", text(&model), "--quant", quant, "-o", text(&bundle)]);
        let editor = loaded(&bundle);
        for (mode, region, ahead) in [
            (Mode::Full, None, 0),
            (Mode::Full, None, 6),
            (Mode::Local, Some(Region { x: 10, y: 10, width: 20, height: 20 }), 0),
        ] {
            let request = FullRequest {
                top_k: None,
                instruction: "make it red".into(),
                mode,
                region,
                area: 1024,
                seed: Seed(0),
                temperature: 0.0,
                ahead,
            };
            let (source, go_on) = (pixels(&input), &mut |_| true);
            let made = pollster::block_on(editor.edit(&source, &request, go_on)).unwrap();
            assert_eq!((made.codes.codes.len(), made.drafted.is_some()), (12, ahead > 0));
            assert_ne!(made.codes.codes, made.source.codes);
            let hash = hex_sha256(made.picture.as_raw());
            all.push(json!({
                "bundle": quant, "request": request, "source": made.source.codes,
                "codes": made.codes.codes, "sha256": hash,
            }));
        }
        let codes = |at: usize| &all[all.len() - at]["codes"];
        assert_eq!(codes(3), codes(2), "drafts change nothing");
    }
    std::fs::write(folder.join("expected.json"), Value::from(all).to_string()).unwrap();
}

#[test]
fn a_killed_export_goes_on_and_ends_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let model = transformers(folder.path());
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    let args = ["export", "--model", text(&model), "--quant", "f32", "--json", "-o"];
    facts(&[&args[..5], &["-o", text(&whole)]].concat());
    let mut child = command(&[&args[..], &[text(&cut)]].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let journal = cut.join("export.journal");
    let chunk_noted =
        || std::fs::read_to_string(&journal).is_ok_and(|text| text.contains("\"chunk\""));
    while !chunk_noted() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let interrupted = journal.is_file();
    let said = facts(&[&args[..5], &["-o", text(&cut)]].concat());
    assert!(!interrupted || said["kept_chunks"].as_u64().unwrap() >= 1, "{said}");
    let manifest = |folder: &Path| std::fs::read(folder.join("manifest.json")).unwrap();
    assert_eq!(manifest(&whole), manifest(&cut));
    assert!(!journal.exists());
    facts(&["inspect", text(&cut)]);
}

#[test]
#[allow(clippy::too_many_lines, reason = "one line a bad input")]
fn bad_models_and_requests_are_said_plainly() {
    let folder = tempfile::tempdir().unwrap();
    let ((lm, vq), both, input) =
        (baai(folder.path()), transformers(folder.path()), picture(folder.path()));
    let out = folder.path().join("out.png");
    let edit = |model: &Path, more: &[&str]| {
        let args = ["edit", "--model", text(model), text(&input), "red", "-o", text(&out)];
        refused(&[&args[..], more].concat())
    };
    assert!(edit(&both, &["--mode", "local"]).contains("--region"));
    assert!(edit(&both, &["--mode", "full", "--region", "1,1,2,2"]).contains("--region"));
    assert!(edit(&both, &["--mode", "local", "--region", "70,1,9,9"]).contains("75×61"));
    assert!(edit(&both, &["--candidates", "3"]).contains("candidate"));
    assert!(edit(&both, &["--area", "7"]).contains("--area"));
    assert!(edit(&lm, &[]).contains("holds no image tokenizer"));
    assert!(edit(&vq, &["--vision", text(&vq)]).contains("holds no language model"));
    assert!(edit(&vq, &["--vision", text(&lm)]).contains("holds no language model"));
    if !cfg!(feature = "cuda") {
        let args = ["edit", "--model", text(&both), text(&input), "red", "--device", "cuda", "-o"];
        let output = trainer(&[&args[..], &[text(&out)]].concat());
        assert!(String::from_utf8_lossy(&output.stderr).contains("--features cuda"));
    }
    let args = ["edit", text(&input), "red", "--dtype", "bf16", "-o", text(&out)];
    assert!(refused(&args).contains("`--dtype` goes with a published"));
    let config = |path: &Path| path.join("config.json");
    let good = std::fs::read(config(&both)).unwrap();
    // A wrong vocabulary.
    let mut other: Value = serde_json::from_slice(&good).unwrap();
    other["text_config"]["vocab_size"] = json!(184_623);
    std::fs::write(config(&both), other.to_string()).unwrap();
    assert!(edit(&both, &[]).contains("vocab_size"));
    std::fs::write(config(&both), &good).unwrap();
    // Another text tokenizer.
    let ranks = both.join("emu3.tiktoken");
    std::fs::write(&ranks, "IQ== 0\n").unwrap();
    assert!(edit(&both, &[]).contains("text tokenizer of another model"));
    std::fs::remove_file(&ranks).unwrap();
    // A NaN among the weights, in an edit and in an export.
    let shard = both.join("model-1.safetensors");
    let mut bytes = std::fs::read(&shard).unwrap();
    let last = bytes.len() - 2;
    bytes[last..].copy_from_slice(&0x7fc0u16.to_le_bytes());
    std::fs::write(&shard, &bytes).unwrap();
    assert!(edit(&both, &[]).contains("holds NaN"));
    let bundle = folder.path().join("bundle");
    let said = refused(&["export", "--model", text(&both), "-o", text(&bundle)]);
    assert!(said.contains("holds NaN"), "{said}");
    assert!(!bundle.join("manifest.json").exists(), "nothing half-written is a bundle");
    // Pictures.
    let thin = folder.path().join("thin.png");
    RgbImage::new(1, 300).save(&thin).unwrap();
    let args = ["edit", "--model", text(&lm), "--vision", text(&vq), text(&thin), "red", "-o"];
    assert!(refused(&[&args[..], &[text(&out)]].concat()).contains("longer than 200"));
    let args = ["edit", "--model", text(&lm), "--vision", text(&vq), text(&input), " ", "-o"];
    assert!(refused(&[&args[..], &[text(&out)]].concat()).contains("is empty"));
    assert!(!out.exists());
}
