//! Why an operation on the tree comes to no end.

use base::Cause;
use store::Unread;

use crate::faults::Code;

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// This is the answer to whoever asked.
    Refused(Code),
    /// It would have to wait for the disk.
    Cold,
    /// The state cannot be read.
    Failed(Cause),
}

impl From<Code> for Stop {
    fn from(code: Code) -> Stop {
        Stop::Refused(code)
    }
}

impl From<Unread> for Stop {
    fn from(unread: Unread) -> Stop {
        match unread {
            Unread::NotNow => Stop::Cold,
            Unread::Failed(cause) => Stop::Failed(cause),
        }
    }
}

impl From<Stop> for Cause {
    fn from(stop: Stop) -> Cause {
        match stop {
            Stop::Refused(code) => Cause::bug(format!("error {} where none is expected", code.number())),
            Stop::Cold => Unread::NotNow.into(),
            Stop::Failed(cause) => cause,
        }
    }
}
