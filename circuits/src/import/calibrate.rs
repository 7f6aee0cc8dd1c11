//! Calibration data: what the inputs look like, and the range of every activation on them.

use super::network::Network;
use super::source::Input;
use super::tensor::Type;
use super::{Options, Samples, types};
use crate::error::ModelError;
use crate::ir::{Port, QuantParams, Shape, elements};

/// Samples that ranges are taken from.
const SAMPLES: usize = 256;
/// Samples drawn where no data is given.
const SYNTHETIC: usize = 32;
/// Elements of all activations of all samples together.
const ELEMENTS: usize = 1 << 26;
/// Multiply-accumulates and comparisons of one sample.
const SAMPLE_WORK: usize = 1 << 34;
/// The same of all samples together, unless a few samples take more.
const WORK: usize = 1 << 32;
/// Samples that are taken whatever the work.
const FEW: usize = 4;

/// A batch for every port: `[port][sample][element]`.
pub type Batch = Vec<Vec<Vec<f64>>>;

/// The calibration batch: evenly spaced samples of the data given, or uniform ones from the declared range.
pub fn batch(network: &Network, inputs: &[Input], options: &Options) -> Result<Batch, ModelError> {
    let limit = |what: &str, got: usize, limit: usize| match got <= limit {
        true => Ok(()),
        false => Err(ModelError::Limit { what: what.into(), got: got as u64, limit: limit as u64 }),
    };
    limit("number of activations", network.elements(), ELEMENTS)?;
    limit("number of multiply-accumulates and comparisons", network.work(), SAMPLE_WORK)?;
    let room = ELEMENTS / network.elements().max(1);
    let most = (WORK / network.work()).max(FEW).min(room);
    if options.calibration.is_empty() {
        let (lo, hi) = options.range;
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut draw = || f64::from(lo) + uniform(&mut state) * (f64::from(hi) - f64::from(lo));
        let sample = |n: usize, draw: &mut dyn FnMut() -> f64| (0..n).map(|_| draw()).collect::<Vec<f64>>();
        let port = |input: &Input| {
            let mut values: Vec<Vec<f64>> =
                (0..SYNTHETIC.min(most)).map(|_| sample(elements(&input.shape), &mut draw)).collect();
            if input.r#type != Type::Float {
                values.iter_mut().flatten().for_each(|v| *v = v.round());
            }
            values
        };
        return Ok(inputs.iter().map(port).collect());
    }
    let names = inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>().join(", ");
    let belongs = |samples: &Samples, name: &str| match &samples.name {
        Some(other) => other == name,
        None => inputs.len() == 1,
    };
    if let Some(other) =
        options.calibration.iter().find(|s| !inputs.iter().any(|input| belongs(s, &input.name)))
    {
        let got = other.name.as_deref().map_or("an array without a name".into(), |name| format!("{name:?}"));
        return Err(fail("calibration data", format!("arrays named like the inputs ({names})"), got));
    }
    let mut batch: Batch = Vec::new();
    for Input { name, shape, .. } in inputs {
        let Some(samples) = options.calibration.iter().find(|samples| belongs(samples, name)) else {
            return Err(fail(name, "calibration data of that name".into(), "none".into()));
        };
        batch.push(spaced(name, shape, samples, SAMPLES.min(most))?);
    }
    let counts: Vec<usize> = batch.iter().map(Vec::len).collect();
    match counts.iter().find(|&&count| count != counts[0]) {
        Some(count) => Err(fail("all", format!("{} samples for every input", counts[0]), count.to_string())),
        None => Ok(batch),
    }
}

/// Keeps the first samples of a batch.
pub fn first(batch: &Batch, samples: usize) -> Batch {
    batch.iter().map(|port| port[..samples.min(port.len())].to_vec()).collect()
}

