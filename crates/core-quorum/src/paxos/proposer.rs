//! The proposer: one conditional write, or one linearizable read, from prepare to outcome.
//!
//! # What is known about an own decree
//!
//! A proposer that was refused tries again with a higher ballot. Then it must not decide a second
//! time if its first decree was chosen (by itself or finished by somebody else). Let `b` be the
//! lowest ballot of its own decrees that may still live, and let a majority now have promised `B`.
//!
//! 1. *The newest commit, or the newest accepted decree, is our own* (by `origin`): it is chosen
//!    or now will be. Finish it and answer *applied*.
//! 2. *No commit and no acceptance at or above `b` is told*: our decree was chosen under no ballot
//!    below `B`, for every majority would have shown it. If somebody with a ballot above `B` finds
//!    it at a minority and finishes it, then the decree that we decide now can't have been chosen,
//!    and the other way round: at most one of the two ever is. Decide anew.
//! 3. *Somebody else's newest decree has its ballot above `b` but its base below*: whoever decided
//!    it saw no commit at or above `b`, so, by the paper's induction, nothing was chosen at or
//!    above `b` before it. Once it is chosen ours is barred for good. Finish it, decide anew.
//! 4. *Its base is at or above `b`*: a commit that we have not seen lies in between. It may have
//!    been ours. The outcome is *uncertain*.
//! 5. *Every acceptor that was sent our decree refused it and says it never accepted anything at
//!    or above `b`* ([`Verdict::Rejected`]): nobody has it and nobody ever will, nor could anybody
//!    have found it to propose it again. It is forgotten.
//!
//! # Why an empty decree ends a read
//!
//! A read (or a condition that was not met) may have been answered while a decree with a lower
//! ballot sits at a minority that was not asked. Would somebody finish it later, a write whose
//! client was long told *uncertain*, and who then read to learn its fate, would take effect after
//! that read (CASSANDRA-12126); and *not met* would be false of an own decree. An empty decree, accepted
//! by a majority under `B`, bars it, for whoever prepares next sees `B` first. With *one* acceptor
//! there is no minority: its promise told of everything that was ever accepted, and nothing below
//! `B` can be accepted any more. So there, and only there, it is skipped.

use base::Cause;
use bytes::Bytes;

use crate::{
    paxos::{Ballot, Decree, Effect, Input, Kind, Outcome, Plan, Reply, Request, Verdict, Vote},
    replicas::{Mask, Unavailable, majority},
};

/// The first wait after losing to another proposer is at most this; each further one at most twice
/// the one before, up to 2^7 times.
const BACKOFF_US: u64 = 500;

/// One operation under way.
#[derive(Debug)]
pub struct Proposer<R> {
    plan: Plan,
    ballot: Ballot,
    attempts: u32,
    phase: Phase<R>,
    /// Own decrees that were sent and are not known to be dead, by ascending origin.
    pub(super) sent: Vec<Sent<R>>,
}

/// An own decree that was sent.
#[derive(Debug)]
pub(super) struct Sent<R> {
    origin: Ballot,
    rows: R,
    /// Acceptors that refused it and will never have it.
    refused: Mask,
}

/// Who has answered the requests of a phase.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    yes: Mask,
    no: Mask,
    lost: Mask,
    /// The highest ballot a refusal told of.
    highest: Ballot,
}

#[derive(Debug)]
enum Phase<R> {
    Preparing {
        tally: Tally,
        accepted: Option<Vote>,
        committed: Option<Vote>,
        /// Who knows the newest commit.
        informed: Mask,
    },
    /// Making the newest commit known to a majority.
    Informing {
        commit: Ballot,
        base: Ballot,
        informed: Mask,
    },
    Reading {
        base: Ballot,
    },
    Deciding {
        base: Ballot,
    },
    Accepting {
        tally: Tally,
        decree: Decree,
        purpose: Purpose<R>,
    },
    Committing {
        commit: Ballot,
        acknowledged: Mask,
        required: usize,
        own: Option<Ballot>,
    },
    Waiting {
        above: Ballot,
    },
    Over,
}

