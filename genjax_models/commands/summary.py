"""What a result is, in words."""


def summary(result: dict) -> str:
    """What a `result.json` says, in a few lines."""
    if "test_mmd_squared" in result:
        parzen = _figure(result["test_parzen_log_likelihood"], result["test_parzen_log_likelihood_standard_error"])
        text = (
            f"test MMD^2 {result['test_mmd_squared']:.5f}, two-sample p-value {result['test_two_sample_p_value']:.3f}, "
            f"Parzen log-likelihood {parzen} nats per example ({result['test_parzen_samples']} samples, sigma "
            f"{result['test_parzen_sigma']:.3f}, {result['test_examples']} examples, step {result['evaluated_step']})"
        )
        if "test_modes" in result:
            text += (
                f"\n{result['test_modes_covered']} of {result['test_modes']} modes, "
                f"{result['test_high_quality_samples']:.1%} of samples within three standard deviations of one, KL "
                f"divergence of the modes' shares from uniform {result['test_modes_divergence']:.3f} nats"
            )
        return text
    bound = _figure(result["test_bound"], result["test_bound_standard_error"])
    nll = _figure(result["test_nll"], result["test_nll_standard_error"])
    samples = "exact" if result["test_nll_samples"] is None else f"{result['test_nll_samples']} samples"
    text = ""
    if skipped := result.get("nonfinite_steps"):
        text = f"{skipped} steps were put back: their loss or gradient was not finite\n"
    text += (
        f"test bound {bound}, test NLL {nll} nats per example ({samples}, "
        f"{result['test_examples']} examples, step {result['evaluated_step']})"
    )
    if result["test_nll"] is None:
        text += (
            "\nthe NLL of some examples is not finite: look at the range of the data, by `genjax-models inspect-data`"
        )
    elif number := result.get("test_nll_doubtful_examples"):  # a run of an earlier version has none
        text += (
            f"\nthe weights speak against the estimates of {number} of {result['test_examples']} examples, whose NLL "
            "is likely lower: raise evaluation.num_samples, or see `genjax-models anneal`"
        )
    if "log_z" in result:
        unnormalized, normalized, log_z = (
            _figure(result[name], result[f"{name}_standard_error"])
            for name in ("test_nll_p_star_unnormalized", "test_nll_p_star", "log_z")
        )
        text += (
            f"\ntest NLL of p* {unnormalized} unnormalized, which is the one to compare; {normalized} with log Z "
            f"{log_z} ({result['log_z_samples']} samples), an estimate that is low in expectation and then flatters it"
        )
    if "test_nll_in_logit_space" in result:
        text += f"\ntest NLL {result['test_nll_in_logit_space']:.2f} nats per example in logit space"
    if "test_bits_per_dim" in result:
        text += f"\n{result['test_bits_per_dim']:.3f} bits per dimension"
    if "test_squared_error" in result:
        made, blended = (
            f"{result[name]:.5f} +- {result[f'{name}_standard_error']:.5f}"
            for name in ("test_squared_error", "test_squared_error_of_blend")
        )
        text += f"\nsquared error of E[x | c] {made} a unit; of the blend of the two nearest codes' examples {blended}"
    return text


def _figure(mean: float | None, error: float | None) -> str:
    """A mean with its standard error, which one example does not have."""
    if mean is None:
        return "not finite"
    return f"{mean:.2f}" if error is None else f"{mean:.2f} +- {error:.2f}"
