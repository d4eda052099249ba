//! The maximum of a smooth function of a few variables whose gradient is known.
//!
//! BFGS climbs from the start to near the top; Newton's method takes the last digits, and the Hessian, the function's
//! own or one of differenced gradients, tells how flat the top is. Where the two get stuck, damped Newton steps lead
//! on. The variables are logarithms of parameters; a box around the start keeps the search from running away along a
//! ridge that rises for ever.

/// A smooth function of a few variables. A closure that gives value and gradient is one.
pub(super) trait Surface<const N: usize> {
    /// The value and the gradient at a point.
    fn slope(&self, at: &Vector<N>) -> (f64, Vector<N>);

    /// The same with the negative Hessian, if the function knows it by itself.
    fn bend(&self, at: &Vector<N>) -> Option<(f64, Vector<N>, Matrix<N>)> {
        _ = at;
        None
    }
}

impl<const N: usize, F: Fn(&Vector<N>) -> (f64, Vector<N>)> Surface<N> for F {
    fn slope(&self, at: &Vector<N>) -> (f64, Vector<N>) {
        self(at)
    }
}

/// Where the function is largest, as far as it was found.
pub(super) struct Optimum<const N: usize> {
    pub(super) at: [f64; N],
    pub(super) value: f64,
    /// The gradient's largest component.
    pub(super) gradient_norm: f64,
    /// The diagonal of the inverse of the negative Hessian; none where the function is not strictly concave.
    pub(super) variances: Option<[f64; N]>,
    pub(super) evaluations: u32,
}

impl<const N: usize> Optimum<N> {
    /// Whether it is a maximum to the last digits, and not a plateau that rounding has bent a little.
    fn is_the_top(&self) -> bool {
        let bent = |variances: Vector<N>| variances.iter().all(|variance| *variance < FLATTEST_TOP);
        self.variances.is_some_and(bent) && self.gradient_norm < CLEARLY_THE_TOP
    }
}

/// The gradient below which a fit counts as converged.
pub(super) const CLEARLY_THE_TOP: f64 = 1e-9;

pub(super) type Vector<const N: usize> = [f64; N];
pub(super) type Matrix<const N: usize> = [[f64; N]; N];

/// How far a logarithm may move from the start: a factor of three million.
const FARTHEST: f64 = 15.0;
const LONGEST_STEP: f64 = 2.0;
const MOST_CLIMBS: u32 = 100;
const MOST_NEWTON_STEPS: u32 = 20;
const NEAR_THE_TOP: f64 = 1e-6;
const AT_THE_TOP: f64 = 1e-12;
const MOST_DAMPED_STEPS: u32 = 60;
/// The variance per customer of a logarithm above which ten million customers say nothing about it.
const FLATTEST_TOP: f64 = 1e9;

/// Climbs from each of the starts in turn until the maximum of the surface is found, and otherwise returns the highest
/// point.
pub(super) fn maximise_from<const N: usize>(starts: &[Vector<N>], surface: &impl Surface<N>) -> Optimum<N> {
    let (first, others) = starts.split_first().expect("a search begins somewhere");
    or_from(maximise(*first, surface), others, surface)
}

/// The same, first from the maximum of a surface that is nearly this one and costs little: from there Newton's method
/// is there in a few steps. A draft that is no maximum is passed over.
///
/// Counted are the evaluations of the surface itself alone.
pub(super) fn maximise_after<const N: usize>(
    draft: &Optimum<N>,
    starts: &[Vector<N>],
    surface: &impl Surface<N>,
) -> Optimum<N> {
    if !draft.is_the_top() {
        return maximise_from(starts, surface);
    }
    let mut search = Search::new(draft.at, surface);
    let near = search.evaluate_bent(draft.at);
    let (top, covariance) = search.refine(near);
    or_from(search.end(&top, covariance), starts, surface)
}

/// What was found, if it is the top; else the best of it and what the starts lead to.
fn or_from<const N: usize>(
    mut best: Optimum<N>,
    starts: &[Vector<N>],
    surface: &impl Surface<N>,
) -> Optimum<N> {
    for start in starts {
        if best.is_the_top() {
            break;
        }
        let mut other = maximise(*start, surface);
        other.evaluations += best.evaluations;
        if other.is_the_top() || other.value > best.value || best.value.is_nan() {
            best = other;
        } else {
            best.evaluations = other.evaluations;
        }
    }
    best
}

