//! The ids with a meaning: one set for the published vocabulary, others for tiny models of its make.
//!
//! Source: Emu3's `config.json` and tokenizer.

/// Control ids of a vocabulary: text below them, codes at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emu3Ids {
    /// Fills rows that are done or start late.
    pub pad: u32,
    /// Ends a row of codes.
    pub eol: u32,
    /// Ends the codes.
    pub eof: u32,
    /// Starts a sequence.
    pub bos: u32,
    /// Ends a sequence.
    pub eos: u32,
    /// Stands between an image's header and its codes.
    pub img: u32,
    /// Starts an image.
    pub boi: u32,
    /// Ends an image.
    pub eoi: u32,
    /// Code 0; code `c` is `vis_start + c`.
    pub vis_start: u32,
    /// Codes; the vocabulary ends with them.
    pub codebook_size: u32,
}

impl Emu3Ids {
    /// The published vocabulary of 184,622 ids.
    pub const PUBLISHED: Self = Self {
        pad: 151_643,
        eol: 151_846,
        eof: 151_847,
        bos: 151_849,
        eos: 151_850,
        img: 151_851,
        boi: 151_852,
        eoi: 151_853,
        vis_start: 151_854,
        codebook_size: 32_768,
    };

    /// Rows that an embedding for these ids has.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vis_start as usize + self.codebook_size as usize
    }
}
