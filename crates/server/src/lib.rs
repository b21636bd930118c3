//! The holdfast binary: settings, wiring, health.
