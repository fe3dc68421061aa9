//! bf16 values: the upper halves of f32 values, and arithmetic on them as matrix units do it.

/// The nearest bf16 value, of two equally near ones the even one. Denormal values become zero, and
/// so does no other; a NaN stays one.
///
/// This is what `vcvtneps2bf16` yields (Intel, Architecture Instruction Set Extensions,
/// "VCVTNEPS2BF16").
pub fn round(value: f32) -> u16 {
    (nearest(flush(value)) >> 16) as u16
}

/// The nearest bf16 value in the upper half of a word; a denormal one may yield another. Without
/// branches, for the compiler to use vectors.
#[inline(always)]
fn nearest(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000;
    rounded | if value.is_nan() { 0x7fc0_0000 } else { 0 }
}

/// The value as f32.
pub fn widen(value: u16) -> f32 {
    f32::from_bits(u32::from(value) << 16)
}

/// A value as a bf16 value and what that lacks, again as the nearest bf16 value, twice, each in
/// the upper half of a word: the first two hold 16 bits or more of the value's 24 together, all
/// three the value itself. Denormal parts, which tiles take as zero, may be off.
///
/// Infinities, and values above 3.39e38, which round to them, have no such parts: theirs are not
/// all numbers.
#[inline(always)]
pub fn limbs(value: f32) -> [u32; 3] {
    let high = nearest(value);
    let rest = value - f32::from_bits(high);
    let middle = nearest(rest);
    [high, middle, (rest - f32::from_bits(middle)).to_bits() & 0xffff_0000]
}

/// Denormal values become zero of the same sign.
fn flush(value: f32) -> f32 {
    if value.is_subnormal() { 0.0f32.copysign(value) } else { value }
}

/// Adds the products of two rows of bf16 pairs to `sum`, as `tdpbf16ps` does for one element: the
/// products of the first values of the pairs are summed by themselves, so are those of the second,
/// each multiply-add rounds once, and denormal values are zero everywhere.
pub fn dot(sum: f32, pairs: impl Iterator<Item = (u32, u32)>) -> f32 {
    let [mut even, mut odd] = [0.0f32; 2];
    for (a, b) in pairs {
        even = multiply_add(a << 16, b << 16, even);
        odd = multiply_add(a & 0xffff_0000, b & 0xffff_0000, odd);
    }
    flush(flush(sum) + flush(even + odd))
}

/// Adds the products of a pair of bf16 values to `sum`, as `vdpbf16ps` does for one element: the
/// second values of the pairs first, each multiply-add rounds once, and denormal values are zero
/// everywhere (Intel, Architecture Instruction Set Extensions, "VDPBF16PS").
pub fn add_pair(sum: f32, a: u32, b: u32) -> f32 {
    let sum = multiply_add(a & 0xffff_0000, b & 0xffff_0000, flush(sum));
    multiply_add(a << 16, b << 16, sum)
}

/// The product of two bf16 values, given as f32 bits, and a sum that is not denormal.
fn multiply_add(a: u32, b: u32, sum: f32) -> f32 {
    flush(flush(f32::from_bits(a)).mul_add(flush(f32::from_bits(b)), sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_even() {
        let cases = [
            (1.0, 1.0),
            (1.0 + 1.0 / 256.0, 1.0),
            (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0),
            (1.0 + 1.1 / 256.0, 1.0 + 2.0 / 256.0),
            (-3.0e38, -226.0 * 2f32.powi(120)),
            (f32::MAX, f32::INFINITY),
            (f32::MIN_POSITIVE, f32::MIN_POSITIVE),
            (f32::from_bits(0x007f_ffff), 0.0),
        ];
        for (value, expected) in cases {
            assert_eq!(widen(round(value)), expected, "{value:e}");
        }
        assert!(widen(round(f32::NAN)).is_nan());
        assert_eq!(widen(round(-1e-42)).to_bits(), (-0.0f32).to_bits());
    }

    #[test]
    fn two_parts_hold_16_bits_and_three_hold_all() {
        for step in 1..10_000 {
            let value = (step as f32 * 0.37).sin() * 1.5f32.powi(step % 60 - 30);
            let [high, middle, low] = limbs(value).map(|part| f64::from(f32::from_bits(part)));
            let error = (high + middle - f64::from(value)).abs() / f64::from(value).abs();
            assert!(error <= 2f64.powi(-17), "{value:e}: {error:e}");
            assert_eq!(high + middle + low, f64::from(value));
        }
    }

    #[test]
    fn even_and_odd_products_are_summed_apart() {
        let pair = |first: f32, second: f32| u32::from(round(first)) | u32::from(round(second)) << 16;
        // Summed in order, 1 would be lost in 2^40 before that is cancelled.
        let large = 2f32.powi(40);
        let a = [pair(large, 1.0), pair(-large, 0.0)];
        let ones = [pair(1.0, 1.0); 2];
        assert_eq!(dot(0.5, a.into_iter().zip(ones)), 1.5);
    }

    #[test]
    fn the_second_products_of_a_pair_are_added_first() {
        let pair = |first: f32, second: f32| u32::from(round(first)) | u32::from(round(second)) << 16;
        let (large, ones) = (2f32.powi(40), pair(1.0, 1.0));
        // The 1 is lost in 2^40 before that is cancelled, unless it comes behind.
        assert_eq!(add_pair(1.0, pair(-large, large), ones), 0.0);
        assert_eq!(add_pair(-large, pair(1.0, large), ones), 1.0);
        assert_eq!(add_pair(f32::from_bits(1), pair(0.0, 0.0), ones), 0.0);
    }
}