/// Integer types of the inputs: bytes where all values are multiples of 1/255 in [0, 1], the integers themselves
/// where they are small ones, else as many bits as the options say, unsigned where nothing is negative. Where the options
/// say nothing and the network is not `plain`, numbers that are mostly small have more.
pub fn ports(inputs: &[Input], batch: &Batch, options: &Options, plain: bool) -> Vec<Port> {
    let bits = options.input_bits.unwrap_or(if plain { 10 } else { 16 });
    let exact = plain || options.input_bits.is_some();
    let synthetic = options.calibration.is_empty();
    let port = |(input, samples): (&Input, &Vec<Vec<f64>>)| {
        let values = || samples.iter().flatten().copied();
        let quant = match (input.r#type, synthetic) {
            (Type::Float, true) => declared(options, bits),
            (Type::Float, false) if exact => observed(values, bits),
            (Type::Float, false) => observed(values, types::resolving(samples, bits)),
            (Type::Int | Type::Bool, _) => whole(values),
        };
        Port::public(input.name.clone(), input.shape.clone(), quant)
    };
    inputs.iter().zip(batch).map(port).collect()
}

/// The narrowest type in steps of 1 that holds whole numbers; of what is wider than 16 bits, the part that fits.
fn whole<I: Iterator<Item = f64>>(values: impl Fn() -> I) -> QuantParams {
    let types = (8..=16).flat_map(|bits| [type_of(false, bits), type_of(true, bits)]);
    let holds =
        |quant: &QuantParams| values().all(|v| (f64::from(quant.lo)..=f64::from(quant.hi)).contains(&v));
    types.into_iter().find(holds).unwrap_or(type_of(values().any(|v| v < 0.0), 16))
}

fn declared(options: &Options, bits: u8) -> QuantParams {
    let (lo, hi) = (f64::from(options.range.0), f64::from(options.range.1));
    if (lo, hi) == (0.0, 1.0) { BYTES } else { fitted(lo, hi, bits) }
}

fn observed<I: Iterator<Item = f64>>(values: impl Fn() -> I, bits: u8) -> QuantParams {
    // A float32 pixel is within half a unit in the last place of a multiple of 1/255.
    let is_byte = |v: f64| (0.0..=1.0).contains(&v) && (v * 255.0 - (v * 255.0).round()).abs() < 1e-4;
    if values().all(is_byte) {
        return BYTES;
    }
    let most = f64::from(type_of(false, 16).hi);
    if values().all(|v| v.fract() == 0.0 && v.abs() <= most) {
        return whole(values);
    }
    let (lo, hi) = values().fold((0f64, 0f64), |(lo, hi), v| (lo.min(v), hi.max(v)));
    fitted(lo, hi, bits)
}

const BYTES: QuantParams = QuantParams { scale: 1.0 / 255.0, lo: 0, hi: 255 };

/// The type of `bits` bits that holds `lo..=hi` with zero point 0.
fn fitted(lo: f64, hi: f64, bits: u8) -> QuantParams {
    let quant = type_of(lo < 0.0, bits);
    let reach = hi.max(-lo);
    let scale = if reach > 0.0 { reach / f64::from(quant.hi) } else { 1.0 };
    QuantParams { scale, ..quant }
}

/// Integers of `bits` bits in steps of 1.
fn type_of(signed: bool, bits: u8) -> QuantParams {
    let (lo, hi) = if signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
    QuantParams { scale: 1.0, lo, hi }
}

fn spaced(name: &str, shape: &Shape, data: &Samples, most: usize) -> Result<Vec<Vec<f64>>, ModelError> {
    let size = elements(shape);
    let Some((count, _)) = samples(&data.shape, shape) else {
        return Err(fail(
            name,
            format!("shape {shape:?} or a batch of it"),
            format!("shape {:?}", data.shape),
        ));
    };
    if data.values.len() != count * size {
        return Err(fail(name, format!("{} values", count * size), data.values.len().to_string()));
    }
    if let Some(value) = data.values.iter().find(|v| !v.is_finite()) {
        return Err(fail(name, "finite values".into(), value.to_string()));
    }
    let taken = count.min(most);
    let sample = |index: usize| {
        let start = index * count / taken * size;
        data.values[start..start + size].iter().map(|&v| f64::from(v)).collect()
    };
    Ok((0..taken).map(sample).collect())
}

/// How many samples of a port an array holds, and whether it is a batch: its shape is the port's, with or without
/// leading 1, or a batch of those along axis 0. A port that is one long vector takes samples of any shape.
pub fn samples(array: &[usize], port: &[u32]) -> Option<(usize, bool)> {
    let port: Vec<usize> = port.iter().map(|&d| d as usize).collect();
    let inner = port.strip_prefix(&[1]).unwrap_or(&port);
    let size: usize = port.iter().product();
    if array == port || array == inner {
        return Some((1, false));
    }
    let (&count, sample) = array.split_first()?;
    let vector = inner.len() == 1 && sample.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) == Some(size);
    (count > 0 && (sample == port || sample == inner || vector)).then_some((count, true))
}

