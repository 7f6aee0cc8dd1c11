//! Integration tests of the validator, in one binary.

mod application;
mod broker;
mod byzantine;
mod crash;
mod network;
mod operations;
mod outages;
mod services;
mod store;
mod support;