/// Climbs from `start` to the maximum of the surface.
pub(super) fn maximise<const N: usize>(start: Vector<N>, surface: &impl Surface<N>) -> Optimum<N> {
    let mut search = Search::new(start, surface);
    let near = search.climb();
    let (mut top, mut covariance) = search.refine(near);
    if covariance.is_none() || norm(&top.gradient) >= CLEARLY_THE_TOP {
        let nearer = search.climb_damped(top);
        (top, covariance) = search.refine(nearer);
    }
    search.end(&top, covariance)
}

#[derive(Clone, Copy)]
struct Point<const N: usize> {
    at: Vector<N>,
    value: f64,
    gradient: Vector<N>,
    /// Where it was computed along with the rest.
    negative_hessian: Option<Matrix<N>>,
}

struct Search<'a, const N: usize, S> {
    surface: &'a S,
    start: Vector<N>,
    evaluations: u32,
}

impl<'a, const N: usize, S: Surface<N>> Search<'a, N, S> {
    fn new(start: Vector<N>, surface: &'a S) -> Self {
        Self { surface, start, evaluations: 0 }
    }

    fn evaluate(&mut self, at: Vector<N>) -> Point<N> {
        self.evaluations += 1;
        let (value, gradient) = self.surface.slope(&at);
        Point { at, value, gradient, negative_hessian: None }
    }

    /// The same where the Hessian will be asked for next.
    fn evaluate_bent(&mut self, at: Vector<N>) -> Point<N> {
        match self.surface.bend(&at) {
            Some((value, gradient, negative_hessian)) => {
                self.evaluations += 1;
                Point { at, value, gradient, negative_hessian: Some(negative_hessian) }
            }
            None => self.evaluate(at),
        }
    }

    fn end(self, top: &Point<N>, covariance: Option<Matrix<N>>) -> Optimum<N> {
        Optimum {
            at: top.at,
            value: top.value,
            gradient_norm: norm(&top.gradient),
            variances: covariance.map(|covariance| std::array::from_fn(|i| covariance[i][i])),
            evaluations: self.evaluations,
        }
    }

    /// BFGS with a backtracking line search (Nocedal & Wright, algorithm 6.1), until the top is near or no step helps.
    fn climb(&mut self) -> Point<N> {
        let mut inverse = identity();
        let mut here = self.evaluate(self.start);
        for _ in 0..MOST_CLIMBS {
            if norm(&here.gradient) < NEAR_THE_TOP {
                break;
            }
            let quasi_newton = times(&inverse, &here.gradient);
            let Some(next) = self.step(&here, quasi_newton).or_else(|| {
                // The curvature learned so far misleads: forget it, and stop if the slope itself is of no use.
                inverse = identity();
                self.step(&here, here.gradient)
            }) else {
                break;
            };
            update(&mut inverse, &minus(&next.at, &here.at), &minus(&here.gradient, &next.gradient));
            here = next;
        }
        here
    }

    /// The first of ever shorter steps in the direction that climbs enough (Armijo).
    fn step(&mut self, here: &Point<N>, direction: Vector<N>) -> Option<Point<N>> {
        let mut length = f64::min(1.0, LONGEST_STEP / norm(&direction));
        for _ in 0..40 {
            let at = self.within_reach(std::array::from_fn(|i| here.at[i] + length * direction[i]));
            let next = self.evaluate(at);
            let promised = dot(&here.gradient, &minus(&next.at, &here.at));
            if promised > 0.0 && next.value >= here.value + 1e-4 * promised && is_finite(&next) {
                return Some(next);
            }
            length *= 0.5;
        }
        None
    }

    /// Newton's method while it flattens the gradient, and the inverse of the negative Hessian at its end.
    fn refine(&mut self, mut here: Point<N>) -> (Point<N>, Option<Matrix<N>>) {
        let mut factor = cholesky(&self.negative_hessian(&here));
        for _ in 0..MOST_NEWTON_STEPS {
            let Some(lower) = &factor else { break };
            if norm(&here.gradient) < AT_THE_TOP {
                break;
            }
            let step = solve(lower, &here.gradient);
            let next = self.evaluate_bent(self.within_reach(std::array::from_fn(|i| here.at[i] + step[i])));
            if !is_finite(&next) || norm(&next.gradient) >= norm(&here.gradient) {
                break;
            }
            let came_far = norm(&step) > 1e-6;
            here = next;
            if came_far || here.negative_hessian.is_some() {
                factor = cholesky(&self.negative_hessian(&here));
            }
        }
        let unit = |i: usize| -> Vector<N> { std::array::from_fn(|j| f64::from(u8::from(i == j))) };
        (here, factor.map(|lower| std::array::from_fn(|i| solve(&lower, &unit(i)))))
    }