/// The next of a fixed sequence (splitmix64) of numbers in [0, 1).
pub fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as u32 as f64 / 4294967296.0
}

fn fail(port: &str, expected: String, got: String) -> ModelError {
    ModelError::Input { port: port.into(), expected, got }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_the_ports_shape_with_or_without_leading_one() {
        let image = [1, 3, 4, 5];
        assert_eq!(samples(&[1, 3, 4, 5], &image), Some((1, false)));
        assert_eq!(samples(&[3, 4, 5], &image), Some((1, false)));
        assert_eq!(samples(&[7, 3, 4, 5], &image), Some((7, true)));
        assert_eq!(samples(&[7, 1, 3, 4, 5], &image), Some((7, true)));
        for wrong in [&[7, 4, 5, 3][..], &[60], &[7, 60], &[2, 7, 3, 4, 5], &[0, 3, 4, 5], &[]] {
            assert_eq!(samples(wrong, &image), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_vector_takes_samples_of_any_shape_and_nothing_else_does() {
        assert_eq!(samples(&[9, 1, 28, 28], &[1, 784]), Some((9, true)));
        assert_eq!(samples(&[784], &[1, 784]), Some((1, false)));
        assert_eq!(samples(&[9, 1, 28, 27], &[1, 784]), None);
        assert_eq!(samples(&[usize::MAX, usize::MAX, 2], &[1, 784]), None);
    }

    #[test]
    fn multiples_of_one_255th_are_bytes_and_everything_else_is_fitted() {
        let quant = |values: &[f64]| observed(|| values.iter().copied(), 10);
        assert_eq!(quant(&[0.0, f64::from(37f32 / 255.0), 1.0]), BYTES);
        let unsigned = quant(&[0.0, 0.3, 2.0]);
        assert_eq!((unsigned.lo, unsigned.hi, unsigned.scale), (0, 1023, 2.0 / 1023.0));
        let signed = quant(&[-4.0, 0.3, 2.0]);
        assert_eq!((signed.lo, signed.hi, signed.scale), (-512, 511, 4.0 / 511.0));
    }

    #[test]
    fn small_integers_are_kept_as_they_are() {
        let quant = |values: &[f64]| observed(|| values.iter().copied(), 10);
        assert_eq!(quant(&[0.0, 7.0, 255.0]), QuantParams { scale: 1.0, lo: 0, hi: 255 });
        assert_eq!(quant(&[-3.0, 127.0]), QuantParams { scale: 1.0, lo: -128, hi: 127 });
        assert_eq!(quant(&[-3.0, 128.0]), QuantParams { scale: 1.0, lo: -256, hi: 255 });
        assert_eq!(quant(&[0.0, 2047.0]), QuantParams { scale: 1.0, lo: 0, hi: 2047 });
        assert_eq!(quant(&[0.0, 65535.0]), QuantParams { scale: 1.0, lo: 0, hi: 65535 });
        assert!(quant(&[0.0, 65536.0]).scale > 1.0);
        assert!(quant(&[0.0, 2.5]).scale < 1.0);
    }

    #[test]
    fn an_input_that_is_always_zero_has_a_type() {
        assert_eq!(fitted(0.0, 0.0, 8), QuantParams { scale: 1.0, lo: 0, hi: 255 });
    }

    #[test]
    fn drawn_samples_fill_the_declared_range_and_are_the_same_every_time() {
        let network =
            Network { inputs: vec![("x".into(), vec![50])], layers: Vec::new(), outputs: Vec::new() };
        let inputs = [Input { name: "x".into(), shape: vec![50], r#type: Type::Float }];
        let options = Options { range: (-3.0, 5.0), ..Options::default() };
        let drawn = batch(&network, &inputs, &options).unwrap();
        assert_eq!(drawn, batch(&network, &inputs, &options).unwrap());
        let (lo, hi) = drawn[0].iter().flatten().fold((0f64, 0f64), |(lo, hi), &v| (lo.min(v), hi.max(v)));
        assert!((-3.0..-2.9).contains(&lo) && (4.9..5.0).contains(&hi), "{lo} {hi}");
    }
}
