//! Paths: what a znode may be called.

use crate::faults::Code;

/// Quotas.
pub(crate) const QUOTA: &str = "/zookeeper/quota";

/// What is there from the start and cannot be deleted: the root, where the tree keeps what is about
/// itself, the ensemble's configuration, and quotas.
pub(crate) const PERMANENT: [&str; 4] = ["/", "/zookeeper", "/zookeeper/config", QUOTA];

/// Fails unless `path` is absolute, without empty, `.` or `..` names, and of characters that
/// ZooKeeper allows. It judges UTF-16 units, so every character beyond U+FFFF is a pair of
/// surrogates and forbidden.
pub(crate) fn validate(path: &str) -> Result<(), Code> {
    let names = path.strip_prefix('/').ok_or(Code::BAD_ARGUMENTS)?;
    if names.is_empty() {
        return Ok(());
    }
    if names.split('/').all(is_name) { Ok(()) } else { Err(Code::BAD_ARGUMENTS) }
}

/// Whether a znode below the root may have this as its last name.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = name.bytes().all(|byte| matches!(byte, 0x20..=0x7e));
    !matches!(name, "" | "." | "..") && !name.contains('/') && (plain || !name.chars().any(forbidden))
}

fn forbidden(c: char) -> bool {
    matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..)
}

/// The path of the parent (empty for the root) and the last name. The loose check that ZooKeeper
/// makes first: what else is wrong with a path comes out as "no such node" or in [`validate`].
pub(crate) fn split(path: &str) -> Result<(&str, &str), Code> {
    if path.bytes().any(|byte| byte == 0) {
        return Err(Code::BAD_ARGUMENTS);
    }
    path.rsplit_once('/').ok_or(Code::BAD_ARGUMENTS)
}

/// Whether `path` is one of those that cannot be deleted.
pub(crate) fn is_permanent(path: &str) -> bool {
    PERMANENT.contains(&path)
}

/// What comes before the last name: the parent, and nothing for a child of the root.
pub(crate) fn above(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(above, _)| above)
}

/// The path that watches of the parent are kept under.
pub(crate) fn parent(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(at) => &path[..at],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_zookeeper_refuses_are_refused() {
        for path in ["/", "/a", "/a/b.c", "/.a", "/a..", "/...", "/ä", "/\u{fdd0}", "/a b"] {
            assert_eq!(validate(path), Ok(()), "{path:?}");
        }
        for path in [
            "",
            "a",
            "/a/",
            "//",
            "/a//b",
            "/.",
            "/a/./b",
            "/..",
            "/a/..",
            "/\0",
            "/a\u{1}",
            "/\u{7f}",
            "/\u{85}",
            "/\u{e000}",
            "/\u{fffd}",
            "/\u{1f600}",
        ] {
            assert_eq!(validate(path), Err(Code::BAD_ARGUMENTS), "{path:?}");
        }
    }

    #[test]
    fn the_parent_of_the_first_level_is_the_root() {
        assert_eq!((parent("/a"), parent("/a/b")), ("/", "/a"));
        assert_eq!(split("/a"), Ok(("", "a")));
        assert_eq!(split("a"), Err(Code::BAD_ARGUMENTS));
    }
}
