//! Which class pairs training may show, and which only the split `classes`.

use crate::class::classes;
use crate::example::Split;
use crate::scene::{ClassId, Scene};

/// First seed of evaluation: training seeds lie below.
pub const EVAL_SEED: u64 = 1 << 32;

/// Is the ordered pair (old, moved or new object; new class or anchor) kept out of training?
///
/// FNV-1a 64 of `name_a|name_b`, modulo 10.
pub(crate) fn is_held_pair(a: ClassId, b: ClassId) -> bool {
    let text = format!("{}|{}", a.class().name, b.class().name);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.is_multiple_of(10)
}

/// What a split asks of the classes of an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Novelty {
    /// Nothing held out may occur.
    None,
    /// Something held out must occur.
    Required,
}

impl Novelty {
    pub(crate) fn of(split: Split) -> Self {
        if split == Split::Classes { Self::Required } else { Self::None }
    }

    /// Does an edit fit whose new class (if any) and ordered pairs are these?
    pub(crate) fn allows(self, new: Option<ClassId>, pairs: &[(ClassId, ClassId)]) -> bool {
        let held = new.is_some_and(|class| class.class().held_out_edit)
            || pairs.iter().any(|&(a, b)| is_held_pair(a, b));
        held == (self == Self::Required)
    }
}

/// Classes that do not stand in the scene.
pub(crate) fn absent_classes(scene: &Scene) -> Vec<ClassId> {
    let stands = |id: ClassId| scene.objects.iter().any(|object| object.class == id);
    classes().iter().map(|class| class.id).filter(|&id| !stands(id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_a_tenth_of_the_ordered_pairs_is_held_out() {
        let ids = || (0..100).map(ClassId);
        let held =
            ids().flat_map(|a| ids().map(move |b| (a, b))).filter(|&(a, b)| is_held_pair(a, b));
        assert!((800..1200).contains(&held.count()));
    }
}
