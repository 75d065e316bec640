"""Twelve things a newcomer gets wrong: each gets its cause and the command that mends it, never a traceback."""

from __future__ import annotations

import json
import resource
import socket
import sys
from pathlib import Path

import pytest

from tests.desk import Answer, Desk, ship_churn

ROW = {"monthly charge": 75.5, "tenure": 3, "contract": "month"}


def told(answer: Answer, *, cause: str, fix: str) -> None:
    assert answer.code not in (0, 70), answer
    text = answer.out + answer.err
    assert "Traceback" not in text
    assert cause in text, text
    assert fix in text, text


@pytest.fixture
def served(desk: Desk) -> Desk:
    ship_churn(desk)
    desk.mlspine("serve", "churn")
    return desk


def test_a_wrong_column_a_wrong_type_bad_json_and_no_rows_name_the_field(served: Desk) -> None:
    wrong = {"monthly chrage": 75.5, "tenure": 3, "contract": "month"}
    cases: list[tuple[object, str]] = [
        (wrong, "monthly charge"),
        ({**ROW, "tenure": "three"}, "tenure"),
        (b'{"rows": [', "JSON"),
        ({"rows": []}, "row"),
    ]
    for body, word in cases:
        status, _, answer = served.post("/endpoints/churn/predict", body)
        assert status == 422, (body, answer)
        text = json.dumps(answer)
        assert word in text, text
        assert answer["error"]["hint"], answer


def test_a_missing_file_names_the_path_and_what_is_near(desk: Desk) -> None:
    (desk.folder / "model.joblib").write_bytes(b"x")
    (desk.folder / "train.csv").write_text("a,y\n1,0\n")
    answer = desk.mlspine(
        "ship",
        "modle.joblib",
        "--name",
        "churn",
        "--data",
        "train.csv",
        "--target",
        "y",
        "--trust",
        check=False,
    )
    told(answer, cause="modle.joblib", fix="model.joblib")


def test_a_taken_port_names_its_owner_and_the_flag(desk: Desk) -> None:
    ship_churn(desk)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", desk.port))
        holder.listen()
        answer = desk.mlspine("serve", "churn", check=False)
    told(answer, cause=f"port {desk.port}", fix="--port")
    assert "pid" in answer.err


def test_an_unfitted_model_is_refused_with_the_line_to_add(desk: Desk) -> None:
    answer = desk.python(
        "import mlspine, numpy as np\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "X = np.zeros((20, 2))\n"
        "try:\n    mlspine.ship(LogisticRegression(), X, [0, 1] * 10, name='churn')\n"
        "except Exception as exc:\n    print(exc); raise SystemExit(2)",
        check=False,
    )
    told(answer, cause="not fitted", fix=".fit(")


def test_another_folder_names_where_it_looked_and_where_the_model_is(desk: Desk, tmp_path: Path) -> None:
    ship_churn(desk)
    elsewhere = tmp_path / "elsewhere" / "deep"
    elsewhere.mkdir(parents=True)
    (elsewhere / ".mlspine").mkdir()
    answer = desk.mlspine("serve", "churn", check=False, cwd=elsewhere)
    told(answer, cause=str(elsewhere), fix=str(desk.folder / ".mlspine"))


def test_an_untrusted_pickle_is_not_loaded(desk: Desk) -> None:
    trap = desk.folder / "sprung"
    desk.python(
        "import pickle, os\n"
        f"class Trap:\n    def __reduce__(self):\n        return (open, ({str(trap)!r}, 'w'))\n"
        "pickle.dump(Trap(), open('model.joblib', 'wb'))"
    )
    (desk.folder / "train.csv").write_text("a,y\n1,0\n")
    answer = desk.mlspine(
        "ship", "model.joblib", "--name", "churn", "--data", "train.csv", "--target", "y", check=False
    )
    told(answer, cause="model.joblib", fix="--trust")
    assert not trap.exists()


def test_a_version_that_does_not_exist_lists_those_that_do(served: Desk) -> None:
    told(served.mlspine("serve", "churn:9", check=False), cause="9", fix="mlspine models churn")
    told(served.mlspine("promote", "churn", "9", check=False), cause="9", fix="mlspine models churn")
    told(served.mlspine("serve", "chrun", check=False), cause="chrun", fix="churn")


def test_a_label_for_an_unknown_id_is_kept_and_said(served: Desk) -> None:
    served.post("/endpoints/churn/predict", ROW)
    (served.folder / "labels.csv").write_text("id,label\n01890000-0000-7000-8000-000000000000,1\n")
    told(
        served.mlspine("labels", "add", "churn", "labels.csv", check=False),
        cause="01890000-0000-7000-8000-000000000000",
        fix="mlspine log churn",
    )


def test_a_full_disk_is_named_and_leaves_the_store_whole(desk: Desk) -> None:
    ship_churn(desk)
    # A file-size limit fails writes as a full disk does, without filling one.
    probe = (
        "import resource, sys, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "sys.argv = ['mlspine', 'ship', 'm.joblib', '--name', 'big', '--data', 't.csv', '--target', 'y', '--trust']\n"
        "from mlspine.cli.main import main\nmain()"
    )
    desk.python(
        "import joblib, numpy as np, pandas as pd\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "X = pd.DataFrame({'a': np.arange(400.0)}); y = (X.a > 200).astype(int)\n"
        "joblib.dump(LogisticRegression().fit(X, y), 'm.joblib'); X.assign(y=y).to_csv('t.csv', index=False)"
    )
    answer = desk.run([sys.executable, "-c", probe], check=False)
    told(answer, cause="disk", fix="df -h")
    assert desk.mlspine("ledger", "--verify").code == 0
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096
    desk.mlspine("ship", "m.joblib", "--name", "big", "--data", "t.csv", "--target", "y", "--trust")
