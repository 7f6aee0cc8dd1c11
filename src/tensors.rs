//! Tensors on disk: `.npy` files, and `.npz` archives of them, read for the ports of a model.
//!
//! A file holds one sample or a batch along axis 0. A value is a real number whatever its element type; NaN and
//! infinities are refused. Sizes are checked against the bytes that are there before anything is allocated.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use assay_circuits::import;
use assay_circuits::ir::{Port, elements};
use ndarray::{ArrayD, IxDyn};
use ndarray_npy::npy::header::Header;
use ndarray_npy::{ReadNpyExt, ReadableElement, WriteNpyExt};
use zip::ZipArchive;

use crate::output;

/// Bytes of a tensor file, and of everything that an archive holds.
const BYTES: usize = 1 << 30;
/// Bytes of the header of an array.
const HEADER: usize = 1024;
/// Arrays of an archive.
const ARRAYS: usize = 64;
/// Array of an archive that holds the right answers.
pub const LABELS: &str = "label";

/// An array of real numbers, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Values.
    pub values: Vec<f64>,
}

/// The arrays of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrays {
    /// A `.npy` file.
    One(Array),
    /// A `.npz` archive, by name.
    Named(BTreeMap<String, Array>),
}

/// Inputs of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// Real values: `[sample][port][element]`.
    pub samples: Vec<Vec<Vec<f32>>>,
    /// Whether the files held a batch, even one of a single sample.
    pub batch: bool,
    /// The right answers, one a sample, where an archive has them.
    pub labels: Option<Vec<i64>>,
}

/// Reads a `.npy` or `.npz` file.
pub fn read(path: &Path) -> Result<Arrays> {
    let bytes = output::read(path, BYTES)?;
    let arrays = if bytes.starts_with(b"PK") {
        archive(&bytes).map(Arrays::Named)
    } else {
        array(&bytes).map(Arrays::One)
    };
    arrays.with_context(|| path.display().to_string())
}

/// Writes real numbers as a `.npy` file of float32.
pub fn write(path: &Path, shape: &[usize], values: Vec<f32>) -> Result<()> {
    let array = ArrayD::from_shape_vec(IxDyn(shape), values)?;
    output::write(path, |file| Ok(array.write_npy(std::io::BufWriter::new(file))?))
}

/// Reads exactly one sample and quantises it; says on standard error if values had to be saturated.
pub fn sample(ports: &[Port], files: &[String]) -> Result<Vec<Vec<i32>>> {
    let inputs = inputs(ports, files)?;
    ensure!(inputs.samples.len() == 1, "expected one sample, got a batch of {}", inputs.samples.len());
    let (integers, saturated) = inputs.quantize(ports, 0);
    if saturated > 0 {
        eprintln!(
            "warning: {saturated} input values lie outside the range that the model was calibrated for"
        );
    }
    Ok(integers)
}

/// An output in JSON, as real numbers.
#[derive(Debug, serde::Serialize)]
pub struct OutputReport {
    /// Name of the port.
    pub name: String,
    /// Its shape.
    pub shape: Vec<u32>,
    /// Dequantised values, row-major.
    pub values: Vec<f32>,
    /// Position of the greatest value, the first of equal ones; none of a single value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argmax: Option<usize>,
}

/// Dequantises integers of output ports.
pub fn dequantized(ports: &[Port], outputs: &[Vec<i32>]) -> Vec<OutputReport> {
    let report = |(port, integers): (&Port, &Vec<i32>)| OutputReport {
        name: port.name.clone(),
        shape: port.shape.clone(),
        values: integers.iter().map(|&q| port.quant.dequantize(q)).collect(),
        argmax: (0..integers.len()).rev().max_by_key(|&place| integers[place]).filter(|_| integers.len() > 1),
    };
    ports.iter().zip(outputs).map(report).collect()
}

impl OutputReport {
    /// Values that a terminal gets to see.
    const SHOWN: usize = 16;

