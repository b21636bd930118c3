//! Messages between nodes in words, for the simulator's stories and for whoever learns Raft from them.

use raft::eraftpb::{Message, MessageType};

use crate::group::message::{Frame, GroupMessage, decode};

/// What a message between nodes says, a line for each part of it; nothing of one that cannot be read.
pub fn explain(message: &[u8]) -> Vec<String> {
    match decode(message) {
        Err(_) => Vec::new(),
        Ok((_, Frame::Alive { durable, stalled })) => {
            let disk = if stalled { ", but my disk does not answer" } else { "" };
            vec![format!("I live{disk}; my log is durable up to {durable}")]
        }
        Ok((_, Frame::Refused { start, .. })) => {
            vec![format!(
                "I believe nothing of your start {start}: your disk is older than what I heard of it"
            )]
        }
        Ok((_, Frame::Groups(messages))) => {
            messages.iter().map(|(group, message)| format!("group {group}: {}", told(message))).collect()
        }
    }
}

/// Whether a message between nodes gives a vote.
pub fn gives_vote(message: &[u8]) -> bool {
    let Ok((_, Frame::Groups(messages))) = decode(message) else { return false };
    messages.iter().any(|(_, message)| match message {
        GroupMessage::Raft(raft) => raft.msg_type == MessageType::MsgRequestVoteResponse && !raft.reject,
        _ => false,
    })
}

fn told(message: &GroupMessage) -> String {
    match message {
        GroupMessage::Raft(raft) => raft_in_words(raft),
        GroupMessage::Propose { id, entry } => {
            format!("please propose request {} of mine, {} bytes", id.number, entry.len())
        }
        GroupMessage::Change { members } => format!("please make {:?} the voters", members.voters),
        GroupMessage::Snapshot(_) => "a part of a snapshot is asked for, or given".to_owned(),
        GroupMessage::Sleep { term, index } => {
            format!("everybody has all up to entry {index} of term {term}: let us sleep")
        }
    }
}

fn raft_in_words(m: &Message) -> String {
    let term = m.term;
    let vote = if m.reject { "no" } else { "yes" };
    match m.msg_type {
        MessageType::MsgAppend => {
            let what = match (m.entries.first(), m.entries.last()) {
                (Some(first), Some(last)) => format!("entries {} to {}", first.index, last.index),
                _ => "no entries".to_owned(),
            };
            let (index, of) = (m.index, m.log_term);
            format!(
                "AppendEntries, term {term}: {what}, behind entry {index} of term {of}; committed is {}",
                m.commit
            )
        }
        MessageType::MsgAppendResponse if m.reject => {
            format!("no to AppendEntries, term {term}: I lack entry {}; try from {}", m.index, m.reject_hint)
        }
        MessageType::MsgAppendResponse => format!("I have all up to entry {}, durably; term {term}", m.index),
        MessageType::MsgRequestPreVote => {
            format!(
                "would you vote for me in term {term}? My log ends with entry {} of term {}",
                m.index, m.log_term
            )
        }
        MessageType::MsgRequestPreVoteResponse => format!("{vote}, I would vote so in term {term}"),
        MessageType::MsgRequestVote => {
            format!("RequestVote, term {term}: my log ends with entry {} of term {}", m.index, m.log_term)
        }
        MessageType::MsgRequestVoteResponse => format!("vote of term {term}: {vote}"),
        MessageType::MsgHeartbeat => format!("heartbeat of term {term}; committed is {}", m.commit),
        MessageType::MsgHeartbeatResponse => format!("answer to a heartbeat of term {term}"),
        MessageType::MsgReadIndex => "up to which entry must I have applied for a read now?".to_owned(),
        MessageType::MsgReadIndexResp => format!("for that read, up to entry {}", m.index),
        MessageType::MsgSnapshot => {
            format!("term {term}: take a snapshot of entry {}", m.get_snapshot().get_metadata().index)
        }
        MessageType::MsgTransferLeader => "I want to lead".to_owned(),
        MessageType::MsgTimeoutNow => format!("term {term}: campaign at once"),
        other => format!("{other:?}, term {term}"),
    }
}

#[cfg(test)]
mod tests {
    use base::GroupId;

    use super::*;
    use crate::group::message::Life;

    #[test]
    fn a_vote_is_told_and_known() {
        let life = Life { start: 3, life: 4, found: 5 };
        let mut vote = Message { msg_type: MessageType::MsgRequestVoteResponse, ..Message::default() };
        vote.term = 7;
        let frame = |vote: &Message| {
            let message = GroupMessage::Raft(Box::new(vote.clone()));
            life.frame(&Frame::Groups(vec![(GroupId(2), message)]))
        };
        assert_eq!(explain(&frame(&vote)), ["group 2: vote of term 7: yes"]);
        assert!(gives_vote(&frame(&vote)));
        vote.reject = true;
        assert!(!gives_vote(&frame(&vote)));
        assert!(explain(b"?").is_empty() && !gives_vote(b"?"));
    }
}
