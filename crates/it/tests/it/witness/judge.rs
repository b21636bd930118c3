//! Linearizability by witness: the server itself says in which order it did things, and what is
//! judged is whether that order explains everything. No search is needed, so histories may be long.
//!
//! Every answer carries a zxid. A write's is its place in the order; a read shows the state after
//! its own. So each answer is a look at some znodes at one place of the order, and walking along the
//! looks of a znode, each must follow from the one before: a znode is there because a create made it,
//! a Stat changes only by writes behind the last look, versions go up by one with each, and what was
//! there is gone only by a delete, or with its session. What was acknowledged before a request
//! began must be before it in the order, too.
//!
//! A write of unknown outcome may explain what no other can: once, and only at a place behind all
//! that was acknowledged before it began, and not behind what began after its connection was lost,
//! since then the server had been killed. Such writes that are seen by their values get their place
//! first; the others are spent one by one where something is missing.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Answer, Asked, Change, Detail, Op, Sight};

/// What a history without a fault is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) acknowledged: usize,
    pub(crate) refused: usize,
    pub(crate) unknown: usize,
    /// Unknown writes that are known to have happened.
    pub(crate) appeared: usize,
    pub(crate) looks: usize,
}

/// A look at a znode.
#[derive(Clone, Copy, Debug)]
struct Look {
    zxid: i64,
    sight: Sight,
    /// Whether this made it so; else it was only seen. A write comes before what is seen at its zxid.
    wrote: bool,
    /// The request that looked.
    op: usize,
}

/// A write of unknown outcome: the request, what it would have done, and where it may have been.
#[derive(Clone, Debug)]
struct Loose {
    op: usize,
    change: Change,
    after: i64,
    until: i64,
    spent: bool,
}

struct Judge<'a> {
    ops: &'a [Op],
    looks: BTreeMap<String, Vec<Look>>,
    loose: Vec<Loose>,
    /// When each session was closed, by the zxid that did it.
    closed: BTreeMap<i64, i64>,
    /// The last request that a session was heard to send before it was left, and how long it then had.
    left: BTreeMap<i64, (u64, u64)>,
    /// When a session that was left had surely ended.
    expired_us: BTreeMap<i64, u64>,
    /// Sessions whose close has an unknown outcome.
    perhaps_closed: BTreeSet<i64>,
}

/// Judges a history that begins with an empty tree. The error says what no order explains.
pub(crate) fn judge(ops: &[Op]) -> Result<Summary, String> {
    real_time(ops)?;
    let mut judge = Judge {
        ops,
        looks: BTreeMap::new(),
        loose: Vec::new(),
        closed: BTreeMap::new(),
        left: BTreeMap::new(),
        expired_us: BTreeMap::new(),
        perhaps_closed: BTreeSet::new(),
    };
    judge.sessions();
    judge.take_looks()?;
    judge.values()?;
    judge.lists();
    judge.sequences()?;
    judge.place_closes();
    let mut looks = std::mem::take(&mut judge.looks);
    for (path, looks) in &mut looks {
        looks.sort_by_key(|look| (look.zxid, !look.wrote));
        judge.walk(path, looks)?;
    }
    let count = |is: fn(&Answer) -> bool| ops.iter().filter(|op| is(&op.answer)).count();
    Ok(Summary {
        acknowledged: count(|answer| matches!(answer, Answer::Done { .. })),
        refused: count(|answer| matches!(answer, Answer::Refused { .. })),
        unknown: count(|answer| *answer == Answer::Unknown),
        appeared: judge.loose.iter().filter(|loose| loose.spent).count(),
        looks: looks.values().map(Vec::len).sum(),
    })
}

/// What was acknowledged before a request began is before it, and no zxid is given twice.
fn real_time(ops: &[Op]) -> Result<(), String> {
    let mut given = BTreeMap::new();
    let mut ends: Vec<(u64, i64)> =
        ops.iter().filter_map(|op| Some((op.ended_us, op.answer.zxid()?))).collect();
    ends.sort_unstable();
    let mut begins: Vec<&Op> = ops.iter().collect();
    begins.sort_unstable_by_key(|op| op.began_us);
    let (mut next, mut floor) = (0, 0);
    for op in begins {
        while next < ends.len() && ends[next].0 < op.began_us {
            floor = floor.max(ends[next].1);
            next += 1;
        }
        let Some(zxid) = op.answer.zxid() else { continue };
        let writes = matches!(op.asked, Asked::Write(_) | Asked::Close);
        if zxid < floor || (writes && zxid == floor) {
            return Err(format!("{floor} had been acknowledged before {op:?} began"));
        }
        if writes && let Some(other) = given.insert(zxid, op) {
            return Err(format!("one zxid for two: {other:?} and {op:?}"));
        }
    }
    Ok(())
}

