//! From what went wrong inside to what the protocol says about it: one table.
//!
//! Drivers act on the code and its numbers: a timeout with enough replicas is retried by some, an
//! overload is sent to another node, an invalid statement is never sent again. So a class that
//! means "it may have happened" must never become a code that means "it did not".

use base::{Cause, Class};
use store::Consistency;

use crate::{
    bind::{CqlError, Doing},
    wire::response::{Failure, Fault, WriteType},
};

/// The ERROR of a failed statement.
pub(crate) fn failure(error: CqlError) -> Failure {
    match error {
        CqlError::Syntax(message) => Failure::new(Fault::Syntax, message),
        CqlError::Invalid(message) => Failure::new(Fault::Invalid, message),
        CqlError::Config(message) => Failure::new(Fault::Config, message),
        CqlError::Unauthorized(message) => Failure::new(Fault::Unauthorized, message),
        CqlError::Protocol(message) => Failure::new(Fault::Protocol, message),
        CqlError::AlreadyExists { message, keyspace, table } => {
            Failure::new(Fault::AlreadyExists { keyspace, table }, message)
        }
        CqlError::Store { cause, doing, consistency } => store_failure(cause, doing, consistency),
    }
}

fn store_failure(cause: Cause, doing: Doing, consistency: Consistency) -> Failure {
    // Once begun it has one error, and may be repeated without harm.
    let begun = matches!(cause.class, Class::Unavailable { .. } | Class::Uncertain { .. } | Class::Conflict);
    if doing == Doing::Truncate && begun {
        return Failure::new(Fault::Truncate, format!("Error during truncate: {}", cause.message));
    }
    let fault = match cause.class {
        Class::Invalid | Class::Absent | Class::Unsupported | Class::Exists => Fault::Invalid,
        Class::Denied => Fault::Unauthorized,
        // Nothing was done, and the same request may do better at another node or later.
        Class::Busy | Class::Moved => Fault::Overloaded,
        Class::Unavailable { required, alive } => Fault::Unavailable { consistency, required, alive },
        Class::Uncertain { received, required } => timeout(doing, consistency, received, required),
        // Conditional writes that come between each other: as in Cassandra, where a proposer that
        // loses too often cannot say whether its round was finished by another.
        Class::Conflict => timeout(doing, consistency, 0, 1),
        Class::Corrupt => match doing {
            Doing::Read => Fault::ReadFailure { consistency, received: 0, required: 1, failures: 1 },
            Doing::Write | Doing::Cas => {
                let write_type = write_type(doing);
                Fault::WriteFailure { consistency, received: 0, required: 1, failures: 1, write_type }
            }
            Doing::Define | Doing::Truncate => Fault::Server,
        },
        Class::Bug => Fault::Server,
    };
    let message = match cause.class {
        Class::Unavailable { .. } => {
            format!("Cannot achieve consistency level {}", name_of(consistency)).into()
        }
        _ => cause.message,
    };
    Failure { message, fault }
}

/// A consistency level as Cassandra writes it.
fn name_of(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Any => "ANY",
        Consistency::One => "ONE",
        Consistency::Two => "TWO",
        Consistency::Three => "THREE",
        Consistency::Quorum => "QUORUM",
        Consistency::All => "ALL",
        Consistency::LocalQuorum => "LOCAL_QUORUM",
        Consistency::EachQuorum => "EACH_QUORUM",
        Consistency::Serial => "SERIAL",
        Consistency::LocalSerial => "LOCAL_SERIAL",
        Consistency::LocalOne => "LOCAL_ONE",
    }
}

fn timeout(doing: Doing, consistency: Consistency, received: u32, required: u32) -> Fault {
    match doing {
        // With `data_present` no driver takes it for a digest that arrived without its data.
        Doing::Read => Fault::ReadTimeout { consistency, received, required, data_present: received > 0 },
        Doing::Write | Doing::Cas => {
            Fault::WriteTimeout { consistency, received, required, write_type: write_type(doing) }
        }
        // The protocol has no timeout for definitions; drivers do not repeat after this one.
        Doing::Define | Doing::Truncate => Fault::Server,
    }
}

fn write_type(doing: Doing) -> WriteType {
    match doing {
        Doing::Cas => WriteType::Cas,
        Doing::Read | Doing::Write | Doing::Define | Doing::Truncate => WriteType::Simple,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Class; 12] = [
        Class::Invalid,
        Class::Denied,
        Class::Absent,
        Class::Exists,
        Class::Conflict,
        Class::Busy,
        Class::Unavailable { required: 2, alive: 1 },
        Class::Moved,
        Class::Uncertain { received: 1, required: 2 },
        Class::Corrupt,
        Class::Unsupported,
        Class::Bug,
    ];

    fn fault(class: Class, doing: Doing) -> Fault {
        let cause = Cause::new(class, "why");
        failure(CqlError::Store { cause, doing, consistency: Consistency::Quorum }).fault
    }

    #[test]
    fn what_may_have_happened_is_never_told_as_not_done() {
        for doing in [Doing::Write, Doing::Cas] {
            for class in [Class::Uncertain { received: 1, required: 2 }, Class::Conflict] {
                assert!(matches!(fault(class, doing), Fault::WriteTimeout { .. }), "{class:?}");
            }
        }
        let cas = fault(Class::Uncertain { received: 0, required: 2 }, Doing::Cas);
        let consistency = Consistency::Quorum;
        assert_eq!(
            cas,
            Fault::WriteTimeout { consistency, received: 0, required: 2, write_type: WriteType::Cas }
        );
    }

    #[test]
    fn numbers_arrive_as_they_are() {
        let consistency = Consistency::Quorum;
        let unavailable = fault(Class::Unavailable { required: 2, alive: 1 }, Doing::Read);
        assert_eq!(unavailable, Fault::Unavailable { consistency, required: 2, alive: 1 });
        let timeout = fault(Class::Uncertain { received: 1, required: 2 }, Doing::Read);
        let expected = Fault::ReadTimeout { consistency, received: 1, required: 2, data_present: true };
        assert_eq!(timeout, expected);
    }

    #[test]
    fn only_what_is_safe_to_send_elsewhere_is_overload() {
        for class in ALL {
            let overload = matches!(fault(class, Doing::Write), Fault::Overloaded);
            assert_eq!(overload, matches!(class, Class::Busy | Class::Moved), "{class:?}");
        }
    }
}
