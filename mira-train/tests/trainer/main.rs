//! `mira-train` as its users meet it, and its parts beside other programs' results. What injects faults, or counts allocations, is a binary of its own.

mod assign;
mod compare;
mod data;
mod fetch;
mod nn;
mod objective;
mod optim;
mod recipe;
mod run;
