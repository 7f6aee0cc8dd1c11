//! The program as its users run it: processes, files, exit codes.

mod crash;
mod deploy;
mod devnet;
mod distrust;
mod epoch;
mod files;
mod network;
mod refusals;
mod support;
mod telemetry;
mod tokens;
