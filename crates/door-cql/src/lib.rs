//! The Cassandra door: CQL native protocol v4.
