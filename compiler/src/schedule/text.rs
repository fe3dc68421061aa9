//! The text form of a schedule.
