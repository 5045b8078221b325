//! Versions as programs print them.

/// Numbers of the first version in a line: `v20.1.2`, `trunk 0.21.14`, `wasm-bindgen 0.2.130 (abc)`.
pub(crate) fn parse(line: &str) -> Option<Vec<u32>> {
    line.split_whitespace().find_map(|word| {
        let word = word.strip_prefix('v').unwrap_or(word);
        let numbers: Option<Vec<u32>> = word.split('.').map(|part| part.parse().ok()).collect();
        numbers.filter(|numbers| numbers.len() >= 2)
    })
}

/// Does the line name exactly this version?
pub(crate) fn is(line: &str, version: &str) -> bool {
    let wanted = parse(version);
    wanted.is_some() && parse(line) == wanted
}

/// Does the line name this version or a later one?
pub(crate) fn is_at_least(line: &str, version: &str) -> bool {
    matches!((parse(line), parse(version)), (Some(found), Some(wanted)) if found >= wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        assert_eq!(parse("trunk 0.21.14"), Some(vec![0, 21, 14]));
        assert_eq!(parse("wasm-bindgen 0.2.130 (1a2b3c4)"), Some(vec![0, 2, 130]));
        assert_eq!(parse("v20.20.2"), Some(vec![20, 20, 2]));
        assert_eq!(parse("wasm-opt version 132 (version_132)"), None);
        assert_eq!(parse("0.2.x"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn pinned_versions_are_compared_whole() {
        assert!(is("trunk 0.21.14", "0.21.14"));
        assert!(!is("trunk 0.21.140", "0.21.14"));
        assert!(!is("trunk 0.21.1", "0.21.14"));
        assert!(!is("trunk", "0.21.14"));
        assert!(!is("trunk", "latest"));
    }

    #[test]
    fn minimum_versions_are_compared_as_numbers() {
        assert!(is_at_least("v20.20.2", "18.19.0"));
        assert!(is_at_least("v18.19.0", "18.19.0"));
        assert!(!is_at_least("v8.20.0", "18.19.0"));
        assert!(!is_at_least("nothing", "18.19.0"));
    }
}
