//! Text form of a graph.
