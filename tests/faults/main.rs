//! Everything that can go wrong while a container starts, made to go wrong.

mod bundles;
mod killed;
mod machine;
mod steps;