impl Judge<'_> {
    fn sessions(&mut self) {
        for op in self.ops {
            match (&op.asked, &op.answer) {
                (Asked::Close, Answer::Done { zxid, .. }) => {
                    self.closed.insert(op.session, *zxid);
                }
                (Asked::Close, _) => {
                    self.perhaps_closed.insert(op.session);
                }
                (Asked::Abandon { timeout_us }, _) => {
                    let of_it = self.ops.iter().filter(|other| other.session == op.session);
                    let heard =
                        of_it.filter(|other| other.answer.zxid().is_some()).map(|other| other.began_us);
                    self.left.insert(op.session, (heard.max().unwrap_or(op.began_us), *timeout_us));
                }
                (Asked::Expired, _) => {
                    self.expired_us.insert(op.session, op.began_us);
                }
                _ => {}
            }
        }
    }

    fn look(&mut self, path: &str, look: Look) {
        self.looks.entry(path.to_owned()).or_default().push(look);
    }

    /// The looks of every answer, and the writes without one.
    fn take_looks(&mut self) -> Result<(), String> {
        for (at, op) in self.ops.iter().enumerate() {
            match (&op.asked, &op.answer) {
                (Asked::Write(changes), Answer::Done { zxid, saw }) => {
                    for (change, (path, sight)) in changes.iter().zip(saw) {
                        self.acknowledged(op, *zxid, change, path, sight)?;
                        self.look(path, Look { zxid: *zxid, sight: *sight, wrote: true, op: at });
                    }
                }
                (_, Answer::Done { zxid, saw }) => {
                    for (path, sight) in saw {
                        self.look(path, Look { zxid: *zxid, sight: *sight, wrote: false, op: at });
                    }
                }
                (Asked::Write(changes), Answer::Unknown) => {
                    let (after, until) = self.window(op);
                    let loose = changes.iter().cloned();
                    self.loose.extend(loose.map(|change| Loose {
                        op: at,
                        change,
                        after,
                        until,
                        spent: false,
                    }));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The answer to a write says what was asked for.
    fn acknowledged(
        &self,
        op: &Op,
        zxid: i64,
        change: &Change,
        path: &str,
        sight: &Sight,
    ) -> Result<(), String> {
        let is_right = match (change, sight) {
            (Change::Create { path: asked, value, ephemeral, sequential }, Sight::There(made)) => {
                let owner = if *ephemeral { op.session } else { 0 };
                let expected = Detail { czxid: zxid, mzxid: zxid, version: 0, owner, value: *value };
                *made == expected && (if *sequential { path.starts_with(asked) } else { path == asked })
            }
            (Change::Set { value, version, .. }, Sight::There(set)) => {
                (set.mzxid, set.value) == (zxid, *value)
                    && version.is_none_or(|version| set.version == version + 1)
            }
            (Change::Delete { .. }, Sight::Absent) => true,
            _ => false,
        };
        if is_right { Ok(()) } else { Err(format!("{path} was asked for and is not what came: {op:?}")) }
    }

    /// Between which zxids a request without an answer may have been done.
    fn window(&self, op: &Op) -> (i64, i64) {
        let zxids = |is: &dyn Fn(&&Op) -> bool| -> Vec<i64> {
            self.ops.iter().filter(is).filter_map(|other| other.answer.zxid()).collect()
        };
        let before = zxids(&|other| other.ended_us < op.began_us);
        let behind = zxids(&|other| other.began_us > op.ended_us);
        (before.into_iter().max().unwrap_or(0), behind.into_iter().min().unwrap_or(i64::MAX))
    }

    /// Every value that is seen was written, at one place. Unknown writes that are seen get theirs.
    fn values(&mut self) -> Result<(), String> {
        let mut writers: BTreeMap<u64, (usize, &Change)> = BTreeMap::new();
        for (at, op) in self.ops.iter().enumerate() {
            if let Asked::Write(changes) = &op.asked {
                writers.extend(changes.iter().filter_map(|change| Some((change.value()?, (at, change)))));
            }
        }
        let mut placed: BTreeMap<u64, (String, Look)> = BTreeMap::new();
        for (path, looks) in &self.looks {
            for look in looks {
                let Sight::There(detail) = look.sight else { continue };
                let reader = &self.ops[look.op];
                let Some((writer, change)) = writers.get(&detail.value) else {
                    return Err(format!("nobody wrote what {reader:?} saw in {path}"));
                };
                let is_its = change.is_of(path);
                let writer = &self.ops[*writer];
                let is_possible = match &writer.answer {
                    Answer::Done { zxid, .. } => *zxid == detail.mzxid,
                    Answer::Refused { .. } => false,
                    Answer::Unknown => writer.began_us < reader.ended_us,
                };
                if !is_its || !is_possible || detail.mzxid > look.zxid || detail.czxid > detail.mzxid {
                    return Err(format!("{path}: {reader:?} saw what {writer:?} cannot have written"));
                }
                if writer.answer == Answer::Unknown {
                    let made = Look { zxid: detail.mzxid, wrote: true, ..*look };
                    let (_, first) = placed.entry(detail.value).or_insert((path.clone(), made));
                    if first.zxid != detail.mzxid {
                        return Err(format!("{path}: {writer:?} appears twice"));
                    }
                }
            }
        }
        self.place(placed)
    }

    /// Gives unknown writes that were seen their place, and with one change of a multi all of them.
    fn place(&mut self, placed: BTreeMap<u64, (String, Look)>) -> Result<(), String> {
        let mut multis: BTreeMap<usize, i64> = BTreeMap::new();
        for (value, (path, look)) in placed {
            let loose = self.loose.iter_mut().find(|loose| loose.change.value() == Some(value));
            let loose = loose.expect("an unknown write is loose");
            if look.zxid <= loose.after || look.zxid > loose.until {
                let (op, Loose { after, until, .. }) = (&self.ops[loose.op], &loose);
                return Err(format!("{path}: {op:?} appears at {}, not in {after}..={until}", look.zxid));
            }
            loose.spent = true;
            let op = loose.op;
            if *multis.entry(op).or_insert(look.zxid) != look.zxid {
                return Err(format!("{:?} appears in two places", self.ops[op]));
            }
            self.look(&path, look);
        }
        for (op, zxid) in multis {
            // The rest of a multi was done too, though nobody saw its values: nothing older is seen
            // behind it, and each has one place left to be.
            for loose in self.loose.iter_mut().filter(|loose| loose.op == op && !loose.spent) {
                (loose.after, loose.until) = (zxid - 1, zxid);
                let path = loose.change.path();
                let behind = self.looks.get(path).into_iter().flatten().filter(|look| look.zxid >= zxid);
                let is_older = |look: &Look| match look.sight {
                    Sight::There(detail) => detail.mzxid < zxid,
                    _ => false,
                };
                if let Some(look) = behind.into_iter().find(|look| is_older(look)) {
                    let reader = &self.ops[look.op];
                    return Err(format!("{path}: {reader:?} saw half of the multi {:?}", self.ops[op]));
                }
            }
        }
        Ok(())
    }

    /// A list that names its children says of all others that they are not there. That is kept of
    /// those that might be: not of one before it was made, or after it was deleted or its session
    /// closed, where it is no news.
    fn lists(&mut self) {
        let mut absent = Vec::new();
        for (at, op) in self.ops.iter().enumerate() {
            let (Asked::List(parent), Answer::Done { zxid, saw }) = (&op.asked, &op.answer) else { continue };
            let named: BTreeSet<&str> = saw.iter().map(|(path, _)| path.as_str()).collect();
            for (path, _) in below(&self.looks, parent).filter(|(path, _)| !named.contains(path.as_str())) {
                let look = Look { zxid: *zxid, sight: Sight::Absent, wrote: false, op: at };
                absent.push((path.clone(), look));
            }
        }
        let mut lives: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for (path, look) in absent {
            let (made, gone) = *lives.entry(path.clone()).or_insert_with(|| self.life(&path));
            if (made..gone).contains(&look.zxid) {
                self.look(&path, look);
            }
        }
    }

    /// From which zxid on a sequential znode may be there, and from which on it is surely gone.
    fn life(&self, path: &str) -> (i64, i64) {
        let (mut made, mut gone) = (0, i64::MAX);
        for look in self.looks.get(path).into_iter().flatten().filter(|look| look.wrote) {
            match look.sight {
                Sight::There(detail) => {
                    made = detail.czxid;
                    gone = gone.min(self.closed.get(&detail.owner).copied().unwrap_or(i64::MAX));
                }
                _ => gone = gone.min(look.zxid),
            }
        }
        (made, gone)
    }

    /// The numbers of sequential znodes go up with the zxids that made them.
    fn sequences(&self) -> Result<(), String> {
        let mut made: BTreeMap<(&str, i64), &str> = BTreeMap::new();
        for op in self.ops {
            let (Asked::Write(changes), Answer::Done { zxid, saw }) = (&op.asked, &op.answer) else {
                continue;
            };
            for (change, (path, _)) in changes.iter().zip(saw) {
                if let Change::Create { path: asked, sequential: true, .. } = change {
                    made.insert((asked, *zxid), path);
                }
            }
        }
        let made: Vec<_> = made.into_iter().collect();
        for pair in made.windows(2) {
            let [((asked, before), first), ((other, behind), second)] = pair else { continue };
            // Names of one length, so their order is that of the numbers.
            if asked == other && first >= second {
                return Err(format!("{second}, made at {behind}, is not behind {first}, made at {before}"));
            }
        }
        Ok(())
    }

    /// What a closed session owned goes with the zxid that closed it.
    fn place_closes(&mut self) {
        for looks in self.looks.values_mut() {
            let owners: BTreeSet<i64> = looks.iter().filter_map(|look| owner(look.sight)).collect();
            let mut ends = Vec::new();
            for (session, zxid) in owners.iter().filter_map(|owner| Some((owner, self.closed.get(owner)?))) {
                let before = looks.iter().filter(|look| look.zxid < *zxid && look.sight != Sight::Named);
                if let Some(last) = before.max_by_key(|look| (look.zxid, !look.wrote))
                    && owner(last.sight) == Some(*session)
                {
                    ends.push(Look { zxid: *zxid, sight: Sight::Absent, wrote: true, op: last.op });
                }
            }
            looks.extend(ends);
        }
    }

    /// Spends an unknown write to `path` that may have been behind `after` and not behind `until`.
    fn spend(&mut self, path: &str, after: i64, until: i64, is: fn(&Change) -> bool) -> bool {
        let fits = |loose: &&mut Loose| {
            !loose.spent
                && loose.change.is_of(path)
                && is(&loose.change)
                && loose.after < until
                && loose.until > after
        };
        let found = self.loose.iter_mut().filter(fits).min_by_key(|loose| loose.until);
        found.map(|loose| loose.spent = true).is_some()
    }

    /// Walks along the looks of one znode.
    fn walk(&mut self, path: &str, looks: &[Look]) -> Result<(), String> {
        // What is known of the znode behind the last look.
        let (mut at, mut now) = (0, Sight::Absent);
        for look in looks {
            let problem = self.is_strange(look).or_else(|| match (now, look.sight) {
                (Sight::Absent, Sight::Absent) => None,
                (Sight::Absent, Sight::There(made)) => self.appears(path, at, look, made),
                (Sight::Absent, Sight::Named) => {
                    let is_made = self.spend(path, at, look.zxid, is_create);
                    (!is_made).then_some("nobody made what is listed")
                }
                (Sight::There(was), Sight::There(is)) => self.goes_on(path, at, was, look, is),
                (Sight::Named, Sight::There(_)) | (_, Sight::Named) => None,
                (was, Sight::Absent) => self.vanishes(path, at, was, look),
            });
            if let Some(problem) = problem {
                return Err(format!(
                    "{path}: {problem}: {now:?} at {at}, and then {:?} at {}",
                    self.ops[look.op], look.zxid
                ));
            }
            now = if look.sight == Sight::Named && now != Sight::Absent { now } else { look.sight };
            at = look.zxid;
        }
        Ok(())
    }

    /// What no earlier look is needed for to see that it cannot be.
    fn is_strange(&self, look: &Look) -> Option<&'static str> {
        let Sight::There(detail) = look.sight else { return None };
        if detail.version == 0 && detail.czxid != detail.mzxid {
            return Some("a version 0 that was set");
        }
        let owner = owner(look.sight)?;
        if self.closed.get(&owner).is_some_and(|zxid| look.zxid >= *zxid) {
            return Some("an ephemeral is left behind by its closed session");
        }
        let gone_us = self.expired_us.get(&owner)?;
        (self.ops[look.op].began_us > *gone_us)
            .then_some("an ephemeral is left behind by its expired session")
    }

    fn appears(&mut self, path: &str, at: i64, look: &Look, made: Detail) -> Option<&'static str> {
        if made.czxid <= at {
            return Some("what was gone, or was not there yet, is seen");
        }
        if look.wrote && made.czxid == look.zxid {
            return None;
        }
        if !self.spend(path, at, made.czxid, is_create) {
            return Some("nobody made it");
        }
        self.misses(path, made.czxid, made.version - i32::from(look.wrote), look.zxid)
    }

    /// From one look at what is there to the next.
    fn goes_on(&mut self, path: &str, at: i64, was: Detail, look: &Look, is: Detail) -> Option<&'static str> {
        if was.czxid != is.czxid {
            let gone = self.vanishes(path, at, Sight::There(was), look);
            return gone.or_else(|| self.appears(path, at, look, is));
        }
        if is.mzxid < was.mzxid {
            return Some("a stale read, or a lost write");
        }
        if is.mzxid == was.mzxid {
            return (is != was).then_some("one write is seen in two ways");
        }
        if is.mzxid <= at {
            return Some("a write was not seen when it should have been");
        }
        self.misses(path, at, is.version - was.version - i32::from(look.wrote), look.zxid)
    }

    /// `count` writes that nobody was told of must be among the unknown ones.
    fn misses(&mut self, path: &str, after: i64, count: i32, until: i64) -> Option<&'static str> {
        if count < 0 {
            return Some("a version went back, or stood still");
        }
        let all =
            (0..count).all(|_| self.spend(path, after, until, |change| matches!(change, Change::Set { .. })));
        (!all).then_some("a version gap")
    }

    /// Whether one of those who may have made `path`, which was only seen in lists and is an ephemeral
    /// then, ended its session behind `after` and not behind `until`.
    fn maker_ended(&self, path: &str, after: i64, until: i64) -> bool {
        self.loose.iter().any(|loose| {
            let Change::Create { path: asked, ephemeral: true, sequential: true, .. } = &loose.change else {
                return false;
            };
            let session = self.ops[loose.op].session;
            let closed = self.closed.get(&session).is_some_and(|zxid| (after + 1..=until).contains(zxid));
            path.starts_with(asked.as_str()) && (closed || self.perhaps_closed.contains(&session))
        })
    }

    fn vanishes(&mut self, path: &str, at: i64, was: Sight, look: &Look) -> Option<&'static str> {
        if look.wrote && look.sight == Sight::Absent {
            return None;
        }
        if self.spend(path, at, look.zxid, |change| matches!(change, Change::Delete { .. })) {
            return None;
        }
        let Some(owner) = owner(was) else {
            let is_named = was == Sight::Named;
            return (!is_named || !self.maker_ended(path, at, look.zxid)).then_some("lost");
        };
        if self.perhaps_closed.contains(&owner) {
            return None;
        }
        match self.left.get(&owner) {
            Some((heard_us, timeout_us)) if self.ops[look.op].ended_us >= heard_us + timeout_us => None,
            _ => Some("an ephemeral is gone while its session lives"),
        }
    }
}

/// The looks at what is below `parent`.
fn below<'a>(
    looks: &'a BTreeMap<String, Vec<Look>>,
    parent: &str,
) -> impl Iterator<Item = (&'a String, &'a Vec<Look>)> {
    let prefix = format!("{parent}/");
    looks.range(prefix.clone()..).take_while(move |(path, _)| path.starts_with(&prefix))
}

/// The session that what was seen lives with.
fn owner(sight: Sight) -> Option<i64> {
    match sight {
        Sight::There(Detail { owner, .. }) if owner != 0 => Some(owner),
        _ => None,
    }
}

fn is_create(change: &Change) -> bool {
    matches!(change, Change::Create { .. })
}
