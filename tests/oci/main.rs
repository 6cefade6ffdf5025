//! donjon as engines use it: an OCI runtime.

mod cut_short;
mod exec;
mod hooks;
mod life;
mod limits;
mod namespaces;
mod refusals;
mod words;
