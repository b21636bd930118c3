//! The ground everybody stands on: identifiers, time values, order-preserving keys, cells and
//! their merge rule, and [`Cause`], the one error language between rooms.
//!
//! Nothing here does I/O, reads a clock or draws entropy; everything is a value.

mod cause;
mod cell;
mod codec;
mod hlc;
mod ids;
pub mod keys;
mod mutation;
mod rows;
mod token;

pub use cause::{Cause, Class};
pub use cell::{Cell, CellView, NO_TIMESTAMP};
pub use codec::{Malformed, Reader, Writer};
pub use hlc::Hlc;
pub use ids::{ColumnId, GroupId, NodeId, Position, SpaceId, StreamId, TableId};
pub use mutation::{Bound, Change, MAX_CLUSTERING_KEY_BYTES, MAX_PARTITION_KEY_BYTES, Mutation};
pub use rows::{Page, PartitionRows, Place, Row, Selection, Slice};
pub use token::{MAX_TOKEN, MIN_TOKEN, Token, token_of};
