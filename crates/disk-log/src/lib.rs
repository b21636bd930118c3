//! The one write-ahead log of a disk.