    /// One line for people.
    pub fn line(&self) -> String {
        let values: Vec<String> =
            self.values.iter().take(Self::SHOWN).map(|value| format!("{value:.4}")).collect();
        let more = if self.values.len() > Self::SHOWN { " .." } else { "" };
        let greatest = self.argmax.map_or_else(String::new, |place| format!(", greatest at {place}"));
        format!("{} {:?}: {}{more}{greatest}", self.name, self.shape, values.join(" "))
    }
}

/// Reads the inputs of a model with these ports: each of `files` is `FILE` or `PORT=FILE`.
pub fn inputs(ports: &[Port], files: &[String]) -> Result<Inputs> {
    let mut given: BTreeMap<String, Array> = BTreeMap::new();
    for file in files {
        let (name, path) = match file.split_once('=') {
            Some((name, path)) if ports.iter().any(|port| port.name == name) => (Some(name), path),
            _ => (None, file.as_str()),
        };
        let found = match (read(Path::new(path))?, name) {
            (Arrays::One(array), Some(name)) => BTreeMap::from([(name.to_owned(), array)]),
            (Arrays::One(array), None) => match ports {
                [port] => BTreeMap::from([(port.name.clone(), array)]),
                ports => bail!("{path}: the model has {} inputs, say which as NAME={path}", ports.len()),
            },
            (Arrays::Named(mut arrays), Some(name)) => {
                let array =
                    arrays.remove(name).with_context(|| format!("{path}: holds no array {name:?}"))?;
                BTreeMap::from([(name.to_owned(), array)])
            }
            (Arrays::Named(arrays), None) => arrays,
        };
        for (name, array) in found {
            ensure!(!given.contains_key(&name), "{path}: input {name:?} is given twice");
            given.insert(name, array);
        }
    }
    assemble(ports, given)
}

fn assemble(ports: &[Port], mut given: BTreeMap<String, Array>) -> Result<Inputs> {
    let (mut columns, mut batch) = (Vec::new(), false);
    for port in ports {
        let name = &port.name;
        let Some(array) = given.remove(name) else {
            let names = given.keys().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
            let others = if names.is_empty() { String::new() } else { format!(", only {names}") };
            bail!("input {name:?} is not given{others}");
        };
        let (count, is_batch) = import::samples(&array.shape, &port.shape).with_context(|| {
            format!("input {name:?}: expected shape {:?} or a batch of it, got {:?}", port.shape, array.shape)
        })?;
        batch |= is_batch;
        columns.push((count, reals(name, &array)?));
    }
    let count = columns.first().map_or(0, |(count, _)| *count);
    if let Some((port, (other, _))) = ports.iter().zip(&columns).find(|(_, (other, _))| *other != count) {
        bail!("input {:?}: expected {count} samples like the first input, got {other}", port.name);
    }
    let labels = given.remove(LABELS).map(|labels| integers(&labels, count)).transpose()?;
    let sample = |index: usize| {
        let port = |(port, (_, values)): (&Port, &(usize, Vec<f32>))| {
            let size = elements(&port.shape);
            values[index * size..(index + 1) * size].to_vec()
        };
        ports.iter().zip(&columns).map(port).collect()
    };
    Ok(Inputs { samples: (0..count).map(sample).collect(), batch, labels })
}

impl Inputs {
    /// The integers of a sample, and how many of its values lay outside their port's range and were saturated.
    pub fn quantize(&self, ports: &[Port], sample: usize) -> (Vec<Vec<i32>>, usize) {
        let mut saturated = 0;
        let port = |(port, values): (&Port, &Vec<f32>)| {
            let (lo, hi) = (f64::from(port.quant.lo) - 0.5, f64::from(port.quant.hi) + 0.5);
            let inside = |v: &f32| (lo..=hi).contains(&(f64::from(*v) / port.quant.scale));
            saturated += values.iter().filter(|v| !inside(v)).count();
            values.iter().map(|&v| port.quant.quantize(v)).collect()
        };
        (ports.iter().zip(&self.samples[sample]).map(port).collect(), saturated)
    }
}

