//! Draws the halo2 circuit of a model: a pixel a cell, columns from left to right, rows from top to bottom.
//!
//! Cells that hold something for this network are bright, the rest of a column is dim; rows below the last are black. A
//! column is [`COLUMN`] pixels wide, and a picture of more than [`HEIGHT`] rows shows every few of them.

use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::{Context, Result};
use assay_circuits::halo2::{Layout, Wire};

use crate::models;

/// Pixels of a column.
const COLUMN: usize = 12;
/// Greatest height of a picture.
const HEIGHT: usize = 2048;

#[derive(clap::Args)]
pub struct Arguments {
    /// ONNX file, or one of mlp, lenet5, cnn264k, dense4m, mnist2m
    model: String,
    /// Picture to write [default: MODEL.png]
    #[arg(short, long)]
    output: Option<PathBuf>,
}

/// What a column is for, with its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Fixed,
    Instance,
    Output,
    Remainder,
    Excess,
    Distance,
    Maximum,
    Multiplicity,
    Second,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Fixed,
        Self::Instance,
        Self::Output,
        Self::Remainder,
        Self::Excess,
        Self::Distance,
        Self::Maximum,
        Self::Multiplicity,
        Self::Second,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Instance => "instance",
            Self::Output => "output and complement",
            Self::Remainder => "remainder and complement",
            Self::Excess => "excess",
            Self::Distance => "distances",
            Self::Maximum => "maximum",
            Self::Multiplicity => "multiplicities",
            Self::Second => "second phase",
        }
    }

    fn colour(self) -> [u8; 3] {
        match self {
            Self::Fixed => [150, 150, 150],
            Self::Instance => [240, 240, 240],
            Self::Output => [80, 170, 250],
            Self::Remainder => [80, 210, 130],
            Self::Excess => [240, 180, 60],
            Self::Distance => [230, 100, 90],
            Self::Maximum => [190, 120, 230],
            Self::Multiplicity => [90, 210, 210],
            Self::Second => [250, 130, 190],
        }
    }

    fn of(wire: Wire) -> Self {
        match wire {
            Wire::Output(_) | Wire::OutputComplement(_) => Self::Output,
            Wire::Remainder(_) | Wire::RemainderComplement(_) => Self::Remainder,
            Wire::Excess(_) => Self::Excess,
            Wire::Distance(..) => Self::Distance,
            Wire::Maximum => Self::Maximum,
            Wire::Multiplicity => Self::Multiplicity,
        }
    }

    /// Whether a cell of a column holds something; `quantises` is about its row.
    fn holds(self, layout: &Layout, row: usize, quantises: bool) -> bool {
        let unit = (1..=layout.units).contains(&row);
        match self {
            Self::Fixed | Self::Second => row <= layout.last,
            Self::Instance => unit || row == 0 || row == layout.last,
            Self::Output | Self::Remainder | Self::Excess => quantises,
            Self::Distance | Self::Maximum => unit,
            Self::Multiplicity => (1..=layout.shape.table()).contains(&row),
        }
    }
}

/// Draws and says what the colours mean.
pub fn run(arguments: Arguments) -> Result<bool> {
    let source = models::find(&arguments.model)?;
    let layout = Layout::new(&source.import()?.graph)?;
    let columns = columns(&layout);
    let path = arguments.output.unwrap_or_else(|| PathBuf::from(format!("{}.png", source.name)));
    let (width, height, pixels) = picture(&layout, &columns);
    let file = std::fs::File::create(&path).with_context(|| path.display().to_string())?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), u32::try_from(width)?, u32::try_from(height)?);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&pixels)?;

    println!("circuit  {} of 2^{} rows, {} in use", source.name, layout.k, layout.units);
    println!("limbs    of {} bits, {} taps a row", layout.shape.limb_bits, layout.shape.taps);
    for kind in Kind::ALL {
        let [r, g, b] = kind.colour();
        let count = columns.iter().filter(|column| **column == kind).count();
        println!("columns  {count:>3} {:24} #{r:02x}{g:02x}{b:02x}", kind.name());
    }
    println!("picture  {} ({width} x {height})", path.display());
    Ok(true)
}

/// Columns from left to right.
fn columns(layout: &Layout) -> Vec<Kind> {
    let mut columns = vec![Kind::Fixed; assay_circuits::halo2::circuit::FIXED_COLUMNS];
    columns.push(Kind::Instance);
    columns.extend(layout.shape.wires().into_iter().map(Kind::of));
    columns.extend(vec![Kind::Second; layout.shape.second_phase()]);
    columns
}

fn picture(layout: &Layout, columns: &[Kind]) -> (usize, usize, Vec<u8>) {
    let rows = 1usize << layout.k;
    let stride = rows.div_ceil(HEIGHT);
    let constants = layout.constants();
    let mut pixels = Vec::new();
    for row in (0..rows).step_by(stride) {
        let quantises = constants.get(row).is_some_and(|constants| constants.quantises);
        for kind in columns {
            let colour = match (row <= layout.last, kind.holds(layout, row, quantises)) {
                (_, true) => kind.colour(),
                (true, false) => kind.colour().map(|part| part / 4),
                (false, false) => [0; 3],
            };
            pixels.extend((1..COLUMN).flat_map(|_| colour));
            pixels.extend([0; 3]);
        }
    }
    (columns.len() * COLUMN, rows.div_ceil(stride), pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_a_pixel_for_every_cell_that_it_shows() {
        let layout = Layout::new(&assay_circuits::samples::convolution()).unwrap();
        let columns = columns(&layout);
        let (width, height, pixels) = picture(&layout, &columns);
        assert_eq!((width, height), (columns.len() * COLUMN, 1 << layout.k));
        assert_eq!(pixels.len(), width * height * 3);
        assert!(Kind::ALL.iter().all(|kind| columns.contains(kind)));
    }
}
