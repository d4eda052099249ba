//! Where the tail of a distribution has a given probability.

/// A distribution's tail at a point, beside what is wanted of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Miss {
    /// The logarithm of the ratio of the tail and the wanted one, with the sign of the way to go: positive to the
    /// right. May be infinite.
    pub(crate) ln_ratio: f64,
    /// The logarithm's rise towards the solution per unit of the way.
    pub(crate) rate: f64,
}

/// The zero of a miss between `least` and `most`, from `start`; one of the ends if there is none.
///
/// Newton's method on the logarithm of a tail, which is concave for most distributions and then climbs without
/// overshooting after the second step. A step that leaves the interval left over is replaced by its middle.
pub(crate) fn tail_root(start: f64, least: f64, most: f64, mut miss_at: impl FnMut(f64) -> Miss) -> f64 {
    let (mut least, mut most) = (least, most);
    let mut here = start.clamp(least, most);
    for _ in 0..MOST_STEPS {
        let Miss { ln_ratio, rate } = miss_at(here);
        if ln_ratio == 0.0 {
            break;
        } else if ln_ratio > 0.0 {
            least = here;
        } else {
            most = here;
        }
        let newton = here + ln_ratio / rate;
        let there = if least < newton && newton < most { newton } else { 0.5 * (least + most) };
        let moved = there - here;
        here = there;
        if moved.abs() <= 4e-16 * f64::max(1.0, here.abs()) {
            break;
        }
    }
    here
}

const MOST_STEPS: u32 = 200;
