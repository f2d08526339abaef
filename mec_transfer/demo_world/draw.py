"""Chance: what a random scene of the demo world looks like. Every picture has a seed of its own."""

from __future__ import annotations

import colorsys
import math
from random import Random

from mec_transfer.demo_world.scene import CATEGORIES, Light, Pose, Scene, Thing
from mec_transfer.demo_world.textures import PATTERNS, Texture

Colour = tuple[float, float, float]
_CLUTTER_SHAPES = ("pebble", "bar", "triangle")
_LUMA = (0.299, 0.587, 0.114)


def random_scene(chance: Random, categories: list[str], side: int) -> Scene:
    """Draw a scene of `side` x `side` pixels with one thing of each of `categories` (one or two) and clutter.

    Colour, texture of the background, light, size and pose say nothing of the category: only the shape and the
    pattern do, and the pattern may stand in the background and on clutter as well.
    """
    light = _light(chance)
    background = _colours(chance, contrast=(0.05, 0.3), saturation=0.6)
    things = [_clutter(chance, side, background) for _ in range(chance.randrange(2, 7))]
    places = _places(chance, len(categories), side)
    things += [random_thing(chance, name, place, background) for name, place in zip(categories, places)]
    return Scene(
        background=_texture(chance, chance.choice(list(PATTERNS)), chance.uniform(0.7, 2.2), background),
        background_rotation=chance.uniform(0, 2 * math.pi),
        background_scale=side * chance.uniform(0.16, 0.4),
        things=tuple(things),
        light=light,
    )


def _places(chance: Random, count: int, side: int) -> list[tuple[float, float, float]]:
    """Centres and radii: one thing anywhere in the middle part, or two smaller ones that overlap little."""
    if count == 1:
        return [(side * chance.uniform(0.34, 0.66), side * chance.uniform(0.34, 0.66), side * chance.uniform(0.2, 0.4))]
    turn = chance.uniform(0, 2 * math.pi)
    away = side * chance.uniform(0.2, 0.28)
    return [
        (
            side / 2 + sign * away * math.cos(turn),
            side / 2 + sign * away * math.sin(turn),
            side * chance.uniform(0.17, 0.26),
        )
        for sign in (1, -1)
    ]


def random_thing(
    chance: Random, name: str, place: tuple[float, float, float], background: tuple[Colour, Colour]
) -> Thing:
    """Draw a thing of category `name` at `place` (x, y, radius), its colours far from those of `background`."""
    category = CATEGORIES[name]
    colours = _colours(chance, contrast=(0.25, 0.7), saturation=0.9, away_from=background)
    return Thing(
        shape=category.shape,
        texture=_texture(chance, category.pattern, category.frequency * chance.uniform(0.8, 1.25), colours),
        pose=_pose(chance, *place),
        category=name,
        relief=chance.uniform(0.55, 0.9),
        gloss=chance.uniform(0.0, 0.5),
    )


def _clutter(chance: Random, side: int, background: tuple[Colour, Colour]) -> Thing:
    place = (side * chance.random(), side * chance.random(), side * chance.uniform(0.05, 0.13))
    colours = _colours(chance, contrast=(0.05, 0.5), saturation=0.7)
    return Thing(
        shape=chance.choice(_CLUTTER_SHAPES),
        texture=_texture(chance, chance.choice(list(PATTERNS)), chance.uniform(0.8, 2.0), colours),
        pose=_pose(chance, *place),
        relief=chance.uniform(0.2, 0.8),
        gloss=chance.uniform(0.0, 0.3),
    )


def _pose(chance: Random, x: float, y: float, radius: float) -> Pose:
    return Pose(
        x=x,
        y=y,
        radius=radius,
        rotation=chance.uniform(0, 2 * math.pi),
        squeeze=chance.uniform(0.68, 1.0),
        squeeze_axis=chance.uniform(0, math.pi),
    )


def _texture(chance: Random, pattern: str, frequency: float, colours: tuple[Colour, Colour]) -> Texture:
    return Texture(
        pattern=pattern,
        colours=colours,
        frequency=frequency,
        offset=(chance.uniform(0, 8), chance.uniform(0, 8)),
        grain=chance.uniform(0.05, 0.35),
    )


def _light(chance: Random) -> Light:
    azimuth, height = chance.uniform(0, 2 * math.pi), chance.uniform(0.45, 1.2)
    flat = math.cos(height)
    return Light(
        direction=(flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(height)),
        ambient=chance.uniform(0.25, 0.55),
        gradient=chance.uniform(0.0, 0.6),
    )


def _colours(
    chance: Random,
    contrast: tuple[float, float],
    saturation: float,
    away_from: tuple[Colour, Colour] | None = None,
) -> tuple[Colour, Colour]:
    """Two colours up to a saturation, lightness differing within `contrast`, the mean far from `away_from`'s."""
    for _ in range(100):
        pair = (_colour(chance, saturation), _colour(chance, saturation))
        if not contrast[0] <= abs(_luma(pair[0]) - _luma(pair[1])) <= contrast[1]:
            continue
        if away_from is None or _distance(pair, away_from) > 0.4:
            break
    return pair


def _colour(chance: Random, saturation: float) -> Colour:
    return colorsys.hsv_to_rgb(chance.random(), chance.uniform(0.1, saturation), chance.uniform(0.25, 1.0))


def _luma(colour: Colour) -> float:
    return sum(weight * value for weight, value in zip(_LUMA, colour))


def _distance(one: tuple[Colour, Colour], other: tuple[Colour, Colour]) -> float:
    return math.dist([sum(c) / 2 for c in zip(*one)], [sum(c) / 2 for c in zip(*other)])