    /// Newton's method with as much damping as makes the Hessian negative definite and the step climb (Levenberg and
    /// Marquardt): slow, and not stopped by a saddle or a bent ridge.
    fn climb_damped(&mut self, mut here: Point<N>) -> Point<N> {
        let mut damping = 1e-3;
        for _ in 0..MOST_DAMPED_STEPS {
            if norm(&here.gradient) < AT_THE_TOP {
                break;
            }
            let hessian = self.negative_hessian(&here);
            let Some(next) = self.damped_step(&here, &hessian, &mut damping) else { break };
            here = next;
        }
        here
    }

    /// The step with the least damping, from the given one on, that climbs.
    fn damped_step(&mut self, here: &Point<N>, hessian: &Matrix<N>, damping: &mut f64) -> Option<Point<N>> {
        let scale = (0..N).map(|i| hessian[i][i].abs()).fold(f64::MIN_POSITIVE, f64::max);
        while *damping < 1e9 {
            let mut damped = *hessian;
            for (i, row) in damped.iter_mut().enumerate() {
                row[i] += *damping * scale;
            }
            if let Some(lower) = cholesky(&damped) {
                let step = solve(&lower, &here.gradient);
                let length = f64::min(1.0, LONGEST_STEP / norm(&step));
                let at = self.within_reach(std::array::from_fn(|i| here.at[i] + length * step[i]));
                let next = self.evaluate(at);
                if is_finite(&next) && next.value > here.value {
                    *damping = f64::max(0.1 * *damping, 1e-12);
                    return Some(next);
                }
            }
            *damping *= 10.0;
        }
        None
    }

    /// The surface's own, or central differences of the gradient, made symmetric.
    fn negative_hessian(&mut self, here: &Point<N>) -> Matrix<N> {
        if let Some(known) = here.negative_hessian {
            return known;
        }
        match self.surface.bend(&here.at) {
            Some((.., own)) => {
                self.evaluations += 1;
                own
            }
            None => self.differences(here),
        }
    }

    fn differences(&mut self, here: &Point<N>) -> Matrix<N> {
        const SHIFT: f64 = 1e-4;
        let columns: Matrix<N> = std::array::from_fn(|i| {
            let mut shifted = |by: f64| {
                let mut at = here.at;
                at[i] += by;
                self.evaluate(at).gradient
            };
            let (up, down) = (shifted(SHIFT), shifted(-SHIFT));
            std::array::from_fn(|j| (down[j] - up[j]) / (2.0 * SHIFT))
        });
        std::array::from_fn(|i| std::array::from_fn(|j| 0.5 * (columns[i][j] + columns[j][i])))
    }

    fn within_reach(&self, at: Vector<N>) -> Vector<N> {
        std::array::from_fn(|i| at[i].clamp(self.start[i] - FARTHEST, self.start[i] + FARTHEST))
    }
}

/// The BFGS update of the inverse Hessian by a step and the fall of the gradient along it.
fn update<const N: usize>(inverse: &mut Matrix<N>, step: &Vector<N>, fall: &Vector<N>) {
    let curvature = dot(step, fall);
    if curvature <= 1e-12 * norm(step) * norm(fall) {
        return;
    }
    let moved = times(inverse, fall);
    let scale = (1.0 + dot(fall, &moved) / curvature) / curvature;
    for i in 0..N {
        for j in 0..N {
            inverse[i][j] +=
                scale * step[i] * step[j] - (moved[i] * step[j] + step[i] * moved[j]) / curvature;
        }
    }
}

/// The lower triangle whose square the matrix is; none if it is not positive definite.
pub(super) fn cholesky<const N: usize>(matrix: &Matrix<N>) -> Option<Matrix<N>> {
    let mut lower = [[0.0; N]; N];
    for i in 0..N {
        for j in 0..=i {
            let rest = matrix[i][j] - (0..j).map(|k| lower[i][k] * lower[j][k]).sum::<f64>();
            if i > j {
                lower[i][j] = rest / lower[j][j];
            } else if rest > 1e-12 * matrix[i][i].abs() {
                lower[i][i] = libm::sqrt(rest);
            } else {
                return None;
            }
        }
    }
    Some(lower)
}

