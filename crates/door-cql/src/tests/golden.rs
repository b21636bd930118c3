//! Conversations of real clients, recorded and said again.
//!
//! A file of `tests/golden` is one client: for each of its connections (`=`) what it sent (`>`), frame
//! by frame in hex, and what it must be answered (`<`). The requests were recorded from the client named in the
//! file's first lines; the answers are ours, over the still store. With `HOLDFAST_BLESS=1` in the
//! environment the answers are written anew, to be looked at before they are committed.

use std::{fmt::Write, fs, path::PathBuf};

use proptest::prelude::*;

use super::{Client, frames, hex, unhex};

fn files() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ext| ext == "txt")).collect();
    files.sort();
    files
}

/// The file with answers as they are now.
fn said_again(text: &str) -> String {
    let mut client = Client::new();
    let mut again = String::new();
    for line in text.lines() {
        if line.starts_with('<') {
            continue;
        }
        if line.starts_with('=') {
            client = Client::new();
        }
        again.push_str(line);
        again.push('\n');
        if let Some(request) = line.strip_prefix("> ") {
            let ended = client.send(&unhex(request)).is_err();
            for answer in cut(&client.hear()) {
                writeln!(again, "< {}", hex(&answer)).unwrap();
            }
            if ended {
                again.push_str("< end\n");
            }
        }
    }
    again
}

/// Whole frames of a stream of responses.
fn cut(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut cut = Vec::new();
    while !bytes.is_empty() {
        let header = if matches!(bytes[0], 0x81 | 0x82) { 8 } else { 9 };
        let length = u32::from_be_bytes(bytes[header - 4..header].try_into().unwrap()) as usize;
        let (frame, rest) = bytes.split_at(header + length);
        cut.push(frame.to_vec());
        bytes = rest;
    }
    cut
}

#[test]
fn recorded_conversations_go_as_they_went() {
    let files = files();
    assert!(files.len() >= 3, "the recordings are there");
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let again = said_again(&text);
        if std::env::var_os("HOLDFAST_BLESS").is_some() {
            fs::write(&path, again).unwrap();
        } else {
            let name = path.file_name().unwrap();
            for (number, (was, is)) in text.lines().zip(again.lines()).enumerate() {
                assert_eq!(was, is, "{name:?} line {}", number + 1);
            }
            assert_eq!(text.lines().count(), again.lines().count(), "{name:?}");
        }
    }
}

/// The requests of all recorded connections.
fn connections() -> Vec<Vec<Vec<u8>>> {
    let requests = |text: &str| text.lines().filter_map(|line| line.strip_prefix("> ")).map(unhex).collect();
    let texts = files().into_iter().map(|path| fs::read_to_string(path).unwrap());
    texts.flat_map(|text| text.split("\n=").skip(1).map(requests).collect::<Vec<_>>()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// One byte of a real conversation is changed, or the conversation is cut short and goes on
    /// with another: every answer is a frame, and nothing panics.
    #[test]
    fn damaged_conversations_are_survived(
        connection: usize, request: usize, at: usize, byte: u8, drop: bool,
    ) {
        let recorded = connections();
        let mut conversation = recorded[connection % recorded.len()].clone();
        let place = request % conversation.len();
        let damaged = &mut conversation[place];
        let at = at % damaged.len();
        if drop { damaged.truncate(at) } else { damaged[at] = byte }
        let mut client = Client::new();
        for request in conversation {
            let ended = client.send(&request).is_err();
            frames(&client.hear());
            if ended {
                break;
            }
        }
    }
}
