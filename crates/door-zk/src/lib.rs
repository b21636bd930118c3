//! The ZooKeeper door.
