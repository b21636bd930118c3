//! Leaderless reads, writes and Paxos rounds as pure state machines.
