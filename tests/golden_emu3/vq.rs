//! The image tokenizer: every stage, codes, pixels and bytes; in each layout, with autodiff and without.

use super::device::device;
use super::fixtures::{Fixtures, Model};
use super::report::Report;
use burn::tensor::{Device, Tensor, TensorData};
use earl_model::emu3::{Emu3Vq, pixels};
use earl_model::{CodeGrid, CodeId};
use pollster::block_on;

pub(crate) fn check(fixtures: &Fixtures, report: &mut Report) {
    for model in fixtures.models("vq") {
        for (layout, config, shards) in &model.sources {
            for device in [device(), device().autodiff()] {
                let config = config.vq.as_ref().unwrap();
                let vq = Emu3Vq::load(config, shards, &device).unwrap();
                let factor = model.meta["factor"].as_u64().unwrap();
                report.equal("factor", vq.config().factor() as u64, factor);
                for image in 0..model.meta["images"].as_array().unwrap().len() {
                    encode(&vq, &model, image, &device, report);
                    decode(&vq, &model, image, report);
                }
                report.equal(&format!("layouts: {layout}"), vq.config(), config);
            }
        }
    }
}

/// Every stage that is recorded for this image.
fn compare(model: &Model, image: usize, report: &mut Report, stages: Vec<(String, Tensor<4>)>) {
    for (stage, tensor) in stages {
        let name = format!("{image}.{stage}");
        if model.io.has(&name) {
            report.equal("shapes", tensor.dims().to_vec(), model.io.shape(&name));
            let got: Vec<f32> = tensor.into_data().try_into_vec().unwrap();
            report.close(&stage, &got, &model.io.floats(&name));
        }
    }
}

fn encode(vq: &Emu3Vq, model: &Model, image: usize, device: &Device, report: &mut Report) {
    let name = format!("{image}.pixels");
    let values = TensorData::new(model.io.floats(&name), model.io.shape(&name));
    let mut stages = Vec::new();
    let mut watch = |stage: &str, tensor: &Tensor<4>| stages.push((stage.into(), tensor.clone()));
    let grids = block_on(vq.encode_watched(Tensor::from_data(values, device), &mut watch)).unwrap();
    compare(model, image, report, stages);
    let name = format!("{image}.codes");
    let shape = model.io.shape(&name);
    for (row, want) in model.io.integers(&name).chunks_exact(shape[1] * shape[2]).enumerate() {
        let got = &grids[row];
        report.equal("shapes", vec![got.height, got.width], shape[1..].to_vec());
        report.equal("codes", ids(got), want.to_vec());
    }
    report.equal("shapes", vec![grids.len()], shape[..1].to_vec());
}

fn ids(grid: &CodeGrid) -> Vec<i32> {
    grid.codes.iter().map(|code| i32::try_from(code.0).unwrap()).collect()
}

fn decode(vq: &Emu3Vq, model: &Model, image: usize, report: &mut Report) {
    let name = format!("{image}.free_codes");
    let shape = model.io.shape(&name);
    let grids: Vec<CodeGrid> = model
        .io
        .integers(&name)
        .chunks_exact(shape[1] * shape[2])
        .map(|codes| CodeGrid {
            height: shape[1],
            width: shape[2],
            codes: codes.iter().map(|code| CodeId(u32::try_from(*code).unwrap())).collect(),
        })
        .collect();
    let mut stages = Vec::new();
    let mut watch = |stage: &str, tensor: &Tensor<4>| stages.push((stage.into(), tensor.clone()));
    let recon = vq.decode_watched(&grids, &mut watch).unwrap();
    stages.push(("recon".into(), recon.clone()));
    compare(model, image, report, stages);
    let pictures = block_on(pixels::to_pictures(recon)).unwrap();
    let bytes: Vec<u8> = pictures.iter().flat_map(|picture| picture.as_raw().clone()).collect();
    report.bytes("rgb bytes", &bytes, &model.io.bytes(&format!("{image}.rgb")));
}
