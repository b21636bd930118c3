//! ZooKeeper's error codes, and the one table from [`Cause`] to them.

use base::{Cause, Class};

/// An error code on the wire; 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(i32);

impl Code {
    pub(crate) const OK: Code = Code(0);
    pub(crate) const SYSTEM_ERROR: Code = Code(-1);
    pub(crate) const RUNTIME_INCONSISTENCY: Code = Code(-2);
    pub(crate) const MARSHALLING_ERROR: Code = Code(-5);
    pub(crate) const UNIMPLEMENTED: Code = Code(-6);
    pub(crate) const BAD_ARGUMENTS: Code = Code(-8);
    pub(crate) const NO_NODE: Code = Code(-101);
    pub(crate) const NO_AUTH: Code = Code(-102);
    pub(crate) const BAD_VERSION: Code = Code(-103);
    pub(crate) const NO_CHILDREN_FOR_EPHEMERALS: Code = Code(-108);
    pub(crate) const NODE_EXISTS: Code = Code(-110);
    pub(crate) const NOT_EMPTY: Code = Code(-111);
    pub(crate) const SESSION_EXPIRED: Code = Code(-112);
    pub(crate) const INVALID_ACL: Code = Code(-114);
    pub(crate) const AUTH_FAILED: Code = Code(-115);
    pub(crate) const NO_WATCHER: Code = Code(-121);
    pub(crate) const RECONFIG_DISABLED: Code = Code(-123);
    pub(crate) const QUOTA_EXCEEDED: Code = Code(-125);
    pub(crate) const THROTTLED: Code = Code(-127);

    /// The number clients know it by.
    pub(crate) fn number(self) -> i32 {
        self.0
    }

    /// The code with this number; for codes that travel in log entries.
    pub(crate) fn from_number(number: i32) -> Code {
        Code(number)
    }
}

/// How a request that the store did not carry out is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// By this code; nothing was done.
    Code(Code),
    /// By closing the connection, which every client reports as ConnectionLoss: the outcome is
    /// unknown. ZooKeeper has no code for that, and one that sounds like "nothing was done" would
    /// be a lie.
    Close,
}

/// The table.
pub(crate) fn answer(cause: &Cause) -> Answer {
    match cause.class {
        Class::Invalid => Answer::Code(Code::BAD_ARGUMENTS),
        Class::Denied => Answer::Code(Code::NO_AUTH),
        Class::Busy => Answer::Code(Code::THROTTLED),
        Class::Unsupported => Answer::Code(Code::UNIMPLEMENTED),
        Class::Corrupt | Class::Absent | Class::Exists => Answer::Code(Code::SYSTEM_ERROR),
        // A server without a quorum closes its connections too; the client looks for another one.
        Class::Unavailable { .. } | Class::Moved | Class::Conflict => Answer::Close,
        Class::Uncertain { .. } | Class::Bug => Answer::Close,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_is_never_told_as_a_failure() {
        assert_eq!(answer(&Cause::uncertain("the disk is slow")), Answer::Close);
        assert_eq!(answer(&Cause::busy("memory is short")), Answer::Code(Code::THROTTLED));
    }
}
