//! Verifier of a graph.
