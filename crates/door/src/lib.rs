//! The kit of every door: listener, admission, metrics.
