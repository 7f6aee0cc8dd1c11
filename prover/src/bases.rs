//! Points that are multiplied, here and perhaps resident on a device, and the sums over them on either.
//!
//! The words of a point on the device are those of arkworks: coordinates in Montgomery form; zeros, which are on neither
//! curve, for the neutral element. The device answers with `(X, Y, ZZ, ZZZ)`, `x = X/ZZ`, `y = Y/ZZZ`, `ZZ^3 = ZZZ^2`,
//! which is `(X ZZ^2, Y ZZZ^2, ZZZ)` in Jacobian coordinates.

use ark_bn254::{Fq, Fq2, Fr, g1, g2};
use ark_ec::AffineRepr;
use ark_ec::short_weierstrass::{Affine, Projective, SWCurveConfig};
use ark_ec::{CurveGroup, PrimeGroup};
use ark_ff::{AdditiveGroup, BigInt, Field, Zero};
use assay_cuda_kernels::msm::{G1, G2, Group, Points, Scalars, Sums};
use assay_cuda_kernels::transform::{Element, Elements};
use assay_cuda_kernels::{DeviceError, Gpu};

use crate::backend::Accelerator;
use crate::msm;

/// A group whose points devices know.
pub trait Curve: SWCurveConfig<ScalarField = Fr> {
    /// The same group on a device.
    type Group: Group;
    /// Appends a coordinate's words.
    fn write(coordinate: &Self::BaseField, words: &mut Vec<u64>);
    /// A coordinate of its words.
    fn read(words: &[u64]) -> Self::BaseField;
}

impl Curve for g1::Config {
    type Group = G1;

    fn write(coordinate: &Fq, words: &mut Vec<u64>) {
        words.extend(coordinate.0.0);
    }

    fn read(words: &[u64]) -> Fq {
        Fq::new_unchecked(BigInt(std::array::from_fn(|i| words[i])))
    }
}

impl Curve for g2::Config {
    type Group = G2;

    fn write(coordinate: &Fq2, words: &mut Vec<u64>) {
        words.extend(coordinate.c0.0.0.iter().chain(&coordinate.c1.0.0));
    }

    fn read(words: &[u64]) -> Fq2 {
        let half = |words: &[u64]| Fq::new_unchecked(BigInt(std::array::from_fn(|i| words[i])));
        Fq2::new(half(&words[..4]), half(&words[4..]))
    }
}

/// Field elements as a device takes them.
pub fn elements(values: &[Fr]) -> Vec<Element> {
    values.iter().map(|value| value.0.0).collect()
}

/// Copies field elements to a device.
pub fn upload_scalars(gpu: &Gpu, values: &[Fr]) -> Result<Elements, DeviceError> {
    gpu.elements_from(values.len(), |i| values[i].0.0)
}

/// Copies points to a device.
pub fn upload<P: Curve>(gpu: &Gpu, points: &[Affine<P>]) -> Result<Points<P::Group>, DeviceError> {
    let mut words = Vec::with_capacity(points.len() * 2 * P::Group::WORDS);
    for point in points {
        let (x, y) = point.xy().unwrap_or((P::BaseField::ZERO, P::BaseField::ZERO));
        P::write(&x, &mut words);
        P::write(&y, &mut words);
    }
    gpu.points(&words)
}

/// The points of sums.
fn projective<P: Curve>(sums: &Sums) -> impl Iterator<Item = Projective<P>> {
    let size = P::Group::WORDS;
    sums.words.chunks_exact(4 * size).map(move |point| {
        let [x, y, zz, zzz] = std::array::from_fn(|i| P::read(&point[i * size..(i + 1) * size]));
        if zz.is_zero() {
            return Projective::zero();
        }
        Projective::new_unchecked(x * zz.square(), y * zzz.square(), zzz)
    })
}

/// `sum_w 2^(c w) W_w` over what the device leaves of a sum.
pub fn total<P: Curve>(sums: &Sums) -> Projective<P> {
    let points: Vec<Projective<P>> = projective(sums).collect();
    points.chunks(sums.each.max(1)).rev().fold(Projective::zero(), |mut total, window| {
        for _ in 0..sums.window_bits {
            total.double_in_place();
        }
        window.iter().fold(total, |total, point| total + point)
    })
}

