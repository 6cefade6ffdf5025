//! donjon as root uses it: a range of ids is allocated, cgroups are there, and the program inside is still nobody.

mod audit;
mod cgroups;
mod events;
mod groups;
mod identity;
mod setup;
