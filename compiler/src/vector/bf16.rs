//! bf16 values: the upper halves of f32 values, and arithmetic on them as matrix units do it.

/// The nearest bf16 value, of two equally near ones the even one. Denormal values become zero, and so does no
/// other; a NaN stays one.
///
/// This is what `vcvtneps2bf16` yields (Intel, Architecture Instruction Set Extensions, "VCVTNEPS2BF16").
pub fn round(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    let bits = flush(value).to_bits();
    let to_nearest = 0x7fff + ((bits >> 16) & 1);
    (bits.wrapping_add(to_nearest) >> 16) as u16
}

/// The value as f32.
pub fn widen(value: u16) -> f32 {
    f32::from_bits(u32::from(value) << 16)
}

/// A value as a bf16 value and what that lacks, again as the nearest bf16 value: together 16 bits or more of
/// the value's 24.
///
/// Values that round to infinity have no such parts; these are above 3.39e38.
pub fn split(value: f32) -> [u16; 2] {
    let high = round(value);
    [high, round(value - widen(high))]
}

/// Denormal values become zero of the same sign.
fn flush(value: f32) -> f32 {
    if value.is_subnormal() { 0.0f32.copysign(value) } else { value }
}

/// Adds the products of two rows of bf16 pairs to `sum`, as `tdpbf16ps` does for one element: the products of
/// the first values of the pairs are summed by themselves, so are those of the second, each multiply-add rounds
/// once, and denormal values are zero everywhere.
pub fn dot(sum: f32, pairs: impl Iterator<Item = (u32, u32)>) -> f32 {
    let [mut even, mut odd] = [0.0f32; 2];
    for (a, b) in pairs {
        even = multiply_add(a << 16, b << 16, even);
        odd = multiply_add(a & 0xffff_0000, b & 0xffff_0000, odd);
    }
    flush(flush(sum) + flush(even + odd))
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
    fn two_parts_hold_16_bits() {
        for step in 1..10_000 {
            let value = (step as f32 * 0.37).sin() * 1.5f32.powi(step % 60 - 30);
            let [high, low] = split(value).map(|part| f64::from(widen(part)));
            let error = (high + low - f64::from(value)).abs() / f64::from(value).abs();
            assert!(error <= 2f64.powi(-17), "{value:e}: {error:e}");
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
}
