//! The classes: what can stand in a scene, and the names of colours.
//!
//! Read once from `assets/classes.json`, which is checked by a test. Start at [`classes`].

use crate::scene::{Background, ClassId, Tint};
use serde::Deserialize;
use std::sync::OnceLock;

/// One kind of thing.
#[derive(Clone, Debug, Deserialize)]
pub struct Class {
    /// Its number: the tile on the sprite sheets.
    #[serde(deserialize_with = "class_id")]
    pub id: ClassId,
    /// Its name, one word.
    pub name: String,
    /// `a`, `an` or `some`.
    pub article: String,
    /// More than one of it.
    pub plural: String,
    /// Other names.
    pub synonyms: Vec<String>,
    /// Kind of thing.
    pub group: String,
    /// May it be tinted?
    #[serde(rename = "recolor")]
    pub tintable: bool,
    /// Is it one of the 15 classes never drawn in training edits?
    pub held_out_edit: bool,
}

fn class_id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ClassId, D::Error> {
    u8::deserialize(deserializer).map(ClassId)
}

/// All classes, by id.
///
/// # Panics
/// Never: the file is part of the crate and tested.
#[must_use]
#[allow(clippy::expect_used, reason = "the file is compiled in and covered by a test")]
pub fn classes() -> &'static [Class] {
    #[derive(Deserialize)]
    struct File {
        classes: Vec<Class>,
    }
    static CLASSES: OnceLock<Vec<Class>> = OnceLock::new();
    CLASSES.get_or_init(|| {
        let file: File = serde_json::from_str(include_str!("../assets/classes.json"))
            .expect("assets/classes.json is well formed");
        file.classes
    })
}

impl ClassId {
    /// The class of this number.
    #[must_use]
    pub fn class(self) -> &'static Class {
        &classes()[usize::from(self.0)]
    }
}

impl From<ClassId> for String {
    fn from(id: ClassId) -> Self {
        id.class().name.clone()
    }
}

impl TryFrom<String> for ClassId {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let class = classes().iter().find(|class| class.name == name);
        class.map(|class| class.id).ok_or_else(|| format!("there is no class `{name}`"))
    }
}

impl Background {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::White,
        Self::Grey,
        Self::Black,
        Self::Pink,
        Self::Orange,
        Self::Yellow,
        Self::Green,
        Self::Blue,
        Self::Purple,
        Self::Brown,
    ];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::White => "white",
            Self::Grey => "grey",
            Self::Black => "black",
            Self::Pink => "pink",
            Self::Orange => "orange",
            Self::Yellow => "yellow",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Purple => "purple",
            Self::Brown => "brown",
        }
    }

    /// Its RGB bytes.
    #[must_use]
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::White => [245, 245, 245],
            Self::Grey => [150, 150, 155],
            Self::Black => [28, 28, 32],
            Self::Pink => [250, 190, 205],
            Self::Orange => [250, 165, 80],
            Self::Yellow => [250, 225, 110],
            Self::Green => [110, 185, 105],
            Self::Blue => [110, 170, 235],
            Self::Purple => [150, 110, 205],
            Self::Brown => [130, 90, 60],
        }
    }
}

impl Tint {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Red, Self::Orange, Self::Yellow, Self::Green, Self::Blue, Self::Purple];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Orange => "orange",
            Self::Yellow => "yellow",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Purple => "purple",
        }
    }

    /// Its hue, in degrees.
    #[must_use]
    pub fn hue(self) -> f32 {
        match self {
            Self::Red => 0.0,
            Self::Orange => 28.0,
            Self::Yellow => 50.0,
            Self::Green => 120.0,
            Self::Blue => 215.0,
            Self::Purple => 280.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        assert_eq!(classes().len(), 100);
        assert!(classes().iter().enumerate().all(|(at, class)| usize::from(class.id.0) == at));
        assert_eq!(classes().iter().filter(|class| class.held_out_edit).count(), 15);
        assert_eq!(classes().iter().filter(|class| class.tintable).count(), 20);
        assert_eq!(ClassId::try_from("apple".to_owned()), Ok(ClassId(0)));
        assert!(ClassId::try_from("zebra".to_owned()).is_err());
    }

    #[test]
    fn colours_agree_with_the_table() {
        #[derive(Deserialize)]
        struct Colours {
            backgrounds: std::collections::BTreeMap<String, [u8; 3]>,
            tint_hues: std::collections::BTreeMap<String, f32>,
        }
        let colours: Colours =
            serde_json::from_str(include_str!("../assets/classes.json")).unwrap();
        assert!(Background::ALL.iter().all(|b| colours.backgrounds[b.name()] == b.rgb()));
        assert!(
            Tint::ALL.iter().all(|t| colours.tint_hues[t.name()].to_bits() == t.hue().to_bits())
        );
    }
}
