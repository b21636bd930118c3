//! From a consistency level to a number of replicas.

use store::Consistency;

/// Replicas that must confirm, of `factor`. There is one datacenter so far, so the local levels
/// count as their plain ones.
pub(crate) fn required(consistency: Consistency, factor: u32) -> u32 {
    let majority = core_quorum::majority(factor as usize) as u32;
    match consistency {
        Consistency::Any | Consistency::One | Consistency::LocalOne => 1,
        Consistency::Two => 2,
        Consistency::Three => 3,
        Consistency::All => factor,
        Consistency::Quorum | Consistency::LocalQuorum | Consistency::EachQuorum => majority,
        Consistency::Serial | Consistency::LocalSerial => majority,
    }
}

/// Whether reads at this level take part in Paxos.
pub(crate) fn is_serial(consistency: Consistency) -> bool {
    matches!(consistency, Consistency::Serial | Consistency::LocalSerial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majorities_overlap_and_all_is_all() {
        for factor in 1..=7 {
            let quorum = required(Consistency::Quorum, factor);
            assert!(quorum * 2 > factor && quorum <= factor);
            assert_eq!(required(Consistency::All, factor), factor);
            assert_eq!(required(Consistency::LocalOne, factor), 1);
        }
    }
}
