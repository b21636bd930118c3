//! The Cassandra door: CQL native protocol v4.

mod bind;
mod exec;
mod lang;
mod types;