/// Whose decree is being accepted.
#[derive(Debug)]
enum Purpose<R> {
    /// The one decided here; its rows are in `sent`.
    Own,
    /// Somebody else's, which stands in the way.
    Other,
    /// None: bars older decrees before this answer.
    Bar(Outcome<R>),
}

impl<R> Proposer<R> {
    /// Begins with a ballot never used before.
    pub fn begin(plan: Plan, ballot: Ballot) -> Result<(Proposer<R>, Vec<Effect<R>>), Unavailable> {
        let quorum = majority(plan.electorate.len());
        plan.electorate.require(quorum.max(plan.commit_required as usize))?;
        let attempts = plan.attempts.max(1);
        let mut proposer = Proposer { plan, ballot, attempts, phase: Phase::Over, sent: Vec::new() };
        let effects = proposer.prepare(ballot);
        Ok((proposer, effects))
    }

    /// Whether it has finished.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Takes what happened, says what to do. What comes late or twice is ignored.
    pub fn step(&mut self, input: Input<R>) -> Vec<Effect<R>> {
        match input {
            Input::Reply { from, reply } => match self.plan.electorate.number(from) {
                Some(from) => self.reply(from, reply),
                None => Vec::new(),
            },
            Input::Lost { from, ballot } => match self.plan.electorate.number(from) {
                Some(from) if ballot == self.ballot => self.lost(from),
                _ => Vec::new(),
            },
            Input::Rows(rows) => self.rows(rows),
            Input::ReadFailed(cause) if matches!(self.phase, Phase::Reading { .. }) => {
                self.give_up(Outcome::Refused(cause))
            }
            Input::Decided { rows, verdict } => self.decided(rows, verdict),
            Input::Wake(ballot) => match self.phase {
                Phase::Waiting { above } if ballot > above => self.prepare(ballot),
                Phase::Waiting { above } => vec![Effect::WakeAt { delay_us: 0, above }],
                _ => Vec::new(),
            },
            Input::Timeout if !self.is_over() => self.timeout(),
            Input::ReadFailed(_) | Input::Timeout => Vec::new(),
        }
    }

    fn quorum(&self) -> usize {
        majority(self.plan.electorate.len())
    }

    fn alone(&self) -> bool {
        self.plan.electorate.len() == 1
    }

    fn send(&self, to: Mask, request: &Request) -> Vec<Effect<R>> {
        let members = self.plan.electorate.members(to);
        members.map(|to| Effect::Send { to, request: request.clone() }).collect()
    }

    fn prepare(&mut self, ballot: Ballot) -> Vec<Effect<R>> {
        self.ballot = ballot;
        self.attempts -= 1;
        let (tally, informed) = (Tally::default(), Mask::default());
        self.phase = Phase::Preparing { tally, accepted: None, committed: None, informed };
        self.send(self.plan.electorate.alive(), &Request::Prepare { ballot, epoch: self.plan.epoch })
    }

    fn reply(&mut self, from: usize, reply: Reply) -> Vec<Effect<R>> {
        let current = reply.ballot == self.ballot;
        match reply.verdict {
            Verdict::Promised { accepted, committed } if current => self.promised(from, accepted, committed),
            Verdict::Accepted if current => self.accepted(from),
            Verdict::Committed => self.committed(from, reply.ballot),
            Verdict::Rejected { promised, seen } => {
                self.note_refusal(from, reply.ballot, seen);
                if current { self.refused(from, promised) } else { Vec::new() }
            }
            Verdict::Moved { .. } if current => self.give_up(Outcome::Moved),
            _ => Vec::new(),
        }
    }

