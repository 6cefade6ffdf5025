//! Everything that can go wrong while a container starts, made to go wrong.

mod killed;
mod machine;
mod steps;
