//! Owns the quantiles of the normal and of Student's distribution.
//!
//! It must not know what they are used for.

use std::f64::consts::FRAC_2_PI;

/// The value below which a standard normal variable is with probability `p`, in (0, 1).
///
/// Wichura, "Algorithm AS 241: The Percentage Points of the Normal Distribution", Applied
/// Statistics 37 (1988), routine PPND16: a relative error of about 1e-16.
#[must_use]
pub fn normal_quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.425 * 0.425 - q * q;
        return q * polynomial(&CENTRE_TOP, r) / polynomial(&CENTRE_BOTTOM, r);
    }
    let r = (-p.min(1.0 - p).ln()).sqrt();
    let distance = if r <= 5.0 {
        polynomial(&SIDE_TOP, r - 1.6) / polynomial(&SIDE_BOTTOM, r - 1.6)
    } else {
        polynomial(&TAIL_TOP, r - 5.0) / polynomial(&TAIL_BOTTOM, r - 5.0)
    };
    distance.copysign(q)
}

/// The probability that a standard normal variable is below `x`. By bisection of
/// [`normal_quantile`].
#[must_use]
pub fn normal_cdf(x: f64) -> f64 {
    // in the lower half, where small probabilities keep their digits
    let (mut low, mut high) = (f64::MIN_POSITIVE, 0.5);
    let below = -x.abs();
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return if x > 0.0 { 1.0 - middle } else { middle };
        }
        if normal_quantile(middle) < below {
            low = middle;
        } else {
            high = middle;
        }
    }
}

fn polynomial(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c)
}

/// The probability that a variable of Student's distribution with so many degrees of freedom, at
/// least 1, is below `t`.
///
/// The finite series of Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.3 and
/// 26.7.4.
#[must_use]
pub fn student_cdf(t: f64, degrees: u32) -> f64 {
    let angle = (t / f64::from(degrees).sqrt()).atan();
    let (sin, cos) = angle.sin_cos();
    let is_odd = degrees % 2 == 1;
    // the power of the cosine in the first term, and that term
    let first = 2 + u32::from(is_odd);
    let (mut term, mut sum) = if is_odd { (cos, cos) } else { (1.0, 1.0) };
    for power in (first..degrees.saturating_sub(1)).step_by(2) {
        term *= cos * cos * f64::from(power - 1) / f64::from(power);
        sum += term;
    }
    let within = if degrees == 1 {
        FRAC_2_PI * angle
    } else if is_odd {
        FRAC_2_PI * (angle + sin * sum)
    } else {
        sin * sum
    };
    0.5 + within / 2.0
}

/// The value below which a variable of Student's distribution with so many degrees of freedom, at
/// least 1, is with probability `p`, in (0, 1). By bisection of [`student_cdf`].
#[must_use]
pub fn student_quantile(p: f64, degrees: u32) -> f64 {
    let upper = p.max(1.0 - p);
    let (mut low, mut high) = (0.0, 1.0);
    while student_cdf(high, degrees) < upper && high < 1e300 {
        (low, high) = (high, high * 2.0);
    }
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return middle.copysign(p - 0.5);
        }
        if student_cdf(middle, degrees) < upper {
            low = middle;
        } else {
            high = middle;
        }
    }
}

