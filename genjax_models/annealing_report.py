"""A run's log p(x) checked: by annealing beside importance weighting, and between bounds on simulated examples."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.core import Batch, LatentVariableModel
from genjax_models.data import evaluation_subset
from genjax_models.errors import ModelError
from genjax_models.evaluation import annealed_importance_sampling, bidirectional_monte_carlo, paired_difference
from genjax_models.evaluation.annealing import Start, require_path
from genjax_models.evaluation.blocks import require_sizes
from genjax_models.evaluation.marginal import estimate_log_marginal
from genjax_models.experiment import load_run_data
from genjax_models.measuring import ANNEALING, Log, chosen_parameters, evaluation_key, mean_and_error, number
from genjax_models.run_folder import open_run
from genjax_models.sweep_report import with_error


def check_likelihood(
    folder: Path,
    *,
    num: int = 100,
    num_chains: int = 16,
    num_temperatures: int = 500,
    leapfrog_steps: int = 10,
    start: Start = "prior",
    num_samples: int = 5000,
    data_dir: str | None = None,
    log: Log = print,
) -> dict[str, Any]:
    """log p(x) of test examples by annealing beside importance weighting, and the gap of both bounds on simulated ones.

    Args:
        folder: the run folder of a model with latents.
        num: test examples, by a fixed random draw; and simulated ones.
        num_chains: annealed chains for each.
        num_temperatures: of each chain.
        leapfrog_steps: of a Hamiltonian transition, for real latents.
        start: where chains start: the "prior" p(z), or the "posterior" q(z | x).
        num_samples: K of importance weighting.
        data_dir: where data files lie; None for the environment's or the default folder.
        log: hears what happens, line by line.

    Returns:
        Figures, nats per example: means with standard errors over examples of both estimates and of their difference on
        the same examples; how many estimates by importance weighting are doubtful; and of simulated examples both
        bounds and the gap.

    Raises:
        UserError: no run, no whole checkpoint, data other than the run's, a model without latents, or an impossible
            size.
    """
    run = open_run(Path(folder))
    sizes = {"num": num, "num_chains": num_chains, "num_temperatures": num_temperatures}
    require_sizes("anneal", **sizes, leapfrog_steps=leapfrog_steps, num_samples=num_samples)
    model: Any = run.config.model.build(run.data.visible)
    if not isinstance(model, LatentVariableModel):
        raise ModelError(
            f"anneal: {getattr(model, 'name', '') or type(model).__name__} has no latents to anneal; the log p(x) in "
            "its result.json is exact, or it has none."
        )
    require_path("anneal", model, start)
    data = load_run_data(run, data_dir)
    _, params, chosen = chosen_parameters(run, log)
    rows = evaluation_subset(np.arange(len(data.test)), min(num, len(data.test)))
    context = () if data.test_context is None else jnp.asarray(data.test_context[rows])
    given = Batch(jnp.asarray(data.test[rows], jnp.float32), context)
    of_weights, of_chains, of_both = jax.random.split(evaluation_key(run.config.seed, ANNEALING), 3)
    options: dict[str, Any] = {"start": start, "leapfrog_steps": leapfrog_steps}
    chains = num_chains, num_temperatures

    log(f"importance weighting, {num_samples} samples for each of {len(rows)} test examples")
    weighted = jax.block_until_ready(estimate_log_marginal(model, params, of_weights, given, num_samples))
    log(f"annealing, {num_chains} chains of {num_temperatures} temperatures for each")
    annealed = jax.block_until_ready(annealed_importance_sampling(model, params, of_chains, given, *chains, **options))
    log("the same, and backwards, for as many simulated examples")
    both = bidirectional_monte_carlo(model, params, of_both, len(rows), *chains, contexts=context, **options)
    found: dict[str, Any] = {
        "step": chosen.step,
        "test_examples": len(rows),
        "num_samples": num_samples,
        "num_chains": num_chains,
        "num_temperatures": num_temperatures,
        "start": start,
    }
    for name, values in (
        ("importance_weighted", weighted.log_prob),
        ("annealed", annealed.log_prob),
        ("simulated_lower", both.lower.log_prob),
        ("simulated_upper", both.upper.log_prob),
        ("simulated_gap", both.gap),
    ):
        found[name], found[f"{name}_standard_error"] = mean_and_error(values)
    difference = paired_difference(annealed.log_prob, weighted.log_prob)
    found["difference"], found["difference_standard_error"] = map(number, difference)
    found["doubtful_examples"] = int(np.sum(weighted.doubtful))
    found["median_pareto_k"] = number(np.nanmedian(weighted.pareto_k)) if np.isfinite(weighted.pareto_k).any() else None
    found["median_effective_samples"] = number(np.median(weighted.effective_samples))
    if model.support == "real":
        found["acceptance"] = number(np.mean(annealed.acceptance))
        found["leapfrog_steps"] = leapfrog_steps
    return found


def likelihood_table(found: dict[str, Any]) -> str:
    """The figures as lines to read."""

    def figure(name: str) -> str:
        return with_error(found[name], found[f"{name}_standard_error"], "+-")

    number, doubtful = found["test_examples"], f"({found['doubtful_examples']} doubtful)"
    chains = f"{found['num_chains']} chains of {found['num_temperatures']} temperatures from the {found['start']}"
    return "\n".join(
        [
            f"log p(x), nats per example, step {found['step']}; {chains}",
            f"{number} test examples",
            f"  importance weighting, K = {found['num_samples']:<6} {figure('importance_weighted')}   {doubtful}",
            f"  annealing                         {figure('annealed')}",
            f"  annealing minus weighting         {figure('difference')}",
            f"{number} simulated examples",
            f"  from below                        {figure('simulated_lower')}",
            f"  from above                        {figure('simulated_upper')}",
            f"  gap                               {figure('simulated_gap')}",
        ]
    )
