//! The authority room.
