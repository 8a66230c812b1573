"""theory.tied_neurons against integrated flows, the loss summed over all dimensions, and exact cases."""

import math

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from diffmem_lib.theory import tied_neurons

ALPHA_BAR, GAIN, DIM = 0.6, 1.2, 7
SIGMA = math.sqrt(1 - ALPHA_BAR)


def test_first_steps_are_those_of_the_integrated_flow():
    """Rows under a linear activation, so small that their own square does not count, and the skip with them."""
    slope, start = -0.7, 1e-6
    moments = np.array([1.0, 1.0, 1.0, 3.1, 1.6, 1.0, 0.4])
    total = moments.sum()

    def flow(_, state):
        rows, skip = state[:-1], state[-1]
        quartic = 2 * (slope * GAIN) ** 2 * rows * (rows**2 @ moments + moments * (rows @ rows))
        pull = -4 * slope * GAIN * (skip * moments - SIGMA) * rows - quartic
        return [*pull, -2 * (total * skip - SIGMA * DIM)]

    time = 0.31
    found = solve_ivp(flow, (0, time), [*np.full(DIM, start), 1.0], rtol=1e-11, atol=1e-20).y[:, -1]
    arguments = DIM, total, ALPHA_BAR
    assert found[-1] == pytest.approx(tied_neurons.skip_course(time, *arguments), rel=1e-9)
    grown = [tied_neurons.early_growth(time, m, *arguments, slope, GAIN) for m in moments]
    np.testing.assert_allclose(found[:-1] / start, grown, rtol=1e-8)


def test_without_a_transient_growth_is_exponential_in_the_excess():
    """With the skip where it ends, in data with one direction of excess variance."""
    total = DIM + 2 * ALPHA_BAR
    skip = SIGMA * DIM / total
    grown = tied_neurons.early_growth(0.5, 1 + 2 * ALPHA_BAR, DIM, total, ALPHA_BAR, -0.5, GAIN, skip)
    assert grown == pytest.approx(math.exp(4 * -0.5 * GAIN * 0.5 * (SIGMA - (1 + 2 * ALPHA_BAR) * skip)), rel=1e-12)
    assert tied_neurons.skip_course(math.inf, DIM, total, ALPHA_BAR) == pytest.approx(skip, rel=1e-15)
    assert tied_neurons.skip_course(0.0, DIM, total, ALPHA_BAR, 0.3) == 0.3


@pytest.mark.parametrize("latent", [None, (1.0, -1.0)])
def test_loss_of_a_neuron_is_the_one_summed_over_dimensions(latent):
    """Every coordinate of the error squared, by quadrature over the two variables that it depends on and the rest."""
    skip, beta = 0.55, 4.0
    row = np.array([0.6, 0.5])  # along the latent's coordinate and along one of the bulk
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    x2, e1, e2, z = np.meshgrid(*[nodes] * 4, indexing="ij")
    density = np.einsum("i,j,k,l->ijkl", *[weights] * 4)
    total_loss = 0.0
    for nu in latent or (None,):
        x1 = z if nu is None else (z + math.sqrt(beta) * nu) / math.sqrt(1 + beta)
        noised = [math.sqrt(ALPHA_BAR) * x + SIGMA * e for x, e in ((x1, e1), (x2, e2))]
        value = np.tanh(GAIN * (row[0] * noised[0] + row[1] * noised[1]))
        errors = [(e - skip * x - w * value) ** 2 for x, e, w in zip(noised, (e1, e2), row, strict=True)]
        total_loss += float((sum(errors) * density).sum()) / len(latent or (None,))
    others = (DIM - 2) * ((1 - skip * SIGMA) ** 2 + skip**2 * ALPHA_BAR)
    norm, signal = float(np.hypot(*row)), math.sqrt(beta / (1 + beta)) * row[0] * math.sqrt(ALPHA_BAR)
    shift = 0.0 if latent is None else signal
    means = [GAIN * shift * nu for nu in latent or (1.0,)]
    deviation = GAIN * math.sqrt(norm**2 - shift**2)
    found = tied_neurons.neuron_loss(np.tanh, means, deviation, norm, DIM, float(DIM), ALPHA_BAR, GAIN, skip)
    assert found == pytest.approx(total_loss + others, rel=1e-9)


