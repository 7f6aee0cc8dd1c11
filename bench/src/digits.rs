//! Real handwritten digits that no model was trained on.

use std::fs::File;

use anyhow::{Context, Result, ensure};
use assay_circuits::ir::{Port, elements};
use ndarray::{Array1, Axis};
use ndarray_npy::NpzReader;

use crate::models;

/// An image and what it shows.
#[derive(Clone, Debug)]
pub struct Digit {
    /// Integers of the model's input port.
    pub input: Vec<i32>,
    /// The digit that a person wrote.
    pub label: i64,
}

/// The held-out digits as inputs of a model's port.
pub fn load(port: &Port) -> Result<Vec<Digit>> {
    let path = models::file("digits.npz");
    let name = || path.display().to_string();
    let images = models::images(&path)?;
    let labels: Array1<i64> = NpzReader::new(File::open(&path).with_context(name)?)
        .with_context(name)?
        .by_name("label")
        .with_context(name)?;
    let pixels = images.len() / labels.len().max(1);
    let expected = elements(&port.shape);
    ensure!(expected == pixels, "the model takes {expected} values, a digit has {pixels}");
    let digits = images.axis_iter(Axis(0)).zip(&labels).map(|(image, &label)| Digit {
        input: image.iter().map(|&pixel| port.quant.quantize(pixel)).collect(),
        label,
    });
    Ok(digits.collect())
}

/// The position of the greatest value.
pub fn answer(outputs: &[Vec<i32>]) -> Option<usize> {
    let scores = outputs.first()?;
    (0..scores.len()).rev().max_by_key(|&class| scores.get(class))
}
