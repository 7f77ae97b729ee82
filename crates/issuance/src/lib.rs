//! The issuance room.
