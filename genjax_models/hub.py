"""Models on the Hugging Face Hub: what `export` writes, pushed with a model card, and pulled, file by known file.

push_run("runs/vae_digits", "me/vae-digits")
model, params = load_export(pull("me/vae-digits", "pulled"))
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genjax_models.errors import RunError, UserError
from genjax_models.export import ABOUT, PARAMETERS, PLATFORMS, PROGRAM, SCRIPT, export_run, load_export
from genjax_models.labels import label
from genjax_models.measuring import Log
from genjax_models.references import bibtex, cited
from genjax_models.report import result_figures
from genjax_models.run_folder import CONFIG, RESULT, Run, open_run, read_result, write_whole
from genjax_models.tables import types

CARD = "README.md"
MEGABYTE = 2**20
# The files that are fetched, with the most bytes that each may have. Whatever else is in a repository stays there.
EXPECTED = {
    **dict.fromkeys((CONFIG, ABOUT, SCRIPT, CARD), 4 * MEGABYTE),
    **{f"{name}{PROGRAM}": 512 * MEGABYTE for name in ("sample", "log_marginal", "encode", "decode")},
    PARAMETERS: 64 * 1024 * MEGABYTE,
}
REQUIRED = CONFIG, PARAMETERS
MEASURED = ("nll", "bound", "bits_per_dim", "squared_error", "mmd_squared", "parzen_log_likelihood")


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError:
        raise UserError(
            "the Hugging Face Hub needs huggingface_hub, which is not installed: "
            "python -m pip install 'genjax_models[hub]'."
        ) from None
    return huggingface_hub


@contextlib.contextmanager
def _bars(shown: bool) -> Iterator[None]:
    """The Hub's own progress bars, or none of them."""
    utils = _hub().utils
    before = utils.are_progress_bars_disabled()
    if not shown:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            utils.enable_progress_bars()


@contextlib.contextmanager
def _explained(repo: str, revision: str | None) -> Iterator[None]:
    """The Hub's errors as those of a user."""
    errors = _hub().errors
    try:
        yield
    except errors.HFValidationError:
        raise UserError(f"{repo!r} is no name of a repository; expected OWNER/NAME, such as me/vae-digits.") from None
    except errors.GatedRepoError:
        raise UserError(f"{repo}: access has to be granted first, on its page.") from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"{repo}: no such repository, or one that this token may not see; look at its name, and log in with "
            "`hf auth login` (or set HF_TOKEN) where it is private."
        ) from None
    except errors.RevisionNotFoundError:
        raise UserError(
            f"{repo}: has no revision {revision!r}; give a branch, a tag or a commit that is there."
        ) from None
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        advice = "; the token may not be of an account that can write there" if status in (401, 403) else ""
        raise UserError(f"{repo}: the Hub refused with {status} ({str(error).splitlines()[0]}){advice}.") from None
    except errors.HTTPError as error:  # of the library beneath: no connection, a server that does not answer
        raise UserError(f"{repo}: the Hub cannot be reached ({type(error).__name__}: {error}).") from None