def test_a_row_of_length_zero_leaves_the_loss_of_the_skip():
    found = tied_neurons.neuron_loss(np.tanh, [0.0], 1e-9, 0.0, DIM, 9.0, ALPHA_BAR, GAIN, SIGMA * DIM / 9)
    assert found == pytest.approx(DIM - SIGMA**2 * DIM**2 / 9, rel=1e-9)


@pytest.mark.parametrize("slope", [0.0, -0.4, 0.9])
def test_escape_is_that_of_the_integrated_flow(slope):
    """The flow of the quartic part of the loss in the plane of the direction and the rest."""
    cubic, kappa4, first, last, rest = 0.8, -1.7, 0.5, 1.4, 0.01

    def gradient(row):
        quartic = 4 * (slope * GAIN) ** 2 * (row @ row) * row
        quartic[0] += 8 * SIGMA * cubic * GAIN**3 * ALPHA_BAR**2 * kappa4 * row[0] ** 3
        return quartic

    arrived = lambda _, row: row[0] / row[1] - last  # noqa: E731
    arrived.terminal = True
    run = solve_ivp(
        lambda _, row: -gradient(row), (0, 1e9), [first * rest, rest], events=arrived, rtol=1e-11, atol=1e-16
    )
    found = tied_neurons.escape_time(first, last, rest, cubic, ALPHA_BAR, kappa4, GAIN, slope)
    assert found == pytest.approx(run.t_events[0][0], rel=1e-7)


def test_without_a_linear_part_escape_is_the_difference_of_two_inverse_squares():
    found = tied_neurons.escape_time(0.2, 0.9, 0.05, -0.3, ALPHA_BAR, 2.0, 1.0)
    pull = 8 * SIGMA * 0.3 * ALPHA_BAR**2 * 2.0
    assert found == pytest.approx((1 / 0.2**2 - 1 / 0.9**2) / (2 * pull * 0.05**2), rel=1e-12)


def test_a_row_that_is_repelled_is_refused():
    with pytest.raises(ValueError, match="cubic must have the sign opposite to kappa4 = 2"):
        tied_neurons.escape_time(0.2, 0.9, 0.05, 0.3, ALPHA_BAR, 2.0, 1.0)


def test_a_time_that_no_float_holds_is_infinite_and_one_that_it_holds_is_exact():
    """Far from the direction, with a linear part, when nearly all the time goes by at the end."""
    arguments = {"last": 0.9, "rest": 0.05, "cubic": 1.0, "kappa4": -2.0, "gain": 1.0, "slope": 1.0}
    pull = 8 * SIGMA * ALPHA_BAR**2 * 2
    k, begin, end = 4 / pull, mpmath.mpf(0.05) ** -2, mpmath.mpf(0.9) ** -2
    integral = mpmath.quad(lambda u: mpmath.exp(k * (begin - u)) * (u / begin) ** -k, mpmath.linspace(end, begin, 60))
    found = tied_neurons.escape_time(first=0.05, alpha_bar=ALPHA_BAR, **arguments)
    assert found == pytest.approx(float(integral / (2 * pull * 0.05**2)), rel=1e-9)
    assert tied_neurons.escape_time(first=0.01, alpha_bar=ALPHA_BAR, **arguments) == math.inf
    grown = tied_neurons.early_growth(1e4, 3.0, DIM, 9.0, ALPHA_BAR, -1.0, GAIN)
    assert grown == math.inf
    assert tied_neurons.early_growth(1e4, 3.0, DIM, 9.0, ALPHA_BAR, 1.0, GAIN) == 0
