//! The least value of a smooth function of a few variables: BFGS (Nocedal and Wright 2006, chapter 6) with the whole
//! approximate inverse of the second derivatives, which for a handful of variables costs nothing.

/// Most steps, and most halvings of one.
const STEPS_MAX: usize = 500;
const HALVINGS_MAX: usize = 40;
/// The share of the promised decrease that a step must bring (Armijo's rule).
const DECREASE: f64 = 1e-4;
/// A step that gains less than this share of the value is the last, once it was so several times.
const GAIN_MIN: f64 = 1e-12;
const SMALL_GAINS: usize = 3;
/// The longest step in any variable.
const STRIDE_MAX: f64 = 2.0;

/// A point and the function's value there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Minimum<const N: usize> {
    /// Where.
    pub point: [f64; N],
    /// How little.
    pub value: f64,
}

/// Goes downhill from `start` to a place with no way down. `function` gives the value and its gradient; a value that is
/// no finite number is taken for a wall.
pub fn minimise<const N: usize>(start: [f64; N], function: impl Fn(&[f64; N]) -> (f64, [f64; N])) -> Minimum<N> {
    let (mut point, (mut value, mut gradient)) = (start, function(&start));
    let mut inverse = identity::<N>();
    let mut small_gains = 0;
    for _ in 0..STEPS_MAX {
        let Some((next, next_value, next_gradient)) = step(&point, value, &gradient, &inverse, &function) else {
            // The approximation may be at fault: plain descent has the last word.
            if inverse == identity::<N>() {
                break;
            }
            inverse = identity::<N>();
            continue;
        };
        small_gains = if value - next_value <= GAIN_MIN * value.abs() { small_gains + 1 } else { 0 };
        update(&mut inverse, &difference(&next, &point), &difference(&next_gradient, &gradient));
        (point, value, gradient) = (next, next_value, next_gradient);
        if small_gains >= SMALL_GAINS {
            break;
        }
    }
    Minimum { point, value }
}

/// One step downhill, halved until it gains enough; nothing where none does.
fn step<const N: usize>(
    point: &[f64; N],
    value: f64,
    gradient: &[f64; N],
    inverse: &[[f64; N]; N],
    function: &impl Fn(&[f64; N]) -> (f64, [f64; N]),
) -> Option<([f64; N], f64, [f64; N])> {
    let mut direction: [f64; N] = std::array::from_fn(|row| -dot(&inverse[row], gradient));
    let longest = direction.iter().fold(0.0, |most: f64, part| most.max(part.abs()));
    if longest > STRIDE_MAX {
        direction.iter_mut().for_each(|part| *part *= STRIDE_MAX / longest);
    }
    let slope = dot(&direction, gradient);
    if slope.is_nan() || slope >= 0.0 {
        return None;
    }
    let mut length = 1.0;
    for _ in 0..HALVINGS_MAX {
        let next: [f64; N] = std::array::from_fn(|place| point[place] + length * direction[place]);
        let (next_value, next_gradient) = function(&next);
        if next_value.is_finite() && next_value <= value + DECREASE * length * slope {
            return Some((next, next_value, next_gradient));
        }
        length *= 0.5;
    }
    None
}

/// Takes in how the gradient changed along a step; where it does not curve upwards, nothing is learned.
fn update<const N: usize>(inverse: &mut [[f64; N]; N], moved: &[f64; N], changed: &[f64; N]) {
    let along = dot(moved, changed);
    let least = 1e-12 * dot(changed, changed).sqrt() * dot(moved, moved).sqrt();
    if along.is_nan() || along <= least {
        return;
    }
    let seen: [f64; N] = std::array::from_fn(|row| dot(&inverse[row], changed));
    let factor = (1.0 + dot(changed, &seen) / along) / along;
    for row in 0..N {
        for column in 0..N {
            inverse[row][column] +=
                factor * moved[row] * moved[column] - (seen[row] * moved[column] + moved[row] * seen[column]) / along;
        }
    }
}

fn identity<const N: usize>() -> [[f64; N]; N] {
    std::array::from_fn(|row| std::array::from_fn(|column| f64::from(u8::from(row == column))))
}

fn dot<const N: usize>(left: &[f64; N], right: &[f64; N]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

fn difference<const N: usize>(left: &[f64; N], right: &[f64; N]) -> [f64; N] {
    std::array::from_fn(|place| left[place] - right[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_curved_valley_is_followed_to_its_end() {
        // Rosenbrock 1960.
        let valley = |&[x, y]: &[f64; 2]| {
            let (rise, side) = (y - x * x, 1.0 - x);
            (100.0 * rise * rise + side * side, [-400.0 * x * rise - 2.0 * side, 200.0 * rise])
        };
        for start in [[-1.2, 1.0], [3.0, -4.0], [0.0, 0.0]] {
            let Minimum { point, value } = minimise(start, valley);
            assert!(value < 1e-18 && (point[0] - 1.0).abs() < 1e-8 && (point[1] - 1.0).abs() < 1e-8, "{point:?}");
        }
    }

    #[test]
    fn a_long_bowl_and_walls_are_no_hindrance() {
        let bowl = |point: &[f64; 5]| {
            let weight = |place: usize| 10f64.powi(place as i32 * 2);
            let value = (0..5).map(|place| weight(place) * (point[place] - 1.0).powi(2)).sum();
            (value, std::array::from_fn(|place| 2.0 * weight(place) * (point[place] - 1.0)))
        };
        assert!(minimise([9.0; 5], bowl).point.iter().all(|part| (part - 1.0).abs() < 1e-6));
        // x − ln x, which is nothing below 0.
        let walled = |&[x]: &[f64; 1]| (x - x.ln(), [1.0 - 1.0 / x]);
        assert!((minimise([5.0], walled).point[0] - 1.0).abs() < 1e-6);
    }
}
