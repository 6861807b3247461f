"""Comparison of a model's requirements with the installed packages."""

import importlib.metadata
import platform

import pytest
from sluicegate_scorer import requirements
from sluicegate_scorer.errors import ScorerError
from sluicegate_scorer.requirements import Check, Difference, differences

NUMPY = importlib.metadata.version("numpy")
PYTHON = platform.python_version()


@pytest.fixture
def model(tmp_path):
    def write(text=None, **files):
        for name, content in {"requirements.txt": text, **files}.items():
            if content is not None:
                (tmp_path / name.replace("_yaml", ".yaml")).write_text(content)
        return tmp_path

    return write


@pytest.mark.parametrize(
    "line",
    [
        f"numpy=={NUMPY}",
        f"numpy=={NUMPY}+cu121",
        "NumPy>=1,<99  # a comment",
        "numpy",
        f"numpy=={NUMPY} --hash=sha256:{'0' * 64}",
        "nothing-like-it==1; python_version < '3'",
        "nothing-like-it==1; extra == 'gpu'",
        "-r other.txt",
        "--extra-index-url https://user:secret@example.invalid/simple",
        "git+https://example.invalid/team/package.git@main",
        "./wheels/own-1.0-py3-none-any.whl",
        "mlflow-skinny",
        "xgboost",
        "",
        "# nothing",
    ],
)
def test_ignores_requirements_that_are_met_or_unknown(model, line):
    assert differences(model(line)) == []


@pytest.mark.parametrize(
    ("line", "requirement", "installed"),
    [
        ("numpy==0.1", "numpy==0.1", NUMPY),
        ("nothing-like-it==1.0", "nothing-like-it==1.0", None),
        ("nothing_like.it[extra]>=2", "nothing_like.it>=2", None),
        ("nothing-like-it==1 \\\n    --hash=sha256:00", "nothing-like-it==1", None),
        ("nothing-like-it @ https://example.invalid/x.whl", "nothing-like-it", None),
    ],
)
def test_reports_a_difference(model, line, requirement, installed):
    assert differences(model(line)) == [Difference(requirement, installed)]


def test_compares_python_by_major_and_minor(model):
    same = ".".join(PYTHON.split(".")[:2]) + ".99"
    assert differences(model(python_env_yaml=f"python: {same}\n")) == []
    assert differences(model(python_env_yaml="python: 3.8.10\n")) == [Difference("python 3.8.10", PYTHON)]


def test_reads_conda_without_other_files(model):
    conda = "dependencies:\n- python=3.8.10\n- pip<=24\n- pip:\n  - nothing-like-it==1\n"
    unmet = [Difference("python 3.8.10", PYTHON), Difference("nothing-like-it==1", None)]
    assert differences(model(conda_yaml=conda)) == unmet
    assert differences(model("numpy", conda_yaml=conda)) == unmet[:1], "requirements.txt is what MLflow installs"


@pytest.mark.parametrize("text", ["[", "a: b: c", "- 1", "dependencies: 7", "\x00"])
def test_ignores_a_broken_environment_file(model, text):
    assert differences(model(conda_yaml=text, python_env_yaml=text)) == []


def test_each_policy_refuses_its_differences(model):
    other, missing = "numpy==0.1", "nothing-like-it==1"
    for text, refused in [(other, {Check.REFUSE}), (missing, {Check.REFUSE, Check.MISSING})]:
        for policy in Check:
            if policy in refused:
                with pytest.raises(ScorerError, match=text.partition("==")[0]):
                    requirements.check(model(text), policy)
            else:
                requirements.check(model(text), policy)


def test_counts_differences_beyond_the_first(model):
    with pytest.raises(ScorerError, match=r"p7 \(missing\) and 12 more\. Set spec\.runtime\.image"):
        requirements.check(model("\n".join(f"no-such-p{n}" for n in range(20))), Check.MISSING)


def test_command_refuses_before_loading(scorer, train, registry, tmp_path):
    """Check a real model that requires one package more than is installed."""
    lacking = tmp_path / "lacking"
    fetched = scorer("fetch", train("lacking"), lacking, MLFLOW_TRACKING_URI=registry)
    assert fetched.returncode == 0, fetched.stderr
    with (lacking / "requirements.txt").open("a") as file:
        file.write("\nnothing-like-it==1.0\n")
    done = scorer("serve", lacking)
    assert done.returncode == 1
    assert "nothing-like-it==1.0 (missing). Set spec.runtime.image" in done.termination_message
    assert done.reason == "ModelDependencyMissing"
    assert done.stderr.splitlines()[-1] == done.termination_message
    assert "loading" not in done.stderr
    wrong = scorer("serve", lacking, SLUICEGATE_DEPENDENCIES="perhaps")
    assert wrong.returncode == 1
    assert "Set it to warn, missing or refuse" in wrong.termination_message
