"""A checkpoint file to a Backbone: a full match of one ResNet, or one line that says what stands in the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from mec_transfer.backbone.backbone import Backbone, Provenance
from mec_transfer.backbone.formats import Format, recognise
from mec_transfer.backbone.groups import Content, Group, find_groups, flatten
from mec_transfer.backbone.inspection import Inspection, Network
from mec_transfer.backbone.meaning import check_conventions, describe_foreign, find_epoch, find_preprocessing
from mec_transfer.backbone.safe_load import load_checkpoint
from mec_transfer.backbone.weights import take_weights
from mec_transfer.common.errors import CheckpointError, did_you_mean
from mec_transfer.common.files import sha256_file
from mec_transfer.common.pickles import Placeholder


def read_backbone(path: str | Path, encoder: str = "auto") -> Backbone:
    """Read the ResNet (18 to 152) in a checkpoint; every weight and BN statistic must be there, and be finite.

    Args:
        path: any of the formats in `formats.py`, or any other file that holds exactly one ResNet.
        encoder: `auto` takes the network that the method's authors evaluate; `online`, `teacher`, or a prefix as
            `mec-transfer inspect` shows it (`.` for none) take that one.

    Raises:
        CheckpointError: the file cannot be read, or does not hold exactly one usable ResNet.
    """
    inspection, backbone = _study(Path(path), encoder)
    if backbone is None:
        raise CheckpointError(inspection.problem)
    return backbone


def inspect_checkpoint(path: str | Path, encoder: str = "auto") -> Inspection:
    """Say what is in a checkpoint and what `read_backbone` would take, or why it would take nothing (`problem`).

    Raises:
        CheckpointError: the file cannot be read at all.
    """
    return _study(Path(path), encoder)[0]


def _study(path: Path, encoder: str) -> tuple[Inspection, Backbone | None]:
    with ThreadPoolExecutor(max_workers=1) as pool:  # hashing releases the interpreter: it costs no time of its own
        loaded = load_checkpoint(path)
        digest = pool.submit(sha256_file, path)
        inspection, backbone = _examine(path, loaded, encoder)
        sha256 = digest.result()
    if backbone is not None:
        provenance = dataclasses.replace(backbone.provenance, file_sha256=sha256)
        backbone = dataclasses.replace(backbone, provenance=provenance)
    return dataclasses.replace(inspection, sha256=sha256), backbone


def _examine(path: Path, loaded: Any, encoder: str) -> tuple[Inspection, Backbone | None]:
    root = _mapping(loaded)
    content = flatten(loaded)
    groups = find_groups(content)
    known = recognise(content, root, groups)
    found = Inspection(
        file=str(path),
        size=path.stat().st_size,
        sha256="",
        format=known.name if known else "unknown",
        source=known.source if known else "",
        networks=tuple(_network(group, groups, known) for group in groups),
        epoch=find_epoch(root),
    )
    try:
        if not groups:
            raise CheckpointError(describe_foreign(content, loaded))
        group = _choose(groups, known, encoder)
        if isinstance(group.verdict, str):
            raise CheckpointError(_refusal(content, group, groups))
        arch, stem = group.verdict
        conventions = check_conventions(path, root, group, known, explicit=encoder not in ("auto", "online", "teacher"))
        preprocessing, preprocessing_from = find_preprocessing(root, arch, stem)
        state_dict, changes = take_weights(content.tensors, group)
    except CheckpointError as error:
        left_out = _left_out(content, groups, None)
        return dataclasses.replace(found, left_out=left_out, problem=f"{path}: {error}"), None

    provenance = Provenance(
        source=str(path),
        format=found.format,
        prefix=group.prefix,
        encoder=_encoder(group, groups, known),
        epoch=found.epoch,
        left_out=_left_out(content, groups, group),
        notes=(*_choice_notes(group, groups, known), *conventions, *changes),
    )
    inspection = dataclasses.replace(
        found,
        networks=tuple(
            dataclasses.replace(network, taken=one is group)
            for network, one in zip(found.networks, groups, strict=True)
        ),
        arch=arch,
        stem=stem,
        tensors=len(state_dict),
        left_out=provenance.left_out,
        preprocessing=preprocessing,
        preprocessing_from=preprocessing_from,
        notes=provenance.notes,
    )
    return inspection, Backbone(
        arch=arch, state_dict=state_dict, preprocessing=preprocessing, stem=stem, provenance=provenance
    )


def _mapping(loaded: Any) -> Mapping[Any, Any]:
    if isinstance(loaded, Placeholder):
        return loaded.items
    return loaded if isinstance(loaded, Mapping) else {}


def _choose(groups: list[Group], known: Format | None, encoder: str) -> Group:
    """Return the group that `encoder` means. Raises CheckpointError that lists what there is."""
    if encoder not in ("auto", "online", "teacher"):
        return _by_prefix(groups, encoder)
    if known is None:
        if len(groups) == 1 and encoder != "teacher":
            return groups[0]
        whole = [f"--encoder {group.option}" for group in groups if not isinstance(group.verdict, str)]
        choice = f"name the one to take: {' or '.join(whole)}" if whole else "none of them is a whole ResNet"
        raise CheckpointError(f"holds {_listed(groups)} in no format that is known; {choice}")
    role = known.evaluated if encoder == "auto" else encoder
    having = [group for group in groups if known.role(group) == role]
    if having:
        return having[0]
    if encoder == "auto":
        return groups[0]  # a file that holds only the network that the authors do not evaluate
    raise CheckpointError(
        f"holds no {encoder} network ({known.name}: {_listed(groups)}); leave --encoder {encoder} out"
    )


def _by_prefix(groups: list[Group], encoder: str) -> Group:
    wanted = encoder.rstrip(".") or "."
    having = [group for group in groups if wanted in (group.option, group.name)]
    exact = [group for group in having if group.option == wanted] or having
    if len(exact) == 1:
        return exact[0]
    near = did_you_mean(wanted, [group.option for group in groups])
    raise CheckpointError(f"no ResNet under the prefix '{encoder}'.{near} It holds {_listed(groups)}")


def _listed(groups: list[Group]) -> str:
    return "; ".join(f"{_shown(group)} ({len(group.names)} tensors, {group.what})" for group in groups)


def _shown(group: Group) -> str:
    return f"'{group.prefix or '.'}'"


def _refusal(content: Content, group: Group, groups: list[Group]) -> str:
    """Say why the chosen group is no full match, and which others are."""
    pickled = [name for name in content.opaque if content.shown(name).startswith(group.prefix)]
    if any("_load_from_bytes" in content.opaque[name].qualified for name in pickled):
        return (
            f"{len(pickled)} tensors under {_shown(group)} are nested pickles (torch.storage._load_from_bytes), "
            "which are never run; save the file again with torch.save"
        )
    whole = [other for other in groups if not isinstance(other.verdict, str)]
    hint = f"; a full match: --encoder {whole[0].option}" if whole else ""
    return f"no full match under {_shown(group)}: {group.verdict}{hint}"


def _network(group: Group, groups: list[Group], known: Format | None) -> Network:
    if known is None and len(groups) > 1:
        role: Literal["only", "online", "teacher", "unknown"] = "unknown"
    else:
        role = _encoder(group, groups, known)
    return Network(prefix=group.prefix, tensors=len(group.names), what=group.what, role=role)


def _encoder(group: Group, groups: list[Group], known: Format | None) -> Literal["only", "online", "teacher"]:
    role = known.role(group) if known else None
    if role == "teacher" or (role and len(groups) > 1):
        return role
    return "only"


def _choice_notes(group: Group, groups: list[Group], known: Format | None) -> list[str]:
    """Say which network was taken where there was a choice."""
    if known is None:
        others = f"; also there: {_listed([one for one in groups if one is not group])}" if len(groups) > 1 else ""
        return [f"the format is not known: took {_shown(group)}{others}"]
    role = known.role(group)
    notes = [known.note] if known.note else []
    if {known.role(one) for one in groups} == {"online", "teacher"}:
        why = "the one that the method's authors evaluate" if role == known.evaluated else "as asked for"
        notes.append(f"took the {role} network, {why} ({known.source})")
    elif role != known.evaluated:
        notes.append(
            f"the file holds only the {role} network, and {known.name}'s authors evaluate the {known.evaluated}"
        )
    return notes


def _left_out(content: Content, groups: list[Group], taken: Group | None) -> dict[str, int]:
    """Count the tensors that are not taken, by group."""
    owner = {name: group for group in groups for name in group.names.values()}
    counts: dict[str, int] = {}
    for name in content.tensors:
        group = owner.get(name)
        if group is not None and group is taken:
            continue
        label = (group.prefix or "(no prefix)") if group else _label(content.shown(name), groups)
        counts[label] = counts.get(label, 0) + 1
    return counts


def _label(name: str, groups: list[Group]) -> str:
    """The prefix of the network a tensor lies beside, and one part more of its name: `module.encoder.fc.`."""
    inside = max((group.prefix for group in groups if name.startswith(group.prefix)), key=len, default="")
    if not inside and name.startswith("module."):
        inside = "module."
    head, dot, _ = name[len(inside) :].partition(".")
    return f"{inside}{head}{dot}"
