//! From a program that differs to a short story: blocks and commands are left out as long as the
//! servers still differ. Each attempt gets fresh servers, for what differed once has left traces.

use door_zk::script::{Block, Scene, print};

use super::{Both, Pair};
use crate::Outcome;

/// Attempts, each of some seconds.
const ATTEMPTS: usize = 60;

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
    let mut best = program.to_vec();
    let mut shown = None;
    let mut attempts = 0;
    let mut size = best.len().div_ceil(2);
    'sizes: while size > 0 {
        let mut at = 0;
        while at < best.len() {
            if attempts == ATTEMPTS {
                break 'sizes;
            }
            attempts += 1;
            let mut shorter = best.clone();
            shorter.drain(at..(at + size).min(shorter.len()));
            match differs(&shorter).await? {
                Some((end, text)) => {
                    shorter.truncate(end + 1);
                    best = shorter;
                    shown = Some(text);
                }
                None => at += size,
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    match shown {
        Some(text) => {
            let blocks = best.iter().map(|block| Scene { block: block.clone(), told: vec![] });
            println!("shrunk to:\n{}differs in\n{text}", print(&blocks.collect::<Vec<_>>()));
        }
        None => println!("it does not differ when it is shorter, or on fresh servers"),
    }
    Ok(())
}

/// Where the program differs, and how.
async fn differs(program: &[Block]) -> Outcome<Option<(usize, String)>> {
    let mut pair = Pair::start().await?;
    // A side that does not answer is a difference of its own, but not this one.
    let Ok(both) = pair.perform(program) else { return Ok(None) };
    Ok(both.difference().0.map(|at| (at, story(&both, at))))
}
