"""A container image of one endpoint as text: Dockerfile, requirements, compose file. Pure; building is the reader's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from mlspine.core.ids import SHORT_HASH
from mlspine.core.types import Struct
from mlspine.registry.mlmodel import yaml_text

HOME = "/srv/mlspine"
WORKSPACE = f"{HOME}/workspace"
USER_ID = 10001
PORT, CONTROL_PORT = 8080, 8081
# Their wheels look for a compiler's run-time library that the slim base image leaves out.
NEED_FULL_BASE = {"lightgbm"}
READY = (
    "import os, urllib.request as r;"
    f" r.urlopen('http://127.0.0.1:%s/health/ready' % os.environ.get('MLSPINE_SERVING__PORT', '{PORT}'), timeout=4)"
)


class Image(Struct, frozen=True, kw_only=True):
    """What goes into the image. wheel: a file of mlspine itself beside the Dockerfile, "" for the package index."""

    endpoint: str
    version: int
    release_hash: str
    python: str
    requirements: tuple[str, ...]
    wheel: str = ""


def image_of(
    endpoint: str,
    *,
    version: int,
    release_hash: str,
    lock: Mapping[str, str],
    own: Mapping[str, str],
    mlspine: str,
    extras: Iterable[str] = (),
    wheel: str = "",
) -> Image:
    """lock: the release's environment; own: what mlspine needs, as installed when it was shipped; the lock wins."""
    pins = {name: wanted for name, wanted in {**own, **lock}.items() if name not in ("python", "mlspine")}
    chosen = ",".join(sorted(extras))
    brackets = f"[{chosen}]" if chosen else ""
    itself = f"./{wheel}{brackets}" if wheel else f"mlspine{brackets}=={mlspine}"
    return Image(
        endpoint=endpoint,
        version=version,
        release_hash=release_hash,
        python=lock["python"],
        requirements=(itself, *(f"{name}=={pins[name]}" for name in sorted(pins))),
        wheel=wheel,
    )


def requirements_text(image: Image) -> str:
    """What pip installs: mlspine, then every distribution at the version it was shipped with."""
    return "".join(f"{line}\n" for line in image.requirements)


def dockerfile(image: Image) -> str:
    """The Dockerfile: nothing is fetched after the build, and nothing in it runs as root."""
    names = {line.partition("==")[0] for line in image.requirements}
    base = f"python:{image.python}" + ("" if names & NEED_FULL_BASE else "-slim")
    copied = " ".join(("requirements.txt", *((image.wheel,) if image.wheel else ())))
    return f"""\
# {image.endpoint}, version {image.version}, release {image.release_hash[:SHORT_HASH]}
FROM {base}

ENV PYTHONUNBUFFERED=1 \\
    MLSPINE_WORKSPACE={WORKSPACE}

RUN useradd --no-log-init --uid {USER_ID} --create-home --home-dir {HOME} mlspine
WORKDIR {HOME}

COPY {copied} ./
RUN pip install --no-cache-dir -r requirements.txt

COPY --chown={USER_ID}:{USER_ID} workspace {WORKSPACE}

USER {USER_ID}:{USER_ID}
EXPOSE {PORT} {CONTROL_PORT}
VOLUME ["{WORKSPACE}"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD {json.dumps(["python", "-c", READY])}
CMD {json.dumps(["mlspine", "up", "--foreground", "--host", "0.0.0.0"])}
"""


def compose(image: Image) -> str:
    """The compose file: one service, its ports, and a volume that keeps log, labels and ledger."""
    volume = f"{image.endpoint}-workspace"
    service = {
        "build": ".",
        "image": f"mlspine-{image.endpoint.lower()}:{image.version}",
        "init": True,
        "restart": "unless-stopped",
        "stop_grace_period": "90s",
        "ports": [f"{PORT}:{PORT}", f"{CONTROL_PORT}:{CONTROL_PORT}"],
        "volumes": [f"{volume}:{WORKSPACE}"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }
    document = {"services": {image.endpoint: service}, "volumes": {volume: {}}}
    return (
        f"# {image.endpoint}. The volume is filled from the image once; later versions arrive by `mlspine login`.\n"
        + yaml_text(document)
    )
