//! The papers: what a file is about, links that lead somewhere, what a door can do.

use super::tree::{File, Tree};

/// Every source file opens with `//!`.
pub(super) fn openings(tree: &Tree) -> Vec<String> {
    let opens = |file: &&File| {
        let first = file.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
        first.is_some_and(|line| line.starts_with("//!"))
    };
    tree.rust().filter(|file| !opens(file)).map(|file| format!("{}:1: no `//!`", file.path)).collect()
}

/// Links between files of the tree.
pub(super) fn links(tree: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    for file in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (at, line) in file.text.lines().enumerate() {
            for target in targets(line) {
                if !tree.root.join(folder).join(target).exists() {
                    broken.push(format!("{}:{}: `{target}` does not exist", file.path, at + 1));
                }
            }
        }
    }
    broken
}

/// Files that a line of markdown links to, without anchors.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let links = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let files = links.map(|(target, _)| target.split('#').next().unwrap_or_default());
    files.filter(|target| !target.is_empty() && !target.contains(':') && !target.contains(' '))
}

/// Every door says what it can do: its README names each file of `src/ops`.
pub(super) fn doors(tree: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    for name in tree.crates().into_iter().filter(|name| name.starts_with("door-")) {
        let path = format!("crates/{name}/README.md");
        let Some(readme) = tree.file(&path) else {
            broken.push(format!("{path}: missing"));
            continue;
        };
        let told = letters(&readme.text);
        let ops = format!("crates/{name}/src/ops/");
        for file in tree.rust() {
            let Some(stem) = file.path.strip_prefix(&ops).and_then(|name| name.strip_suffix(".rs")) else {
                continue;
            };
            if stem != "tests" && !told.contains(&letters(stem)) {
                broken.push(format!("{path}: does not name the operation `{stem}`"));
            }
        }
    }
    broken
}

/// Lower-case letters and digits alone: `get_data` in a file's name is `getData` in a README.
fn letters(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// What starts with `#!` can be started.
pub(super) fn scripts(tree: &Tree) -> Vec<String> {
    let is_script = |file: &&File| file.text.starts_with("#!/");
    let scripts = tree.files.iter().filter(is_script);
    scripts.filter(|file| !file.executable).map(|file| format!("{}: chmod +x", file.path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_are_found_and_others_left() {
        let line = "see [a](docs/a.md#top), [b](https://example.org) and [c](#here) and [d](d.md)";
        assert_eq!(targets(line).collect::<Vec<_>>(), ["docs/a.md", "d.md"]);
    }

    #[test]
    fn operations_are_found_however_they_are_written() {
        assert!(letters("- `getData`, `exists`").contains(&letters("get_data")));
    }
}
