//! donjon as engines use it: an OCI runtime.

mod agent;
mod cut_short;
mod exec;
mod hooks;
mod life;
mod limits;
mod linux_fields;
mod mount_options;
mod namespaces;
mod process_fields;
mod refusals;
mod words;