/// The solution of `lower lower' solution = right`.
pub(super) fn solve<const N: usize>(lower: &Matrix<N>, right: &Vector<N>) -> Vector<N> {
    let mut solution = *right;
    for i in 0..N {
        let known: f64 = (0..i).map(|j| lower[i][j] * solution[j]).sum();
        solution[i] = (solution[i] - known) / lower[i][i];
    }
    for i in (0..N).rev() {
        let known: f64 = (i + 1..N).map(|j| lower[j][i] * solution[j]).sum();
        solution[i] = (solution[i] - known) / lower[i][i];
    }
    solution
}

fn identity<const N: usize>() -> Matrix<N> {
    std::array::from_fn(|i| std::array::from_fn(|j| f64::from(u8::from(i == j))))
}

fn times<const N: usize>(matrix: &Matrix<N>, vector: &Vector<N>) -> Vector<N> {
    std::array::from_fn(|i| dot(&matrix[i], vector))
}

fn dot<const N: usize>(a: &Vector<N>, b: &Vector<N>) -> f64 {
    (0..N).map(|i| a[i] * b[i]).sum()
}

fn minus<const N: usize>(a: &Vector<N>, b: &Vector<N>) -> Vector<N> {
    std::array::from_fn(|i| a[i] - b[i])
}

fn norm<const N: usize>(vector: &Vector<N>) -> f64 {
    let larger =
        |largest: f64, z: &f64| if z.is_nan() || largest.is_nan() { f64::NAN } else { largest.max(z.abs()) };
    vector.iter().fold(0.0, larger)
}

fn is_finite<const N: usize>(point: &Point<N>) -> bool {
    point.value.is_finite() && point.gradient.iter().all(|slope| slope.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bent_ridge_is_climbed_to_its_top() {
        // Rosenbrock's valley, upside down: the top is at (1, 1).
        let optimum = maximise([-1.2, 1.0], &|&[x, y]: &[f64; 2]| {
            let bend = y - x * x;
            let value = -(1.0 - x) * (1.0 - x) - 100.0 * bend * bend;
            (value, [2.0 * (1.0 - x) + 400.0 * x * bend, -200.0 * bend])
        });

        assert!(minus(&optimum.at, &[1.0, 1.0]).iter().all(|off| off.abs() < 1e-10));
        // The inverse of the Hessian (802, -400; -400, 200).
        let variances = optimum.variances.unwrap();
        assert!((variances[0] - 0.5).abs() < 1e-4 && (variances[1] - 2.005).abs() < 1e-4, "{variances:?}");
    }

    #[test]
    fn a_draft_shortens_the_way_and_a_bad_one_does_not_mislead() {
        // An ill-conditioned bowl with a bend; the draft's top is a little beside.
        let bowl = |shift: f64| {
            move |&[x, y]: &[f64; 2]| {
                let (x, y) = (x - shift, y + shift);
                let value = -50.0 * x * x - 0.01 * y * y - 0.01 * libm::exp(x + y);
                (value, [-100.0 * x - 0.01 * libm::exp(x + y), -0.02 * y - 0.01 * libm::exp(x + y)])
            }
        };
        let draft = maximise([1.0, 1.0], &bowl(0.05));
        let bad_draft = maximise([0.0, 0.0], &|&[x, y]: &[f64; 2]| (x + y, [1.0, 1.0]));

        let cold = maximise_from(&[[1.0, 1.0]], &bowl(0.0));
        let short = maximise_after(&draft, &[[1.0, 1.0]], &bowl(0.0));
        let misled = maximise_after(&bad_draft, &[[1.0, 1.0]], &bowl(0.0));

        assert!(short.evaluations < cold.evaluations, "{} {}", short.evaluations, cold.evaluations);
        assert!(minus(&short.at, &cold.at).iter().all(|off| off.abs() < 1e-9));
        assert_eq!((misled.at, misled.evaluations), (cold.at, cold.evaluations));
    }

    #[test]
    fn a_slope_without_a_top_has_no_variances_or_a_gradient() {
        let optimum = maximise([0.0], &|&[x]: &[f64; 1]| (x, [1.0]));

        assert!(optimum.variances.is_none());
        assert!(optimum.gradient_norm > 0.5);
    }
}
