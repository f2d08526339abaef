"""A few files of the campaign (`tests/campaign.py`), of every subject."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import campaign


@pytest.mark.parametrize("subject", campaign.SUBJECTS)
def test_spoilt_files_are_read_or_are_one_line(tmp_path: Path, subject: str) -> None:
    tally = campaign.run(subject, 24, 1, tmp_path)
    assert not tally.bad and tally.files == 24
    assert tally.refused or subject == "kept"  # what is kept is only ever passed over


def test_code_in_a_file_would_be_noticed(tmp_path: Path) -> None:
    import pickle
    import random

    (tmp_path / "x.pkl").write_bytes(campaign.with_code(tmp_path / "x.pkl", pickle.dumps({}), random.Random(0)))
    subject = campaign.Subject(lambda root: [], lambda root, path: bool(pickle.loads(path.read_bytes())) or True)
    with pytest.raises(campaign.Bad, match="code of a file was run"):
        campaign._read(subject, tmp_path, tmp_path / "x.pkl")
