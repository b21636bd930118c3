//! Sweeping: what a program has left in the tree goes, so that the next one begins as its seed says.

use std::io;

use door_zk::script::{Block, Scene, Stage, Wire};

use super::program::{ADMIN, alone};

/// Requests in flight while sweeping.
const BATCH: usize = 50;
/// What a server has from the start. Its access control lists are set back, its data stays.
const SYSTEM: &str = "/zookeeper";
const QUOTAS: &str = "/zookeeper/quota";

/// Deletes every znode but the server's own, and ends the session that did it. What it does is
/// appended to `scenes`, as it is part of what the next program begins on.
///
/// # Errors
/// When the server does not answer.
pub(crate) fn sweep<W: Wire>(stage: &mut Stage<W>, scenes: &mut Vec<Scene>) -> io::Result<()> {
    let mut play = |block: Block| {
        let told = stage.play(&block)?;
        scenes.push(Scene { block, told: told.clone() });
        io::Result::Ok(told)
    };
    let lists = ["/", SYSTEM, QUOTAS, "/zookeeper/config"].map(|path| format!("setacl {path}"));
    play(alone(ADMIN, &lists))?;
    let mut found: Vec<String> = Vec::new();
    let mut level = vec![String::new(), QUOTAS.to_owned()];
    while !level.is_empty() {
        let mut next = Vec::new();
        for some in level.chunks(BATCH) {
            let ask = |path: &String| format!("children {}", if path.is_empty() { "/" } else { path });
            let told = play(alone(ADMIN, &some.iter().map(ask).collect::<Vec<_>>()))?;
            for (path, line) in some.iter().zip(&told) {
                next.extend(names(line).map(|name| format!("{path}/{name}")).filter(|path| path != SYSTEM));
            }
        }
        found.extend(next.iter().cloned());
        level = next;
    }
    for some in found.rchunks(BATCH) {
        let deletes: Vec<String> = some.iter().rev().map(|path| format!("delete {path}")).collect();
        play(alone(ADMIN, &deletes))?;
    }
    play(alone(ADMIN, &["close"]))?;
    Ok(())
}

/// The names in the answer to `children`.
fn names(line: &str) -> impl Iterator<Item = &str> {
    let list = line.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("", |(list, _)| list);
    list.split(' ').filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_an_answer() {
        assert_eq!(names("admin< 3: [a b-1 c] zxid=4").collect::<Vec<_>>(), ["a", "b-1", "c"]);
        assert_eq!(names("admin< 3: [] zxid=4").count(), 0);
        assert_eq!(names("admin< 3: error -101 zxid=4").count(), 0);
    }
}
