//! A column of field elements, one a row of the constraint system, in the form that takes least room: most rows hold small
//! integers, or one of few field elements. The processor makes the elements, or a device from what is copied to it.

use ark_bn254::Fr;
use ark_ff::AdditiveGroup;
use assay_cuda_kernels::transform::{self, Elements};
use assay_cuda_kernels::{DeviceError, Gpu};

use crate::bases::elements;

/// Some rows one after another.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// Their elements.
    Field(&'a [Fr]),
    /// Small integers, and what is added to each.
    Small(&'a [i64], Fr),
    /// Some of these elements, by their places.
    Chosen(&'a [u32], &'a [Fr]),
}

/// All of `size` rows: those of the parts, then zeros.
pub fn on_processor(size: usize, parts: &[Part<'_>]) -> Vec<Fr> {
    let mut column = Vec::with_capacity(size);
    for part in parts {
        match *part {
            Part::Field(values) => column.extend_from_slice(values),
            Part::Small(values, added) => column.extend(values.iter().map(|&value| Fr::from(value) + added)),
            Part::Chosen(places, values) => column.extend(places.iter().map(|&place| values[place as usize])),
        }
    }
    debug_assert!(column.len() <= size, "the parts are rows of the system");
    column.resize(size, Fr::ZERO);
    column
}

/// The same on a device.
pub fn on_device(gpu: &Gpu, size: usize, parts: &[Part<'_>]) -> Result<Elements, DeviceError> {
    let words: Vec<_> = parts
        .iter()
        .map(|part| match part {
            Part::Field(values) | Part::Chosen(_, values) => elements(values),
            Part::Small(_, added) => elements(&[*added]),
        })
        .collect();
    let parts: Vec<_> = parts
        .iter()
        .zip(&words)
        .map(|(part, words)| match *part {
            Part::Field(_) => transform::Part::Elements(words),
            Part::Small(values, _) => transform::Part::Small(values, words[0]),
            Part::Chosen(places, _) => transform::Part::Chosen(places, words),
        })
        .collect();
    gpu.column(size, &parts)
}