    fn promised(&mut self, from: usize, told: Option<Vote>, commit: Option<Vote>) -> Vec<Effect<R>> {
        let quorum = self.quorum();
        let Phase::Preparing { tally, accepted, committed, informed } = &mut self.phase else {
            return Vec::new();
        };
        if !tally.yes.insert(from) {
            return Vec::new();
        }
        let (newest, told_commit) = (at(committed.as_ref()), at(commit.as_ref()));
        if told_commit > newest {
            *committed = commit;
            *informed = Mask::default();
        }
        if told_commit >= newest {
            informed.insert(from);
        }
        if at(told.as_ref()) > at(accepted.as_ref()) {
            *accepted = told;
        }
        if tally.yes.count() < quorum {
            return Vec::new();
        }
        let in_progress = accepted.take().filter(|vote| vote.ballot > at(committed.as_ref()));
        let (committed, promised, informed) = (committed.take(), tally.yes, *informed);
        self.judge(in_progress, committed, promised, informed)
    }

    /// A majority has promised: what is the state of the chain, and what is known of own decrees?
    /// The numbers are those of the module's documentation.
    fn judge(
        &mut self,
        in_progress: Option<Vote>,
        committed: Option<Vote>,
        promised: Mask,
        informed: Mask,
    ) -> Vec<Effect<R>> {
        if let Some(vote) = committed.as_ref().filter(|vote| self.is_own(vote)) {
            return self.commit(vote.clone(), Some(vote.decree.origin)); // 1
        }
        if let (Some(vote), Some(oldest)) = (&committed, self.sent.first())
            && vote.decree.base < oldest.origin
        {
            self.sent.retain(|sent| sent.origin > vote.ballot); // 3
        }
        let own_in_progress = in_progress.as_ref().is_some_and(|vote| self.is_own(vote));
        if let Some(oldest) = self.sent.first()
            && !own_in_progress
        {
            let mut others = committed.iter().chain(&in_progress);
            if others.any(|vote| vote.decree.base >= oldest.origin) {
                return self.give_up(self.unanswered(promised)); // 4
            }
        }
        let base = at(committed.as_ref());
        match in_progress {
            Some(vote) if own_in_progress => self.accept(vote.decree, Purpose::Own), // 1
            Some(vote) if !vote.decree.is_empty() => self.accept(vote.decree, Purpose::Other), // 3
            // An empty decree needs no finishing, but tells of a commit we may not have seen.
            Some(vote) => self.inform(committed, base.max(vote.decree.base), promised, informed),
            None => self.inform(committed, base, promised, informed), // 2
        }
    }

    fn is_own(&self, vote: &Vote) -> bool {
        self.sent.iter().any(|sent| sent.origin == vote.decree.origin)
    }

    /// Tells the newest commit to the acceptors that promised and lack it, until a majority has it:
    /// only then do reads of any majority see it.
    fn inform(
        &mut self,
        commit: Option<Vote>,
        base: Ballot,
        promised: Mask,
        informed: Mask,
    ) -> Vec<Effect<R>> {
        match commit {
            Some(vote) if informed.count() < self.quorum() => {
                self.phase = Phase::Informing { commit: vote.ballot, base, informed };
                self.send(promised.without(informed), &Request::Commit { vote, keep: true })
            }
            _ => self.read(base),
        }
    }

    fn read(&mut self, base: Ballot) -> Vec<Effect<R>> {
        self.phase = Phase::Reading { base };
        vec![Effect::Read]
    }

    fn rows(&mut self, rows: R) -> Vec<Effect<R>> {
        let Phase::Reading { base } = self.phase else { return Vec::new() };
        match self.plan.kind {
            Kind::Read => self.answer_unchanged(base, Outcome::Read { rows }),
            // Another node's ballot of the same microsecond: our cells would tie with its cells.
            Kind::Write if self.ballot.micros() <= base.micros() => self.again(0, self.ballot),
            Kind::Write => {
                self.phase = Phase::Deciding { base };
                vec![Effect::Decide { timestamp: self.ballot.micros(), rows }]
            }
        }
    }