/// Computes on the first of these devices that is not lost; `None` if that has no room, or all are lost, and the processor is
/// to do it. Devices that are lost in the middle are passed over.
pub(crate) fn first_that_answers<D, T>(
    devices: &[D],
    accelerator: impl Fn(&D) -> &Accelerator,
    compute: impl Fn(&D, &Gpu) -> Result<T, DeviceError>,
) -> Option<T> {
    for device in devices {
        let answer = accelerator(device).attempt(|gpu| compute(device, gpu));
        if answer.is_some() || accelerator(device).gpu().is_some() {
            return answer;
        }
    }
    None
}

/// Points of a key, and where they are on devices.
#[derive(Debug)]
pub struct Bases<'a, P: Curve> {
    host: &'a [Affine<P>],
    /// In the order in which they are asked.
    devices: Vec<(&'a Accelerator, &'a Points<P::Group>)>,
    /// Of the first of these among the points on each device.
    first: usize,
}

// A derived one would ask for copies of curves.
impl<P: Curve> Clone for Bases<'_, P> {
    fn clone(&self) -> Self {
        Self { devices: self.devices.clone(), ..*self }
    }
}

impl<'a, P: Curve> Bases<'a, P> {
    /// Points that are nowhere else, or all of some devices' as well.
    pub fn new(
        host: &'a [Affine<P>],
        devices: impl IntoIterator<Item = (&'a Accelerator, &'a Points<P::Group>)>,
    ) -> Self {
        Self { host, devices: devices.into_iter().collect(), first: 0 }
    }

    /// The first `middle` points, and the others.
    pub fn split_at(self, middle: usize) -> (Self, Self) {
        let (left, right) = self.host.split_at(middle);
        let rest = Self { host: right, first: self.first + middle, devices: self.devices.clone() };
        (Self { host: left, ..self }, rest)
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.host.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.host.is_empty()
    }

    fn on_device<T>(
        &self,
        count: usize,
        compute: impl Fn(&Gpu, &Points<P::Group>, std::ops::Range<usize>) -> Result<T, DeviceError>,
    ) -> Option<T> {
        let range = self.first..self.first + count;
        first_that_answers(
            &self.devices,
            |(accelerator, _)| accelerator,
            |(_, points), gpu| compute(gpu, points, range.clone()),
        )
    }

    /// `sum scalars_i P_i` for full-width scalars.
    pub fn msm(&self, scalars: &[Fr]) -> Projective<P> {
        let count = scalars.len().min(self.host.len());
        let on_device = self.on_device(count, |gpu, points, range| {
            let scalars = upload_scalars(gpu, &scalars[..count])?;
            gpu.msm(points, range, Scalars::Field(&scalars))
        });
        on_device.map_or_else(|| msm::msm(self.host, scalars), |sums| total(&sums))
    }

    /// `sum scalars_i P_i` for small integers.
    pub fn msm_small(&self, scalars: &[i64]) -> Projective<P> {
        let count = scalars.len().min(self.host.len());
        let on_device = self
            .on_device(count, |gpu, points, range| gpu.msm(points, range, Scalars::Small(&scalars[..count])));
        on_device.map_or_else(|| msm::msm_small(self.host, scalars), |sums| total(&sums))
    }

    /// `sum_g scalars_g S_g` with `S_g` the sum of the first points that are in group `g`, and the remaining points after
    /// the groups: few scalars, many points each.
    pub fn grouped(&self, groups: &[u32], count: usize, scalars: &[Fr]) -> Projective<P>
    where
        Projective<P>: CurveGroup<Affine = Affine<P>> + PrimeGroup,
    {
        let (members, rest) = self.clone().split_at(groups.len());
        let on_device = members.on_device(groups.len(), |gpu, points, range| {
            let (first, last) = scalars.split_at(count);
            let (first, last) = rayon::join(
                || {
                    let sums = gpu.group_sums(points, range, groups, count)?;
                    gpu.msm(&sums, 0..count, Scalars::Field(&upload_scalars(gpu, first)?))
                },
                || {
                    let range = rest.first..rest.first + last.len();
                    gpu.msm(points, range, Scalars::Field(&upload_scalars(gpu, last)?))
                },
            );
            Ok(total::<P>(&first?) + total::<P>(&last?))
        });
        on_device.unwrap_or_else(|| {
            let mut bases = msm::group_sums(members.host, groups, count);
            bases.extend(rest.host);
            msm::msm(&bases, scalars)
        })
    }
}
