//! Fixed-point arithmetic of the rules: numbers from 0 up in units of `2^-48`, every operation rounded down.
//!
//! ```text
//! product   floor(a b 2^-48)                 quotient   floor(a 2^48 / b), 0 for b = 0
//! exp(-x) = 2^-n * prod_k r_k^(b_k)          n . b_1 b_2 ..  the binary digits of x log2(e),  r_k = 2^(-2^-k)
//! ```
//!
//! The same numbers come out everywhere: no float is used, and no operation wraps (what does not fit stays at the
//! greatest value).

use std::fmt;
use std::iter::Sum;

/// Binary digits after the point.
const DIGITS: u32 = 48;
/// `log2(e) 2^48`, rounded down.
const LOG2_E: u64 = 406_082_553_034_799;

/// A number of `0 <= x < 2^16`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fixed(u64);

impl Fixed {
    /// 0.
    pub const ZERO: Self = Self(0);
    /// 1.
    pub const ONE: Self = Self(1 << DIGITS);
    /// One half.
    pub const HALF: Self = Self(1 << (DIGITS - 1));

    /// `part / whole`; 0 for a whole of 0.
    pub fn ratio(part: u128, whole: u128) -> Self {
        // A part that does not fit the shift loses digits that the quotient does not have.
        let spare = part.leading_zeros().min(DIGITS);
        let lost = DIGITS.saturating_sub(spare);
        let quotient = (part << spare).checked_div(whole >> lost).unwrap_or(0);
        Self(u64::try_from(quotient).unwrap_or(u64::MAX))
    }

    /// `a + b`.
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// `a - b`, at least 0.
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `a b`.
    pub fn times(self, other: Self) -> Self {
        let product = (u128::from(self.0).saturating_mul(other.0.into())) >> DIGITS;
        Self(u64::try_from(product).unwrap_or(u64::MAX))
    }

    /// `a / b`; 0 for `b = 0`.
    pub fn over(self, other: Self) -> Self {
        Self::ratio(self.0.into(), other.0.into())
    }

    /// `a + (b - a) t` for `0 <= t <= 1`.
    pub fn towards(self, other: Self, t: Self) -> Self {
        let t = t.min(Self::ONE);
        self.times(Self::ONE.minus(t)).plus(other.times(t))
    }

    /// `exp(-x)`.
    pub fn exp_of_negative(self) -> Self {
        let exponent = (u128::from(self.0).saturating_mul(LOG2_E.into())) >> DIGITS;
        let whole = u32::try_from(exponent >> DIGITS).unwrap_or(u32::MAX);
        let digit = |k: u32| exponent >> DIGITS.saturating_sub(k) & 1 == 1;
        let roots = (1..).zip(ROOTS).filter(|&(k, _)| digit(k));
        let fraction = roots.fold(Self::ONE, |product, (_, root)| product.times(Self(root)));
        Self(fraction.0.checked_shr(whole).unwrap_or(0))
    }

    /// `floor(a whole)` for `a <= 1`.
    pub fn of(self, whole: u64) -> u64 {
        let product = (u128::from(self.0).saturating_mul(whole.into())) >> DIGITS;
        u64::try_from(product).unwrap_or(u64::MAX).min(whole)
    }

    /// In units of `1 / 65535`, rounded down; what exceeds 1 counts as 1.
    pub fn to_u16(self) -> u16 {
        let units = (u128::from(self.0).saturating_mul(u16::MAX.into())) >> DIGITS;
        u16::try_from(units).unwrap_or(u16::MAX)
    }

    /// `units / 65535`.
    pub fn of_u16(units: u16) -> Self {
        Self::ratio(units.into(), u16::MAX.into())
    }

    /// In units of `2^-48`.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Parts per million, rounded down.
    pub fn to_ppm(self) -> u64 {
        u64::try_from((u128::from(self.0).saturating_mul(1_000_000)) >> DIGITS).unwrap_or(u64::MAX)
    }

    /// Of parts per million.
    pub fn of_ppm(ppm: u64) -> Self {
        Self::ratio(ppm.into(), 1_000_000)
    }
}

/// `ROOTS[k - 1] = 2^(-2^-k)`: each is the square root of the one before.
const ROOTS: [u64; 48] = {
    let mut roots = [0; 48];
    let mut root: u128 = 1 << (DIGITS - 1);
    let mut k = 0;
    while k < roots.len() {
        root = (root << DIGITS).isqrt();
        #[expect(
            clippy::as_conversions,
            clippy::indexing_slicing,
            reason = "below 2^48; evaluated at compile time"
        )]
        {
            roots[k] = root as u64;
        }
        k += 1;
    }
    roots
};

impl Sum for Fixed {
    fn sum<I: Iterator<Item = Self>>(numbers: I) -> Self {
        numbers.fold(Self::ZERO, Self::plus)
    }
}

/// As a decimal with nine digits after the point, rounded down.
impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nano = (u128::from(self.0).saturating_mul(1_000_000_000)) >> DIGITS;
        write!(f, "{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn real(x: Fixed) -> f64 {
        x.0 as f64 / 2f64.powi(48)
    }

    #[test]
    fn ratios_are_exact_where_they_can_be() {
        assert_eq!(Fixed::ratio(1, 2), Fixed::HALF);
        assert_eq!(Fixed::ratio(u128::MAX, u128::MAX), Fixed::ONE);
        assert_eq!(Fixed::ratio(3, 0), Fixed::ZERO);
        assert_eq!(Fixed::of_u16(u16::MAX), Fixed::ONE);
        assert_eq!((0..=u16::MAX).find(|&units| units.abs_diff(Fixed::of_u16(units).to_u16()) > 1), None);
    }

    #[test]
    fn nothing_wraps() {
        let greatest = Fixed(u64::MAX);
        assert_eq!(greatest.plus(Fixed::ONE), greatest);
        assert_eq!(greatest.times(greatest), greatest);
        assert_eq!(Fixed::ZERO.minus(Fixed::ONE), Fixed::ZERO);
        assert_eq!(greatest.exp_of_negative(), Fixed::ZERO);
        assert_eq!(greatest.to_u16(), u16::MAX);
    }

    #[test]
    fn decimals_have_nine_digits() {
        assert_eq!(Fixed::HALF.to_string(), "0.500000000");
        assert_eq!(Fixed::of_ppm(1_234_567).to_string(), "1.234566999");
    }

    proptest! {
        #[test]
        fn the_exponential_is_that_of_reals(x in 0.0..40.0f64) {
            let fixed = Fixed((x * 2f64.powi(48)) as u64);
            prop_assert!((real(fixed.exp_of_negative()) - (-x).exp()).abs() < 1e-12);
        }

        #[test]
        fn arithmetic_is_that_of_reals(a in 0u64..1 << 52, b in 1u64..1 << 52) {
            let (a, b) = (Fixed(a), Fixed(b));
            prop_assert!((real(a.times(b)) - real(a) * real(b)).abs() < 1e-12);
            prop_assert!((real(a.plus(b)) - (real(a) + real(b))).abs() < 1e-12);
            let quotient = real(a) / real(b);
            prop_assert!(quotient > 60_000.0 || (real(a.over(b)) - quotient).abs() < 1e-12 * quotient.max(1.0));
        }

        #[test]
        fn a_point_between_lies_between(a in 0u64..=1 << 48, b in 0u64..=1 << 48, t in 0u64..=1 << 48) {
            let between = Fixed(a).towards(Fixed(b), Fixed(t));
            prop_assert!(between.0 + 2 >= a.min(b) && between.0 <= a.max(b));
        }
    }
}
