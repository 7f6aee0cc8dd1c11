//! What single steps cost, on small models. A name is `area::operation/key=value`; where arkworks computes the same,
//! `by=` says whose routine it is.

#[path = "steps/fft.rs"]
mod fft;
#[path = "steps/models.rs"]
mod models;
#[path = "steps/msm.rs"]
mod msm;
#[path = "steps/proof.rs"]
mod proof;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

/// Few samples, so that all of them take two minutes.
fn brief() -> Criterion {
    Criterion::default()
        .without_plots()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! {
    name = steps;
    config = brief();
    targets = msm::g1, msm::g2, fft::extend, proof::prove, proof::verify
}
criterion_main!(steps);
