import pytest

from implicit_geometry.experiments.run import Failure
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.store import open_store
from made_up_runs import made_up_run, of_an_earlier_version

COUNTS = (30, 30, 3, 3)
SPECS = [RunSpec("ce", {}, COUNTS), RunSpec("cdt", {"gamma": 0.5}, COUNTS)]
FAILED = RunSpec("ldt", {"gamma": 5.0}, COUNTS)


@pytest.fixture
def store(tmp_path):
    made = open_store(tmp_path / "runs")
    for spec in SPECS:
        made.save(made_up_run(spec))
    return made


def test_one_command_writes_the_page_and_says_where(store, igeom):
    store.fail(Failure(FAILED, "it diverged in epoch 3", final=True))
    code, out, err = igeom("report", store.folder)
    assert code == 0
    page = store.folder / "report.html"
    assert str(page) in out.replace("\n", "")
    assert "it diverged in epoch 3" in out
    assert err == ""
    html = page.read_text(encoding="utf-8")
    assert html.count("<figure>") == 3
    assert html.count("data:image/png;base64,") > 6
    assert not list(store.folder.glob("*.png"))


def test_damage_is_an_exit_code_and_the_page_goes_where_it_is_told(store, igeom, tmp_path):
    (store.place(SPECS[1]) / "record.json").write_text("{")
    target = tmp_path / "page.html"
    code, _, err = igeom("report", store.folder, "--output", target)
    assert code == 1
    assert SPECS[1].key in err
    assert target.exists()
    assert not (store.folder / "report.html").exists()


@pytest.mark.parametrize("name", ["missing", "empty", "notes.txt"])
def test_what_is_no_results_folder_is_bad_input(igeom, tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    code, _, err = igeom("report", tmp_path / name)
    assert code == 2
    assert err.startswith("error: runs must be a ")
    assert len(err.splitlines()) == 1


def test_a_folder_for_the_page_that_is_not_there_is_bad_input(store, igeom, tmp_path):
    code, _, err = igeom("report", store.folder, "--output", tmp_path / "no" / "page.html")
    assert code == 2
    assert "output must be a file that can be written" in err


def test_figures_show_embeddings_in_the_frame_asked_for(store, igeom):
    code, _, err = igeom("report", store.folder, "--frame", "centred")
    assert (code, err) == (0, "")
    assert "embeddings H below (centred as in the paper)" in (store.folder / "report.html").read_text(encoding="utf-8")
    code, _, err = igeom("report", store.folder, "--frame", "raw")
    assert code == 2
    assert "frame must be one of projected, centred, got 'raw'" in err


def test_runs_of_an_earlier_version_are_shown_projected(igeom, tmp_path):
    old = open_store(tmp_path / "old")
    for spec in SPECS:
        old.save(of_an_earlier_version(made_up_run(spec)))
    assert igeom("report", old.folder)[0] == 0
    code, _, err = igeom("report", old.folder, "--frame", "centred")
    assert code == 2
    assert "frame must be 'projected' for runs of earlier versions" in err
