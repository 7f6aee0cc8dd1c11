//! A proving key on a device.

use std::sync::Arc;

use ark_bn254::{G1Projective, g1, g2};
use assay_cuda_kernels::DeviceError;
use assay_cuda_kernels::msm::{G1, G2, Points, Scalars};
use assay_cuda_kernels::transform::Domain;

use super::key::ProvingKey;
use crate::backend::Accelerator;
use crate::bases::{Bases, elements, first_that_answers, total, upload};
use crate::column::{Part, on_device};
use crate::fft::Coset;

/// The points and roots of a key, copied once.
#[derive(Debug)]
pub struct Resident {
    accelerator: Arc<Accelerator>,
    lagrange1: Points<G1>,
    lagrange2: Points<G2>,
    l1: Points<G1>,
    l2: Points<G1>,
    quotient: Points<G1>,
    c_rows: Points<G1>,
    domain: Domain,
}

/// The points of a key, wherever they are.
#[derive(Clone)]
pub struct KeyBases<'a> {
    pub lagrange1: Bases<'a, g1::Config>,
    pub lagrange2: Bases<'a, g2::Config>,
    pub l1: Bases<'a, g1::Config>,
    pub l2: Bases<'a, g1::Config>,
    pub quotient: Bases<'a, g1::Config>,
    pub c_rows: Bases<'a, g1::Config>,
}

impl Resident {
    pub fn new(accelerator: &Arc<Accelerator>, key: &ProvingKey, coset: &Coset) -> Result<Self, DeviceError> {
        let gpu = accelerator.device()?;
        let (roots, shift) = coset.tables();
        Ok(Self {
            accelerator: Arc::clone(accelerator),
            lagrange1: upload(gpu, &key.lagrange1)?,
            lagrange2: upload(gpu, &key.lagrange2)?,
            l1: upload(gpu, &key.l1)?,
            l2: upload(gpu, &key.l2)?,
            quotient: upload(gpu, &key.quotient)?,
            c_rows: upload(gpu, &key.c_rows)?,
            domain: gpu.domain(&elements(&roots), &elements(shift))?,
        })
    }

    pub fn accelerator(&self) -> &Arc<Accelerator> {
        &self.accelerator
    }
}

/// `sum_j d_j Q_j` with `D = A B` on the coset, from the values of `A` and `B` on the domain; the values themselves and those
/// between never leave the device.
pub fn quotient(devices: &[&Resident], size: usize, a: &[Part<'_>], b: &[Part<'_>]) -> Option<G1Projective> {
    let sums = first_that_answers(
        devices,
        |device| &device.accelerator,
        |device, gpu| {
            let extended = |column| gpu.extend(&device.domain, &on_device(gpu, size, column)?);
            let (mut product, other) = (extended(a)?, extended(b)?);
            gpu.multiply_elements(&mut product, &other)?;
            gpu.msm(&device.quotient, 0..size, Scalars::Field(&product))
        },
    )?;
    Some(total(&sums))
}

impl<'a> KeyBases<'a> {
    pub fn new(key: &'a ProvingKey, devices: &[&'a Resident]) -> Self {
        macro_rules! bases {
            ($($name:ident),*) => {
                Self { $($name: Bases::new(&key.$name, devices.iter().map(|r| (&*r.accelerator, &r.$name)))),* }
            };
        }
        bases!(lagrange1, lagrange2, l1, l2, quotient, c_rows)
    }
}
