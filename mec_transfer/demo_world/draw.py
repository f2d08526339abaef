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
_LEAN = 0.3  # radians to either side


def random_scene(chance: Random, categories: list[str], side: int) -> Scene:
    """Draw a scene of `side` x `side` pixels with one thing of each of `categories` (one or two) and clutter.

    As photos do, it says twice what it shows: by the thing's shape and pattern, and by the ground that the first
    category is at home on. Hue, light, size and pose say nothing. How light or dark the colours are varies little, and
    things stand nearly upright, so that a minute of training is enough to learn from.
    """
    light = _light(chance)
    background = _ground_colours(chance)
    things = [_clutter(chance, side, background) for _ in range(chance.randrange(3))]
    places = _places(chance, len(categories), side)
    things += [random_thing(chance, name, place, background) for name, place in zip(categories, places)]
    ground = CATEGORIES[categories[0]].ground
    return Scene(
        background=_texture(chance, ground, chance.uniform(0.9, 1.6), background),
        background_rotation=chance.uniform(-_LEAN, _LEAN),
        background_scale=side * chance.uniform(0.2, 0.35),
        things=tuple(things),
        light=light,
    )


def _places(chance: Random, count: int, side: int) -> list[tuple[float, float, float]]:
    """Centres and radii: one thing in the middle part, or two smaller ones that overlap little."""
    if count == 1:
        return [(side * chance.uniform(0.4, 0.6), side * chance.uniform(0.4, 0.6), side * chance.uniform(0.28, 0.44))]
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
    colours = _thing_colours(chance, background)
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
    colours = _colour(chance, chance.uniform(0.2, 0.35), 0.7), _colour(chance, chance.uniform(0.35, 0.6), 0.7)
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
        rotation=chance.uniform(-_LEAN, _LEAN),
        squeeze=chance.uniform(0.8, 1.0),
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
    azimuth, height = chance.uniform(0, 2 * math.pi), chance.uniform(0.95, 1.2)
    flat = math.cos(height)
    return Light(
        direction=(flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(height)),
        ambient=chance.uniform(0.45, 0.55),
        gradient=chance.uniform(0.0, 0.2),
    )


def _ground_colours(chance: Random) -> tuple[Colour, Colour]:
    """Two colours of middle brightness, near each other."""
    return _colour(chance, 0.32, 1.0), _colour(chance, 0.57, 1.0)


def _thing_colours(chance: Random, background: tuple[Colour, Colour]) -> tuple[Colour, Colour]:
    """A dark and a light colour, whose mean is far from that of `background` where a few attempts find one."""
    for _ in range(20):
        pair = _colour(chance, 0.15, 1.0), _colour(chance, 0.81, 1.0)
        if _distance(pair, background) > 0.25:
            break
    return pair


def _colour(chance: Random, luma: float, saturation: float) -> Colour:
    """A colour of any hue and a saturation from 0.1 to `saturation`, about as bright as `luma` says."""
    for _ in range(200):
        colour = colorsys.hsv_to_rgb(chance.random(), chance.uniform(0.1, saturation), chance.uniform(0.1, 1.0))
        if abs(_luma(colour) - luma) < 0.03:
            break
    return colour


def _luma(colour: Colour) -> float:
    red, green, blue = colour
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def _distance(one: tuple[Colour, Colour], other: tuple[Colour, Colour]) -> float:
    return math.dist([sum(c) / 2 for c in zip(*one)], [sum(c) / 2 for c in zip(*other)])
