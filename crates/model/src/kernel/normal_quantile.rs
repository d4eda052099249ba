//! The quantile of the standard normal distribution.

/// The `z` below which a standard normal falls with probability `level`, `0 < level < 1`.
///
/// Wichura (1988), algorithm AS 241, Applied Statistics 37, 477-484: relative error about 1e-15.
pub(crate) fn normal_quantile(level: f64) -> f64 {
    let off_centre = level - 0.5;
    if off_centre.abs() <= 0.425 {
        let w = 0.180_625 - off_centre * off_centre;
        return off_centre * ratio(&CENTRE, w);
    }
    let tail = if off_centre < 0.0 { level } else { 1.0 - level };
    let depth = libm::sqrt(-libm::log(tail));
    let size = if depth <= 5.0 { ratio(&TAIL, depth - 1.6) } else { ratio(&FAR_TAIL, depth - 5.0) };
    libm::copysign(size, off_centre)
}

/// As [`normal_quantile`], in half the time between the levels 0.025 and 0.975, with a relative error of 1.2e-9 there.
///
/// Acklam (2003), "An algorithm for computing the inverse normal cumulative distribution function", whose centre
/// reaches far enough out to need no logarithm.
#[inline]
pub(crate) fn quick_normal_quantile(level: f64) -> f64 {
    let off_centre = level - 0.5;
    if off_centre.abs() > 0.475 {
        return normal_quantile(level);
    }
    let w = off_centre * off_centre;
    let numerator = ((((-39.696_830_286_653_76 * w + 220.946_098_424_520_5) * w - 275.928_510_446_968_7)
        * w
        + 138.357_751_867_269)
        * w
        - 30.664_798_066_147_16)
        * w
        + 2.506_628_277_459_239;
    let denominator = ((((-54.476_098_798_224_06 * w + 161.585_836_858_040_9) * w - 155.698_979_859_886_6)
        * w
        + 66.801_311_887_719_72)
        * w
        - 13.280_681_552_885_72)
        * w
        + 1.0;
    off_centre * numerator / denominator
}

/// The coefficients of a numerator and a denominator, constant first.
type Ratio = [[f64; 8]; 2];

fn ratio([numerator, denominator]: &Ratio, z: f64) -> f64 {
    let polynomial = |coefficients: &[f64; 8]| coefficients.iter().rev().fold(0.0, |sum, c| sum * z + c);
    polynomial(numerator) / polynomial(denominator)
}

const CENTRE: Ratio = [
    [
        3.387_132_872_796_366_5,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ],
    [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_854,
    ],
];

const TAIL: Ratio = [
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        0.000_774_545_014_278_341_4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        0.000_547_593_808_499_534_5,
        1.050_750_071_644_416_9e-09,
    ],
];

const FAR_TAIL: Ratio = [
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_87,
        0.026_532_189_526_576_124,
        0.001_242_660_947_388_078_4,
        2.711_555_568_743_487_6e-05,
        2.010_334_399_292_288_1e-07,
    ],
    [
        1.0,
        0.599_832_206_555_888,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        0.000_786_869_131_145_613_3,
        1.846_318_317_510_054_8e-05,
        1.421_511_758_316_446e-07,
        2.044_263_103_389_939_7e-15,
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantiles_of_every_branch_are_right_to_fifteen_digits() {
        for (level, expected) in [
            (0.5, 0.0),
            (0.3, -0.524_400_512_708_040_8),
            (0.925, 1.439_531_470_938_456_1),
            (0.925_1, 1.440_238_267_527_964),
            (0.05, -1.644_853_626_951_472_6),
            (0.95, 1.644_853_626_951_472_2),
            (0.074_9, -1.440_238_267_527_963_7),
            (1.0e-06, -4.753_424_308_822_899),
            (1.0e-11, -6.706_023_155_495_136),
            (2.0e-11, -6.604_077_590_405_634),
            (1.0e-20, -9.262_340_089_798_407),
            (1.0e-300, -37.047_096_299_361_2),
            (0.999_999, 4.753_424_308_817_087),
        ] {
            let actual = normal_quantile(level);
            assert!((actual - expected).abs() <= 2e-15 * expected.abs(), "{level}: {actual}");
        }
    }

    #[test]
    fn the_quick_quantile_is_right_to_nine_digits() {
        for step in 1..4000 {
            let level = f64::from(step) / 4000.0;
            let (quick, exact) = (quick_normal_quantile(level), normal_quantile(level));
            assert!((quick - exact).abs() <= 1.2e-9 * exact.abs(), "{level}: {quick} is not {exact}");
        }
    }
}
