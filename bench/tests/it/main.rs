//! The program as its users run it.

mod demo;
mod load;
mod prove;
