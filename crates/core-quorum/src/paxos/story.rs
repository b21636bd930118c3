//! Stories: what a reader should expect to happen, message by message.

#![allow(clippy::unwrap_used)]

use std::{collections::VecDeque, fmt::Write};

use base::{Hlc, NodeId};
use bytes::Bytes;

use super::*;
use crate::replicas::Replicas;

/// Three acceptors whose disks are as fast as thought, and a transcript.
#[derive(Default)]
struct Stage {
    acceptors: [Acceptor; 3],
    transcript: String,
}

fn ballot(time: u64, node: u64) -> Ballot {
    Ballot { time: Hlc(time), node: NodeId(node) }
}

fn vote(time: u64, value: &'static str) -> Vote {
    let decree =
        Decree { origin: ballot(time, 1), base: Ballot::ZERO, value: Bytes::from_static(value.as_bytes()) };
    Vote { ballot: ballot(time, 1), decree }
}

fn tell_ballot(ballot: Ballot) -> String {
    format!("{}.{}", ballot.time.0, ballot.node)
}

fn tell_vote(vote: &Vote) -> String {
    let value = match vote.decree.is_empty() {
        true => "nothing".to_string(),
        false => format!("{:?}", String::from_utf8_lossy(&vote.decree.value)),
    };
    let origin = match vote.decree.origin == vote.ballot {
        true => String::new(),
        false => format!(" of {}", tell_ballot(vote.decree.origin)),
    };
    format!("{value}{origin} @{}", tell_ballot(vote.ballot))
}

fn tell(request: &Request) -> String {
    match request {
        Request::Prepare { ballot, .. } => format!("prepare {}", tell_ballot(*ballot)),
        Request::Accept { vote, .. } => format!("accept {}", tell_vote(vote)),
        Request::Commit { vote, .. } => format!("commit {}", tell_vote(vote)),
    }
}

fn tell_verdict(verdict: &Verdict) -> String {
    let told = |what: &str, vote: &Option<Vote>| match vote {
        Some(vote) => format!(", {what} {}", tell_vote(vote)),
        None => String::new(),
    };
    match verdict {
        Verdict::Promised { accepted, committed } => {
            format!("promised{}{}", told("accepted", accepted), told("committed", committed))
        }
        Verdict::Rejected { promised, .. } => format!("rejected, promised {}", tell_ballot(*promised)),
        other => format!("{other:?}").to_lowercase(),
    }
}

impl Stage {
    fn handle(&mut self, node: usize, request: Request) -> Reply {
        match self.acceptors[node].handle(request, 1) {
            Answer::Now(reply) => reply,
            Answer::Held(held) => {
                let proof = self.acceptors[node].synced(held.version());
                held.release(proof)
            }
        }
    }

    /// Runs a proposer that writes `value`; messages arrive in the order they were sent. Before
    /// each, `dies` is asked whether the proposer dies instead.
    fn propose(&mut self, name: u64, time: u64, value: &'static str, dies: impl Fn(usize, &Request) -> bool) {
        let members = (0..3).map(|node| (NodeId(node), true));
        let electorate = Replicas::new(members).unwrap();
        let plan = Plan { electorate, epoch: 1, kind: Kind::Write, commit_required: 2, attempts: 5, seed: 1 };
        let (mut proposer, effects) = Proposer::begin(plan, ballot(time, name)).unwrap();
        let mut clock = time;
        let mut todo = VecDeque::from(effects);
        while let Some(effect) = todo.pop_front() {
            let more = match effect {
                Effect::Send { to, request } => {
                    if dies(to.0 as usize, &request) {
                        writeln!(self.transcript, "p{name} dies").unwrap();
                        return;
                    }
                    let told = tell(&request);
                    let reply = self.handle(to.0 as usize, request);
                    writeln!(
                        self.transcript,
                        "p{name} -> a{to}: {told:<28} | {}",
                        tell_verdict(&reply.verdict)
                    )
                    .unwrap();
                    proposer.step(Input::Reply { from: to, reply })
                }
                Effect::Read => proposer.step(Input::Rows(())),
                Effect::Decide { rows, .. } => {
                    writeln!(self.transcript, "p{name} decides {value:?}").unwrap();
                    proposer.step(Input::Decided {
                        rows,
                        verdict: Ok(Some(Bytes::from_static(value.as_bytes()))),
                    })
                }
                Effect::WakeAt { above, .. } => {
                    clock += 1;
                    proposer.step(Input::Wake(Ballot::above(above, Hlc(clock), NodeId(name))))
                }
                Effect::Finish(outcome) => {
                    writeln!(self.transcript, "p{name} answers {outcome:?}").unwrap();
                    continue;
                }
            };
            todo.extend(more);
        }
    }
}

