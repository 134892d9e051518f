"""The parts that HTML pages are made of: their templates, their scripts, and the style all of them share."""

from __future__ import annotations

from importlib.resources import files
from string import Template


def page_text(name: str) -> str:
    """A file of the folder ``template``; ``page.css`` is the style that every page begins with."""
    return files(__package__).joinpath("template").joinpath(name).read_text(encoding="utf-8")


def page_template(name: str) -> Template:
    """A file of the folder ``template`` whose ``$name`` are to be substituted."""
    return Template(page_text(name))
