"""Small random networks, a registry of their own, and an HTTP server on the loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import yaml

from nansurfer.models import Network, build_model, load_config
from nansurfer.volume import VIEWS
from nansurfer.weights import export_fastsurfer, registry, save_network

MODEL = "vinn-compact"


@pytest.fixture(scope="session")
def networks() -> dict[str, Network]:
    """A small untrained network for each view, its running statistics away from their initial values."""
    torch.manual_seed(0)
    made = {view: build_model(load_config(MODEL), view) for view in VIEWS}
    for network in made.values():
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
            elif name.endswith("num_batches_tracked"):
                buffer.fill_(70_000)  # more than float16 can hold
    return made


@pytest.fixture(scope="session")
def checkpoints(networks: dict[str, Network], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A FastSurfer checkpoint for each view, as a publisher would offer them. Not to be changed."""
    folder = tmp_path_factory.mktemp("published")
    paths = {view: folder / f"aparc_vinn_{view}_v2.0.0.pkl" for view in VIEWS}
    for view, path in paths.items():
        export_fastsurfer(networks[view], path)
    return paths


@pytest.fixture
def bundle(networks: dict[str, Network], tmp_path: Path) -> Path:
    """A folder with one ``<view>.safetensors`` for each view."""
    for view, network in networks.items():
        save_network(network, tmp_path / "bundle" / f"{view}.safetensors", model=MODEL, view=view)
    return tmp_path / "bundle"


@dataclass
class Server:
    """Answers per path, each used once except for the last; everything else is 404.

    An answer is a status, or a body, or a body with the length that the server claims it has.
    """

    address: str
    answers: dict[str, list[int | bytes | tuple[bytes, int]]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def answer(self, path: str) -> tuple[int, bytes, int]:
        """Status, body and claimed length for the next request of ``path``."""
        self.requests.append(path)
        answers = self.answers.get(path, [404])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, int):
            return answer, b"", 0
        return (200, answer, len(answer)) if isinstance(answer, bytes) else (200, *answer)


@pytest.fixture
def server() -> Iterator[Server]:
    """An HTTP server on the loopback that ends with the test."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, claimed = served.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(claimed))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (http.server's name)
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        served = Server(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        http.shutdown()
        thread.join(timeout=10)


@pytest.fixture
def publish(checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make the small checkpoints the set ``official``, at the addresses given; returns its (empty) folder."""

    def publish_at(*addresses: str) -> Path:
        files = {v: {"name": path.name, "bytes": path.stat().st_size} for v, path in checkpoints.items()}
        entry = {"model": MODEL, "description": "small", "addresses": list(addresses), "files": files}
        registry_file = tmp_path / "registry.yaml"
        registry_file.write_text(yaml.safe_dump({"official": entry}))
        monkeypatch.setattr(registry, "REGISTRY_FILE", registry_file)
        monkeypatch.setenv("NANSURFER_WEIGHTS", str(tmp_path / "cache"))
        monkeypatch.delenv("NANSURFER_OFFLINE", raising=False)
        return tmp_path / "cache" / "official"

    return publish_at
