"""Measured claims hold on true predictions and refuse wrong ones, and every way known to fool them."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from diffmem_lib.claims import measured


def normal(mean, error, runs, seed=0):
    return np.random.default_rng(seed).normal(mean, error, runs)


def refuses(verdict, why):
    assert not verdict.accepted
    assert why in verdict.reason, verdict.reason


def undetected(verdict):
    return {name for name, variant in verdict.variants.items() if variant.accepted}


class TestAgreement:
    def test_line_names_both_figures_and_the_resolution(self):
        sample = 0.0966 + 0.002 * stats.norm.ppf((np.arange(40) + 0.5) / 40)
        verdict = measured.agreement(0.0966, sample, {"double": 0.1932})
        assert verdict.accepted
        error = sample.std(ddof=1) / math.sqrt(40)
        limit = stats.t.ppf(1 - 5e-5, 39) * error
        assert verdict.resolution == pytest.approx(limit / 0.0966, rel=1e-9)
        assert verdict.line == "predicted 0.0966, measured 0.0966(3); an error of 1.4 % would be refused"
        assert verdict.points == "40 replicas"

    def test_an_error_of_the_resolution_is_refused_and_two_thirds_of_the_way_need_not_be(self):
        sample = normal(1, 0.01, 60)
        resolution = measured.agreement(1.0, sample, {"double": 2.0}).resolution
        for sign in (-1, 1):
            wrong = 1 + sign * 1.001 * resolution
            refuses(measured.agreement(wrong, sample, {"double": 2.0}), "resolutions off")
            assert not undetected(measured.agreement(1.0, sample, {"near": wrong}))
        assert undetected(measured.agreement(1.0, sample, {"nearer": sample.mean() + 0.0001})) == {"nearer"}

    def test_distance_counts_resolutions(self):
        sample = 1 + 0.01 * stats.norm.ppf((np.arange(40) + 0.5) / 40)
        resolution = measured.agreement(1.0, sample, {"double": 2.0}).resolution
        verdict = measured.agreement(1.0, sample, {"three": 1 + 3 * resolution, "double": 2.0})
        assert verdict.variants["three"].distance == "3 resolutions off"
        assert verdict.variants["double"].distance == "over 99 resolutions off"

    def test_prediction_as_function_of_what_the_variants_override(self):
        verdict = measured.agreement(
            lambda ridge=0.2, shift=0.0: [1 / (1 + ridge), 2 + shift],
            np.stack([normal(1 / 1.2, 0.01, 60), normal(2, 0.01, 60, 1)], axis=1),
            {"no ridge": {"ridge": 0}, "shifted": {"shift": 0.1}, "curve": [1, 2], "no change": {}},
        )
        assert verdict.accepted
        assert undetected(verdict) == {"no change"}

    def test_tensors(self):
        sample = torch.tensor(normal(1, 0.01, 40), requires_grad=True)
        expected = measured.agreement(1.0, sample.tolist(), {"double": 2.0})
        assert measured.agreement(torch.tensor(1.0), sample, {"double": torch.tensor(2.0)}) == expected
        assert measured.agreement(1.0, list(sample), {"double": 2.0}) == expected

    def test_resolution_is_that_of_the_worst_point(self):
        sample = np.stack([normal(1, 1e-4, 60), *(normal(1, 0.3, 60, i) for i in range(1, 10))], axis=1)
        verdict = measured.agreement(np.ones(10), sample, {"first": [2, *[1] * 9]})
        refuses(verdict, "draw it, do not claim it")
        assert "of 10 would see only errors above" in verdict.reason
        assert not verdict.reason.startswith("the data at point 1 of")

    def test_small_values_are_relative_to_the_largest_of_the_curve(self):
        sample = np.stack([normal(1, 0.01, 60), normal(0.01, 0.01, 60, 1)], axis=1)
        verdict = measured.agreement([1, 0.01], sample, {"one": [1, 1]})
        assert verdict.accepted
        assert verdict.points == "60 replicas at 2 points, 1 of them relative to the largest"
        refuses(measured.agreement(0.01, sample[:, 1], {"one": 1}), "would see only errors above")

    def test_point_above_a_tenth_is_relative_to_itself(self):
        sample = np.stack([normal(1, 0.01, 60), normal(0.11, 0.02, 60, 1)], axis=1)
        refuses(measured.agreement([1, 0.11], sample, {"one": [1, 1]}), "at point 2 of 2")

    def test_scale_only_where_every_prediction_is_zero(self):
        sample = normal(0, 0.01, 60)
        with pytest.raises(ValueError, match="scale must be given and positive"):
            measured.agreement(0.0, sample, {"one": 1.0})
        verdict = measured.agreement(0.0, sample, {"one": 1.0}, scale=1.3)
        assert verdict.accepted
        assert "relative to 1.3 would be refused" in verdict.line
        refuses(measured.agreement(0.0, sample, {"one": 1.0}, scale=0.01), "would see only errors above")
        with pytest.raises(ValueError, match="scale must be given only where every prediction is zero"):
            measured.agreement(1.0, 1 + sample, {"double": 2.0}, scale=1000)
        with pytest.raises(ValueError, match="scale must be given only where every prediction is zero"):
            measured.agreement([0.0, 1.0], np.stack([sample, 1 + sample], 1), {"one": [1.0, 1.0]}, scale=1000)

    @pytest.mark.parametrize("distinct", [8, 40, 200])
    @pytest.mark.parametrize("copy", [np.tile, np.repeat])
    def test_copies_are_no_replicas(self, distinct, copy):
        copies = copy(normal(1, 0.3, distinct), 500)
        assert not measured.agreement(1.0, copies, {"double": 2.0}).accepted
        jittered = copies * (1 + 1e-13 * normal(0, 1, len(copies), 1))
        assert not measured.agreement(1.0, jittered, {"double": 2.0}).accepted

    @pytest.mark.parametrize("strays", [1, 5])
    @pytest.mark.parametrize("times", [2, 8, 100])
    def test_copies_among_which_a_few_are_single_are_no_replicas(self, times, strays):
        copies = np.append(np.tile(normal(1, 0.3, 200), times), normal(1, 0.3, strays, 1))
        refuses(measured.agreement(1.0, copies, {"double": 2.0}), f"{times} times each: copies are no replicas")

    def test_honest_fractions_repeat(self):
        fractions = np.random.default_rng(0).binomial(400, 0.5, 300) / 400
        assert measured.agreement(0.5, fractions, {"0.6": 0.6}).accepted
        refuses(measured.agreement(0.5, np.arange(300) % 2, {"0.6": 0.6}), "group runs")

    @pytest.mark.parametrize("offset", [0, 10])
    def test_skewed_replicas_are_refused(self, offset):
        for seed in range(20):
            skewed = np.random.default_rng(seed).chisquare(1, 60)
            verdict = measured.agreement(1.0 + offset, skewed + offset, {"double": 30.0})
            refuses(verdict, "group runs")
            assert "skewness" in verdict.reason

    def test_many_skewed_runs_in_groups_hold(self):
        sample = np.random.default_rng(0).chisquare(1, (60, 2000)).mean(1)
        assert measured.agreement(1.0, sample, {"double": 2.0}).accepted

    def test_equal_up_to_rounding(self):
        sample = 1 + 1e-15 * normal(0, 1, 40)
        refuses(measured.agreement(1.0, sample, {"double": 2.0}), "rounding only")

    @pytest.mark.parametrize(
        ("prediction", "replicas", "wrong", "message"),
        [
            (1.0, normal(1, 0.1, 7), {"2": 2}, "at least 8"),
            (1.0, [*normal(1, 0.1, 20), math.nan], {"2": 2}, "replicas must be finite"),
            (1.0, [*normal(1, 0.1, 20), math.inf], {"2": 2}, "replicas must be finite"),
            ([1.0, 1.0], normal(1, 0.1, 20), {"2": [2, 2]}, "of 2 number"),
            (1.0, [[1.0]] * 9 + [[1.0, 2.0]], {"2": 2}, "of one shape"),
            (1.0, normal(1, 0.1, 20), {"2": [2, 2]}, "variant '2' must have 1"),
            (1.0, normal(1, 0.1, 20), {"nan": math.nan}, "variant 'nan' must be finite"),
            (math.nan, normal(1, 0.1, 20), {"2": 2}, "prediction must be finite"),
            (1.0, normal(1, 0.1, 20), {"2": {"ridge": 0}}, "prediction must be a function"),
            (1.0, normal(1, 0.1, 20), {}, "at least one variant"),
        ],
    )
    def test_what_cannot_be_read(self, prediction, replicas, wrong, message):
        with pytest.raises(ValueError, match=message):
            measured.agreement(prediction, replicas, wrong)

    @pytest.mark.parametrize("runs", [8, 12, 40])
    def test_a_true_prediction_is_hardly_ever_refused(self, runs):
        # At the level 1e-4 two thousand trials give four refusals or more with probability 6e-5.
        rng = np.random.default_rng(runs)
        verdicts = [measured.agreement(1.0, rng.normal(1, 0.01, runs), {"double": 2.0}) for _ in range(2000)]
        assert sum("resolutions off" in verdict.reason for verdict in verdicts) <= 3
        assert sum("skewed" in verdict.reason for verdict in verdicts) <= 0.02 * 2000


SIZES = np.array([16, 32, 64, 128, 256])


def groups(limit, error, *corrections, runs=200, seed=0):
    """Replicas whose mean at size N is limit + Σ b N^-r for the pairs (b, r)."""
    rng = np.random.default_rng(seed)
    means = limit + sum((b * SIZES**-r for b, r in corrections), np.zeros(5))
    return [rng.normal(mean, error, runs) for mean in means]


class TestLimit:
    def test_finite_size_trend(self):
        verdict = measured.agreement(1.0, groups(1, 0.003, (1.0, 1.0)), {"limit": 1.1}, SIZES, 1)
        assert verdict.accepted
        assert set(verdict.variants) == {"limit", "no correction", "half the rate", "twice the rate"}
        assert not undetected(verdict)
        assert verdict.resolution < 0.01
        refuses(
            measured.agreement(1.05, groups(1, 0.003, (1.0, 1.0)), {"limit": 1.1}, SIZES, 1),
            "the prediction is",
        )

    def test_limit_against_an_independent_fit(self):
        data = groups(1, 0.003, (1.0, 1.0))
        means, errors = [g.mean() for g in data], [g.std(ddof=1) / math.sqrt(200) for g in data]
        (_, limit), covariance = np.polyfit(1 / SIZES, means, 1, w=1 / np.array(errors), cov="unscaled")
        allowed = stats.t.ppf(1 - 5e-5, 199) * math.sqrt(covariance[1, 1])
        verdict = measured.agreement(1.0, data, {"limit": 1.1}, SIZES, 1)
        assert verdict.resolution == pytest.approx(allowed + abs(limit - 1), rel=1e-6)

    def test_two_rates(self):
        data = groups(1, 0.002, (1.0, 1.0), (4.0, 2.0), runs=400)
        verdict = measured.agreement(1.0, data, {"limit": 1.1}, SIZES, [1, 2])
        assert verdict.accepted
        assert not undetected(verdict)
        refuses(measured.agreement(1.0, data, {"limit": 1.1}, SIZES, 1), "need a further term")

    def test_no_correction_to_see(self):
        verdict = measured.agreement(1.0, groups(1, 0.003), {"limit": 1.1}, SIZES, 1)
        assert undetected(verdict) == {"no correction", "half the rate", "twice the rate"}

    def test_noise_that_hides_the_rate(self):
        # A correction of 1.6 % at the smallest size and 0.5 % of noise: a constant is refused, another rate is not.
        verdict = measured.agreement(1.0, groups(1, 0.03, (0.25, 1.0)), {"limit": 1.2}, SIZES, 1)
        assert verdict.accepted
        assert undetected(verdict) >= {"twice the rate"}

    @pytest.mark.parametrize("noise", [0.003, 0.01, 0.03, 0.1])
    @pytest.mark.parametrize(("claimed", "true"), [(2, 1), (0.5, 1), (3, 1)])
    def test_wrong_rate_that_calls_the_true_limit_wrong(self, claimed, true, noise):
        data = groups(1, noise, (1.0, float(true)))
        design = np.stack([np.ones(5), SIZES ** -float(claimed)], 1)
        found = np.linalg.lstsq(design, [g.mean() for g in data], rcond=None)[0][0]
        verdict = measured.agreement(found, data, {"the true limit": 1.0}, SIZES, claimed)
        assert not verdict.accepted or undetected(verdict)

    def test_narrow_range_of_sizes_finds_a_wrong_limit_with_its_rate(self):
        # All trends fit over a narrow range, each with its own limit: only the pair of rate and limit can be refused.
        sizes = np.array([90, 95, 100, 105, 110])
        rng = np.random.default_rng(0)
        data = [rng.normal(1 + 50 / n, 0.06, 4000) for n in sizes]
        design = np.stack([np.ones(5), (sizes / 90.0) ** -2], 1)
        found = np.linalg.lstsq(design, [g.mean() for g in data], rcond=None)[0][0]
        verdict = measured.agreement(found, data, {"the true limit": 1.0}, sizes, 2)
        assert verdict.accepted
        assert undetected(verdict) == {"the true limit, half the rate"}

    @pytest.mark.parametrize(
        ("sizes", "rate", "message"),
        [
            (SIZES, None, "given together"),
            (None, 1, "given together"),
            (SIZES[:4], 1, "one for each of the 5"),
            ([16, 16, 64, 128, 256], 1, "distinct"),
            (SIZES, 0, "rate must be positive"),
            (SIZES, [1, 1], "rate must be positive and its values distinct"),
            (SIZES, [1, 2, 3, 4], "at least 6"),
        ],
    )
    def test_what_cannot_be_read(self, sizes, rate, message):
        with pytest.raises(ValueError, match=message):
            measured.agreement(1.0, groups(1, 0.003, (1.0, 1.0)), {"2": 2}, sizes, rate)

    def test_a_variant_may_not_take_the_name_of_an_automatic_one(self):
        with pytest.raises(ValueError, match="wrong must not name half the rate"):
            measured.agreement(1.0, groups(1, 0.003, (1.0, 1.0)), {"half the rate": 2}, SIZES, 1)

    def test_copies_at_one_size(self):
        data = groups(1, 0.003, (1.0, 1.0))
        data[2] = np.tile(data[2][:20], 10)
        refuses(measured.agreement(1.0, data, {"limit": 1.1}, SIZES, 1), "at size 64 repeat every value")

    @pytest.mark.parametrize("runs", [8, 40])
    def test_a_true_trend_is_hardly_ever_refused(self, runs):
        reasons = [
            measured.agreement(1.0, groups(1, 0.003, (1.0, 1.0), runs=runs, seed=seed), {"2": 2}, SIZES, 1).reason
            for seed in range(300)
        ]
        assert sum(reason != "" and "skewed" not in reason for reason in reasons) <= 2


class TestExponent:
    sizes = (20, 40, 80, 160, 320)

    def times(self, power, runs=40, spread=0.2, seed=0):
        rng = np.random.default_rng(seed)
        return [n**power * np.exp(spread * rng.standard_normal(runs)) for n in self.sizes]

    def test_contains_the_prediction_and_excludes_neighbours(self):
        verdict = measured.exponent(self.sizes, self.times(3), 3, {"5/2": 2.5})
        assert verdict.accepted
        assert set(verdict.variants) == {"exponent 2", "exponent 4", "5/2"}
        assert not undetected(verdict)
        refuses(measured.exponent(self.sizes, self.times(3.5), 3), "does not contain 3")
        assert undetected(measured.exponent(self.sizes, self.times(3), 3, {"3.001": 3.001})) == {"3.001"}

    def test_interval_has_the_width_of_the_median_s_error(self):
        verdict = measured.exponent(self.sizes, self.times(1, runs=400), 1)
        xs = np.log(self.sizes) - np.log(self.sizes).mean()
        error = 0.2 * math.sqrt(math.pi / 2 / 400 / (xs @ xs))
        assert verdict.resolution == pytest.approx(2.576 * error, rel=0.35)

    def test_half_width_at_most_a_quarter_of_the_exponent(self):
        times = self.times(-0.2, spread=0.5)
        verdict = measured.exponent(self.sizes, times, -0.2)
        refuses(verdict, "wider than ±0.05")
        assert measured.exponent(self.sizes, self.times(-0.2, spread=0.05), -0.2).accepted
        refuses(measured.exponent(self.sizes, self.times(3, spread=2.0), 3), "wider than ±0.3")

    def test_a_time_that_does_not_grow(self):
        verdict = measured.exponent(self.sizes, self.times(0), 0)
        assert verdict.accepted
        assert set(verdict.variants) == {"exponent -0.5", "exponent 0.5"}
        refuses(measured.exponent(self.sizes, self.times(0, spread=0.7), 0), "wider than ±0.1")

    def test_censored_runs(self):
        times = self.times(3)
        censored = [np.where(row > np.quantile(row, 0.8), np.inf, row) for row in times]
        assert measured.exponent(self.sizes, censored, 3).accepted
        with pytest.raises(ValueError, match="at least half of the runs are censored"):
            measured.exponent(self.sizes, [np.where(row > np.median(row), np.inf, row) for row in times], 3)

    def test_one_run_copied(self):
        copies = [np.full(8, n**3.0) for n in self.sizes]
        refuses(measured.exponent(self.sizes, copies, 3), "rounding only")
        few = [np.repeat(row[:4], 10) for row in self.times(3)]
        refuses(measured.exponent(self.sizes, few, 3), "4 distinct values")
        doubled = [np.repeat(row, 2) for row in self.times(3)]
        refuses(measured.exponent(self.sizes, doubled, 3), "copies are no replicas")

    def test_runs_of_one_size_rescaled_to_the_others(self):
        row = self.times(0)[0]
        refuses(measured.exponent(self.sizes, [n**3.0 * row for n in self.sizes], 3), "up to a factor")

    @pytest.mark.parametrize(
        ("sizes", "change", "message"),
        [
            ((20, 40, 80, 160), lambda rows: rows, "one for each row"),
            ((20, 20, 80, 160, 320), lambda rows: rows, "distinct"),
            (sizes, lambda rows: [row[:7] for row in rows], "at least 8 positive"),
            (sizes, lambda rows: [-row for row in rows], "at least 8 positive"),
            (sizes, lambda rows: [*rows[:4], rows[4] * math.nan], "at least 8 positive"),
        ],
    )
    def test_what_cannot_be_read(self, sizes, change, message):
        with pytest.raises(ValueError, match=message):
            measured.exponent(sizes, change(self.times(1)), 1)

    def test_a_variant_may_not_hide_a_neighbour(self):
        with pytest.raises(ValueError, match="wrong must not name exponent 2"):
            measured.exponent(self.sizes, self.times(3), 3, {"exponent 2": 9})

    def test_same_seed_same_verdict(self):
        assert measured.exponent(self.sizes, self.times(3), 3) == measured.exponent(self.sizes, self.times(3), 3)


class TestExceeds:
    def test_line_shows_measurement_and_threshold(self):
        sample = 0.938 + 0.02 * stats.norm.ppf((np.arange(40) + 0.5) / 40)
        verdict = measured.exceeds(sample, 0.9, {"shuffled": normal(0.5, 0.02, 40)})
        assert verdict.accepted
        effect = 0.038 / sample.std(ddof=1)
        assert verdict.line == f"measured 0.938(3) > 0.9, effect size {effect:.2g}"
        assert verdict.prediction == "> 0.9"
        assert verdict.variants["shuffled"].distance.endswith("resolutions lower")

    def test_level_is_that_of_the_one_sided_t_test(self):
        sample = stats.norm.ppf((np.arange(40) + 0.5) / 40)
        bound = -stats.t.ppf(1 - 1e-4, 39) * sample.std(ddof=1) / math.sqrt(40)
        wrong = {"far": sample - 9}
        assert measured.exceeds(sample, bound - 1e-3, wrong).accepted
        refuses(measured.exceeds(sample, bound + 1e-3, wrong), "does not exceed")

    def test_variant_that_exceeds_or_cannot_be_told_apart(self):
        sample = normal(1, 0.1, 40)
        verdict = measured.exceeds(
            sample,
            0.9,
            {
                "exceeds too": normal(0.95, 0.01, 40, 1),
                "few and noisy": normal(1, 1.0, 8, 2) + 0.3,
                "constant above": [2.0] * 8,
                "constant below": [0.5] * 8,
                "lower": normal(0.8, 0.1, 40, 3),
            },
        )
        assert verdict.accepted
        assert undetected(verdict) == {"exceeds too", "few and noisy", "constant above"}

    @pytest.mark.parametrize(
        "replicas",
        [
            [0.1 + 0.2] * 20 + [0.3] * 20,
            [1.0] * 40,
            1e6 * (1 + 1e-12 * normal(0, 1, 40)),
        ],
    )
    def test_equal_numbers_and_rounding(self, replicas):
        refuses(measured.exceeds(replicas, 0.0, {"negative": normal(-1, 0.1, 40)}), "rounding only")

    def test_copies_and_skewness(self):
        wrong = {"negative": normal(-1, 0.1, 40)}
        refuses(measured.exceeds(np.tile(normal(0.1, 0.3, 20), 500), 0.0, wrong), "distinct values")
        refuses(measured.exceeds(np.random.default_rng(0).chisquare(1, 60), 0.0, wrong), "group runs")

    def test_negative_threshold_and_zero_mean(self):
        sample = stats.norm.ppf((np.arange(40) + 0.5) / 40)
        verdict = measured.exceeds(sample, -2.0, {"lower": sample - 3})
        assert verdict.accepted
        assert math.isfinite(verdict.resolution)
        assert verdict.line.startswith("measured 0.00(16) > -2")
        antisymmetric = np.concatenate([np.arange(1.0, 9.0), -np.arange(1.0, 9.0)])
        refuses(measured.exceeds(antisymmetric, 0.0, {"lower": sample - 3}), "does not exceed")

    @pytest.mark.parametrize(
        ("replicas", "threshold", "wrong", "message"),
        [
            (normal(1, 0.1, 40), 0, {}, "at least one variant"),
            (normal(1, 0.1, 7), 0, {"w": [0] * 8}, "at least 8"),
            (np.ones((9, 2)), 0, {"w": [0] * 8}, "of 1 number"),
            (normal(1, 0.1, 40), math.nan, {"w": [0] * 8}, "threshold must be finite"),
            (normal(1, 0.1, 40), 0, {"w": [math.nan] * 8}, "variant 'w' must be finite"),
            (normal(1, 0.1, 40), 0, {"w": -1.0}, "variant 'w' must be at least 8"),
        ],
    )
    def test_what_cannot_be_read(self, replicas, threshold, wrong, message):
        with pytest.raises(ValueError, match=message):
            measured.exceeds(replicas, threshold, wrong)


class TestFigures:
    @pytest.mark.parametrize(
        ("value", "error", "text"),
        [
            (0.09691, 0.00041, "0.0969(4)"),
            (0.09691, 0.00014, "0.09691(14)"),
            (12345.0, 300.0, "12300(300)"),
            (12345.0, 4.2, "12345(4)"),
            (-0.0001, 0.03, "0.00(3)"),
            (3.0, 0.0, "3"),
            (1.5, 1e-15, "1.5(1e-15)"),
        ],
    )
    def test_error_in_brackets(self, value, error, text):
        assert measured._with_error(value, error) == text
