//! The merge tree; so far its memtable.
