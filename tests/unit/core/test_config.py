"""Where values come from, which wins, and that every mistake is named at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlspine.core.config import SECTIONS, Config, explain, find_file, load_config
from mlspine.core.errors import Invalid


def write(folder: Path, text: str) -> Path:
    file = folder / "mlspine.toml"
    file.write_text(text, encoding="utf-8")
    return file


def load(folder: Path, **environment: str) -> Config:
    return load_config(folder, environment=environment)


def problems(folder: Path, **environment: str) -> tuple[str, ...]:
    with pytest.raises(Invalid) as caught:
        load(folder, **environment)
    return caught.value.details


def test_no_file_means_the_defaults_everywhere(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config == Config(settings=config.settings)
    assert (config.serving.port, config.control.port, config.monitoring.min_rows) == (8080, 8081, 500)
    assert {setting.origin for setting in explain(config)} == {"default"}


def test_the_file_is_found_by_walking_up(tmp_path: Path) -> None:
    file = write(tmp_path, "[serving]\nport = 9000\n")
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    assert find_file(inside) == file.resolve()
    assert load(inside).serving.port == 9000


def test_the_nearest_file_wins_alone(tmp_path: Path) -> None:
    write(tmp_path, "[serving]\nport = 9000\nhost = '0.0.0.0'\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    write(inner, "[serving]\nport = 9001\n")
    assert (load(inner).serving.port, load(inner).serving.host) == (9001, "127.0.0.1")


def test_the_environment_overrides_the_file_and_the_command_line_both(tmp_path: Path) -> None:
    write(tmp_path, "[serving]\nport = 9000\nhost = '0.0.0.0'\ndeadline_s = 3\n")
    environment = {"MLSPINE_SERVING__PORT": "9001", "MLSPINE_SERVING__DEADLINE_S": "2.5"}
    config = load_config(tmp_path, environment=environment, overrides={"serving.port": "9002"})
    assert (config.serving.port, config.serving.deadline_s, config.serving.host) == (9002, 2.5, "0.0.0.0")


def test_explain_tells_every_setting_and_where_it_came_from(tmp_path: Path) -> None:
    file = write(tmp_path, "[monitoring]\nmin_rows = 200\nnotify = ['https://a', 'command:b']\n")
    config = load_config(tmp_path, environment={"MLSPINE_LOG__RETENTION_DAYS": "7"}, overrides={"control.port": "9001"})
    told = {setting.key: (setting.value, setting.origin) for setting in explain(config)}
    assert set(told) == {f"{name}.{key}" for name, kind in SECTIONS.items() for key in kind.__struct_fields__}
    assert told["monitoring.min_rows"] == ("200", str(file))
    assert told["monitoring.notify"] == ("https://a, command:b", str(file))
    assert told["log.retention_days"] == ("7", "MLSPINE_LOG__RETENTION_DAYS")
    assert told["control.port"] == ("9001", "command line")
    assert told["monitoring.latency_p99_s"] == ("none", "default")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a", ("https://a",)),
        ("https://a, command:page me", ("https://a", "command:page me")),
        ('["command:page a,b"]', ("command:page a,b",)),
        ("", ()),
    ],
)
def test_a_list_is_written_with_commas_or_as_json(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    assert load(tmp_path, MLSPINE_MONITORING__NOTIFY=text).monitoring.notify == expected


def test_an_empty_text_means_none_where_none_is_allowed(tmp_path: Path) -> None:
    write(tmp_path, "[monitoring]\nlatency_p99_s = 0.2\n")
    assert load(tmp_path).monitoring.latency_p99_s == 0.2
    assert load(tmp_path, MLSPINE_MONITORING__LATENCY_P99_S="").monitoring.latency_p99_s is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[serving]\nprot = 1\n", ("serving.prot", "did you mean port?")),
        ("[servin]\nport = 1\n", ("servin.port", "did you mean serving?")),
        ("port = 1\n", ("port", "outside any section", "did you mean")),
        ("[log]\nmin_rows = 1\n", ("log.min_rows", "did you mean monitoring.min_rows?")),
        ("[quality]\nzzz = 1\n", ("quality.zzz", "sections are serving, control, log, monitoring")),
        ("[serving]\nport = 'x'\n", ("serving.port = 'x'", "Expected `int`")),
        ("[serving]\nport = '9000'\n", ("serving.port", "Expected `int`")),
        ("[serving]\nport = 70000\n", ("serving.port = 70000", "<= 65535")),
        ("[serving]\ndeadline_s = 0\n", ("serving.deadline_s", "> 0")),
        ("[monitoring]\nwindow_s = 5400\n", ("monitoring.window_s", "multiple of 3600")),
        ("[monitoring]\nerror_rate = 1.5\n", ("monitoring.error_rate", "<= 1")),
        ("[monitoring]\nnotify = 'https://a'\n", ("monitoring.notify", "Expected `array`")),
        ("[serving\n", ("mlspine.toml", "line 1")),
        ("[monitoring]\nnotify = ['env:ABSENT']\n", ("monitoring.notify", "no variable ABSENT")),
        ("[monitoring]\nnotify = ['file:absent']\n", ("monitoring.notify", "No such file")),
    ],
)
def test_a_mistake_is_named_with_file_and_key(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    file = write(tmp_path, text)
    (problem,) = problems(tmp_path)
    assert problem.startswith(str(file))
    for word in words:
        assert word in problem


def test_all_problems_of_all_sources_come_at_once(tmp_path: Path) -> None:
    write(tmp_path, "[serving]\nport = 'x'\nprot = 1\n[log]\nretention_days = -1\n")
    with pytest.raises(Invalid, match="5 problems") as caught:
        load_config(
            tmp_path,
            environment={"MLSPINE_CONTROL__PORT": "many"},
            overrides={"monitoring.min_row": "1"},
        )
    origins = [detail.split(": ")[0].rpartition("/")[2] for detail in caught.value.details]
    assert origins == ["mlspine.toml"] * 3 + ["MLSPINE_CONTROL__PORT", "command line"]


def test_variables_that_are_no_settings_are_left_alone(tmp_path: Path) -> None:
    load(tmp_path, MLSPINE_WORKSPACE="/somewhere", OTHER__THING="1")


def test_secrets_are_looked_up_and_shown_by_reference_only(tmp_path: Path) -> None:
    (tmp_path / "hook.txt").write_text("https://file.example/tok3n\n")
    write(tmp_path, "[monitoring]\nnotify = ['env:HOOK', 'file:hook.txt', 'command:plain']\n")
    config = load(tmp_path, HOOK="https://env.example/tok3n")
    assert config.monitoring.notify == (
        "https://env.example/tok3n",
        "https://file.example/tok3n",
        "command:plain",
    )
    shown = next(setting.value for setting in explain(config) if setting.key == "monitoring.notify")
    assert shown == "env:HOOK, file:hook.txt, command:plain"
    assert "tok3n" not in repr(explain(config))


def test_a_relative_secret_file_is_relative_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "hook.txt").write_text("https://a")
    write(tmp_path, "[monitoring]\nnotify = ['file:hook.txt']\n")
    inside = tmp_path / "deep"
    inside.mkdir()
    assert load(inside).monitoring.notify == ("https://a",)
