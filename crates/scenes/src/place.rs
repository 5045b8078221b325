//! Boxes on the grid: which are free, and what it means to be left of, above, between.

use crate::scene::{GRID, OBJECT_CELLS, Object};

/// A box: topmost row, leftmost column, cells a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) row: u8,
    pub(crate) col: u8,
    pub(crate) cells: u8,
}

/// How one box lies to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Left,
    Right,
    Above,
    Below,
    Next,
}

impl Relation {
    pub(crate) const ALL: [Self; 5] =
        [Self::Left, Self::Right, Self::Above, Self::Below, Self::Next];

    /// Last part of the sentence families' names.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
            Self::Above => "above",
            Self::Below => "below",
            Self::Next => "next",
        }
    }
}

impl From<&Object> for Place {
    fn from(object: &Object) -> Self {
        Self { row: object.row, col: object.col, cells: object.cells }
    }
}

impl Place {
    pub(crate) fn as_array(self) -> [u8; 3] {
        [self.row, self.col, self.cells]
    }

    fn bottom(self) -> u8 {
        self.row + self.cells
    }

    fn right(self) -> u8 {
        self.col + self.cells
    }

    /// Row and column of the centre, in half cells.
    pub(crate) fn centre2(self) -> (i32, i32) {
        (
            2 * i32::from(self.row) + i32::from(self.cells),
            2 * i32::from(self.col) + i32::from(self.cells),
        )
    }

    fn shares_row(self, other: Self) -> bool {
        self.row < other.bottom() && other.row < self.bottom()
    }

    fn shares_col(self, other: Self) -> bool {
        self.col < other.right() && other.col < self.right()
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.shares_row(other) && self.shares_col(other)
    }

    /// Does this box lie so to `anchor`?
    pub(crate) fn is(self, relation: Relation, anchor: Self) -> bool {
        match relation {
            Relation::Left => self.right() <= anchor.col && self.shares_row(anchor),
            Relation::Right => anchor.right() <= self.col && self.shares_row(anchor),
            Relation::Above => self.bottom() <= anchor.row && self.shares_col(anchor),
            Relation::Below => anchor.bottom() <= self.row && self.shares_col(anchor),
            Relation::Next => {
                let beside = self.right() == anchor.col || anchor.right() == self.col;
                let stacked = self.bottom() == anchor.row || anchor.bottom() == self.row;
                (beside && self.shares_row(anchor)) || (stacked && self.shares_col(anchor))
            }
        }
    }

    /// Does the centre project on 0.2–0.8 of the line between the centres, at most 1.5 cells off it?
    pub(crate) fn is_between(self, a: Self, b: Self) -> bool {
        let ((y, x), (ay, ax), (by, bx)) = (self.centre2(), a.centre2(), b.centre2());
        let (dy, dx) = (by - ay, bx - ax);
        let length2 = dy * dy + dx * dx; // in half cells, squared
        let along = (y - ay) * dy + (x - ax) * dx;
        let off = (y - ay) * dx - (x - ax) * dy;
        // 0.2 ≤ along / length² ≤ 0.8 and |off| / length ≤ 3 half cells, without division.
        length2 > 0 && 5 * along >= length2 && 5 * along <= 4 * length2 && off * off <= 9 * length2
    }

    /// Does the centre lie in this third of the rows and columns (`None` = any)?
    pub(crate) fn is_in(self, region: [Option<u8>; 2]) -> bool {
        // Thirds of 8 cells in half cells: below 16/3, above 32/3.
        let third = |centre2: i32| match 3 * centre2 {
            low if low < 16 => 0,
            high if high > 32 => 2,
            _ => 1,
        };
        let (y, x) = self.centre2();
        region[0].is_none_or(|row| third(y) == row) && region[1].is_none_or(|col| third(x) == col)
    }

    /// Is the centre within one cell of another's, on each axis?
    pub(crate) fn is_near(self, other: Self) -> bool {
        let ((y, x), (oy, ox)) = (self.centre2(), other.centre2());
        (y - oy).abs() <= 2 && (x - ox).abs() <= 2
    }
}

/// Every box of the given sizes inside the grid that overlaps none of `taken`.
pub(crate) fn free_places(taken: &[Place], sizes: &[u8]) -> Vec<Place> {
    let mut places = Vec::new();
    for &cells in OBJECT_CELLS.iter().filter(|cells| sizes.contains(cells)) {
        for row in 0..=GRID - cells {
            for col in 0..=GRID - cells {
                let place = Place { row, col, cells };
                if taken.iter().all(|&other| !place.overlaps(other)) {
                    places.push(place);
                }
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(row: u8, col: u8, cells: u8) -> Place {
        Place { row, col, cells }
    }

    #[test]
    fn relations_worked_by_hand() {
        let anchor = place(3, 3, 2);
        assert!(place(2, 1, 2).is(Relation::Left, anchor));
        assert!(!place(0, 1, 2).is(Relation::Left, anchor), "no shared row");
        assert!(place(4, 5, 3).is(Relation::Right, anchor));
        assert!(place(1, 2, 2).is(Relation::Above, anchor));
        assert!(place(5, 3, 2).is(Relation::Below, anchor));
        assert!(place(5, 4, 2).is(Relation::Next, anchor));
        assert!(!place(6, 4, 2).is(Relation::Next, anchor), "a gap of one cell");
        assert!(!place(5, 5, 2).is(Relation::Next, anchor), "only a corner touches");
        assert!(place(3, 3, 2).is_between(place(3, 0, 2), place(3, 6, 2)));
        assert!(!place(0, 3, 2).is_between(place(3, 0, 2), place(3, 6, 2)), "3 cells off the line");
    }

    #[test]
    fn regions_are_thirds_of_the_centre() {
        // Centres 1.0, 4.0, 7.0 cells.
        assert!(place(0, 3, 2).is_in([Some(0), Some(1)]));
        assert!(place(6, 6, 2).is_in([Some(2), Some(2)]));
        assert!(place(6, 0, 2).is_in([Some(2), None]));
        assert!(!place(2, 0, 2).is_in([Some(0), None]), "centre 3.0 is past 8/3");
    }

    #[test]
    fn free_places_avoid_what_is_taken() {
        assert_eq!(free_places(&[], &[2, 3, 4]).len(), 49 + 36 + 25);
        let free = free_places(&[place(0, 0, 4), place(4, 4, 4)], &[4]);
        assert_eq!(free, [place(0, 4, 4), place(4, 0, 4)]);
    }
}
