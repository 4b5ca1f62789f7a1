"""A command line is checked before anything runs: a mistyped flag would otherwise start another job than meant."""

import shlex
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import run

from clipgpt_retrieval import __version__, cli
from clipgpt_retrieval.errors import ClipGptError
from clipgpt_retrieval.flags import check_arguments


def typed(monkeypatch, line: str) -> int:
    """The exit status of a command line."""
    monkeypatch.setattr(sys, "argv", ["clipgpt-retrieval", *shlex.split(line)])
    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("encode 'a dog' --model demo --spce image", "did you mean --space?"),
        ("doctor --modle demo", "did you mean --model?"),
        ("doctor --modle=demo", "did you mean --model?"),
        ("train a b --recpie frozen", "did you mean --recipe?"),
        ("back --clipgpt_modle m", "did you mean --clipgpt_model?"),
        ("back --clipgpt-modle m", "did you mean --clipgpt_model?"),
        ("status --xyz", "--help lists its flags"),
        ("trian a b", "did you mean train?"),
        ("demo a dog", "'dog'"),
        ("back --api_key --threads 4", "--api_key has no value"),
        ("evaluate embeddings --model", "--model has no value"),
        ("convert a", "output is missing: clipgpt-retrieval convert SOURCE OUTPUT"),
        ("encode a", "model is missing: clipgpt-retrieval encode [TEXTS ...] --model MODEL"),
    ],
)
def test_what_is_mistyped_is_refused_with_the_nearest_name(monkeypatch, capsys, line, message):
    monkeypatch.setattr("fire.Fire", None)  # nothing may run
    assert typed(monkeypatch, line) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)


@given(name=st.sampled_from(sorted(cli.commands())), flag=st.from_regex(r"--[a-z_]{2,20}", fullmatch=True))
def test_no_command_takes_a_flag_that_it_does_not_have(name, flag):
    """A flag that is let through although fire does not know it runs the command without it."""
    from inspect import signature

    known = signature(cli.commands()[name]).parameters
    if flag[2:] not in known and flag[2:].removeprefix("no") not in known:
        with pytest.raises(ClipGptError):
            check_arguments(name, cli.commands()[name], ["a", flag, "value"])


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("encode", "'a dog' -m demo"),
        ("caption", "x.npy --model=m --rows 3 --temperature -1"),
        ("train", "a b --recipe=frozen --nostream"),
        ("train", "a --output-folder b --dry_run"),
        ("back", "--load_clip False --enable_hdf5"),
        ("explore", "index m --walk --duplicates"),
        ("enable", ""),
    ],
)
def test_what_fire_parses_is_let_through(name, line):
    check_arguments(name, cli.commands()[name], shlex.split(line))


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("name", sorted(cli.commands()))
def test_help_of_each_command(monkeypatch, capsys, name, flag):
    """Fire's help names its own attributes as sub-commands of ours."""
    assert typed(monkeypatch, f"{name} {flag}") == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"clipgpt-retrieval {name}")
    assert "FIRE" not in printed
    assert "GROUP" not in printed


def test_help_shows_the_form_of_the_readme(monkeypatch, capsys):
    typed(monkeypatch, "train -h")
    assert capsys.readouterr().out.startswith("clipgpt-retrieval train EMBEDDINGS_FOLDER OUTPUT_FOLDER [FLAGS]\n")


@pytest.mark.parametrize("line", ["", "-h", "--help", "help"])
def test_the_overview_names_each_command(monkeypatch, capsys, line):
    assert typed(monkeypatch, line) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {name} " in printed for name in cli.commands())


def test_python_m_prints_the_version():
    assert run(sys.executable, "-m", "clipgpt_retrieval", "--version", check=True).stdout.split()[1] == __version__
