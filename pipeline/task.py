"""One stage with its section, what it reads and where it publishes: the unit of work of the loop."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import manifest as manifests
from pipeline.manifest import Provenance
from pipeline.source_hashes import GONE, Hashes
from pipeline.workspace import Shelf
from stages import Stage
from stages.contract.run_key import RunKey
from stages.contract.section import Section, dump


@dataclass(frozen=True)
class Task:
    """One stage, its section, what it reads and where it publishes.

    Attributes:
      inputs: argument of run -> the artifact's link, or the links of several runs.
    """

    stage: Stage
    config: Section
    shelf: Shelf
    inputs: Mapping[str, Path | Mapping[RunKey, Path]]

    @property
    def link(self) -> Path:
        """Where readers find what it makes."""
        return self.shelf.link(self.stage.gives)

    def artifacts(self) -> Iterator[tuple[str, Path]]:
        """Every artifact it reads, with a name to call it by."""
        for name, value in self.inputs.items():
            if isinstance(value, Mapping):
                for key, path in value.items():
                    yield f"{name}.{key}", path
            else:
                yield name, value

    def provenance(self, hashes: Hashes) -> Provenance:
        """All that decides what the stage makes now, as it enters manifest and fingerprint.

        Reads the manifest of every need, and hashes source files that changed since they were last hashed.
        """
        body = self.stage.body()
        needs: dict[str, str] = {}
        for name, path in self.artifacts():
            record = manifests.read(path)
            needs[name] = record.stamp if record else GONE
        sources: list[list[str]] = []
        for source in body.sources(self.config):
            sources.append([Path(source).name, hashes.of(str(source))])
        # Why by way of JSON: compared with what a manifest says after reading it back.
        return Provenance(body.VERSION, json.loads(json.dumps(dump(self.config))), needs, sources)


def fingerprint(stage: Stage, made_from: Provenance) -> str:
    """Hash of what a stage makes before it is made.

    Returns: SHA-256 over stage name, version, section, stamps of the needs and content of the sources.
    """
    return manifests.text_hash(stage.name, vars(made_from))
