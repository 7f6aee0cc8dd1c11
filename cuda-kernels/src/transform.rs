//! Transforms over BN254's scalar field; see `kernels/ntt.cu`.

use crate::error::DeviceError;
use crate::gpu::Gpu;
use crate::kernel::{Arg, Grid, Kernel};
use crate::session::Buffer;

/// An element of the scalar field as arkworks has it in memory: Montgomery form, four 64-bit words.
pub type Element = [u64; 4];

/// Words of an element.
const WORDS: usize = 4;
/// Elements that a block transforms in shared memory, at most.
const CHUNK: usize = 1024;
/// Stages of a later pass, at most: so many that its rows have eight neighbours, 256 bytes, to load at once.
const STAGES: u32 = 7;
/// Points of the largest domain.
const SIZE: usize = 1 << 28;

/// Field elements on a device.
#[derive(Debug)]
pub struct Elements {
    words: Buffer<u64>,
}

/// A part of a column of field elements, in the form that takes least room: the device makes the elements.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// Elements, each below the modulus.
    Elements(&'a [Element]),
    /// Small integers, and an element that is added to each.
    Small(&'a [i64], Element),
    /// Some of these few elements, by their places.
    Chosen(&'a [u32], &'a [Element]),
}

impl Part<'_> {
    /// Number of its elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Elements(elements) => elements.len(),
            Self::Small(values, _) => values.len(),
            Self::Chosen(places, _) => places.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Roots of one size, resident.
#[derive(Debug)]
pub struct Domain {
    size: usize,
    roots: Elements,
    shift: Elements,
}

impl Elements {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.words.len() / WORDS
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements.
    pub fn read(&self) -> Result<Vec<Element>, DeviceError> {
        self.words.read_fours()
    }

    pub(crate) fn arg(&self) -> Arg {
        self.words.arg()
    }
}

impl Gpu {
    /// Copies field elements, each below the modulus.
    pub fn elements(&self, elements: &[Element]) -> Result<Elements, DeviceError> {
        self.elements_from(elements.len(), |i| elements[i])
    }

    /// Copies `count` field elements, each below the modulus and made when it is copied.
    pub fn elements_from(
        &self,
        count: usize,
        element: impl Fn(usize) -> Element + Sync,
    ) -> Result<Elements, DeviceError> {
        Ok(Elements { words: self.session().upload_each(count, element)? })
    }

    /// A column of `size` elements: these parts one after another, then zeros.
    ///
    /// # Panics
    /// If the parts are longer than the column, or a place is beyond the elements to choose from.
    pub fn column(&self, size: usize, parts: &[Part<'_>]) -> Result<Elements, DeviceError> {
        let all: usize = parts.iter().map(Part::len).sum();
        assert!(all <= size, "parts within the column");
        let session = self.session();
        let mut words = session.zeroed(size * WORDS)?;
        let mut first = 0;
        for part in parts {
            let (place, count) =
                (words.arg().after(first * size_of::<Element>()), Arg::U64(part.len() as u64));
            match *part {
                Part::Elements(elements) => {
                    session.write_each(&mut words, first * WORDS, elements.len(), |i| elements[i])?;
                }
                Part::Small(values, added) => {
                    let (values, added) = (session.upload(values)?, session.upload(&added)?);
                    self.run(Kernel::FieldSmall, part.len(), &[values.arg(), added.arg(), place, count])?;
                }
                Part::Chosen(places, elements) => {
                    assert!(
                        places.iter().all(|&place| (place as usize) < elements.len()),
                        "elements that exist"
                    );
                    let (places, elements) = (session.upload(places)?, self.elements(elements)?);
                    self.run(Kernel::FieldChosen, part.len(), &[places.arg(), elements.arg(), place, count])?;
                }
            }
            first += part.len();
        }
        Ok(Elements { words })
    }

    /// Prepares a size `2^k` or `3 * 2^k`, at least 4, from the powers `w^i` of a root of unity and from `g^i / n`.
    ///
    /// # Panics
    /// If the size is another, or the tables do not have it.
    pub fn domain(&self, roots: &[Element], shift: &[Element]) -> Result<Domain, DeviceError> {
        let size = roots.len();
        assert!(size == shift.len() && size >= 4, "two tables of one size");
        assert!(matches!(size >> size.trailing_zeros(), 1 | 3), "sizes are 2^k or 3 * 2^k");
        if size > SIZE {
            return Err(DeviceError::TooLarge { what: "points of a domain", limit: SIZE, got: size });
        }
        Ok(Domain { size, roots: self.elements(roots)?, shift: self.elements(shift)? })
    }

    /// From values on the domain to values on its coset `g H`: transform, take the points in reverse and multiply by
    /// `g^i / n`, transform.
    ///
    /// # Panics
    /// If there are not as many values as the domain has points.
    pub fn extend(&self, domain: &Domain, values: &Elements) -> Result<Elements, DeviceError> {
        let coefficients = self.transform(domain, values, false)?;
        self.transform(domain, &coefficients, true)
    }

    /// The transform `X[k] = sum_t w^(t k) x[t]`.
    ///
    /// # Panics
    /// If there are not as many values as the domain has points.
    pub fn ntt(&self, domain: &Domain, x: &Elements) -> Result<Elements, DeviceError> {
        self.transform(domain, x, false)
    }

    /// The transform of the values themselves or of `x[-t mod n] shift[t]`.
    fn transform(&self, domain: &Domain, x: &Elements, shifted: bool) -> Result<Elements, DeviceError> {
        let n = domain.size;
        assert_eq!(x.len(), n, "as many values as points");
        let parts = n >> n.trailing_zeros();
        let m = n / parts;
        let out = Elements { words: self.session().alloc(n * WORDS)? };
        let size = Arg::U32(n as u32);
        let shift = if shifted { domain.shift.arg() } else { Arg::Address(0) };
        let (log, chunk) = (m.trailing_zeros(), m.min(CHUNK));
        let grid = Grid { blocks: [(n / chunk) as u32, 1, 1], threads: (chunk / 2) as u32 };
        let roots = domain.roots.arg();
        let args = [x.arg(), shift, out.arg(), roots, size, Arg::U32(parts as u32), Arg::U32(log)];
        // SAFETY: `n / chunk` blocks of `chunk / 2` threads with two elements each cover the `n` elements, in the first
        // pass and in the others, whose chunks are whole rows and columns of `2^(done + stages)` elements, and m is a
        // multiple of those; roots are read at `j n / (2 half)` with `j < half`, below n.
        #[expect(unsafe_code, reason = "launches kernels")]
        unsafe {
            self.session().launch(Kernel::First, grid, &args)?;
            let mut done = chunk.trailing_zeros();
            while done < log {
                let stages = (log - done).div_ceil((log - done).div_ceil(STAGES));
                let args = [out.arg(), roots, size, Arg::U32(done), Arg::U32(stages)];
                self.session().launch(Kernel::Pass, grid, &args)?;
                done += stages;
            }
        }
        if parts == 3 {
            self.run(Kernel::Radix3, m, &[out.arg(), domain.roots.arg(), Arg::U32(m as u32)])?;
        }
        Ok(out)
    }

    /// `a[i] = a[i] b[i]`.
    ///
    /// # Panics
    /// If there are not as many of both.
    pub fn multiply_elements(&self, a: &mut Elements, b: &Elements) -> Result<(), DeviceError> {
        assert_eq!(a.len(), b.len(), "equally many");
        self.run(Kernel::FieldMultiply, a.len(), &[a.arg(), b.arg(), Arg::U64(a.len() as u64)])
    }

    fn run(&self, kernel: Kernel, count: usize, args: &[Arg]) -> Result<(), DeviceError> {
        // SAFETY: the callers above pass the parameters of their kernels and arrays of `count` elements, or of the domain's size,
        // for which the kernels' indices are below it.
        #[expect(unsafe_code, reason = "launches a kernel")]
        unsafe {
            self.session().launch(kernel, Grid::each(count, 1), args)
        }
    }
}