    fn decided(&mut self, rows: R, verdict: Result<Option<Bytes>, Cause>) -> Vec<Effect<R>> {
        let Phase::Deciding { base } = self.phase else { return Vec::new() };
        match verdict {
            Err(cause) => self.give_up(Outcome::Refused(cause)),
            Ok(Some(value)) if !value.is_empty() => {
                let origin = self.ballot;
                self.sent.push(Sent { origin, rows, refused: Mask::default() });
                self.accept(Decree { origin, base, value }, Purpose::Own)
            }
            Ok(_) => self.answer_unchanged(base, Outcome::NotMet { rows }),
        }
    }

    /// Answers without having written, once nothing older can be chosen any more.
    fn answer_unchanged(&mut self, base: Ballot, outcome: Outcome<R>) -> Vec<Effect<R>> {
        if self.alone() {
            return self.finish(outcome);
        }
        let decree = Decree { origin: self.ballot, base, value: Bytes::new() };
        self.accept(decree, Purpose::Bar(outcome))
    }

    fn accept(&mut self, decree: Decree, purpose: Purpose<R>) -> Vec<Effect<R>> {
        let vote = Vote { ballot: self.ballot, decree: decree.clone() };
        self.phase = Phase::Accepting { tally: Tally::default(), decree, purpose };
        self.send(self.plan.electorate.alive(), &Request::Accept { vote, epoch: self.plan.epoch })
    }

    fn accepted(&mut self, from: usize) -> Vec<Effect<R>> {
        let quorum = self.quorum();
        let Phase::Accepting { tally, .. } = &mut self.phase else { return Vec::new() };
        tally.yes.insert(from);
        if tally.yes.count() < quorum {
            return Vec::new();
        }
        let Phase::Accepting { decree, purpose, .. } = std::mem::replace(&mut self.phase, Phase::Over) else {
            return Vec::new();
        };
        let origin = decree.origin;
        let vote = Vote { ballot: self.ballot, decree };
        match purpose {
            Purpose::Bar(outcome) => self.finish(outcome),
            Purpose::Own => self.commit(vote, Some(origin)),
            Purpose::Other => {
                self.sent.clear();
                self.commit(vote, None)
            }
        }
    }

    fn commit(&mut self, vote: Vote, own: Option<Ballot>) -> Vec<Effect<R>> {
        let required = if own.is_some() { self.plan.commit_required as usize } else { self.quorum() };
        let acknowledged = Mask::default();
        self.phase = Phase::Committing { commit: vote.ballot, acknowledged, required, own };
        let commit = Request::Commit { vote, keep: !self.alone() };
        let mut effects = self.send(self.plan.electorate.alive(), &commit);
        effects.extend(self.committed_enough());
        effects
    }

    fn committed(&mut self, from: usize, ballot: Ballot) -> Vec<Effect<R>> {
        let quorum = self.quorum();
        match &mut self.phase {
            Phase::Informing { commit, base, informed } if *commit == ballot => {
                informed.insert(from);
                let base = *base;
                if informed.count() >= quorum { self.read(base) } else { Vec::new() }
            }
            Phase::Committing { commit, acknowledged, .. } if *commit == ballot => {
                acknowledged.insert(from);
                self.committed_enough()
            }
            _ => Vec::new(),
        }
    }

    fn committed_enough(&mut self) -> Vec<Effect<R>> {
        let Phase::Committing { acknowledged, required, own, .. } = self.phase else { return Vec::new() };
        if acknowledged.count() < required {
            return Vec::new();
        }
        let Some(origin) = own else { return self.again(0, self.ballot) };
        let number = self.sent.iter().position(|sent| sent.origin == origin);
        let sent = self.sent.swap_remove(number.expect("an own decree is kept until it is answered"));
        self.finish(Outcome::Applied { rows: sent.rows })
    }