/// An array's values as finite float32 numbers.
pub fn reals(name: &str, array: &Array) -> Result<Vec<f32>> {
    let real = |(index, &value): (usize, &f64)| {
        let narrow = value as f32;
        ensure!(
            narrow.is_finite(),
            "{name:?} holds {value:e} at element {index}, expected a finite float32 number"
        );
        Ok(narrow)
    };
    array.values.iter().enumerate().map(real).collect()
}

fn integers(array: &Array, count: usize) -> Result<Vec<i64>> {
    ensure!(
        array.values.len() == count,
        "{LABELS:?}: expected {count} labels, one a sample, got {}",
        array.values.len()
    );
    let integer = |value: &f64| {
        ensure!(value.fract() == 0.0 && value.abs() < 1e15, "{LABELS:?} holds {value}, expected an integer");
        Ok(*value as i64)
    };
    array.values.iter().map(integer).collect()
}

fn archive(bytes: &[u8]) -> Result<BTreeMap<String, Array>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))?;
    ensure!(archive.len() <= ARRAYS, "{} arrays in the archive, the limit is {ARRAYS}", archive.len());
    let (mut arrays, mut left) = (BTreeMap::new(), BYTES);
    for index in 0..archive.len() {
        let entry = archive.by_index(index)?;
        let name = entry.name().trim_end_matches(".npy").to_owned();
        let mut bytes = Vec::new();
        entry.take(left as u64 + 1).read_to_end(&mut bytes).with_context(|| format!("array {name:?}"))?;
        ensure!(bytes.len() <= left, "the archive holds more than {BYTES} bytes");
        left -= bytes.len();
        arrays.insert(name.clone(), array(&bytes).with_context(|| format!("array {name:?}"))?);
    }
    Ok(arrays)
}

fn array(bytes: &[u8]) -> Result<Array> {
    let announced = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b, ..] => usize::from(u16::from_le_bytes([*a, *b])),
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, a, b, c, d, ..] => {
            usize::try_from(u32::from_le_bytes([*a, *b, *c, *d]))?
        }
        _ => bail!("not a .npy array"),
    };
    ensure!(announced <= HEADER, "the array's header has {announced} bytes, the limit is {HEADER}");
    let mut rest = Cursor::new(bytes);
    // The parser's own message spans several lines and quotes the header.
    let header = Header::from_reader(&mut rest).map_err(|_| anyhow!("the array's header is malformed"))?;
    let present = bytes.len() - usize::try_from(rest.position())?;
    let kind = header.type_descriptor.to_string();
    let kind = kind.trim_matches('\'');
    let width = match kind.trim_start_matches(['<', '>', '|', '=']) {
        "f4" | "i4" => 4,
        "f8" | "i8" => 8,
        "u1" | "i1" => 1,
        other => bail!(
            "element type {other:?} is not supported, expected float32, float64, int8, uint8, int32 or int64"
        ),
    };
    let count = header
        .shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .context("the array's size overflows")?;
    let wanted = count.checked_mul(width).context("the array's size overflows")?;
    ensure!(
        wanted == present,
        "truncated or too long: shape {:?} takes {wanted} bytes, {present} are there",
        header.shape
    );
    ensure!(count > 0, "the array is empty");
    let values = match kind.trim_start_matches(['<', '>', '|', '=']) {
        "f4" => typed::<f32>(bytes, f64::from),
        "f8" => typed::<f64>(bytes, f64::from),
        "i4" => typed::<i32>(bytes, f64::from),
        // Labels and token ids are far below 2^53.
        "i8" => typed::<i64>(bytes, |v| v as f64),
        "i1" => typed::<i8>(bytes, f64::from),
        _ => typed::<u8>(bytes, f64::from),
    }?;
    Ok(Array { shape: header.shape, values })
}