def model_card(run: Run, result: Mapping[str, Any] | None, repo: str, license: str | None = None) -> str:
    """The card of a run's model: what the Hub reads of it as YAML, its figures, how to use it, and what to cite.

    Args:
        run: the run.
        result: what result.json holds; None for a run that is not finished.
        repo: where it will be, OWNER/NAME.
        license: as the Hub calls it, such as "apache-2.0"; None to say nothing.
    """
    hub, names = _hub(), {cls: name for name, cls in types().items()}
    model, objective = (names.get(type(c), type(c).__name__) for c in (run.config.model, run.config.objective))
    data, name = label(run.config.data), repo.rpartition("/")[2]
    measured = [m for m in MEASURED if result is not None and result.get(f"test_{m}") is not None]
    about = hub.ModelCardData(
        library_name="genjax_models",
        license=license,
        tags=["jax", "flax", "generative-model", model, objective],
        model_name=name if measured else None,
        eval_results=[
            hub.EvalResult(
                task_type="density-estimation" if "nll" in measured else "generation",
                dataset_type=names.get(type(run.config.data), data),
                dataset_name=data,
                dataset_split="test",
                metric_type=metric,
                metric_name=metric.replace("_", " "),
                metric_value=float((result or {})[f"test_{metric}"]),
            )
            for metric in measured
        ]
        or None,
    )
    lines = [
        "---",
        about.to_yaml(line_break="\n"),
        "---",
        "",
        f"# {_plain(name)}",
        "",
        f"A `{model}` trained by `{objective}` on {_code(data)}, with `genjax_models` for JAX.",
        "",
        "```sh",
        f"genjax-models pull {repo} --into {name}",
        "```",
        "",
        "```python",
        "from genjax_models.export import load_export",
        "",
        f'model, params = load_export("{name}")',
        "```",
        "",
        f"`{SCRIPT}` calls the programs beside it by JAX alone. `{CONFIG}` has the whole configuration.",
        "",
    ]
    if result is None:
        lines += ["The run was not finished when this was pushed: nothing was measured on test data.", ""]
    else:
        lines += ["## Test split", "", "± standard error over test examples; log-probabilities in nats.", ""]
        rows = [f"| {_plain(what)} | {_plain(value)} |" for what, value in result_figures(result).items()]
        lines += ["| | |", "| --- | --- |", *rows, ""]
    if works := bibtex(cited(run.config)):
        lines += ["## To cite", "", "```bibtex", works, "```", ""]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """A text that is neither HTML nor a table's end in Markdown."""
    for sign in "\\`*_<>[]|":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def _code(text: str) -> str:
    return "`" + " ".join(text.replace("`", "'").split()) + "`"


def push_run(
    folder: Path | str,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    license: str | None = None,
    num_samples: int = 100,
    platforms: Sequence[str] = PLATFORMS,
    token: str | None = None,
    endpoint: str | None = None,
    log: Log = print,
    live: bool = False,
) -> str:
    """Push a run's model to the Hugging Face Hub, as `export_run` writes it, with a model card, in one commit.

    What an earlier push left there is replaced, and stays in the repository's history.

    Args:
        folder: the run folder.
        repo: OWNER/NAME; made if it does not exist.
        private: whether a repository that is made is private.
        revision: the branch; None for main.
        license: for the card, such as "apache-2.0"; None to say nothing.
        num_samples, platforms: as for `export_run`.
        token: of an account that may write there; None for HF_TOKEN, or what `hf auth login` has kept.
        endpoint: the Hub's address; None for HF_ENDPOINT, or https://huggingface.co.
        log: hears what happens, line by line.
        live: show the Hub's progress bars on standard error.

    Returns:
        The address of the commit.

    Raises:
        UserError: no run, no whole checkpoint, no token, a name or a repository that the Hub does not take, no
            connection, or a package that is missing.
    """
    hub = _hub()
    run = open_run(Path(folder))
    with _explained(repo, revision), _bars(live):
        hub.utils.validate_repo_id(repo)
        if (token := token or hub.get_token()) is None:
            raise UserError("pushing needs a token that can write: log in with `hf auth login`, or set HF_TOKEN.")
        result = read_result(run.folder) if (run.folder / RESULT).is_file() else None
        api = hub.HfApi(endpoint=endpoint, token=token)
        with tempfile.TemporaryDirectory() as place:
            out = Path(place) / "exported"
            export_run(run.folder, out, num_samples=num_samples, platforms=platforms, log=log)
            write_whole(out / CARD, model_card(run, result, repo, license))
            api.create_repo(repo, private=private, exist_ok=True)
            log(f"pushing {sum(p.stat().st_size for p in out.iterdir()) / MEGABYTE:.1f} MB to {repo}")
            try:
                commit = api.upload_folder(
                    repo_id=repo,
                    folder_path=out,
                    revision=revision,
                    allow_patterns=list(EXPECTED),
                    delete_patterns=[f"*{PROGRAM}"],  # of what the model could do once
                    commit_message=f"Push step {_step(out)} of {run.folder.resolve().name}",
                )
            except (RuntimeError, ValueError) as error:  # of a large file, or of a card that the Hub does not take
                reason = error.__cause__ or error
                raise UserError(f"{repo}: the upload failed ({error}: {reason}); push again.") from None
    return str(commit.commit_url)


