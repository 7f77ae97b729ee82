//! The resources room.