#[test]
fn killed_after_accept_the_next_proposer_finishes_the_round() {
    let mut stage = Stage::default();
    // The first proposer reaches a majority, so its decree is chosen, and dies before it commits.
    stage.propose(1, 10, "x = 1", |to, request| to == 2 && matches!(request, Request::Accept { .. }));
    stage.propose(2, 20, "x = 2", |_, _| false);
    assert_eq!(
        stage.transcript,
        r#"p1 -> a0: prepare 10.1                 | promised
p1 -> a1: prepare 10.1                 | promised
p1 -> a2: prepare 10.1                 | promised
p1 decides "x = 1"
p1 -> a0: accept "x = 1" @10.1         | accepted
p1 -> a1: accept "x = 1" @10.1         | accepted
p1 dies
p2 -> a0: prepare 20.2                 | promised, accepted "x = 1" @10.1
p2 -> a1: prepare 20.2                 | promised, accepted "x = 1" @10.1
p2 -> a2: prepare 20.2                 | promised
p2 -> a0: accept "x = 1" of 10.1 @20.2 | accepted
p2 -> a1: accept "x = 1" of 10.1 @20.2 | accepted
p2 -> a2: accept "x = 1" of 10.1 @20.2 | accepted
p2 -> a0: commit "x = 1" of 10.1 @20.2 | committed
p2 -> a1: commit "x = 1" of 10.1 @20.2 | committed
p2 -> a2: commit "x = 1" of 10.1 @20.2 | committed
p2 -> a0: prepare 21.2                 | promised, committed "x = 1" of 10.1 @20.2
p2 -> a1: prepare 21.2                 | promised, committed "x = 1" of 10.1 @20.2
p2 -> a2: prepare 21.2                 | promised, committed "x = 1" of 10.1 @20.2
p2 decides "x = 2"
p2 -> a0: accept "x = 2" @21.2         | accepted
p2 -> a1: accept "x = 2" @21.2         | accepted
p2 -> a2: accept "x = 2" @21.2         | accepted
p2 -> a0: commit "x = 2" @21.2         | committed
p2 -> a1: commit "x = 2" @21.2         | committed
p2 -> a2: commit "x = 2" @21.2         | committed
p2 answers Applied { rows: () }
"#
    );
}

#[test]
fn an_acceptor_keeps_its_word() {
    let mut stage = Stage::default();
    let prepare = |time| Request::Prepare { ballot: ballot(time, 1), epoch: 1 };
    let accept = |time| Request::Accept { vote: vote(time, "v"), epoch: 1 };
    let commit = |time| Request::Commit { vote: vote(time, "v"), keep: true };
    let mut ask = |request: Request| tell_verdict(&stage.handle(0, request).verdict);
    assert_eq!(ask(prepare(10)), "promised");
    assert_eq!(ask(prepare(10)), "promised", "the same message twice");
    assert_eq!(ask(prepare(9)), "rejected, promised 10.1");
    assert_eq!(ask(accept(9)), "rejected, promised 10.1");
    assert_eq!(ask(accept(10)), "accepted");
    assert_eq!(ask(prepare(11)), "promised, accepted \"v\" @10.1");
    assert_eq!(ask(commit(10)), "committed");
    assert_eq!(ask(accept(10)), "accepted", "it was, and is committed since");
    assert_eq!(ask(prepare(12)), "promised, committed \"v\" @10.1");
    assert_eq!(ask(commit(20)), "committed");
    assert_eq!(ask(prepare(15)), "rejected, promised 20.1");
    assert_eq!(ask(accept(15)), "rejected, promised 20.1", "the chain has gone on");
    assert_eq!(ask(Request::Prepare { ballot: ballot(30, 1), epoch: 2 }), "moved { epoch: 1 }");
    assert_eq!(stage.acceptors[0].in_progress(), None);
    assert_eq!(stage.acceptors[0].committed(), Some(&vote(20, "v")));
}