const CENTRE_TOP: [f64; 8] = [
    3.387_132_872_796_366_5,
    133.141_667_891_784_38,
    1_971.590_950_306_551_3,
    13_731.693_765_509_46,
    45_921.953_931_549_87,
    67_265.770_927_008_7,
    33_430.575_583_588_13,
    2_509.080_928_730_122_7,
];
const CENTRE_BOTTOM: [f64; 8] = [
    1.0,
    42.313_330_701_600_91,
    687.187_007_492_057_9,
    5_394.196_021_424_751,
    21_213.794_301_586_597,
    39_307.895_800_092_71,
    28_729.085_735_721_943,
    5_226.495_278_852_854,
];
const SIDE_TOP: [f64; 8] = [
    1.423_437_110_749_683_5,
    4.630_337_846_156_546,
    5.769_497_221_460_691,
    3.647_848_324_763_204_5,
    1.270_458_252_452_368_4,
    0.241_780_725_177_450_6,
    0.022_723_844_989_269_184,
    0.000_774_545_014_278_341_4,
];
const SIDE_BOTTOM: [f64; 8] = [
    1.0,
    2.053_191_626_637_759,
    1.676_384_830_183_803_8,
    0.689_767_334_985_1,
    0.148_103_976_427_480_08,
    0.015_198_666_563_616_457,
    0.000_547_593_808_499_534_5,
    1.050_750_071_644_416_9e-09,
];
const TAIL_TOP: [f64; 8] = [
    6.657_904_643_501_103,
    5.463_784_911_164_114,
    1.784_826_539_917_291_3,
    0.296_560_571_828_504_87,
    0.026_532_189_526_576_124,
    0.001_242_660_947_388_078_4,
    2.711_555_568_743_487_6e-05,
    2.010_334_399_292_288_1e-07,
];
const TAIL_BOTTOM: [f64; 8] = [
    1.0,
    0.599_832_206_555_888,
    0.136_929_880_922_735_8,
    0.014_875_361_290_850_615,
    0.000_786_869_131_145_613_3,
    1.846_318_317_510_054_8e-05,
    1.421_511_758_316_446e-07,
    2.044_263_103_389_939_7e-15,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `scipy.stats.norm.ppf(p)`, scipy 1.17.1.
    #[test]
    fn normal_quantiles_agree_with_scipy() {
        let table = [
            (1.0e-12, -7.034_483_825_301_131),
            (1.0e-6, -4.753_424_308_822_899),
            (0.001, -3.090_232_306_167_813),
            (0.025, -1.959_963_984_540_054_5),
            (0.1, -1.281_551_565_544_600_4),
            (0.3, -0.524_400_512_708_040_9),
            (0.5, 0.0),
            (0.62, 0.305_480_788_099_397_4),
            (0.9, 1.281_551_565_544_600_4),
            (0.975, 1.959_963_984_540_054),
            (0.995, 2.575_829_303_548_900_4),
            (0.999_999, 4.753_424_308_817_087),
        ];
        for (p, want) in table {
            assert!((normal_quantile(p) - want).abs() < 1e-9, "{p}");
        }
    }

    /// `scipy.stats.norm.cdf(x)`
    #[test]
    fn normal_probabilities_agree_with_scipy() {
        let table = [
            (-30.0, 4.906_713_927_147_908e-198),
            (-8.5, 9.479_534_822_203_25e-18),
            (-3.0, 0.001_349_898_031_630_093_3),
            (-1.96, 0.024_997_895_148_220_435),
            (-0.4, 0.344_578_258_389_675_8),
            (0.0, 0.5),
            (0.4, 0.655_421_741_610_324_2),
            (1.96, 0.975_002_104_851_779_5),
            (3.0, 0.998_650_101_968_369_9),
            (8.0, 0.999_999_999_999_999_3),
        ];
        for (x, want) in table {
            let got = normal_cdf(x);
            assert!((got - want).abs() < 1e-9 * want, "{x} {got} {want}");
        }
    }

    /// `scipy.stats.t.ppf(p, degrees)`
    #[test]
    fn student_quantiles_agree_with_scipy() {
        let table = [
            (0.05, 1, -6.313_751_514_675_044),
            (0.6, 1, 0.324_919_696_232_906_34),
            (0.975, 1, 12.706_204_736_174_694),
            (0.999_5, 1, 636.619_248_768_789_7),
            (0.05, 2, -2.919_985_580_353_725_6),
            (0.6, 2, 0.288_675_134_594_812_8),
            (0.975, 2, 4.302_652_729_749_462),
            (0.999_5, 2, 31.599_054_576_445_365),
            (0.05, 3, -2.353_363_434_801_824),
            (0.6, 3, 0.276_670_662_332_689_8),
            (0.975, 3, 3.182_446_305_283_707_8),
            (0.999_5, 3, 12.923_978_636_687_961),
            (0.05, 4, -2.131_846_786_326_651),
            (0.6, 4, 0.270_722_294_707_597_6),
            (0.975, 4, 2.776_445_105_197_793_4),
            (0.999_5, 4, 8.610_301_581_379_522),
            (0.05, 9, -1.833_112_932_656_237_6),
            (0.6, 9, 0.260_955_336_473_911),
            (0.975, 9, 2.262_157_162_798_205),
            (0.999_5, 9, 4.780_912_585_931_217),
            (0.05, 18, -1.734_063_606_617_539_2),
            (0.6, 18, 0.257_123_042_638_170_76),
            (0.975, 18, 2.100_922_040_241_038_2),
            (0.999_5, 18, 3.921_645_825_085_208_4),
            (0.05, 19, -1.729_132_811_521_368_7),
            (0.6, 19, 0.256_922_819_796_154_67),
            (0.975, 19, 2.093_024_054_408_308_7),
            (0.999_5, 19, 3.883_405_852_592_131),
            (0.05, 30, -1.697_260_886_593_957_4),
            (0.6, 30, 0.255_605_364_951_912_8),
            (0.975, 30, 2.042_272_456_301_237_8),
            (0.999_5, 30, 3.645_958_635_042_062_7),
            (0.05, 100, -1.660_234_326_085_339_6),
            (0.6, 100, 0.254_022_182_458_227_66),
            (0.975, 100, 1.983_971_518_523_551_8),
            (0.999_5, 100, 3.390_491_311_164_263),
            (0.05, 1_001, -1.646_377_292_199_468_2),
            (0.6, 1_001, 0.253_414_448_483_498_26),
            (0.975, 1_001, 1.962_336_705_280_879_8),
            (0.999_5, 1_001, 3.300_272_876_066_040_3),
        ];
        for (p, degrees, want) in table {
            let got = student_quantile(p, degrees);
            assert!(
                (got - want).abs() < 1e-9 * want.abs().max(1.0),
                "{p} {degrees} {got}"
            );
        }
    }

    /// `scipy.stats.t.cdf(t, degrees)`
    #[test]
    fn student_probabilities_agree_with_scipy() {
        let table = [
            (-2.5, 1, 0.121_118_941_590_843_41),
            (0.3, 1, 0.592_773_579_077_742_3),
            (1.96, 1, 0.849_828_554_111_983_4),
            (6.0, 1, 0.947_431_543_288_746_6),
            (-2.5, 2, 0.064_805_860_110_755_41),
            (0.3, 2, 0.603_757_169_579_911_2),
            (1.96, 2, 0.905_471_345_199_133_9),
            (6.0, 2, 0.986_664_263_392_287_6),
            (-2.5, 3, 0.043_853_323_504_032_78),
            (0.3, 3, 0.608_118_353_980_040_5),
            (1.96, 3, 0.927_573_895_717_573_2),
            (6.0, 3, 0.995_363_642_553_857_7),
            (-2.5, 9, 0.016_930_913_841_492_867),
            (0.3, 9, 0.614_504_648_129_237_6),
            (1.96, 9, 0.959_177_797_269_791_7),
            (6.0, 9, 0.999_898_750_338_966_1),
            (-2.5, 19, 0.010_870_205_584_198_72),
            (0.3, 19, 0.616_282_669_830_368_3),
            (1.96, 19, 0.967_585_510_355_515_3),
            (6.0, 19, 0.999_995_510_382_263_8),
            (-2.5, 58, 0.007_634_614_811_211_641),
            (0.3, 58, 0.617_375_127_367_509_4),
            (1.96, 58, 0.972_596_917_823_696_6),
            (6.0, 58, 0.999_999_931_852_118_8),
        ];
        for (t, degrees, want) in table {
            assert!(
                (student_cdf(t, degrees) - want).abs() < 1e-9,
                "{t} {degrees}"
            );
        }
    }

    proptest! {
        #[test]
        fn quantiles_and_probabilities_are_inverse(p in 0.001f64..0.999, degrees in 1u32..200) {
            let t = student_quantile(p, degrees);
            prop_assert!((student_cdf(t, degrees) - p).abs() < 1e-12);
            prop_assert!((student_quantile(1.0 - p, degrees) + t).abs() < 1e-6 * t.abs().max(1.0));
            prop_assert!((normal_quantile(p) + normal_quantile(1.0 - p)).abs() < 1e-12);
            // heavier tails than the normal distribution
            prop_assert!(t.abs() >= normal_quantile(p).abs() - 1e-9);
        }
    }
}
