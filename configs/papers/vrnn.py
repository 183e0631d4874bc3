"""Variational recurrent networks beside plain ones of equal size: speech as raw samples, and JSB chorales.

genjax-models reproduce vrnn --budget full --data-dir DIR
"""

from pathlib import Path

from genjax_models.papers import Cell, Paper, Table, recipe, with_steps

HERE = Path(__file__).parent.parent
SPEECH, CHORALES = "speech, log-likelihood of a sequence", "chorales, NLL of a time step"
RNN_NADE = Paper(5.56, "RNN-NADE, Boulanger-Lewandowski, Bengio and Vincent 2012", checked=False)
MIXTURE = {"model.likelihood.components": 5}

TABLE = Table(
    "vrnn",
    "Variational recurrent networks beside plain ones",
    "nats: log-likelihoods, the higher the better, and NLL, the lower the better",
    (
        Cell("RNN, Gaussian", SPEECH, recipe(HERE / "rnn_speech.py"), figure="-test_nll", better="higher"),
        Cell(
            "VRNN, Gaussian",
            SPEECH,
            recipe(HERE / "vrnn_speech.py"),
            figure="-test_nll_particle_filter",
            better="higher",
        ),
        Cell("RNN, mixture", SPEECH, recipe(HERE / "rnn_speech.py", MIXTURE), figure="-test_nll", better="higher"),
        Cell(
            "VRNN, mixture",
            SPEECH,
            recipe(HERE / "vrnn_speech.py", MIXTURE),
            figure="-test_nll_particle_filter",
            better="higher",
        ),
        Cell("RNN", CHORALES, recipe(HERE / "rnn_jsb.py"), RNN_NADE, figure="test_nll_per_step"),
        Cell(
            "VRNN",
            CHORALES,
            recipe(HERE / "vrnn_jsb.py"),
            RNN_NADE,
            # 845 s, most of them for 1,000 steps, beside much other work.
            short=with_steps(recipe(HERE / "vrnn_jsb.py"), 700),
            figure="test_nll_particle_filter_per_step",
        ),
    ),
    notes=(
        "What Chung et al. (2015, table 1) show is that latents help at equal size. Log-likelihood of a sequence "
        "there, RNN and VRNN with a Gaussian: Blizzard 3539 and at least 9223, TIMIT -1900 and at least 28805, "
        "Accent -1293 and at least 3952; on other speech, so that only the direction compares. Here it is that of "
        "spoken digits, as densities of samples in the data's own units. Errors over sequences are mostly of their "
        "lengths and loudness, which both networks share.\n\n"
        "Beside the chorales stands an RNN whose keys of a step depend on each other without latents."
    ),
)
