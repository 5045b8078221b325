//! EARL's sequences: picture codes and text in, ids out, and back.
//!
//! ```text
//! image  = BOI text("h*w") IMG (code{w} EOL){h} EOF EOI
//! prompt = BOS image text(instruction)                    answer = [text(reasoning)] image EOS
//! ```
//! Source: EARL's `emu3/mllm/processing_emu3.py` and data scripts. Start at [`prompt`].

use super::grammar::{Kind, image_len, kind_at};
use super::ids::Emu3Ids;
use super::text::Emu3Text;
use crate::error::ModelError;
use crate::ids::{CodeGrid, CodeId, TokenId};

/// What opens the reasoning; plain text, the marker is no control token.
pub const REASONING_OPENS: &str = " Let's think step by step. <|start thinking|>";
/// What closes it.
pub const REASONING_CLOSES: &str = "<|end thinking|>";

/// The block of one image; `header` are the ids of its size as text.
///
/// # Errors
/// [`ModelError::Option`] if the grid is empty, lacks codes or has one outside the codebook.
pub fn image_block(
    ids: &Emu3Ids,
    header: &[TokenId],
    grid: &CodeGrid,
) -> Result<Vec<TokenId>, ModelError> {
    let refuse = |problem: String| ModelError::Option { name: "codes", problem };
    let (height, width) = (grid.height, grid.width);
    if grid.codes.is_empty() || height.checked_mul(width) != Some(grid.codes.len()) {
        return Err(refuse(format!("{} codes for {height}×{width}", grid.codes.len())));
    }
    if let Some(code) = grid.codes.iter().find(|code| code.0 >= ids.codebook_size) {
        return Err(refuse(format!("{} of {}", code.0, ids.codebook_size)));
    }
    let mut block = open_image(ids, header);
    block.push(TokenId(ids.img));
    for row in grid.codes.chunks_exact(width) {
        block.extend(row.iter().map(|code| TokenId(ids.vis_start + code.0)));
        block.push(TokenId(ids.eol));
    }
    block.extend([TokenId(ids.eof), TokenId(ids.eoi)]);
    Ok(block)
}

/// BOI and the header: an image whose codes the model is to write after IMG.
#[must_use]
pub fn open_image(ids: &Emu3Ids, header: &[TokenId]) -> Vec<TokenId> {
    let mut block = vec![TokenId(ids.boi)];
    block.extend_from_slice(header);
    block
}

/// Codes that follow an image's IMG: at least up to EOI, as [`image_block`] writes them.
///
/// # Errors
/// [`ModelError::Format`] names the first id that breaks the grammar.
pub fn parse_codes(
    ids: &Emu3Ids,
    (height, width): (usize, usize),
    after_img: &[TokenId],
) -> Result<CodeGrid, ModelError> {
    let broken = |problem: String| ModelError::Format { what: "image".into(), problem };
    let wanted = image_len(height, width) - 1; // EOS belongs to the sequence
    if after_img.len() < wanted {
        return Err(broken(format!("{} of {wanted} ids", after_img.len())));
    }
    let mut codes = Vec::with_capacity(height * width);
    for (at, id) in after_img[..wanted].iter().enumerate() {
        let kind = kind_at(height, width, at);
        let code = id.0.checked_sub(ids.vis_start).filter(|code| *code < ids.codebook_size);
        match (kind.forced(ids), code) {
            (None, Some(code)) => codes.push(CodeId(code)),
            (Some(forced), _) if forced == *id => {}
            _ => return Err(broken(format!("id {} at {at} is no {}", id.0, Kind::name(kind)))),
        }
    }
    Ok(CodeGrid { height, width, codes })
}

/// Training prompt, and the part of an inference prompt before the answer.
///
/// `instruction` are its ids: [`Emu3Text::encode`] for what a user typed.
///
/// # Errors
/// As [`image_block`].
pub fn prompt(
    text: &Emu3Text,
    source: &CodeGrid,
    instruction: &[TokenId],
) -> Result<Vec<TokenId>, ModelError> {
    let ids = Emu3Ids::PUBLISHED;
    let mut prompt = vec![TokenId(ids.bos)];
    prompt.extend(image_block(&ids, &text.header(source.height, source.width)?, source)?);
    prompt.extend_from_slice(instruction);
    Ok(prompt)
}

/// Training answer: everything the loss covers.
///
/// # Errors
/// As [`image_block`].
pub fn answer(
    text: &Emu3Text,
    reasoning: Option<&str>,
    target: &CodeGrid,
) -> Result<Vec<TokenId>, ModelError> {
    let ids = Emu3Ids::PUBLISHED;
    let mut answer = match reasoning {
        None => Vec::new(),
        Some(reasoning) => {
            text.encode(&format!("{REASONING_OPENS} {reasoning}{REASONING_CLOSES}"))?
        }
    };
    answer.extend(image_block(&ids, &text.header(target.height, target.width)?, target)?);
    answer.push(TokenId(ids.eos));
    Ok(answer)
}

/// Inference prompt: without reasoning it opens an image of the source's size, to be continued from
/// IMG on; with reasoning it opens that, and the model writes first.
///
/// # Errors
/// As [`image_block`].
pub fn inference_prompt(
    text: &Emu3Text,
    source: &CodeGrid,
    instruction: &[TokenId],
    with_reasoning: bool,
) -> Result<Vec<TokenId>, ModelError> {
    let mut sequence = prompt(text, source, instruction)?;
    if with_reasoning {
        sequence.extend(text.encode(REASONING_OPENS)?);
    } else {
        let header = text.header(source.height, source.width)?;
        sequence.extend(open_image(&Emu3Ids::PUBLISHED, &header));
    }
    Ok(sequence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDS: Emu3Ids = Emu3Ids {
        pad: 0,
        eol: 1,
        eof: 2,
        bos: 3,
        eos: 4,
        img: 5,
        boi: 6,
        eoi: 7,
        vis_start: 8,
        codebook_size: 16,
    };

    #[test]
    fn a_grid_that_is_none_is_refused() {
        let grid = |height, width, codes: &[u32]| CodeGrid {
            height,
            width,
            codes: codes.iter().map(|&code| CodeId(code)).collect(),
        };
        assert!(image_block(&IDS, &[], &grid(0, 0, &[])).is_err());
        assert!(image_block(&IDS, &[], &grid(2, 2, &[1, 2, 3])).is_err());
        assert!(image_block(&IDS, &[], &grid(1, 1, &[16])).is_err());
        let block = image_block(&IDS, &[TokenId(9)], &grid(1, 2, &[3, 0])).unwrap();
        let found: Vec<u32> = block.iter().map(|id| id.0).collect();
        assert_eq!(found, [6, 9, 5, 11, 8, 1, 2, 7]);
    }

    proptest! {
        #[test]
        fn blocks_are_read_back(height in 1usize..6, width in 1usize..6, first in 0u32..16) {
            let codes = (0..height * width).map(|at| CodeId((first + 5 * at as u32) % 16)).collect();
            let grid = CodeGrid { height, width, codes };
            let block = image_block(&IDS, &[TokenId(9)], &grid).unwrap();
            prop_assert_eq!(&parse_codes(&IDS, (height, width), &block[3..]).unwrap(), &grid);
            prop_assert!(parse_codes(&IDS, (height, width), &block[4..]).is_err());
            prop_assert!(parse_codes(&IDS, (height + 1, width), &block[3..]).is_err());
        }
    }
}
