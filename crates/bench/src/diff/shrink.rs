//! From a program that differs to a short story: blocks, and then commands, are left out as long as the
//! servers still differ. Each attempt gets fresh servers, for what differed once has left traces.

use door_zk::script::{Block, Part, Scene, print};

use super::{Both, Pair};
use crate::Outcome;

/// Attempts, each of some seconds.
const ATTEMPTS: usize = 150;

/// The scene that differs, as both tell it: what was sent by the clients that heard different
/// things, and the lines that only one of them heard.
pub(crate) fn story(both: &Both, at: usize) -> String {
    let lines = |scenes: &[Scene]| scenes.get(at).map_or(vec![], |scene| scene.told.clone());
    let (ours, theirs) = (lines(&both.ours), lines(&both.theirs));
    let mut sent = both.theirs.get(at).or(both.ours.get(at)).map_or(vec![], |scene| scene.block.clone());
    let of = |told: &[String], who: &str| -> Vec<String> {
        told.iter().filter(|line| line.split_once('<').is_some_and(|(of, _)| of == who)).cloned().collect()
    };
    sent.retain(|part| of(&ours, &part.who) != of(&theirs, &part.who));
    let mut text = print(&[Scene { block: sent, told: vec![] }]);
    let (our_count, their_count) = (ours.len(), theirs.len());
    for line in ours.iter().filter(|line| !theirs.contains(line)) {
        text.push_str(&format!("# Holdfast:  {line}\n"));
    }
    for line in theirs.iter().filter(|line| !ours.contains(line)) {
        text.push_str(&format!("# ZooKeeper: {line}\n"));
    }
    text.push_str(&format!("# Holdfast told {our_count} lines, ZooKeeper {their_count}\n"));
    text
}

/// Prints the shortest story found that still differs.
///
/// # Errors
/// When servers do not start.
pub(crate) async fn shrink(program: &[Block]) -> Outcome<()> {
    let mut attempts = ATTEMPTS;
    let (blocks, by_blocks) = reduced(program.to_vec(), <[Block]>::to_vec, &mut attempts).await?;
    let (commands, by_commands) = reduced(flat(&blocks), whole, &mut attempts).await?;
    match by_commands.or(by_blocks) {
        Some(text) => {
            let scenes = whole(&commands).into_iter().map(|block| Scene { block, told: vec![] });
            println!("shrunk to:\n{}differs in\n{text}", print(&scenes.collect::<Vec<_>>()));
        }
        None => println!("it does not differ when it is shorter, or on fresh servers"),
    }
    Ok(())
}

/// Leaves out pieces as long as the program that `build` makes of the others differs: halves first,
/// then ever shorter runs. With what is left, how that differed when it was last seen to.
async fn reduced<T: Clone>(
    mut pieces: Vec<T>,
    build: impl Fn(&[T]) -> Vec<Block>,
    attempts: &mut usize,
) -> Outcome<(Vec<T>, Option<String>)> {
    let mut shown = None;
    let mut size = pieces.len().div_ceil(2);
    loop {
        let mut at = 0;
        while at < pieces.len() {
            if *attempts == 0 {
                return Ok((pieces, shown));
            }
            *attempts -= 1;
            let mut fewer = pieces.clone();
            fewer.drain(at..(at + size).min(fewer.len()));
            match differs(&build(&fewer)).await? {
                Some(text) => {
                    pieces = fewer;
                    shown = Some(text);
                }
                None => at += size,
            }
        }
        if size <= 1 {
            return Ok((pieces, shown));
        }
        size = size.div_ceil(2);
    }
}

/// The commands of a program, each with its block and its client.
fn flat(program: &[Block]) -> Vec<(usize, String, String)> {
    let mut commands = Vec::new();
    for (at, part) in
        program.iter().enumerate().flat_map(|(at, block)| block.iter().map(move |part| (at, part)))
    {
        commands.extend(part.commands.iter().map(|command| (at, part.who.clone(), command.clone())));
    }
    commands
}

/// The program of these commands.
fn whole(commands: &[(usize, String, String)]) -> Vec<Block> {
    let blocks = commands.chunk_by(|a, b| a.0 == b.0);
    let parts = |block: &[(usize, String, String)]| -> Block {
        let parts = block.chunk_by(|a, b| a.1 == b.1);
        let commands =
            |part: &[(usize, String, String)]| part.iter().map(|(.., text)| text.clone()).collect();
        parts.map(|part| Part { who: part[0].1.clone(), commands: commands(part) }).collect()
    };
    blocks.map(parts).collect()
}

/// How the program differs, if it does. It is played again when ZooKeeper hangs up, which is no difference and
/// hides what comes behind it; if it hangs up each time, the program shows nothing.
async fn differs(program: &[Block]) -> Outcome<Option<String>> {
    let mut pair = None;
    // A side that does not answer is a difference of its own, but not this one.
    let Ok((both, _)) = Pair::play(&mut pair, program).await? else { return Ok(None) };
    Ok(both.fault().map(|at| story(&both, at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::program::program;

    #[test]
    fn a_program_is_its_commands() {
        let program = program(3, 300);
        assert_eq!(whole(&flat(&program)), program);
    }
}
