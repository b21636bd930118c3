//! The spine: implements the waist over log, tree, Raft and quorums.
