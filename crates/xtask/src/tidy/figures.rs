//! Figures to look at, never a reason to cut a good thing in two.

use super::tree::Tree;

/// How many of the largest are shown.
const SHOWN: usize = 5;

/// Prints the largest files and functions, and how much recorded text stands beside the code.
pub(super) fn show(tree: &Tree) {
    let mut files: Vec<(usize, String)> =
        tree.rust().map(|file| (file.text.lines().count(), file.path.clone())).collect();
    let mut functions: Vec<(usize, String)> = tree
        .rust()
        .flat_map(|file| {
            functions(&file.text)
                .into_iter()
                .map(|(line, name, lines)| (lines, format!("{}:{line} {name}", file.path)))
        })
        .collect();
    let code: usize = files.iter().map(|(lines, _)| lines).sum();
    let recorded = tree.files.iter().filter(|file| file.path.contains("/golden/"));
    let recorded: usize = recorded.map(|file| file.text.lines().count()).sum();
    println!("figures: {code} lines of Rust in {} files; {recorded} lines of recordings", files.len());
    largest("files", &mut files);
    largest("functions", &mut functions);
}

fn largest(what: &str, sizes: &mut [(usize, String)]) {
    sizes.sort_by(|a, b| b.cmp(a));
    println!("largest {what}, in lines:");
    for (lines, name) in sizes.iter().take(SHOWN) {
        println!("  {lines:5} {name}");
    }
}

/// (line, name, lines) of every function that rustfmt laid out over more than one line: from its
/// `fn` to the first brace that closes at the same indentation.
fn functions(text: &str) -> Vec<(usize, &str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((before, rest)) = line.split_once("fn ") else { continue };
        let is_item = before.split_whitespace().all(|word| {
            word.starts_with("pub") || matches!(word, "const" | "async" | "unsafe" | "extern" | "\"C\"")
        });
        if !is_item || line.ends_with('}') || line.ends_with(';') {
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let close = format!("{indent}}}");
        if let Some(length) = lines[at..].iter().position(|line| *line == close) {
            let end = rest.find(['(', '<']).unwrap_or(rest.len());
            found.push((at + 1, &rest[..end], length + 1));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_from_signature_to_brace() {
        let text = "pub(crate) async fn long(\n    a: u8,\n) {\n    if a {\n    }\n}\nfn short() {}\n// a fn in a comment {\n";
        assert_eq!(functions(text), [(1, "long", 6)]);
    }
}