#[test]
fn an_overtaken_commit_is_applied_all_the_same_and_an_unkept_value_is_dropped() {
    let mut acceptor = Acceptor::new();
    let mut applied = |time, keep| match acceptor.handle(Request::Commit { vote: vote(time, "v"), keep }, 1) {
        Answer::Held(held) => {
            acceptor.synced(held.version());
            held.record().apply.clone()
        }
        Answer::Now(_) => None,
    };
    assert_eq!(applied(20, false), Some(Bytes::from_static(b"v")));
    assert_eq!(applied(20, false), None, "once is enough");
    assert_eq!(applied(10, false), Some(Bytes::from_static(b"v")));
    assert_eq!(acceptor.committed().unwrap().ballot, ballot(20, 1));
    assert!(acceptor.committed().unwrap().decree.value.is_empty());
}

#[test]
fn a_reply_waits_for_the_disk_and_so_does_a_refusal() {
    let mut acceptor = Acceptor::new();
    let prepare = |time| Request::Prepare { ballot: ballot(time, 1), epoch: 1 };
    let Answer::Held(first) = acceptor.handle(prepare(10), 1) else { panic!("a promise has to be on disk") };
    let Answer::Held(refusal) = acceptor.handle(prepare(5), 1) else { panic!("it tells of that promise") };
    let restored = Acceptor::decode(&first.record().state).unwrap();
    assert_eq!(restored.promised, ballot(10, 1));
    let proof = acceptor.synced(first.version());
    assert!(matches!(first.release(proof).verdict, Verdict::Promised { .. }));
    assert!(matches!(refusal.release(proof).verdict, Verdict::Rejected { .. }));
    let Answer::Now(_) = acceptor.handle(prepare(5), 1) else { panic!("nothing is left to write") };
    let Answer::Held(second) = acceptor.handle(prepare(20), 1) else { panic!("a new promise") };
    let stale = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| second.release(proof)));
    assert!(stale.is_err(), "the proof of an older record opens nothing");
}

#[test]
fn one_acceptor_needs_two_steps_and_a_read_one() {
    let plan = |kind| Plan {
        electorate: Replicas::one(NodeId(0)),
        epoch: 1,
        kind,
        commit_required: 1,
        attempts: 1,
        seed: 0,
    };
    let mut acceptor = Acceptor::new();
    let mut run = |kind, time| {
        let mut steps = Vec::new();
        let (mut proposer, effects) = Proposer::begin(plan(kind), ballot(time, 0)).unwrap();
        let mut todo = VecDeque::from(effects);
        while let Some(effect) = todo.pop_front() {
            todo.extend(match effect {
                Effect::Send { to, request } => {
                    steps.push(tell(&request));
                    let reply = match acceptor.handle(request, 1) {
                        Answer::Now(reply) => reply,
                        Answer::Held(held) => {
                            let proof = acceptor.synced(held.version());
                            held.release(proof)
                        }
                    };
                    proposer.step(Input::Reply { from: to, reply })
                }
                Effect::Read => proposer.step(Input::Rows(7)),
                Effect::Decide { rows, timestamp } => {
                    assert_eq!((rows, timestamp), (7, time as i64));
                    proposer.step(Input::Decided { rows, verdict: Ok(Some(Bytes::from_static(b"v"))) })
                }
                Effect::WakeAt { .. } => panic!("nobody comes between"),
                Effect::Finish(outcome) => {
                    steps.push(format!("{outcome:?}"));
                    vec![]
                }
            });
        }
        steps
    };
    assert_eq!(
        run(Kind::Write, 10),
        ["prepare 10.0", "accept \"v\" @10.0", "commit \"v\" @10.0", "Applied { rows: 7 }"]
    );
    assert_eq!(run(Kind::Read, 20), ["prepare 20.0", "Read { rows: 7 }"]);
    assert_eq!(run(Kind::Write, 15), ["prepare 15.0", "Contended"], "an old ballot, and no attempt left");
}

