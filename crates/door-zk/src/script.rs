//! What clients say and hear, as text: the language of the stories in `tests/golden/`.
//!
//! [`requests`] turns the words of a command into a request, [`replies`] a message into a line,
//! [`Talk`] is a client between the two, and [`Stage`] plays whole scripts on a server, however it
//! is reached. Only tests and programs that compare servers need it: it is compiled for this
//! crate's tests and with the feature `script`.

mod explained;
pub mod replies;
pub mod requests;
mod stage;
mod talk;

pub use explained::{has_hung_up, is_explained};
pub use replies::{Names, Plain};
pub use stage::{Block, Part, Scene, Stage, Wire, parse, print};
pub use talk::{Heard, Kind, Misheard, Talk, Ticket};
