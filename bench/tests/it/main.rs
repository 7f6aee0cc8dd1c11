//! The program as its users run it.

mod demo;
mod gpu;
mod load;
mod prove;
mod results;
