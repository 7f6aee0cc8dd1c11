//! Integration tests of the validator, in one binary.

mod application;
mod broker;
mod byzantine;
mod crash;
mod joining;
mod network;
mod operations;
mod outages;
mod records;
mod retention;
mod services;
mod simulation;
mod snapshot;
mod store;
mod subnets;
mod support;
