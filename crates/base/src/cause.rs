//! [`Cause`]: why something did not happen, in the words callers act on.
//!
//! A room keeps its own error enum for what only it can mend. What crosses a floor becomes a
//! `Cause`: a [`Class`] that says what the caller may do next, and a sentence for a person.
//! Each door has one table from `Class` to its protocol's errors.

use std::{borrow::Cow, fmt};

/// What a caller may do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The request is wrong and stays wrong.
    Invalid,
    /// The principal may not do this.
    Denied,
    /// What the request names does not exist.
    Absent,
    /// What the request would make exists already.
    Exists,
    /// Another request came between; try again.
    Conflict,
    /// Not now: a budget (memory, disk, queue) is used up. Nothing was done.
    Busy,
    /// Too few replicas are alive to begin. Nothing was done.
    Unavailable {
        /// Replicas the request needs.
        required: u32,
        /// Replicas known to be alive.
        alive: u32,
    },
    /// Another node answers for this.
    Moved,
    /// It may or may not have happened, and may still happen.
    Uncertain {
        /// Replicas that confirmed in time.
        received: u32,
        /// Replicas the request needs.
        required: u32,
    },
    /// Stored bytes failed their check.
    Corrupt,
    /// This feature is not there yet.
    Unsupported,
    /// A broken promise of our own.
    Bug,
}

/// A failure: its class and a sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What the caller may do.
    pub class: Class,
    /// What happened, for a person; no trailing full stop.
    pub message: Cow<'static, str>,
}

impl Cause {
    /// A cause of `class` told as `message`.
    pub fn new(class: Class, message: impl Into<Cow<'static, str>>) -> Cause {
        Cause { class, message: message.into() }
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Cause {
        Cause::new(Class::Invalid, message)
    }

    /// Something named does not exist.
    pub fn absent(message: impl Into<Cow<'static, str>>) -> Cause {
        Cause::new(Class::Absent, message)
    }

    /// Something to be made exists already.
    pub fn exists(message: impl Into<Cow<'static, str>>) -> Cause {
        Cause::new(Class::Exists, message)
    }

    /// A budget is used up; nothing was done.
    pub fn busy(message: impl Into<Cow<'static, str>>) -> Cause {
        Cause::new(Class::Busy, message)
    }

    /// The outcome is unknown.
    pub fn uncertain(message: impl Into<Cow<'static, str>>) -> Cause {
        Cause::new(Class::Uncertain { received: 0, required: 1 }, message)
    }

    /// Stored bytes failed their check.
    pub fn corrupt(message: impl Into<Cow<'static, str>>) -> Cause {
        Cause::new(Class::Corrupt, message)
    }

    /// Not there yet.
    pub fn unsupported(message: impl Into<Cow<'static, str>>) -> Cause {
        Cause::new(Class::Unsupported, message)
    }

    /// A broken promise of our own.
    pub fn bug(message: impl Into<Cow<'static, str>>) -> Cause {
        Cause::new(Class::Bug, message)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Cause {}
