//! Statements carried out over a model store.
