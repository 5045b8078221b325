//! Which kind of id may follow inside an image: rows of codes, each ended, then the ends.
//!
//! Source: Emu3's `PrefixConstrainedLogitsProcessor`. Start at [`kind_at`].

use super::ids::Emu3Ids;
use crate::ids::TokenId;

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any code: the model's choice. Every other kind is one id, forced.
    Code,
    /// End of a row.
    Eol,
    /// End of the codes.
    Eof,
    /// End of the image.
    Eoi,
    /// End of the sequence.
    Eos,
    /// Nothing is left to say.
    Pad,
}

impl Kind {
    /// Its name, as configurations write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Eol => "eol",
            Self::Eof => "eof",
            Self::Eoi => "eoi",
            Self::Eos => "eos",
            Self::Pad => "pad",
        }
    }

    /// The one id allowed, unless the model chooses.
    #[must_use]
    pub fn forced(self, ids: &Emu3Ids) -> Option<TokenId> {
        match self {
            Self::Code => None,
            Self::Eol => Some(TokenId(ids.eol)),
            Self::Eof => Some(TokenId(ids.eof)),
            Self::Eoi => Some(TokenId(ids.eoi)),
            Self::Eos => Some(TokenId(ids.eos)),
            Self::Pad => Some(TokenId(ids.pad)),
        }
    }
}

/// What may stand `n` ids after the image's IMG, for `height` rows of `width` codes.
///
/// After the last IMG of the sequence, that is: a prompt's source image has one as well.
#[must_use]
pub fn kind_at(height: usize, width: usize, n: usize) -> Kind {
    let size = height.saturating_mul(width.saturating_add(1));
    if n < size {
        return if n % width.saturating_add(1) == width { Kind::Eol } else { Kind::Code };
    }
    match n - size {
        0 => Kind::Eof,
        1 => Kind::Eoi,
        2 => Kind::Eos,
        _ => Kind::Pad,
    }
}

/// Ids from after IMG to EOS.
#[must_use]
pub fn image_len(height: usize, width: usize) -> usize {
    height * (width + 1) + 3
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_row_of_two_codes() {
        let kinds: Vec<&str> = (0..7).map(|n| kind_at(1, 2, n).name()).collect();
        assert_eq!(kinds, ["code", "code", "eol", "eof", "eoi", "eos", "pad"]);
        assert_eq!(image_len(1, 2), 6);
    }

    proptest! {
        #[test]
        fn every_grid_has_its_codes_and_ends(height in 1usize..40, width in 1usize..40) {
            let kinds: Vec<Kind> = (0..image_len(height, width)).map(|n| kind_at(height, width, n)).collect();
            let count = |kind| kinds.iter().filter(|found| **found == kind).count();
            prop_assert_eq!(count(Kind::Code), height * width);
            prop_assert_eq!(count(Kind::Eol), height);
            prop_assert_eq!(count(Kind::Pad), 0);
            prop_assert_eq!(kinds.last(), Some(&Kind::Eos));
        }
    }
}
