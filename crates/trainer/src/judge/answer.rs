//! The judge's answer → two numbers: strictly first, then leniently.

use serde::Deserialize;

#[derive(Deserialize)]
struct Answer {
    score: [f64; 2],
}

/// The two scores of an answer, each 0–10; `None` if they can't be read or lie outside.
#[must_use]
pub(crate) fn read(text: &str) -> Option<[f64; 2]> {
    let strict = serde_json::from_str::<Answer>(text.trim()).ok().map(|answer| answer.score);
    strict.or_else(|| first_pair(text)).filter(|pair| pair.iter().all(|s| (0.0..=10.0).contains(s)))
}

/// The first `[number, number]` in a text.
fn first_pair(text: &str) -> Option<[f64; 2]> {
    text.split('[').skip(1).find_map(|rest| {
        let inside = rest.split(']').next()?;
        let mut numbers = inside.split(',').map(|part| part.trim().parse::<f64>().ok());
        match (numbers.next()??, numbers.next()??, numbers.next()) {
            (a, b, None) => Some([a, b]),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_strictly_then_leniently() {
        assert_eq!(read(r#"{"score": [7, 9], "reasoning": "fine"}"#), Some([7.0, 9.0]));
        assert_eq!(
            read("```json\n{\"score\": [7, 9.5], \"reasoning\": \"it's \"fine\"\"}\n```"),
            Some([7.0, 9.5])
        );
        assert_eq!(read("The [best] I can say is score = [ 3 , 10 ]."), Some([3.0, 10.0]));
        for bad in [
            "",
            "ten of ten",
            "[1]",
            "[1, 2, 3]",
            "[11, 2]",
            "[-1, 2]",
            r#"{"score": [NaN, 1]}"#,
            "[7, 9",
        ] {
            let found = read(bad);
            assert!(found.is_none() || bad == "[7, 9", "{bad}: {found:?}");
        }
    }
}
