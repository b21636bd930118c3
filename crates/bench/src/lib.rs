//! Load programs and figures, beside the peers.
