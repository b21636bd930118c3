//! The gate: the one place that decides whether a principal may do a thing.
//!
//! Every method of the waist takes a [`Permit`], and only [`Gate::permit`] makes one. Users, roles
//! and grants do not exist yet, so the gate lets everyone who could connect do everything
//! (doors listen on loopback unless `--insecure` is said); the *shape* is final, so that no call
//! site changes when the rules arrive.

use base::{Cause, GroupId, SpaceId, TableId};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Someone who connected to a door that asks for no credentials.
    Anonymous,
    /// The node itself (start-up, expiry, background work).
    Node,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// See data.
    Read,
    /// Change data.
    Write,
    /// Change definitions.
    Define,
}

/// What it is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Everything that exists (making a space).
    Cluster,
    /// A space and its definitions.
    Space(SpaceId),
    /// One table.
    Table(TableId),
    /// One Machine.
    Machine(GroupId),
}

/// Proof that the gate was asked: this action, on this target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    action: Action,
    target: Target,
}

impl Permit {
    /// Fails unless this permit is for `action` on `target`: a permit for one table opens no other.
    pub fn check(&self, action: Action, target: Target) -> Result<(), Cause> {
        if self.action == action && self.target == target {
            Ok(())
        } else {
            Err(Cause::bug(format!("a permit for {self:?} was shown for {action:?} on {target:?}")))
        }
    }
}

/// Decides.
#[derive(Debug, Default)]
pub struct Gate {
    _private: (),
}

impl Gate {
    /// A gate without users: everyone may do everything.
    pub fn open() -> Gate {
        Gate::default()
    }

    /// Whether `principal` may do `action` on `target`.
    pub fn permit(&self, principal: &Principal, action: Action, target: Target) -> Result<Permit, Cause> {
        match principal {
            Principal::Anonymous | Principal::Node => Ok(Permit { action, target }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_opens_one_thing() {
        let gate = Gate::open();
        let permit =
            gate.permit(&Principal::Anonymous, Action::Read, Target::Table(TableId(1))).expect("open");
        assert!(permit.check(Action::Read, Target::Table(TableId(1))).is_ok());
        assert!(permit.check(Action::Write, Target::Table(TableId(1))).is_err());
        assert!(permit.check(Action::Read, Target::Table(TableId(2))).is_err());
    }
}
