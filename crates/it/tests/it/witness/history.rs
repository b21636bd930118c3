//! What clients did and were told, in the terms that can be judged.

/// One request of one client, from before it was sent until its answer had come.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    /// The client's session.
    pub(crate) session: i64,
    /// When it was about to be sent, microseconds of one clock for all clients.
    pub(crate) began_us: u64,
    /// When its answer had come, or the connection was found lost.
    pub(crate) ended_us: u64,
    pub(crate) asked: Asked,
    pub(crate) answer: Answer,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A create, setData or delete, or a multi of several on different znodes.
    Write(Vec<Change>),
    /// getData.
    Read(String),
    /// getChildren of a parent whose children are all sequential.
    List(String),
    /// The end of the session.
    Close,
    /// Nothing: the client goes away without a word, and its session has this long to live.
    Abandon { timeout_us: u64 },
    /// Nothing: a session that was left has surely ended by now.
    Expired,
}

/// A change of one znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Creates it; of a sequential one, `path` lacks the number.
    Create { path: String, value: u64, ephemeral: bool, sequential: bool },
    /// Sets its data if it has the version, or whichever it has.
    Set { path: String, value: u64, version: Option<i32> },
    /// Deletes it.
    Delete { path: String },
}

impl Change {
    pub(crate) fn path(&self) -> &str {
        match self {
            Change::Create { path, .. } | Change::Set { path, .. } | Change::Delete { path } => path,
        }
    }

    /// Whether the znode at `path` may be the one that it changes.
    pub(crate) fn is_of(&self, path: &str) -> bool {
        match self {
            Change::Create { path: asked, sequential: true, .. } => path.starts_with(asked.as_str()),
            change => change.path() == path,
        }
    }

    /// What it writes. No two writes of a history write the same.
    pub(crate) fn value(&self) -> Option<u64> {
        match self {
            Change::Create { value, .. } | Change::Set { value, .. } => Some(*value),
            Change::Delete { .. } => None,
        }
    }
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done, at this zxid; of a read, what is shown is the state after it.
    Done { zxid: i64, saw: Vec<(String, Sight)> },
    /// Refused with an error: nothing was changed.
    Refused { zxid: i64, error: i32 },
    /// The connection was lost because the server was killed: it was done before, or never.
    Unknown,
}

impl Answer {
    pub(crate) fn zxid(&self) -> Option<i64> {
        match self {
            Answer::Done { zxid, .. } | Answer::Refused { zxid, .. } => Some(*zxid),
            Answer::Unknown => None,
        }
    }
}

/// How a znode was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    Absent,
    /// Its name was in a list.
    Named,
    There(Detail),
}

/// What a Stat and the data tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Detail {
    pub(crate) czxid: i64,
    pub(crate) mzxid: i64,
    pub(crate) version: i32,
    /// The session it lives with, or 0.
    pub(crate) owner: i64,
    pub(crate) value: u64,
}
