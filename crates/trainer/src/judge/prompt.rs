//! The questions the judge is asked, versioned: a score is worth what its question was.
//!
//! `VIEScore` (arXiv 2312.14867) as EARL uses it, in our own words: SC compares source and edit under the
//! instruction, PQ looks at the edit alone. Change a word, change [`VERSION`].

/// Goes into every cache key and every line of scores.
pub(crate) const VERSION: &str = "viescore-v1";

const FRAME: &str = "You are a professional digital artist who rates pictures made by a program. Every picture is made up; no real person is shown. \
Answer with one JSON object and nothing else, no code fence: {\"score\": [a, b], \"reasoning\": \"one or two short sentences\"}, where a and b are whole numbers from 0 to 10.";

/// Semantic consistency: \[success, overediting\].
#[must_use]
pub(crate) fn consistency(instruction: &str) -> String {
    format!(
        "{FRAME}\n\nTwo pictures are given: the first is the original, the second the edited version of it. \
Judge how well the edit follows the instruction. The two pictures may look the same: then the edit failed.\n\
a: was the instruction carried out? 0 = not at all, 10 = perfectly.\n\
b: was only what the instruction asks for changed? 0 = the edited picture has nothing to do with the original, 10 = the smallest change that does it.\n\n\
Instruction: {instruction}"
    )
}

/// Perceptual quality of the edit alone: \[naturalness, artifacts\].
#[must_use]
pub(crate) fn quality() -> String {
    format!(
        "{FRAME}\n\nOne picture is given. Judge its quality as a picture, whatever it shows.\n\
a: naturalness. 0 = sense of distance, shadow or light is wrong throughout, 10 = it looks natural.\n\
b: artifacts. 0 = large distortions, watermarks, scratches, blurred or broken parts, 10 = none."
    )
}

/// Added when an answer could not be read.
pub(crate) const AGAIN: &str =
    "\n\nYour last answer could not be read. Answer with the JSON object alone.";