#[test]
fn ballots_of_one_moment_are_parted() {
    let floor = ballot(5, 1);
    assert_eq!(Ballot::above(floor, Hlc(9), NodeId(2)), ballot(9, 2));
    assert_eq!(Ballot::above(floor, Hlc(5), NodeId(2)), ballot(6, 2), "above by its node is not enough");
    assert_eq!(Ballot::above(floor, Hlc(3), NodeId(2)), ballot(6, 2));
}

#[test]
fn an_electorate_of_another_epoch_sends_the_proposer_away() {
    let electorate = Replicas::one(NodeId(0));
    let plan = Plan { electorate, epoch: 4, kind: Kind::Write, commit_required: 1, attempts: 3, seed: 0 };
    let (mut proposer, effects) = Proposer::<()>::begin(plan, ballot(10, 0)).unwrap();
    let [Effect::Send { to, request }] = &effects[..] else {
        panic!("one acceptor, one prepare: {effects:?}")
    };
    let Answer::Now(reply) = Acceptor::new().handle(request.clone(), 5) else { panic!("nothing changed") };
    let effects = proposer.step(Input::Reply { from: *to, reply });
    assert!(matches!(effects[..], [Effect::Finish(Outcome::Moved)]));
    assert!(proposer.is_over() && proposer.step(Input::Timeout).is_empty());
}

#[test]
fn without_a_majority_nothing_begins() {
    let nodes = [(NodeId(1), true), (NodeId(2), false), (NodeId(3), false)];
    let electorate = Replicas::new(nodes).unwrap();
    let plan = Plan { electorate, epoch: 1, kind: Kind::Read, commit_required: 0, attempts: 3, seed: 0 };
    let refused = Proposer::<()>::begin(plan, ballot(10, 1)).unwrap_err();
    assert_eq!(refused, crate::Unavailable { required: 2, alive: 1 });
}

/// Acceptor 0 accepted the empty decree of a read that stood on a commit (15) which neither of
/// those who promise knows yet. What is decided next stands on it as well.
#[test]
fn an_empty_decree_hands_on_what_it_stands_on() {
    let electorate = Replicas::new((0..3).map(|node| (NodeId(node), true))).unwrap();
    let plan = Plan { electorate, epoch: 1, kind: Kind::Write, commit_required: 2, attempts: 3, seed: 0 };
    let (mut proposer, _) = Proposer::begin(plan, ballot(30, 2)).unwrap();
    let barrier = Decree { origin: ballot(20, 1), base: ballot(15, 1), value: Bytes::new() };
    let barrier = Vote { ballot: ballot(20, 1), decree: barrier };
    let mut promise = |from, accepted| {
        let verdict = Verdict::Promised { accepted, committed: Some(vote(10, "old")) };
        proposer.step(Input::Reply { from: NodeId(from), reply: Reply { ballot: ballot(30, 2), verdict } })
    };
    assert!(promise(0, Some(barrier)).is_empty());
    assert!(matches!(promise(1, None)[..], [Effect::Read]));
    assert!(matches!(proposer.step(Input::Rows(()))[..], [Effect::Decide { timestamp: 30, .. }]));
    let effects = proposer.step(Input::Decided { rows: (), verdict: Ok(Some(Bytes::from_static(b"new"))) });
    let [Effect::Send { request: Request::Accept { vote, .. }, .. }, ..] = &effects[..] else {
        panic!("it accepts what it decided: {effects:?}")
    };
    assert_eq!((vote.decree.origin, vote.decree.base), (ballot(30, 2), ballot(15, 1)));
}
