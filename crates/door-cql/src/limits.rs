//! Bounds of this door beside those of every door ([`door::Limits`]).

/// Memory that a request in flight takes beside the bytes of its frame, as it is counted: decoded
/// values, the entry in a queue, the task of a scan. Small requests are the ones this is for; a
/// client could have a hundred thousand of them in the bytes of one large frame.
pub(crate) const REQUEST_OVERHEAD_BYTES: usize = 2048;

/// Bytes of the largest frame that [`crate::Settings::max_frame_bytes`] may allow: what the
/// protocol allows at most.
pub(crate) const FRAME_BYTES_CEILING: usize = 256 << 20;

/// Requests without an answer on one connection, above which nothing more is read from it until
/// some are answered: TCP slows the client down, which costs it nothing but the wait. More than a
/// client needs to keep the log busy; fewer than would let one that does not read its answers
/// have thousands of them made.
pub(crate) const REQUESTS_PER_CONNECTION: usize = 2048;

/// Prepared statements kept, and the bytes of their texts. The least recently used are forgotten
/// first; a client that executes a forgotten one is told to prepare it again.
pub(crate) const PREPARED_STATEMENTS: usize = 10_000;
/// See [`PREPARED_STATEMENTS`].
pub(crate) const PREPARED_BYTES: usize = 16 << 20;

/// Bytes of texts kept with their plans for clients that do not prepare. A plan takes some tens of
/// times its text.
pub(crate) const TEXTS_BYTES: usize = 1 << 20;
/// Bytes of the longest text that is kept: a longer one hardly comes twice.
pub(crate) const TEXT_BYTES: usize = 4 << 10;
