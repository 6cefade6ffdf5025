//! (opens here)
