//! Properties of the wire format, one module a subject.

mod bounds;
mod canonical;
mod samples;
mod signatures;