def _step(exported: Path) -> int:
    return int(json.loads((exported / ABOUT).read_text(encoding="utf-8"))["step"])


def pull(
    repo: str,
    into: Path | str,
    *,
    revision: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    log: Log = print,
    live: bool = False,
) -> Path:
    """Pull a model that `push_run` pushed. Only files of known names are fetched, and none of them is run.

    The folder is there when all files are whole and their parameters are those of the model that config.json names; use
    `export.load_export` to take them.

    Args:
        repo: OWNER/NAME.
        into: the folder; it must not exist, or be empty.
        revision: a branch, a tag or a commit; None for main.
        token: None for HF_TOKEN, or what `hf auth login` has kept; public repositories need none.
        endpoint: the Hub's address; None for HF_ENDPOINT, or https://huggingface.co.
        log: hears what happens, line by line.
        live: show the Hub's progress bars on standard error.

    Returns:
        `into`.

    Raises:
        UserError: no such repository or revision, one without a model of this library, files that are too large or not
            as announced, a folder that holds something or cannot be written, no connection, or a package that is
            missing.
    """
    hub, into = _hub(), Path(into)
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise UserError(f"{into} exists and is not an empty folder; give another --into.")
    with _explained(repo, revision), _bars(live):
        hub.utils.validate_repo_id(repo)
        api = hub.HfApi(endpoint=endpoint, token=token)
        info = api.model_info(repo, revision=revision, files_metadata=True)
        sizes = _sizes(repo, info, log)
        try:
            into.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=into.parent, prefix=".pull-") as place:
                checked = Path(place) / "checked"
                checked.mkdir()
                for name, size in sizes.items():
                    # The commit, lest a push between two files mixes them.
                    fetched = api.hf_hub_download(repo, name, revision=info.sha, local_dir=Path(place) / "fetched")
                    if (there := os.path.getsize(fetched)) != size:
                        raise RunError(f"{repo}: {name}: got {there} bytes, expected {size}; pull again.")
                    Path(fetched).replace(checked / name)
                load_export(checked)
                if into.exists():
                    into.rmdir()
                checked.rename(into)
        except hub.errors.HfHubHTTPError:
            raise
        except OSError as error:
            if error.errno is None:  # of the library: the Hub is gone, or does not say what a file is
                raise UserError(f"{repo}: cannot be fetched ({error}).") from None
            raise UserError(f"{into} cannot be written ({os.strerror(error.errno)}); give another --into.") from None
    log(f"{repo} at {info.sha} in {into}: {', '.join(sizes)}")
    return into


def _sizes(repo: str, info: Any, log: Log) -> dict[str, int]:
    """The bytes of each file that is to be fetched.

    Raises:
        RunError: one that is missing, or too large.
    """
    found = {sibling.rfilename: sibling.size for sibling in info.siblings or ()}
    if missing := [name for name in REQUIRED if name not in found]:
        raise RunError(f"{repo}: no model of genjax_models, {' and '.join(missing)} missing; `push` makes such a one.")
    for name, most in EXPECTED.items():
        if name in found and not 0 <= (size := -1 if found[name] is None else found[name]) <= most:
            raise RunError(f"{repo}: {name}: got {size} bytes, expected at most {most}.")
    if others := sorted(found.keys() - EXPECTED.keys() - {".gitattributes"}):
        log(f"left there, since a model has no such files: {', '.join(map(repr, others))}")
    return {name: found[name] for name in EXPECTED if name in found}
