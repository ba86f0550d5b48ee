import xml.etree.ElementTree as ElementTree

from ansible_collections.kjoule.bench.plugins.plugin_utils import pictures
from synthetic_reports import CASES, make

SVG = "{http://www.w3.org/2000/svg}"


def drawn(picture):
    return ElementTree.fromstring(picture.svg())


def words(picture):
    return " ".join("".join(element.itertext()) for element in drawn(picture).iter(f"{SVG}text"))


def test_text_stays_text_and_colours_come_from_the_page():
    picture = pictures.differences(make())
    assert "difference, mCPU" in words(picture)
    assert "var(--first)" in picture.svg()
    assert "#0a00" not in picture.svg()
    assert "#000000" not in picture.svg()
    assert "font-family: inherit" in picture.svg()


def test_a_picture_comes_with_its_numbers_and_the_same_in_words():
    picture = pictures.differences(make())
    assert "above zero in 6 of 6 blocks" in picture.alt
    assert drawn(picture).get("aria-label") == picture.alt
    assert [row[0] for row in picture.numbers.rows] == [1, 2, 3, 4, 5, 6]


def test_pictures_on_one_page_share_no_identifier():
    report = make()
    shown = [picture.svg() for picture in (pictures.differences(report), pictures.run_order(report), pictures.components(report))]
    identifiers = [element.get("id") for svg in shown for element in ElementTree.fromstring(svg).iter() if element.get("id")]
    assert identifiers
    assert len(identifiers) == len(set(identifiers))


def test_the_order_of_the_periods_is_the_order_of_the_plan():
    report = make()
    sides = [row[2] for row in pictures.run_order(report).numbers.rows]
    assert len(sides) == 12
    assert all({sides[index], sides[index + 1]} == {"snowflake", "flux"} for index in range(0, 12, 2))


def test_a_name_with_markup_stays_a_name():
    def rename(rows):
        for row in rows:
            for phase in row["phases"]:
                for key in ("cpu_seconds", "components"):
                    phase[key] = {("<b>$x^2$" if name == "etcd" else name): value for name, value in phase[key].items()}
        return rows

    picture = pictures.components(make(change=rename))
    assert "<b>$x^2$" in words(picture)


def test_without_a_valid_block_nothing_is_drawn():
    report = CASES["all invalid"]()
    assert pictures.differences(report) is None
    assert pictures.run_order(report) is None
    assert pictures.components(report) is None
    assert pictures.timelines(report) == []
