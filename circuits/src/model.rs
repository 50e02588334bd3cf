//! The committed model: a checked graph, its weights, its canonical bytes and its id.
