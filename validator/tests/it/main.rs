//! Integration tests of the validator, in one binary.

mod application;
mod broker;
mod byzantine;
mod challenges;
mod crash;
mod joining;
mod memory;
mod network;
mod one_key;
mod operations;
mod outages;
mod records;
mod retention;
mod rotation;
mod services;
mod simulation;
mod snapshot;
mod store;
mod subnets;
mod support;
