"""How a page is made of a template: filters, pictures inside, written whole or not at all.

Templates stand beside this file; what they share in looks is page.css. What a page says is left to
report.py and compare_page.py. Imports no JAX, so a page costs seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jinja2
from etils import epath
from matplotlib.figure import Figure

from jaxdrive.evaluation import balance_table, plots, wording


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure for the page: its address (a `data:` URI) and its words for who cannot see it."""

    uri: str
    description: str


def picture(figure: Figure) -> Picture:
    """The figure, described by the titles of its axes."""
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    return Picture(plots.svg_data_uri(figure), "Plot: " + "; ".join(titles))


def write(target: epath.Path, template: str, content: Mapping[str, Any]) -> None:
    """Fills a template of this folder; a page that was there goes only when the new one is whole.

    Args:
      target: The page, local or in a bucket.
      template: Name of the template's file.
      content: Everything that it names.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        number=wording.number,
        skill=wording.signed,
        percent=wording.percent,
        draws=wording.draws,
        balance_name=balance_table.balance_name,
        balance_words=wording.balance_words,
    )
    text = environment.get_template(template).render(content)
    unfinished = target.with_name(target.name + ".unfinished")
    unfinished.write_bytes(text.encode("utf-8"))
    unfinished.replace(target)
