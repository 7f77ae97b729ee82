//! The apiserver room.
