"""Names for runs nobody named: three words anyone can say aloud."""

from __future__ import annotations

import random

_QUALITIES = """
able amber apt bold brave brisk calm clean clear clever crisp deft eager early even fair fast fine firm fond
free fresh gentle glad golden good grand happy hardy honest humble keen kind light lively loyal lucky merry
mild neat nimble noble open patient plain polite proud quick quiet ready rich robust round sharp silent
silver smart smooth sound steady still strong subtle sunny sure swift tidy true upbeat useful vivid warm wise
"""
_THINGS = """
ant bear beaver bee bison boar carp cat colt crab crane crow deer dog dove duck eagle eel elk falcon finch fish
flea fox frog goat goose grouse gull hare hawk hen heron horse hound jay kite koi lamb lark lion loon lynx mare
midge mink mole moose moth mouse mule newt otter owl ox perch pike pony quail ram rat raven robin rook seal
shark sheep shrew skunk slug snail snipe sparrow squid stag steed stoat stork swan tern toad trout vole wasp
whale wolf worm wren yak zebra
"""


def run_name(dice: random.Random) -> str:
    """A name such as "calm-otter-412".

    >>> run_name(random.Random(1)).count("-")
    2
    """
    return f"{dice.choice(_QUALITIES.split())}-{dice.choice(_THINGS.split())}-{dice.randrange(1000)}"