    /// Case 5: an acceptor will never have the decree first sent under `ballot`.
    fn note_refusal(&mut self, from: usize, ballot: Ballot, seen: Ballot) {
        let asked = self.plan.electorate.alive();
        self.sent.retain_mut(|sent| {
            if sent.origin == ballot && seen < ballot {
                sent.refused.insert(from);
            }
            sent.refused != asked
        });
    }

    fn refused(&mut self, from: usize, promised: Ballot) -> Vec<Effect<R>> {
        let (Phase::Preparing { tally, .. } | Phase::Accepting { tally, .. }) = &mut self.phase else {
            return Vec::new();
        };
        tally.no.insert(from);
        tally.highest = tally.highest.max(promised);
        self.check_possible()
    }

    fn lost(&mut self, from: usize) -> Vec<Effect<R>> {
        let (Phase::Preparing { tally, .. } | Phase::Accepting { tally, .. }) = &mut self.phase else {
            return Vec::new();
        };
        tally.lost.insert(from);
        self.check_possible()
    }

    /// Gives this ballot up once a majority can't be had any more.
    fn check_possible(&mut self) -> Vec<Effect<R>> {
        let (Phase::Preparing { tally, .. } | Phase::Accepting { tally, .. }) = self.phase else {
            return Vec::new();
        };
        let against = tally.no.and(tally.lost).without(tally.yes);
        if self.plan.electorate.alive().without(against).count() >= self.quorum() {
            return Vec::new();
        }
        if tally.no == Mask::default() {
            return self.give_up(self.unanswered(tally.yes));
        }
        let tried = self.plan.attempts.saturating_sub(self.attempts);
        let window = BACKOFF_US << tried.min(7);
        let delay = self.jitter() % window;
        self.again(delay, tally.highest.max(self.ballot))
    }

    /// The next ballot, after a while, if attempts are left.
    fn again(&mut self, delay_us: u64, above: Ballot) -> Vec<Effect<R>> {
        if self.attempts == 0 {
            return self.give_up(Outcome::Contended);
        }
        self.phase = Phase::Waiting { above };
        vec![Effect::WakeAt { delay_us, above }]
    }

    /// The next value of splitmix64 (Steele et al., 2014).
    fn jitter(&mut self) -> u64 {
        self.plan.seed = self.plan.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.plan.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn timeout(&mut self) -> Vec<Effect<R>> {
        let outcome = match &self.phase {
            Phase::Preparing { tally, .. } | Phase::Accepting { tally, .. } => self.unanswered(tally.yes),
            Phase::Informing { informed, .. } => self.unanswered(*informed),
            Phase::Committing { acknowledged, required, .. } => {
                Outcome::Unanswered { received: acknowledged.count() as u32, required: *required as u32 }
            }
            Phase::Waiting { .. } => Outcome::Contended,
            Phase::Reading { .. } | Phase::Deciding { .. } | Phase::Over => self.unanswered(Mask::default()),
        };
        self.give_up(outcome)
    }

    fn unanswered(&self, by: Mask) -> Outcome<R> {
        Outcome::Unanswered { received: by.count() as u32, required: self.quorum() as u32 }
    }

    /// Ends without success: with the outcome, which says that nothing was done, if that is certain.
    fn give_up(&mut self, outcome: Outcome<R>) -> Vec<Effect<R>> {
        if self.sent.is_empty() {
            return self.finish(outcome);
        }
        let (received, required) = match outcome {
            Outcome::Unanswered { received, required } => (received, required),
            _ => (0, self.quorum() as u32),
        };
        self.finish(Outcome::Uncertain { received, required })
    }

    fn finish(&mut self, outcome: Outcome<R>) -> Vec<Effect<R>> {
        self.phase = Phase::Over;
        vec![Effect::Finish(outcome)]
    }
}

fn at(vote: Option<&Vote>) -> Ballot {
    vote.map_or(Ballot::ZERO, |vote| vote.ballot)
}
