import os

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.plain import canonical_json, sha256_of, to_plain, write_if_different


class Tagged(str):
    """As Ansible tags values."""

    def __str__(self):
        return self


class Number(int):
    pass


def test_tagged_values_become_plain_ones():
    plain = to_plain({Tagged("a"): [Tagged("b"), Number(3), (True, None, 2.0, 2.5)]})
    assert plain == {"a": ["b", 3, [True, None, 2, 2.5]]}
    assert type(plain["a"][0]) is str
    assert type(next(iter(plain))) is str
    assert type(plain["a"][1]) is int
    assert type(plain["a"][2][2]) is int


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), {1, 2}, object(), b"bytes"])
def test_what_has_no_json_form_is_refused_with_its_place(value):
    with pytest.raises(KjouleError, match=r"top\.a\[0\]"):
        to_plain({"a": [value]}, "top")


def test_the_hash_is_that_of_the_canonical_text():
    assert canonical_json({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'
    # sha256 of the two bytes {}
    assert sha256_of({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert sha256_of({"a": 1, "b": 2}) == sha256_of({"b": 2, "a": 1})


def test_a_file_is_replaced_in_one_step_and_only_when_it_differs(tmp_path):
    path = tmp_path / "deep" / "file"
    assert write_if_different(path, b"one")
    before = path.stat().st_ino
    assert not write_if_different(path, b"one")
    assert path.stat().st_ino == before
    assert write_if_different(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["file"]
