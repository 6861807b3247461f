"""Requirements that are met by another distribution than the one that they name."""

import pytest
from sluicegate_scorer import distributions, requirements
from sluicegate_scorer.requirements import Difference, differences

DISTRIBUTIONS = {
    "psycopg2-binary": ("2.9.9", "psycopg2"),
    "faiss-cpu": ("1.8.0", "faiss"),
    "tensorflow-macos": ("2.15.0", "tensorflow"),
    "opencv-contrib-python-headless": ("4.9.0.80", "cv2"),
    "cupy-cuda12x": ("13.0.0", "cupy"),
    "Pillow-SIMD": ("10.0.0", "PIL"),
    "maker-of-shop-features": ("3.1", "shop_features"),
    "vendor-one": ("1.0", "vendor"),
    "vendor-two": ("1.0", "vendor"),
    "old_sklearn": ("0.24.2", "old_sklearn"),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Put distributions on the path of imports, and a module without metadata."""
    site = tmp_path_factory.mktemp("site")
    for name, (version, module) in DISTRIBUTIONS.items():
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "top_level.txt").write_text(f"{module}\n")
    (site / "copied_module.py").write_text("")
    (site / "empty_folder").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        clear()
        yield
    clear()


def clear():
    distributions._versions.cache_clear()
    distributions._providers.cache_clear()


@pytest.fixture
def unmet(installed, tmp_path):
    def unmet(*lines):
        (tmp_path / "requirements.txt").write_text("\n".join(lines))
        return differences(tmp_path)

    return unmet


@pytest.mark.parametrize(
    "line",
    [
        "psycopg2==2.9.9",
        "faiss-gpu>=1.7",
        "faiss",
        "tensorflow==2.15.0",
        "tensorflow-intel==2.15.0",
        "opencv-python==4.9.0.80",
        "opencv-python-headless",
        "cupy-cuda11x",
        "Pillow",
        "shop-features",
        "copied-module==7.0",
        "dataclasses==0.8",
    ],
)
def test_variant_or_module_meets_a_requirement(unmet, line):
    assert unmet(line) == []


@pytest.mark.parametrize("line", ["vendor", "empty-folder", "torch-geometric-gpu", "faiss-client"])
def test_other_packages_do_not_meet_it(unmet, line):
    assert unmet(line) == [Difference(line, None)]


def test_names_the_distribution_of_another_version(unmet):
    assert [str(difference) for difference in unmet("faiss-gpu==1.7.2")] == [
        "faiss-gpu==1.7.2 (installed: faiss-cpu 1.8.0)"
    ]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (AttributeError("module 'old_sklearn.tree' has no attribute 'Node'"), "python 3.8.10 and old-sklearn"),
        (ModuleNotFoundError("No module named 'old_sklearn.externals'"), "python 3.8.10 and old-sklearn"),
        (ValueError("unknown value"), "python 3.8.10"),
        (None, "python 3.8.10"),
    ],
)
def test_explains_a_failure_by_known_differences(unmet, tmp_path, error, expected):
    (tmp_path / "python_env.yaml").write_text("python: 3.8.10\n")
    unmet("old-sklearn==0.20.1", "faiss-gpu==1.7.2", "mlflow==1.30.0")
    text = requirements.explanation(tmp_path, error)
    assert text.startswith("The model requires python 3.8.10 (installed: ")
    assert ("old-sklearn==0.20.1 (installed: 0.24.2)" in text) == ("old-sklearn" in expected)
    assert "faiss" not in text and "mlflow" not in text, "the exception has nothing to do with them"


def test_explains_a_failure_by_the_package_that_raised(unmet, tmp_path):
    unmet("old-sklearn==0.20.1")
    try:
        exec("raise KeyError('x')", {"__name__": "old_sklearn.tree._tree"})
    except KeyError as raised:
        cause = raised
    error = RuntimeError("cannot load")
    error.__cause__ = cause
    assert "old-sklearn==0.20.1" in requirements.explanation(tmp_path, error)
    assert requirements.explanation(tmp_path, RuntimeError("cannot load")) is None
