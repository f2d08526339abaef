"""A clip with its looks chosen: the scene at any of its frames.

The choreography is written down, so that occlusions, look-alikes, absences and changes of scale happen in every world;
colours, textures, the background, the light and which side is left are the seed's.
"""

from __future__ import annotations

import colorsys
import dataclasses
import math
from itertools import count, pairwise
from random import Random

import numpy as np

from mec_transfer.demo_world.clips import Clip, Role
from mec_transfer.demo_world.draw import Colour, random_scene, random_thing
from mec_transfer.demo_world.figures import Clothes, Figure
from mec_transfer.demo_world.motion import Place, View
from mec_transfer.demo_world.scene import CATEGORIES, Pose, Scene, Thing

_SPREAD = 1.8  # clutter lies this many frames wide, for the camera to find some wherever it goes
_DARKEST = 0.3  # that a background may be
_STRIDE = 0.62  # heights that a figure walks in a double step


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Moment:
    """One frame of a clip."""

    scene: Scene
    identities: tuple[int, ...]
    """One for each object of the scene, 0 where it has none."""
    joints: dict[int, np.ndarray]
    """One array for each figure in the scene, (17, 2) in pixels, in the order of `figures.KEYPOINTS`."""


class Stage:
    """A clip with its looks chosen: any frame of it can be set up."""

    def __init__(self, clip: Clip, seed: int) -> None:
        self.clip = clip
        self._key = key = f"{seed}/videos/{clip.name}"
        base = next(scene for scene in map(self._backdrop, count()) if _brightness(scene) > _DARKEST)
        self._base = dataclasses.replace(base, things=())
        self._clutter = [thing for thing in base.things if thing.category is None]
        self._mirrored = Random(f"{key}/mirrored").random() < 0.5
        self._looks: list[Thing | Clothes] = []
        for index, role in enumerate(clip.roles):
            self._looks.append(self._look(role, Random(f"{key}/{index}")))

    def moment(self, frame: int) -> Moment:
        """Set up frame `frame`, from 0."""
        clip = self.clip
        time = frame / (clip.length - 1)
        view = View(camera=clip.camera.at(time), width=clip.width, height=clip.height, mirrored=self._mirrored)
        things = [self._on_the_ground(thing, view) for thing in self._clutter]
        identities = [0] * len(things)
        joints = {}
        for role, look in zip(clip.roles, self._looks):
            place = view.pixels(role.path.at(time))
            if isinstance(look, Clothes):
                figure = self._figure(role, look, place, time)
                shown = figure.things()
                joints[role.identity] = figure.joints()
            else:
                turned = look.pose.rotation + 2 * math.pi * role.spin * time
                pose = dataclasses.replace(look.pose, x=place.x, y=place.y, radius=place.size, rotation=turned)
                shown = [dataclasses.replace(look, pose=pose)]
            things += shown
            identities += [role.identity] * len(shown)
        origin = view.pixels(Place(0, 0, 0))
        scene = dataclasses.replace(
            self._base,
            things=tuple(things),
            background_scale=self._base.background_scale * view.camera.size,
            background_shift=(origin.x, origin.y),
        )
        return Moment(scene=scene, identities=tuple(identities), joints=joints)

    def _backdrop(self, attempt: int) -> Scene:
        chance = Random(f"{self._key}/backdrop {attempt}")
        return random_scene(chance, [chance.choice(list(CATEGORIES))], self.clip.height)

    def _look(self, role: Role, chance: Random) -> Thing | Clothes:
        background = self._base.background.colours
        if role.twin_of:
            index = next(k for k, other in enumerate(self.clip.roles) if other.identity == role.twin_of)
            return _twin(self._looks[index], chance)
        if role.what in ("figure", "waving"):
            return Clothes.draw(chance, background)
        if role.what == "screen":
            slab = random_thing(chance, "box", (0, 0, 1), background)
            pose = Pose(x=0, y=0, radius=1, rotation=math.pi / 2 + chance.uniform(-0.08, 0.08))
            return dataclasses.replace(slab, shape="bar", pose=pose, category=None, relief=0.25, gloss=0.0)
        return random_thing(chance, role.what, (0, 0, 1), background)

    def _on_the_ground(self, thing: Thing, view: View) -> Thing:
        """Spread clutter over the world and see it from the camera."""
        side = self.clip.height
        x, y, radius = (value / side for value in (thing.pose.x, thing.pose.y, thing.pose.radius))
        place = view.pixels(Place((x - 0.5) * _SPREAD + 0.5, (y - 0.5) * _SPREAD + 0.5, radius))
        return dataclasses.replace(thing, pose=dataclasses.replace(thing.pose, x=place.x, y=place.y, radius=place.size))

    def _figure(self, role: Role, clothes: Clothes, place: Place, time: float) -> Figure:
        """A figure that steps as far as it goes and faces where it goes."""
        ahead, behind = role.path.at(min(time + 0.02, 1)), role.path.at(max(time - 0.02, 0))
        passed = [role.path.at(time * k / 16).x for k in range(17)]
        gone = sum(abs(after - before) for before, after in pairwise(passed))
        gone *= self.clip.width / (role.path.at(time).size * self.clip.height)
        waving = role.what == "waving"
        phase = 2.5 * time if waving else gone / _STRIDE
        return Figure(
            clothes=clothes,
            place=place,
            facing=1 if (ahead.x >= behind.x) != self._mirrored else -1,
            phase=phase + Random(f"{self._key}/{role.identity}/stride").random(),
            waving=waving,
        )


def _brightness(scene: Scene) -> float:
    """The lit background's mean, of 1."""
    light = scene.light
    mean = sum(sum(colour) for colour in scene.background.colours) / 6
    return mean * (light.ambient + (1 - light.ambient) * light.direction[2])


def _twin(look: Thing | Clothes, chance: Random) -> Thing | Clothes:
    if isinstance(look, Clothes):
        shirt, trousers = (_recoloured(thing, chance) for thing in (look.shirt, look.trousers))
        return dataclasses.replace(look, shirt=shirt, trousers=trousers)
    return _recoloured(look, chance)


def _recoloured(thing: Thing, chance: Random) -> Thing:
    turn, pale = chance.choice((-1, 1)) * chance.uniform(0.06, 0.09), chance.uniform(0.85, 0.95)

    def other(colour: Colour) -> Colour:
        hue, saturation, value = colorsys.rgb_to_hsv(*colour)
        return colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value * pale)

    low, high = thing.texture.colours
    pose = dataclasses.replace(thing.pose, rotation=thing.pose.rotation + chance.uniform(0.3, 1.0))
    return dataclasses.replace(
        thing, texture=dataclasses.replace(thing.texture, colours=(other(low), other(high))), pose=pose
    )