fn typed<T: ReadableElement + Copy>(bytes: &[u8], real: impl Fn(T) -> f64) -> Result<Vec<f64>> {
    let array = ArrayD::<T>::read_npy(Cursor::new(bytes))?;
    Ok(array.iter().map(|&v| real(v)).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use assay_circuits::ir::QuantParams;
    use ndarray::{Array2, ArrayBase, Data, Dimension, arr1, arr2};
    use ndarray_npy::WritableElement;
    use proptest::prelude::{any, proptest};
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn npy<A: WritableElement, S: Data<Elem = A>, D: Dimension>(array: &ArrayBase<S, D>) -> Vec<u8> {
        let mut bytes = Vec::new();
        array.write_npy(&mut bytes).unwrap();
        bytes
    }

    fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in arrays {
            zip.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    /// A header as NumPy writes it, and data behind it.
    fn raw(dictionary: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((dictionary.len() as u16 + 1).to_le_bytes());
        bytes.extend(dictionary.as_bytes());
        bytes.push(b'\n');
        bytes.extend(data);
        bytes
    }

    fn port(name: &str, shape: &[u32]) -> Port {
        let quant = QuantParams { scale: 0.5, lo: -4, hi: 3 };
        Port::public(name, shape.to_vec(), quant)
    }

    fn given(arrays: &[(&str, &[usize], &[f64])]) -> BTreeMap<String, Array> {
        let array = |(name, shape, values): &(&str, &[usize], &[f64])| {
            ((*name).to_owned(), Array { shape: shape.to_vec(), values: values.to_vec() })
        };
        arrays.iter().map(array).collect()
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T>) -> String {
        let line = format!("{:#}", result.expect_err("it is accepted"));
        assert!(!line.contains('\n') && line.len() < 300, "{line}");
        line
    }

    #[test]
    fn every_element_type_is_read_as_real_numbers() {
        let expected = Array { shape: vec![3], values: vec![0.0, 1.0, 100.0] };
        for bytes in [
            npy(&arr1(&[0f32, 1.0, 100.0])),
            npy(&arr1(&[0f64, 1.0, 100.0])),
            npy(&arr1(&[0u8, 1, 100])),
            npy(&arr1(&[0i8, 1, 100])),
            npy(&arr1(&[0i32, 1, 100])),
            npy(&arr1(&[0i64, 1, 100])),
        ] {
            assert_eq!(array(&bytes).unwrap(), expected);
        }
        let big = raw("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", &2.5f32.to_be_bytes());
        assert_eq!(array(&big).unwrap().values, [2.5]);
    }

    #[test]
    fn columns_first_is_read_row_by_row() {
        let rows = arr2(&[[1f32, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        let columns: Array2<f32> = rows.t().as_standard_layout().into_owned().reversed_axes();
        assert!(!columns.is_standard_layout());
        assert_eq!(array(&npy(&columns)).unwrap(), array(&npy(&rows)).unwrap());
    }

    #[test]
    fn other_element_types_are_refused() {
        for bytes in [npy(&arr1(&[true])), npy(&arr1(&[1u16])), npy(&arr1(&[1u64]))] {
            assert!(refusal(array(&bytes)).contains("is not supported"));
        }
    }

    #[test]
    fn arrays_whose_size_is_not_their_shapes_are_refused() {
        let bytes = npy(&arr2(&[[1f32, 2.0], [3.0, 4.0]]));
        for end in 0..bytes.len() {
            refusal(array(&bytes[..end]));
        }
        let longer = [bytes, vec![0]].concat();
        assert!(refusal(array(&longer)).contains("too long"));
        assert!(refusal(array(&npy(&Array2::<f32>::zeros((0, 3))))).contains("empty"));
    }

    #[test]
    fn a_size_that_nobody_has_is_refused_before_it_is_allocated() {
        let dictionary = |shape| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        assert!(refusal(array(&raw(&dictionary("(1099511627776,)"), b"abcd"))).contains("truncated"));
        assert!(
            refusal(array(&raw(&dictionary("(4294967296, 4294967296, 16)"), b"abcd"))).contains("overflows")
        );
    }

    #[test]
    fn headers_that_are_long_nested_or_wrong_are_refused_in_one_line() {
        assert!(refusal(array(&raw(&"(".repeat(1000), b""))).contains("malformed"));
        assert!(refusal(array(&raw(&" ".repeat(5000), b""))).contains("limit"));
        assert!(refusal(array(&raw("{}", b""))).contains("malformed"));
        assert!(refusal(array(b"hello, world")).contains("not a .npy"));
    }

    #[test]
    fn an_archive_holds_arrays_by_name_within_its_limits() {
        let one = npy(&arr1(&[1f32]));
        let arrays = archive(&npz(&[("x", one.clone()), ("label", npy(&arr1(&[3i64])))])).unwrap();
        assert_eq!(arrays.keys().collect::<Vec<_>>(), ["label", "x"]);
        let names: Vec<String> = (0..=ARRAYS).map(|i| i.to_string()).collect();
        let many: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (name.as_str(), one.clone())).collect();
        assert!(refusal(archive(&npz(&many))).contains("limit"));
        assert!(refusal(archive(&npz(&[("x", one[..9].to_vec())]))).contains("\"x\""));
        let whole = npz(&[("x", one)]);
        assert!(archive(&whole[..whole.len() - 4]).is_err());
    }

    #[test]
    fn a_batch_is_split_into_samples_port_by_port() {
        let ports = [port("a", &[1, 2]), port("b", &[1])];
        let arrays: [(&str, &[usize], &[f64]); 3] = [
            ("a", &[2, 2], &[1.0, 2.0, 3.0, 4.0]),
            ("b", &[2, 1], &[5.0, 6.0]),
            ("label", &[2], &[7.0, 8.0]),
        ];
        let inputs = assemble(&ports, given(&arrays)).unwrap();
        assert_eq!(inputs.samples, [[vec![1.0, 2.0], vec![5.0]], [vec![3.0, 4.0], vec![6.0]]]);
        assert!(inputs.batch);
        assert_eq!(inputs.labels, Some(vec![7, 8]));
        let single = assemble(&ports[..1], given(&[("a", &[2], &[1.0, 2.0])])).unwrap();
        assert_eq!((single.samples.len(), single.batch, single.labels), (1, false, None));
    }

    #[test]
    fn arrays_that_do_not_fit_the_ports_are_refused() {
        let ports = [port("a", &[1, 2]), port("b", &[1])];
        let fail = |arrays: &[(&str, &[usize], &[f64])]| refusal(assemble(&ports, given(arrays)));
        let a: (&str, &[usize], &[f64]) = ("a", &[1, 2], &[1.0, 2.0]);
        assert!(fail(&[("c", &[1], &[1.0])]).contains("\"a\" is not given, only \"c\""));
        assert!(fail(&[a]).contains("\"b\" is not given"));
        assert!(fail(&[("a", &[1, 3], &[1.0; 3]), ("b", &[1], &[1.0])]).contains("[1, 3]"));
        assert!(fail(&[a, ("b", &[3, 1], &[1.0; 3])]).contains("expected 1 samples"));
        assert!(fail(&[("a", &[1, 2], &[1.0, f64::NAN]), ("b", &[1], &[1.0])]).contains("NaN"));
        assert!(fail(&[("a", &[1, 2], &[1.0, 1e300]), ("b", &[1], &[1.0])]).contains("finite"));
        let b: (&str, &[usize], &[f64]) = ("b", &[1], &[1.0]);
        assert!(fail(&[a, b, ("label", &[2], &[1.0, 2.0])]).contains("label"));
        assert!(fail(&[a, b, ("label", &[1], &[0.5])]).contains("integer"));
    }

    #[test]
    fn values_outside_the_type_saturate_and_are_counted() {
        let ports = [port("a", &[4])];
        let inputs = assemble(&ports, given(&[("a", &[4], &[-9.0, -2.2, 1.7, 2.0])])).unwrap();
        // Steps of 0.5 in -4..=3: -4.4 rounds to -4, 3.4 to 3; 4 does not fit.
        assert_eq!(inputs.quantize(&ports, 0), (vec![vec![-4, -4, 3, 3]], 2));
    }

    proptest! {
        #[test]
        fn changed_bytes_never_panic(place in any::<usize>(), value in any::<u8>()) {
            let one = npy(&arr2(&[[1f32, 2.0], [3.0, 4.0]]));
            for mut bytes in [one.clone(), npz(&[("x", one)])] {
                let place = place % bytes.len();
                bytes[place] = value;
                let _ = array(&bytes);
                let _ = archive(&bytes);
            }
        }
    }
}
