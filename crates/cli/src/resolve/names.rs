//! Owns names for folders that come from a model or a flag.
//!
//! It must not know what is in the folders.

use std::path::Path;

/// The last part of a model's name.
pub(super) fn base_name(model: &str) -> String {
    let trimmed = model.trim_end_matches(['/', '\\']);
    let name = Path::new(trimmed).file_name();
    name.map_or_else(
        || "unknown".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// A name that every file system accepts; `None` if nothing of it is left.
pub(super) fn file_name(name: &str) -> Option<String> {
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_control() || "<>:\"/\\|?*".contains(c) {
                '_'
            } else {
                c
            }
        })
        .collect();
    let name = name.trim_matches(['.', ' ']).to_owned();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_folders() {
        let of = |name: &str| file_name(&base_name(name));
        assert_eq!(of("Qwen/Qwen2.5-0.5B").as_deref(), Some("Qwen2.5-0.5B"));
        assert_eq!(of("/models/x/").as_deref(), Some("x"));
        assert_eq!(file_name("a:b*c").as_deref(), Some("a_b_c"));
        assert_eq!(file_name(".."), None);
        assert_eq!(file_name(""), None);
    }
}
